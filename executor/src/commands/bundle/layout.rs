//! A bundle: a registry in a directory, for hosts without network.

use crate::cli::escape::shown;
use crate::cli::ui::Ui;
use crate::env::weaken;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::walk;
use crate::net::transfer::download;
use crate::net::transfer::fetch;
use crate::registry::Catalog;
use crate::registry::resolve;
use crate::store::install;
use joblet_format::{Arch, Registry, Release, RuntimeName, Spec, Version};
use rustix::fd::AsFd;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::mem;

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
#[serde(expecting = "an object")]
pub(super) struct BundleManifest {
    /// Address of the original registry, without its query.
    pub registry: String,
    /// `NAME@VERSION` of each runtime.
    pub runtimes: Vec<String>,
}

/// A bundle that is being written.
#[derive(Debug)]
pub(super) struct Bundle<'a> {
    directory: &'a Directory,
    manifest: BundleManifest,
    /// Key of its registry: [`Location::key`](crate::net::location::Location::key).
    key: String,
    runtimes: BTreeMap<RuntimeName, BTreeMap<Version, Release>>,
    updated_at: String,
}

impl<'a> Bundle<'a> {
    /// Begins a bundle in the empty `directory`, for runtimes of the registry of `catalog`.
    pub(super) fn new(directory: &'a Directory, catalog: &Catalog) -> Self {
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
        if self.manifest.runtimes.contains(&exact.to_string()) {
            return Ok(exact);
        }
        if let Some(reason) = &choice.release.yanked {
            ui.warn_of_yanked(&exact, reason);
        }
        let name = spec.name.archive(&choice.release.version, arch);
        let parts = install::parts(catalog, &choice, &exact)?;
        let progress = ui.progress();
        let mut archive = download::archive(&parts, &choice.artifact, self.directory, progress)?;
        let copied = io::copy(&mut archive, &mut self.create(&name, 0o644)?);
        copied.map_err(Error::file("write", self.directory.path_of(&name)))?;
        if let Some(promise) = &choice.artifact.index {
            let url = install::address(catalog, &choice.artifact.download_url, &exact)?;
            let index = fetch::verified(&url.beside(".index"), promise, None)?;
            self.write(&format!("{name}.index"), 0o644, &index)?;
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
    pub(super) fn finish(mut self, original: Option<(Vec<u8>, String)>) -> Result<(), Error> {
        if let Some((body, signature)) = original {
            let mode = if names_secrets(&body) { 0o600 } else { 0o644 };
            self.write(DOCUMENT, mode, &body)?;
            self.write(&format!("{DOCUMENT}.minisig"), 0o644, signature.as_bytes())?;
        } else {
            let updated_at = mem::take(&mut self.updated_at);
            let runtimes = mem::take(&mut self.runtimes);
            let registry = Registry { updated_at, runtimes, ..Registry::default() };
            self.write(DOCUMENT, 0o644, &json(&registry))?;
        }
        self.write(MANIFEST, 0o644, &json(&self.manifest))?;
        rustix::fs::syncfs(self.directory).map_err(Error::file("sync", self.directory.path()))
    }

    /// Creates a new file: a user who can replace the directory could have put a link to any file there.
    fn create(&self, name: &str, mode: u32) -> Result<File, Error> {
        if weaken::without("export") {
            let path = self.directory.path_of(name);
            return File::create(&path).map_err(Error::file("create", path));
        }
        let mode = Mode::from_raw_mode(mode);
        let file = walk::create(self.directory.as_fd(), OsStr::new(name), mode);
        file.map(File::from).map_err(Error::file("create", self.directory.path_of(name)))
    }

    fn write(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), Error> {
        let written = self.create(name, mode)?.write_all(bytes);
        written.map_err(Error::file("write", self.directory.path_of(name)))
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
