//! A bundle: a registry in a directory, for hosts without network.

use crate::cli::escape::shown;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::net::transfer::download;
use crate::net::transfer::fetch;
use crate::registry::Catalog;
use crate::registry::resolve;
use crate::store::install;
use joblet_format::{Arch, Registry, Release, RuntimeName, Spec, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The manifest's file name.
pub(super) const MANIFEST: &str = "bundle.json";
/// File name of the registry's document, as in any registry.
pub(super) const DOCUMENT: &str = "registry.json";

/// The manifest of a bundle: `bundle.json`.
///
/// A bundle is a directory with `registry.json` (if it is signed, the original with its signature
/// `registry.json.minisig`; else the part about the bundle's runtimes), `NAME-VERSION-ARCH.tar.gz`, and the
/// `.index` of archives that have one.
///
/// Example: `{"registry":"https://example.org/registry.json","runtimes":["demo@1.0.0"]}`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BundleManifest {
    /// Address of the original registry, without its query.
    pub registry: String,
    /// `NAME@VERSION` of each runtime.
    pub runtimes: Vec<String>,
}

/// A bundle that is being written.
#[derive(Debug)]
pub(super) struct Bundle<'a> {
    directory: &'a Path,
    manifest: BundleManifest,
    /// Key of its registry: [`Location::key`](crate::net::location::Location::key).
    key: String,
    runtimes: BTreeMap<RuntimeName, BTreeMap<Version, Release>>,
    updated_at: String,
}

impl<'a> Bundle<'a> {
    /// Begins a bundle in the empty `directory`, for runtimes of the registry of `catalog`.
    pub(super) fn new(directory: &'a Path, catalog: &Catalog) -> Self {
        let manifest =
            BundleManifest { registry: catalog.location.to_string(), runtimes: Vec::new() };
        let updated_at = catalog.registry.updated_at.clone();
        let key = catalog.location.key();
        Self { directory, manifest, key, runtimes: BTreeMap::new(), updated_at }
    }

    /// Whether this catalogue is of the same registry.
    pub(super) fn is_of(&self, catalog: &Catalog) -> bool {
        self.key == catalog.location.key()
    }

    /// Fetches the archive of `spec` for a host of architecture `arch`, verifies it and adds it.
    ///
    /// # Errors
    /// As for an installation.
    pub(super) fn add(
        &mut self,
        spec: &Spec,
        arch: Arch,
        catalog: &Catalog,
        ui: &mut Ui<'_>,
    ) -> Result<Spec, Error> {
        let choice = resolve::resolve(&catalog.registry, &catalog.location, spec, arch)?;
        let exact = Spec { origin: None, ..spec.exactly(&choice.release.version) };
        if let Some(reason) = &choice.release.yanked {
            ui.warning(&format!("{exact} is yanked: {reason}"));
        }
        let name = spec.name.archive(&choice.release.version, arch);
        let path = self.directory.join(&name);
        let parts = install::parts(catalog, &choice, &exact)?;
        let progress = ui.progress();
        let directory = Directory::open(self.directory);
        let directory = directory.map_err(Error::file("open", self.directory))?;
        let mut archive = download::archive(&parts, &choice.artifact, &directory, progress)?;
        let mut file = File::create(&path).map_err(Error::file("create", &path))?;
        io::copy(&mut archive, &mut file).map_err(Error::file("write", &path))?;
        if let Some(promise) = &choice.artifact.index {
            let url = install::address(catalog, &choice.artifact.download_url, &exact)?;
            let index = fetch::verified(&url.beside(".index"), promise, None)?;
            write(&self.directory.join(format!("{name}.index")), &index)?;
        }
        let mut release = choice.release.clone();
        let mut artifact = choice.artifact;
        (artifact.download_url, artifact.parts) = (name, Vec::new());
        // Only .tar.gz, which other programs read too.
        artifact.zstd = None;
        // Not the original address, which may contain a secret.
        release.download_url = spec.name.archive(&release.version, Arch::Amd64);
        release.artifacts = BTreeMap::from([(arch, artifact)]);
        let versions = self.runtimes.entry(spec.name.clone()).or_default();
        versions.insert(release.version.clone(), release);
        self.manifest.runtimes.push(exact.to_string());
        Ok(exact)
    }

    /// Writes the registry, `original` and its signature if it is signed, and the manifest.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn finish(self, original: Option<(Vec<u8>, String)>) -> Result<(), Error> {
        let document = self.directory.join(DOCUMENT);
        if let Some((body, signature)) = original {
            let mode = if names_secrets(&body) { 0o600 } else { 0o644 };
            let file = File::options().write(true).create_new(true).mode(mode).open(&document);
            let written = file.and_then(|mut file| file.write_all(&body));
            written.map_err(Error::file("write", &document))?;
            write(&self.directory.join(format!("{DOCUMENT}.minisig")), signature.as_bytes())?;
        } else {
            let (updated_at, runtimes) = (self.updated_at, self.runtimes);
            let registry = Registry { updated_at, runtimes, ..Registry::default() };
            write(&document, &json(&registry))?;
        }
        write(&self.directory.join(MANIFEST), &json(&self.manifest))?;
        let directory = File::open(self.directory).map_err(Error::file("open", self.directory))?;
        rustix::fs::syncfs(directory).map_err(Error::file("sync", self.directory))
    }
}

/// Whether addresses in the document contain secrets.
fn names_secrets(document: &[u8]) -> bool {
    let document = String::from_utf8_lossy(document).replace("\\/", "/");
    let mut addresses = document.split("\"download_url\"").skip(1);
    addresses.any(|rest| rest.split('"').nth(1).is_some_and(|url| shown(url) != url))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("it is plain JSON")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::file("write", path))
}
