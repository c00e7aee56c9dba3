//! Stores of runtimes stay as they are, whatever a job may write to: what one job changed in a runtime, all later
//! ones would execute.

use crate::error::Error;
use crate::sandbox::{Bind, Job};
use std::path::{Path, PathBuf};

/// Mounts each of `stores` that is below a writable directory of the job over itself, read-only. One in a store is
/// refused, and so is an `output` there.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn stores(
    job: &mut Job,
    output: Option<&Path>,
    stores: &[PathBuf],
) -> Result<(), Error> {
    // What is not there cannot be written to.
    let real = |path: &Path| path.canonicalize().ok();
    let stores: Vec<_> = stores.iter().filter_map(|store| real(store)).collect();
    let inside = |path: &Path| stores.iter().any(|store| path.starts_with(store));
    // A directory that is to be made is where its parents lead.
    let output = output.and_then(|path| path.ancestors().find_map(real));
    if output.is_some_and(|path| inside(&path)) {
        return Err(refused("--output"));
    }
    let mut covers = Vec::new();
    for bind in job.binds.iter().filter(|bind| bind.writable) {
        let Some(source) = real(&bind.source) else { continue };
        if inside(&source) {
            return Err(refused("a writable --bind"));
        }
        covers.extend(stores.iter().filter_map(|store| {
            let target = bind.target.join(store.strip_prefix(&source).ok()?);
            Some(Bind { source: store.clone(), target, writable: false })
        }));
    }
    job.binds.extend(covers);
    Ok(())
}

fn refused(what: &str) -> Error {
    Error::Usage(format!("{what} leads into a store of runtimes, which no job may change"))
}
