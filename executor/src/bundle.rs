//! A bundle: what a host without network needs to install some runtimes.

use crate::catalog::Catalog;
use crate::directory::Directory;
use crate::download;
use crate::error::Error;
use crate::fetch;
use crate::install;
use crate::registry;
use crate::ui::Ui;
use joblet_format::{Arch, Registry, Release, RuntimeName, Spec, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The label's file name.
pub const LABEL: &str = "bundle.json";
/// The name of the registry's document in a bundle, as in any registry.
pub const DOCUMENT: &str = "registry.json";

/// What is in a bundle: `bundle.json`.
///
/// A bundle is a directory that is a registry: `registry.json` (the whole of it, beside its signature
/// `registry.json.minisig`, if it is signed; else what concerns the bundle), and beside it
/// `NAME-VERSION-ARCH.tar.gz`, and `.index` with it where there is one.
///
/// Example: `{"registry":"https://example.org/registry.json","runtimes":["demo@1.0.0"]}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Label {
    /// Where its registry was.
    pub registry: String,
    /// `NAME@VERSION` of each runtime.
    pub runtimes: Vec<String>,
}

/// A bundle that is being written.
#[derive(Debug)]
pub struct Bundle<'a> {
    directory: &'a Path,
    label: Label,
    runtimes: BTreeMap<RuntimeName, BTreeMap<Version, Release>>,
    updated_at: String,
}

impl<'a> Bundle<'a> {
    /// An empty one, for runtimes of the registry of `catalog`, in the empty `directory`.
    pub fn new(directory: &'a Path, catalog: &Catalog) -> Self {
        let label = Label { registry: catalog.location.to_string(), runtimes: Vec::new() };
        let updated_at = catalog.registry.updated_at.clone();
        Self { directory, label, runtimes: BTreeMap::new(), updated_at }
    }

    /// Whether runtimes of this catalog belong in it.
    pub fn is_of(&self, catalog: &Catalog) -> bool {
        self.label.registry == catalog.location.to_string()
    }

    /// Fetches what `spec` means on a host of architecture `arch`, verifies it and adds it.
    ///
    /// # Errors
    /// As for an installation.
    pub fn add(
        &mut self,
        spec: &Spec,
        arch: Arch,
        catalog: &Catalog,
        ui: &mut Ui<'_>,
    ) -> Result<Spec, Error> {
        let choice = registry::resolve(&catalog.registry, &catalog.location, spec, arch)?;
        let exact = Spec { origin: None, ..spec.exactly(&choice.release.version) };
        if let Some(reason) = &choice.release.yanked {
            ui.warning(&format!("{exact} was withdrawn: {reason}"));
        }
        let name = registry::archive_name(&spec.name, &choice.release.version, arch);
        let path = self.directory.join(&name);
        let parts = install::parts(catalog, &choice, &exact)?;
        let progress = ui.progress();
        let directory = Directory::open(self.directory);
        let directory = directory.map_err(Error::file("open", self.directory))?;
        let mut archive = download::archive(&parts, &choice.artifact, &directory, progress)?;
        let mut file = File::create(&path).map_err(Error::file("create", &path))?;
        io::copy(&mut archive, &mut file).map_err(Error::file("write", &path))?;
        if let Some(promise) = &choice.artifact.index {
            let url = format!("{}.index", choice.artifact.download_url);
            let index = fetch::promised(&install::address(catalog, &url, &exact)?, promise)?;
            write(&self.directory.join(format!("{name}.index")), &index)?;
        }
        let mut release = choice.release.clone();
        let mut artifact = choice.artifact;
        (artifact.download_url, artifact.parts) = (name.clone(), Vec::new());
        if arch == Arch::Amd64 {
            release.download_url = name;
        }
        release.artifacts = BTreeMap::from([(arch, artifact)]);
        let versions = self.runtimes.entry(spec.name.clone()).or_default();
        versions.insert(release.version.clone(), release);
        self.label.runtimes.push(exact.to_string());
        Ok(exact)
    }

    /// Writes the registry, `original` and its signature if it is signed, and the label.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn finish(self, original: Option<(Vec<u8>, String)>) -> Result<(), Error> {
        let document = self.directory.join(DOCUMENT);
        if let Some((body, signature)) = original {
            write(&document, &body)?;
            write(&self.directory.join(format!("{DOCUMENT}.minisig")), signature.as_bytes())?;
        } else {
            let (updated_at, runtimes) = (self.updated_at, self.runtimes);
            let registry = Registry { updated_at, runtimes, ..Registry::default() };
            write(&document, &json(&registry))?;
        }
        write(&self.directory.join(LABEL), &json(&self.label))?;
        let directory = File::open(self.directory).map_err(Error::file("open", self.directory))?;
        rustix::fs::syncfs(directory).map_err(Error::file("sync", self.directory))
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("it is plain JSON")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::file("write", path))
}
