//! Publishes a version: tag → plan → release host → record on the main branch.
//!
//! In: a tag, and the builds for it. Out: a published release, its record and `registry.json` pushed.
//!
//! Every step is idempotent: it checks the current state first, so that it can be repeated after any failure.
//! Published files are never replaced by different ones.

pub(crate) mod bundle;
mod directory;
mod gh;
pub(crate) mod git;
pub(crate) mod host;
pub(crate) mod plan;
pub(crate) mod reconcile;
pub(crate) mod tag;
pub(crate) mod upload;

pub(crate) use host::Host;
pub(crate) use tag::Tag;

use crate::error::Error;
use directory::Directory;
use gh::GitHub;

/// The host that `text` means: `github:OWNER/REPO`, or a directory that plays one.
///
/// # Errors
/// [`Error::Usage`].
pub(crate) fn named(text: &str) -> Result<Box<dyn Host>, Error> {
    match text.strip_prefix("github:") {
        None => Ok(Box::new(Directory(text.into()))),
        Some(repository) if repository.split('/').filter(|part| !part.is_empty()).count() == 2 => {
            Ok(Box::new(GitHub(repository.to_owned())))
        }
        Some(_) => Err(Error::Usage(format!(
            "{text:?} is not a host; use github:OWNER/REPO or a directory"
        ))),
    }
}
