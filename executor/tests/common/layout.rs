//! Synthetic images: OCI layouts and archives of `docker save`, valid and invalid.

use super::tar::Tar;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// An image under construction.
pub struct Layout {
    /// Media type and bytes of each layer, and the tar stream in it.
    layers: Vec<(&'static str, Vec<u8>, Vec<u8>)>,
    /// The `config` member of its configuration.
    pub settings: Value,
    /// Its architecture.
    pub arch: &'static str,
}

/// SHA-256 of bytes, in the form of documents.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Layout {
    /// An image of this machine with these layers, uncompressed.
    pub fn of(layers: &[Tar]) -> Self {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let mut image = Self { layers: Vec::new(), settings: json!({}), arch };
        for layer in layers {
            image = image.layer("tar", layer.clone().end(), <[u8]>::to_owned);
        }
        image
    }

    /// Adds a layer; `plain` is its uncompressed stream.
    pub fn layer(
        mut self,
        suffix: &'static str,
        plain: Vec<u8>,
        pack: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Self {
        let packed = pack(&plain);
        self.layers.push((suffix, packed, plain));
        self
    }

    fn config(&self) -> Vec<u8> {
        let ids: Vec<_> = self.layers.iter().map(|(_, _, plain)| digest(plain)).collect();
        let config = json!({
            "architecture": self.arch, "os": "linux", "config": self.settings,
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        config.to_string().into_bytes()
    }

    /// The files of an OCI layout that has the image under this tag.
    pub fn files(&self, tag: &str) -> Vec<(String, Vec<u8>)> {
        let mut files =
            vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let mut blob = |media: &str, bytes: Vec<u8>| {
            let name = digest(&bytes);
            let descriptor = json!({ "mediaType": media, "digest": name, "size": bytes.len() });
            files.push((format!("blobs/sha256/{}", &name[7..]), bytes));
            descriptor
        };
        let of_layer = |(suffix, packed, _): &(&str, Vec<u8>, Vec<u8>)| {
            blob(&format!("application/vnd.oci.image.layer.v1.{suffix}"), packed.clone())
        };
        let layers: Vec<_> = self.layers.iter().map(of_layer).collect();
        let config = blob("application/vnd.oci.image.config.v1+json", self.config());
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let manifest = manifest.to_string().into_bytes();
        let mut named = blob("application/vnd.oci.image.manifest.v1+json", manifest);
        named["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let index = json!({ "schemaVersion": 2, "manifests": [named] });
        files.push(("index.json".to_owned(), index.to_string().into_bytes()));
        files
    }

    /// The files that `docker save` writes for the image under this name.
    pub fn saved(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let layer = |(_, _, plain): &(_, _, Vec<u8>)| {
            (format!("{}.tar", &digest(plain)[7..]), plain.clone())
        };
        let mut files: Vec<_> = self.layers.iter().map(layer).collect();
        let layers: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
        let config = self.config();
        let path = format!("{}.json", &digest(&config)[7..]);
        let list = json!([{ "Config": path, "RepoTags": [name], "Layers": layers }]);
        files.push((path, config));
        files.push(("manifest.json".to_owned(), list.to_string().into_bytes()));
        files
    }
}

/// Writes files below a new directory.
pub fn write_directory(files: &[(String, Vec<u8>)], to: &Path) {
    for (path, bytes) in files {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Writes files as one tar file.
pub fn write_archive(files: &[(String, Vec<u8>)], to: &Path) {
    let mut tar = Tar::default();
    for (path, bytes) in files {
        tar = tar.raw(b'0', path.as_bytes(), b"", 0o644, bytes);
    }
    fs::write(to, tar.end()).unwrap();
}
