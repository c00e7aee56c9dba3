//! Interrupted installations, which the next one resumes.
//!
//! `interrupted/NAME-VERSION` is the former staging directory: the archive's index, and below
//! `NAME-VERSION/` the files that had been written. Each file is hashed before it is used: it may be
//! incomplete, and after a power loss its content may be missing.

use super::directories::Subdirectory;
use super::{Staging, Store, unique_name};
use crate::error::Error;
use crate::fs::directory::Directory;
use rustix::fd::{AsFd, OwnedFd};

/// In a staging directory: the index of the archive that is unpacked there, as it was fetched.
pub(super) const MARK: &str = ".joblet-index";

impl Staging {
    /// Records the `index` of the archive that is unpacked here.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn mark(&self, index: &[u8]) -> Result<(), Error> {
        self.directory().write(MARK, index)
    }
}

impl Store {
    /// The directory of an interrupted installation of `version` (`NAME-VERSION`) with the same `index`; the
    /// caller holds its lock.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(crate) fn interrupted(
        &self,
        version: &str,
        index: &[u8],
    ) -> Result<Option<OwnedFd>, Error> {
        let Some(work) = self.open_own_work()? else { return Ok(None) };
        let Some(all) = work.open_subdirectory(Subdirectory::Interrupted)? else { return Ok(None) };
        let Ok(Some(left)) = all.enter(version) else { return Ok(None) };
        let same = left.read(MARK).is_ok_and(|mark| mark == index);
        let tree = if same { left.enter(version).ok().flatten() } else { None };
        Ok(tree.and_then(|tree| tree.as_fd().try_clone_to_owned().ok()))
    }

    /// Sets aside an incomplete staging directory, for the next installation to resume.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(crate) fn set_aside(&self, staging: &Staging) -> Result<(), Error> {
        if let Some(work) = self.open_own_work()? {
            let (around, name) = staging.place();
            set_aside(&work, around, name);
        }
        Ok(())
    }

    /// Removes an interrupted installation that is no longer needed; the caller holds the lock of `version`.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(crate) fn remove_interrupted(&self, version: &str) -> Result<(), Error> {
        let Some(work) = self.open_own_work()? else { return Ok(()) };
        if let Some(all) = work.open_subdirectory(Subdirectory::Interrupted)? {
            // Best effort: a later command tries again.
            _ = all.remove_tree(version);
        }
        Ok(())
    }
}

/// Moves the stale directory `name` of `staging` to `interrupted`; returns whether it can be resumed.
pub(super) fn set_aside(work: &Directory, staging: &Directory, name: &str) -> bool {
    let version = unique_name::version(name);
    let marked = |left: &Directory| left.has(MARK) && left.has(version);
    if !staging.enter(name).is_ok_and(|left| left.as_ref().is_some_and(marked)) {
        return false;
    }
    let Ok(all) = Subdirectory::Interrupted.open_or_create(work) else { return false };
    // Replaces an earlier one: this one contains its files, or has another index.
    _ = all.remove_tree(version);
    staging.rename_new(name, &all, version).is_ok()
}
