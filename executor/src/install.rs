//! From a spec to an installed runtime: resolve → fetch and verify → unpack → store.

use crate::catalog::Catalog;
use crate::error::Error;
use crate::fetch;
use crate::progress::Progress;
use crate::registry::{self, Choice};
use crate::runtime;
use crate::store::{Installed, Receipt, Store};
use crate::ui::Ui;
use crate::unpack;
use joblet_format::{Arch, Spec};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// What an installation did.
#[derive(Debug)]
pub struct Outcome {
    /// The runtime, as it lies in the store now.
    pub runtime: Installed,
    /// The length of the archive that was read for it, in bytes; none if it was there already.
    pub archive: Option<u64>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Installs what `spec` means in `catalog`, unless it is there already.
///
/// # Errors
/// Any class but those of a job; the store is then as it was before.
pub fn install(
    spec: &Spec,
    catalog: &Catalog,
    store: &Store,
    ui: &mut Ui<'_>,
) -> Result<Outcome, Error> {
    let start = Instant::now();
    let choice = registry::resolve(&catalog.registry, &catalog.location, spec, Arch::NATIVE)?;
    let exact = spec.exactly(&choice.release.version);
    if let Some(reason) = &choice.release.yanked {
        ui.warning(&format!("{exact} was withdrawn: {reason}"));
    }
    let outcome =
        |runtime, archive| Outcome { runtime, archive, seconds: start.elapsed().as_secs_f64() };
    if let Some(runtime) = store.find(&exact)? {
        return Ok(outcome(runtime, None));
    }
    let lock = store.lock(&spec.name, &choice.release.version)?;
    // Another process may have installed it while this one waited.
    if let Some(runtime) = store.find(&exact)? {
        return Ok(outcome(runtime, None));
    }
    store.clean();
    let url = &choice.artifact.download_url;
    let source = catalog.location.of_archive(url).map_err(|reason| Error::Registry {
        registry: catalog.location.to_string(),
        reason: format!("the address {url:?} of {exact} is refused: {reason}"),
    })?;
    ui.detail(&format!("{exact}: fetching {source}"));
    let download = store.download(&lock)?;
    let archive = fetch::archive(&source, &choice.artifact, &download, ui.progress())?;
    let (staging, directory) = store.stage(&lock)?;
    let name = source.to_string();
    {
        let total = choice.artifact.unpacked_size.unwrap_or(choice.artifact.size);
        let progress = Progress::bytes(format!("unpacking {exact}"), total, ui.progress());
        unpack::unpack(archive, &name, &choice.artifact, directory, |bytes| {
            progress.advance(bytes);
        })?;
    }
    let prepared = wrapper(staging.path(), &name)?;
    runtime::load(&prepared)?;
    let receipt = receipt(spec, catalog, &choice, name);
    let path = store.publish(staging, &prepared, &receipt)?;
    let version = Some(choice.release.version.clone());
    Ok(outcome(Installed { name: spec.name.clone(), version, path }, Some(choice.artifact.size)))
}

fn receipt(spec: &Spec, catalog: &Catalog, choice: &Choice<'_>, url: String) -> Receipt {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Receipt {
        name: spec.name.clone(),
        version: choice.release.version.clone(),
        arch: Arch::NATIVE,
        registry: catalog.location.to_string(),
        url,
        checksum: choice.artifact.checksum,
        size: choice.artifact.size,
        installed_at: now.as_secs(),
    }
}

/// The directory with `runtime.yml`: the unpacked one, or the only one in it.
fn wrapper(unpacked: &Path, archive: &str) -> Result<PathBuf, Error> {
    let children = || -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(unpacked).map_err(Error::file("read", unpacked))?;
        entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(Error::file("read", unpacked)))
            .collect()
    };
    let is_runtime = |path: &Path| path.join("runtime.yml").symlink_metadata().is_ok();
    if is_runtime(unpacked) {
        return Ok(unpacked.to_owned());
    }
    let children = children()?;
    match children.as_slice() {
        [only] if only.symlink_metadata().is_ok_and(|found| found.is_dir()) && is_runtime(only) => {
            Ok(only.clone())
        }
        _ => Err(Error::Archive { archive: archive.to_owned(), rule: no_runtime(&children) }),
    }
}

/// Why an archive without `runtime.yml` is none of ours, for the person who wanted it.
fn no_runtime(top: &[PathBuf]) -> String {
    let inside = top.iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
    let script = top
        .iter()
        .cloned()
        .chain(inside.map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "sh"));
    match script.as_deref().and_then(Path::file_name) {
        Some(script) => format!(
            "it has no runtime.yml: this is a package of install scripts ({}), which are never run \
             here; ask the registry's maintainer for a pre-built runtime",
            script.to_string_lossy()
        ),
        None => {
            "it has no runtime.yml, so it is not a runtime; ask the registry's maintainer".into()
        }
    }
}
