//! Protection of stores in writable directories of a job: what one job changed in a runtime, all later jobs
//! would execute.

use crate::error::Error;
use crate::sandbox::{Bind, Job};
use std::path::{Path, PathBuf};

/// Adds a read-only bind mount for each of `stores` that is a writable directory of the job, or below one. Refuses an
/// `output` in a store. A writable bind of a directory inside a store is left alone: builds change their trees that way.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn stores(
    job: &mut Job,
    output: Option<&Path>,
    stores: &[PathBuf],
) -> Result<(), Error> {
    // A path that does not exist cannot be written to.
    let real = |path: &Path| path.canonicalize().ok();
    let stores: Vec<_> = stores.iter().filter_map(|store| real(store)).collect();
    // A directory that does not exist yet is resolved by its parents.
    let output = output.and_then(|path| path.ancestors().find_map(real));
    if output.is_some_and(|path| stores.iter().any(|store| path.starts_with(store))) {
        let reason =
            "--output is in a store of runtimes, which no job may change; choose another directory";
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
