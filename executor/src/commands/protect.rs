//! Stores of runtimes stay as they are, whatever a job may write to: what one job changed in a runtime, all later
//! ones would execute.

use crate::error::Error;
use crate::sandbox::{Bind, Job};
use std::path::{Path, PathBuf};

/// Mounts each of `stores` that is a writable directory of the job, or below one, over itself, read-only. An `output`
/// in one is refused. A directory within a store that is named as writable is meant: a build changes its tree so.
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
    // A directory that is to be made is where its parents lead.
    let output = output.and_then(|path| path.ancestors().find_map(real));
    if output.is_some_and(|path| stores.iter().any(|store| path.starts_with(store))) {
        let reason = "--output leads into a store of runtimes, which no job may change";
        return Err(Error::Usage(reason.into()));
    }
    let mut covers = Vec::new();
    for bind in job.binds.iter().filter(|bind| bind.writable) {
        let Some(source) = real(&bind.source) else { continue };
        covers.extend(stores.iter().filter_map(|store| {
            let target = bind.target.join(store.strip_prefix(&source).ok()?);
            Some(Bind { source: store.clone(), target, writable: false })
        }));
    }
    job.binds.extend(covers);
    Ok(())
}
