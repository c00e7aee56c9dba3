//! Finds the runtime's directory in an unpacked archive.

use super::interrupted::MARK;
use super::shared_installation::PROGRESS;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::store::{Prepared, Staging};
use std::path::Path;

/// The directory with `runtime.yml`: the unpacked directory itself, or its only subdirectory.
///
/// # Errors
/// [`Error::Archive`] if there is none, [`Error::File`].
pub(super) fn single_top_dir<'s>(
    staging: &'s Staging,
    archive: &str,
) -> Result<Prepared<'s>, Error> {
    let unpacked = staging.directory();
    if unpacked.has("runtime.yml") {
        return staging.prepared(None);
    }
    let mut children = unpacked.names()?;
    children.retain(|name| ![MARK, PROGRESS].contains(&name.as_str()));
    if let [only] = children.as_slice() {
        match unpacked.enter(only) {
            Ok(Some(directory)) if directory.has("runtime.yml") => {
                return staging.prepared(Some(only.clone()));
            }
            // A file, or a link.
            Ok(_) | Err(Error::Untrusted { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Archive { archive: archive.to_owned(), rule: no_runtime(unpacked, &children) })
}

/// The message that refuses an archive without `runtime.yml`.
fn no_runtime(unpacked: &Directory, top: &[String]) -> String {
    let below = top.iter().filter_map(|name| unpacked.enter(name).ok()?);
    let inside = below.filter_map(|directory| directory.names().ok()).flatten();
    let script = top
        .iter()
        .cloned()
        .chain(inside)
        .find(|name| Path::new(name).extension().is_some_and(|extension| extension == "sh"));
    match script {
        Some(script) => format!(
            "it has no runtime.yml: this is a package of install scripts ({script}), which are never run \
             here; ask the registry's maintainer for a pre-built runtime"
        ),
        None => {
            "it has no runtime.yml, so it is not a runtime; ask the registry's maintainer".into()
        }
    }
}
