//! OCI images: the documents of a layout, and the application of layers.
//!
//! Defined by the image specification, version 1.1. Members that no reader here needs are ignored.

mod layer;
mod members;
mod reference;

pub use layer::{Layer, There, Tree};
pub use members::{Member, members};
pub use reference::{Offer, is_called, places, select};

use crate::Checksum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Media types of documents and layers. Part of the format.
pub mod media {
    /// An image index: one image for each architecture.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An image manifest: a configuration and layers.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An image's configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer as gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer as zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// `{}`, where a manifest has no configuration.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
}

/// Key of the annotation that names an image in a layout: its tag. Part of the format.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The runtime whose versions are images, in a store.
pub const RUNTIME: &str = "image";
/// Maximum size of a document, in bytes.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;
/// Maximum number of layers of an image.
pub const MAX_LAYERS: usize = 1000;

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the blob.
    #[serde(default)]
    pub media_type: String,
    /// Its SHA-256. Another algorithm is refused.
    pub digest: Checksum,
    /// Its length, in bytes.
    pub size: u64,
    /// Its platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Its type, if it is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Texts about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The platform of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64` or another one.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// Variant of the processor: `v8`, `v3`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// `index.json`, an image index or a manifest: one type, since the members distinguish them.
///
/// Example: `{"schemaVersion":2,"manifests":[{"mediaType":"…","digest":"sha256:…","size":7,"annotations":{…}}]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// 2.
    #[serde(default)]
    pub schema_version: u32,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Type of an artifact that is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The images of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<Descriptor>>,
    /// The configuration of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    /// Its layers, the lowest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Descriptor>>,
    /// The image that an artifact refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Texts about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The configuration of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Time of creation, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its architecture.
    #[serde(default)]
    pub architecture: String,
    /// Its operating system.
    #[serde(default)]
    pub os: String,
    /// Settings of its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Settings>,
    /// Its layers.
    pub rootfs: LayerDigests,
    /// History of each layer.
    #[serde(default, skip_deserializing)]
    pub history: Vec<History>,
}

/// The digests of an image's uncompressed layers, `rootfs` in its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerDigests {
    /// `layers`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// SHA-256 of each uncompressed layer, the lowest first.
    pub diff_ids: Vec<Checksum>,
}

/// History of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// Time of creation, RFC 3339.
    pub created: String,
    /// The command that created it.
    pub created_by: String,
}

/// Settings of an image's containers. Docker writes `null` for missing values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settings {
    /// `NAME`, `NAME:GROUP`, or numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Variables: `K=V`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The directory to start in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Mount points of volumes.
    #[serde(default, skip_serializing, deserialize_with = "keys")]
    pub volumes: Vec<String>,
    /// Ports that it listens on.
    #[serde(default, skip_serializing, deserialize_with = "keys")]
    pub exposed_ports: Vec<String>,
    /// A health check, which is not read.
    #[serde(default, skip_serializing)]
    pub healthcheck: Option<Nothing>,
    /// Texts about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// An object whose content is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// An image of `docker save`: an element of its `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Saved {
    /// Path of the configuration in the archive. Its SHA-256 is the image's own.
    pub config: String,
    /// Its names: `NAME:TAG`.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// Paths of the layers in the archive, the lowest first.
    pub layers: Vec<String>,
}

/// Deserializes the keys of an object, or `null`.
fn keys<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct Keys;
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            to.write_str("an object or null")
        }

        fn visit_unit<E>(self) -> Result<Vec<String>, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Vec<String>, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, serde::de::IgnoredAny)) = map.next_entry()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    from.deserialize_any(Keys)
}

impl Descriptor {
    /// Its properties in an index.
    pub fn offer(&self) -> Offer<'_> {
        let platform =
            |of: fn(&Platform) -> &String| self.platform.as_ref().map_or("", |it| of(it));
        Offer {
            tag: self.annotations.get(REF_NAME).map_or("", |tag| tag),
            os: platform(|it| &it.os),
            architecture: platform(|it| &it.architecture),
            variant: platform(|it| &it.variant),
            artifact_type: self.artifact_type.as_deref().unwrap_or_default(),
        }
    }
}

impl Settings {
    /// The variables, each with its name and value. One without `=` has no value.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let env = self.env.as_deref().unwrap_or_default();
        env.iter().map(|text| text.split_once('=').unwrap_or((text, "")))
    }

    /// A message that lists the settings without effect in a runtime, which has no command; `None` without them.
    pub fn not_carried_over(&self) -> Option<String> {
        let joined = |words: &Option<Vec<String>>| words.as_deref().unwrap_or_default().join(" ");
        let mut text = String::new();
        for (what, value) in [
            ("entrypoint: ", joined(&self.entrypoint)),
            ("command: ", joined(&self.cmd)),
            ("user: ", self.user.clone().unwrap_or_default()),
            ("volumes: ", self.volumes.join(", ")),
            ("ports: ", self.exposed_ports.join(", ")),
            ("health check", if self.healthcheck.is_some() { " ".into() } else { String::new() }),
        ] {
            if !value.is_empty() {
                for word in [if text.is_empty() { "" } else { "; " }, what, value.trim_end()] {
                    text += word;
                }
            }
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_other_programs_are_read() {
        let text = r#"{"architecture":"amd64","os":"linux","variant":"v1","config":{"Env":["PATH=/bin","X"],
            "Cmd":["/bin/sh"],"Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null,"OnBuild":null,
            "Entrypoint":null,"Healthcheck":{"Test":["CMD","x"]},"User":"www","WorkingDir":"/app"},
            "rootfs":{"type":"layers","diff_ids":[]},"history":[{"created":"x","empty_layer":true}]}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let settings = config.config.unwrap();
        assert_eq!(settings.variables().collect::<Vec<_>>(), [("PATH", "/bin"), ("X", "")]);
        let text = settings.not_carried_over().unwrap();
        let want = "command: /bin/sh; user: www; volumes: /data; ports: 80/tcp; health check";
        assert_eq!(text, want);
        assert_eq!(Settings::default().not_carried_over(), None);
        let md5 = r#"{"manifests":[{"mediaType":"x","digest":"md5:00","size":1}]}"#;
        assert!(serde_json::from_str::<Document>(md5).is_err());
    }
}
