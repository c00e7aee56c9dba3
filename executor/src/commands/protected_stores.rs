//! Protection of stores in writable directories of a job: what one job changed in a runtime, all later jobs
//! would execute.

use crate::error::Error;
use crate::sandbox::{Bind, Job};
use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Refuses an `output` in one of `stores`. Returns their identities (device and inode), since nothing is copied into them,
/// wherever they are mounted; one below `output` that does not exist is made.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn check_output(output: &Path, stores: &[PathBuf]) -> Result<Vec<(u64, u64)>, Error> {
    let output = resolved(output);
    let stores = || stores.iter().map(|store| resolved(store));
    if stores().any(|store| output.starts_with(store)) {
        let reason =
            "--output is in a store of runtimes, which no job may change; choose another directory";
        return Err(Error::Usage(reason.into()));
    }
    let found = |store: PathBuf| {
        if store.starts_with(&output) { make(&store).ok() } else { store.metadata().ok() }
    };
    Ok(stores().filter_map(found).map(|it| (it.dev(), it.ino())).collect())
}

/// Adds a read-only bind mount for each of `stores` that is a writable directory of the job, or below one, and a mount
/// point for each directory between them, which cannot be renamed then. A store that does not exist is made: else the
/// job could. A writable bind of a directory inside a store is left alone: builds change their trees that way.
pub(super) fn cover(job: &mut Job, stores: &[PathBuf]) {
    let mut covers = Vec::new();
    for bind in job.binds.iter().filter(|bind| bind.writable) {
        let Ok(source) = bind.source.canonicalize() else { continue };
        for store in stores {
            let store = resolved(store);
            let Ok(below) = store.strip_prefix(&source) else { continue };
            // If that fails, the job, which has no more rights, cannot make it either.
            _ = make(&store);
            let between = below.ancestors().skip(1).filter(|path| *path != Path::new(""));
            let mut all: Vec<_> = between.map(|path| (path, true)).collect();
            all.reverse();
            all.push((below, false));
            all.retain(|(path, _)| source.join(path).is_dir());
            covers.extend(all.into_iter().map(|(path, writable)| {
                let (source, target) = (source.join(path), bind.target.join(path));
                Bind { source, target, writable }
            }));
        }
    }
    // Parents first; two stores may have the same ones.
    covers.sort_by(|a, b| a.target.cmp(&b.target));
    covers.dedup();
    job.binds.extend(covers);
}

/// Makes the directory of a store if it is missing.
fn make(store: &Path) -> io::Result<Metadata> {
    DirBuilder::new().recursive(true).mode(0o755).create(store)?;
    store.metadata()
}

/// `path` without symlinks; what does not exist of it is resolved by its parents.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
        Some(above.canonicalize().ok()?.join(rest))
    });
    found.unwrap_or(path)
}
