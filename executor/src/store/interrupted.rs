//! What an installation that was interrupted has left: the next one goes on from there.
//!
//! `interrupted/NAME-VERSION` is what was its staging directory: the index that it was made by, and below
//! `NAME-VERSION/` what had been written. Nothing of that is used unread: a file may be half written, and after
//! a loss of power it may lack its content.

use super::place::Part;
use super::{Staging, Store, claim};
use crate::error::Error;
use crate::fs::directory::Directory;
use rustix::fd::{AsFd, OwnedFd};

/// In a staging directory: the index of what is being unpacked there, as it was fetched.
pub(super) const MARK: &str = ".joblet-index";

impl Staging {
    /// Notes that what is being unpacked here is what `index` says.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn mark(&self, index: &[u8]) -> Result<(), Error> {
        self.directory().write(MARK, index)
    }
}

impl Store {
    /// What an interrupted installation of `version` (`NAME-VERSION`) by the same `index` has left; the
    /// caller holds its lock.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(crate) fn interrupted(
        &self,
        version: &str,
        index: &[u8],
    ) -> Result<Option<OwnedFd>, Error> {
        let Some(work) = self.workshop()? else { return Ok(None) };
        let Some(all) = work.opened_part(Part::Interrupted)? else { return Ok(None) };
        let Ok(Some(left)) = all.enter(version) else { return Ok(None) };
        let same = left.read(MARK).is_ok_and(|mark| mark == index);
        let tree = if same { left.enter(version).ok().flatten() } else { None };
        Ok(tree.and_then(|tree| tree.as_fd().try_clone_to_owned().ok()))
    }

    /// Sets aside what could not be completed, for the next installation.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(crate) fn set_aside(&self, staging: &Staging) -> Result<(), Error> {
        if let Some(work) = self.workshop()? {
            let (around, name) = staging.place();
            set_aside(&work, around, name);
        }
        Ok(())
    }

    /// Removes what is not gone on with any more; the caller holds the lock of `version`.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(crate) fn forget_interrupted(&self, version: &str) -> Result<(), Error> {
        let Some(work) = self.workshop()? else { return Ok(()) };
        if let Some(all) = work.opened_part(Part::Interrupted)? {
            // What cannot be removed now is tried again by a later command.
            _ = all.remove_tree(version);
        }
        Ok(())
    }
}

/// Moves the leftover `name` of `staging` to where it is looked for; whether it was one to go on with.
pub(super) fn set_aside(work: &Directory, staging: &Directory, name: &str) -> bool {
    let version = claim::version(name);
    let marked = |left: &Directory| left.has(MARK) && left.has(version);
    if !staging.enter(name).is_ok_and(|left| left.as_ref().is_some_and(marked)) {
        return false;
    }
    let Ok(all) = Part::Interrupted.made(work) else { return false };
    // An earlier one was the beginning of this one, or of other bytes.
    _ = all.remove_tree(version);
    staging.rename_new(name, &all, version).is_ok()
}
