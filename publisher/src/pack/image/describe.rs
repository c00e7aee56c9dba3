//! The JSON documents of an image: configuration, manifests, index.

use super::{
    blocks::{Blob, Compression},
    layer::Layers,
    layout::Layout,
};
use crate::error::Error;
use joblet_format::image::{
    Config, Descriptor, Document, History, LayerDigests, Nothing, Platform, REF_NAME, Settings,
    media,
};
use joblet_format::{Arch, Artifact};
use std::{collections::BTreeMap, fs::File};

/// Prefix of this project's own annotations.
const OURS: &str = "io.github.ehsaniara.joblet.";
/// Media type of an SPDX document.
const SPDX: &str = "application/spdx+json";

/// Metadata of an image, the same for all architectures.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// `NAME`
    pub name: String,
    /// `VERSION`, which is the tag too.
    pub version: String,
    /// Description in one line.
    pub description: String,
    /// Time at which its inputs were locked, RFC 3339.
    pub created: String,
    /// Licences of the content, an SPDX expression; empty if unknown.
    pub licences: String,
    /// Address of its source, if given.
    pub source: Option<String>,
    /// Revision of its source, if given.
    pub revision: Option<String>,
    /// `UID[:GID]` of its processes; `None`: the container engine's default, root.
    pub user: Option<String>,
    /// The image that it was made from, if any.
    pub base: Option<String>,
}

/// The image of one architecture.
#[derive(Debug)]
pub(crate) struct Arched {
    /// The architecture.
    pub arch: Arch,
    /// The record of its archive.
    pub artifact: Artifact,
    /// Its layers.
    pub layers: Layers,
    /// The bill of materials, SPDX as JSON, if there is one.
    pub sbom: Option<Vec<u8>>,
}

impl About {
    /// Annotations defined by the OCI image specification.
    fn annotations(&self) -> BTreeMap<String, String> {
        let all = [
            ("created", Some(&self.created)),
            ("title", Some(&self.name)),
            ("version", Some(&self.version)),
            ("description", Some(&self.description)),
            ("licenses", Some(&self.licences)),
            ("source", self.source.as_ref()),
            ("revision", self.revision.as_ref()),
            ("base.digest", self.base.as_ref()),
        ];
        let given = all.into_iter().filter_map(|(key, value)| Some((key, value?.clone())));
        given
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value))
            .collect()
    }
}

/// Adds the image of one architecture to `layout`. Returns descriptors of its manifest and of its bill of materials.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn image(
    layout: &mut Layout,
    about: &About,
    of: Arched,
    compression: Compression,
) -> Result<Vec<Descriptor>, Error> {
    let Arched { arch, artifact, layers, sbom } = of;
    let mut annotations = about.annotations();
    annotations.insert(format!("{OURS}archive"), artifact.checksum.to_string());
    if let Some(index) = artifact.index {
        annotations.insert(format!("{OURS}index"), index.checksum.to_string());
    }
    let config = config(about, arch, &layers, &annotations);
    let config = descriptor(layout.add_json(&config)?, media::CONFIG);
    let kind = match compression {
        Compression::Gzip => media::LAYER_GZIP,
        Compression::Zstd => media::LAYER_ZSTD,
    };
    let mut listed = Vec::new();
    for (blob, file) in layers.blobs {
        let Blob { digest, size, .. } = blob;
        layout.add_file(digest, file)?;
        listed.push(descriptor((digest, size), kind));
    }
    let manifest = Document {
        config: Some(config),
        layers: Some(listed),
        annotations: Some(annotations),
        ..document(media::MANIFEST)
    };
    let plain = descriptor(layout.add_json(&manifest)?, media::MANIFEST);
    let (architecture, os, variant) = (arch.to_string(), "linux".into(), String::new());
    let platform = Platform { architecture, os, variant };
    let mut all = vec![Descriptor { platform: Some(platform), ..plain.clone() }];
    if let Some(sbom) = sbom {
        all.push(referrer(layout, &plain, sbom)?);
    }
    Ok(all)
}

/// Adds `sbom` to `layout` as an artifact whose subject is the manifest `of`.
///
/// The index lists it beside the image, for the platform unknown/unknown: so programs without support for
/// referrers copy it too, and do not mistake it for the image.
fn referrer(layout: &mut Layout, of: &Descriptor, sbom: Vec<u8>) -> Result<Descriptor, Error> {
    let empty = descriptor(layout.add_json(&Nothing {})?, media::EMPTY);
    let sbom = descriptor(layout.add_bytes(sbom), SPDX);
    let manifest = Document {
        artifact_type: Some(SPDX.to_owned()),
        config: Some(empty),
        layers: Some(vec![sbom]),
        subject: Some(of.clone()),
        ..document(media::MANIFEST)
    };
    let unknown = || "unknown".to_owned();
    // Without `artifactType`: older programs would drop it, which changes the digest of the index.
    Ok(Descriptor {
        platform: Some(Platform { architecture: unknown(), os: unknown(), variant: String::new() }),
        ..descriptor(layout.add_json(&manifest)?, media::MANIFEST)
    })
}

/// Adds the index of `images` to `layout`, which is then complete.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn index(
    layout: &mut Layout,
    about: &About,
    images: Vec<Descriptor>,
) -> Result<Descriptor, Error> {
    let index = Document {
        manifests: Some(images),
        annotations: Some(about.annotations()),
        ..document(media::INDEX)
    };
    let mut named = descriptor(layout.add_json(&index)?, media::INDEX);
    let reference = format!("{}:{}", about.name, about.version);
    named.annotations.insert(REF_NAME.to_owned(), reference);
    layout
        .set_index(&Document { manifests: Some(vec![named.clone()]), ..document(media::INDEX) })?;
    Ok(named)
}

fn config(
    about: &About,
    arch: Arch,
    layers: &Layers,
    annotations: &BTreeMap<String, String>,
) -> Config {
    let runtime = &layers.config;
    let env = runtime.environment().iter().map(|(name, value)| format!("{name}={value}"));
    let by = concat!("joblet-publish ", env!("CARGO_PKG_VERSION"), " oci");
    let history = History { created: about.created.clone(), created_by: by.to_owned() };
    Config {
        created: Some(about.created.clone()),
        architecture: arch.to_string(),
        os: "linux".into(),
        config: Some(Settings {
            user: about.user.clone(),
            env: Some(env.collect()),
            cmd: layers.shell.map(|shell| vec![shell.to_owned()]),
            working_dir: Some("/work".to_owned()),
            labels: Some(annotations.clone()),
            ..Settings::default()
        }),
        rootfs: LayerDigests {
            kind: "layers".to_owned(),
            diff_ids: layers.blobs.iter().map(|(blob, _): &(Blob, File)| blob.diff_id).collect(),
        },
        history: vec![history; layers.blobs.len()],
    }
}

fn document(media_type: &str) -> Document {
    Document { schema_version: 2, media_type: Some(media_type.to_owned()), ..Document::default() }
}

fn descriptor((digest, size): (joblet_format::Checksum, u64), media_type: &str) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        artifact_type: None,
        annotations: BTreeMap::new(),
    }
}
