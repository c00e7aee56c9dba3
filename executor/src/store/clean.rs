//! What processes that died have left in the store is removed by the next command.

use super::place::Part;
use super::{Store, claim, hold, interrupted};
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::Lock;
use std::time::Duration;

/// In a staging directory: a runtime that is being replaced where two cannot be exchanged at once.
pub(super) const ASIDE: &str = ".old";
/// How long a download that broke off is kept.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Store {
    /// Removes what processes that died have left, and what jobs used when it was removed. Best
    /// effort: what cannot be removed now is tried again by the next command.
    ///
    /// # Errors
    /// [`Error::Untrusted`]: then nothing was removed.
    pub(crate) fn clean(&self) -> Result<(), Error> {
        let (Some(own), Some(work)) = (self.own()?, self.workshop()?) else { return Ok(()) };
        let open = |part| work.opened_part(part);
        let [downloads, staging, interrupted, removed, receipts] = Part::ALL.map(open);
        let (downloads, staging, interrupted) = (downloads?, staging?, interrupted?);
        let (removed, receipts) = (removed?, receipts?);
        if let Some(downloads) = downloads {
            clean_downloads(&downloads);
        }
        if let Some(interrupted) = interrupted {
            clean_interrupted(own, &work, &interrupted)?;
        }
        if let Some(staging) = &staging {
            clean_staging(own, &work, staging)?;
        }
        if let Some(receipts) = receipts {
            clean_receipts(own, &work, staging.as_ref(), &receipts)?;
        }
        if let Some(removed) = removed {
            hold::empty(&removed, self.kept);
        }
        Ok(())
    }

    /// As [`Store::clean`], for a command that must not lose time: two looks say whether there is
    /// anything that would be in its way.
    ///
    /// # Errors
    /// As [`Store::clean`].
    pub(crate) fn clean_if_needed(&self) -> Result<(), Error> {
        if self.is_tidy()? {
            return Ok(());
        }
        let Some(work) = self.workshop()? else { return Ok(()) };
        match work.opened_part(Part::Staging)? {
            Some(staging) if !names(&staging).is_empty() => self.clean(),
            _ => Ok(()),
        }
    }
}

/// Removes downloads that were not resumed for a week, and everything else in their directory.
fn clean_downloads(downloads: &Directory) {
    for name in names(downloads) {
        let digest = name.get(..64).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if !digest || downloads.is_older(&name, KEPT_FOR) {
            _ = downloads.remove_file(&name);
        }
    }
}

/// Removes what was interrupted and is installed by now, or that no installation has gone on with for a week.
fn clean_interrupted(
    own: &Directory,
    work: &Directory,
    interrupted: &Directory,
) -> Result<(), Error> {
    for version in names(interrupted) {
        if own.has(&format!("{version}/runtime.yml")) || interrupted.is_older(&version, KEPT_FOR) {
            let Some(_lock) = free(work, &version)? else { continue };
            _ = interrupted.remove_tree(&version);
        }
    }
    Ok(())
}

/// Removes what no process prepares any more, or sets it aside for the next installation.
fn clean_staging(own: &Directory, work: &Directory, staging: &Directory) -> Result<(), Error> {
    for name in names(staging) {
        let version = claim::version(&name);
        let Some(lock) = free(work, version)? else { continue };
        if claim::is_left(staging, &name, &lock) {
            // Replaced by a process that died before the new one had the name.
            if let Ok(Some(left)) = staging.enter(&name) {
                _ = left.rename_new(ASIDE, own, version);
            }
            let kept = !own.has(&format!("{version}/runtime.yml"))
                && interrupted::set_aside(work, staging, &name);
            if !kept {
                _ = staging.remove_tree(&name);
            }
        }
    }
    Ok(())
}

/// Removes what was noted of runtimes that are not there, and what a removal in place has left.
fn clean_receipts(
    own: &Directory,
    work: &Directory,
    staging: Option<&Directory>,
    receipts: &Directory,
) -> Result<(), Error> {
    let whole = |version: &str| own.has(&format!("{version}/runtime.yml"));
    for name in names(receipts) {
        let version = name.rsplit_once('.').map_or(name.as_str(), |(version, _)| version);
        if whole(version) {
            continue;
        }
        let Some(_lock) = free(work, version)? else { continue };
        // Where locks are not seen everywhere: another machine may be about to give it its name.
        let coming = staging.map(names).unwrap_or_default();
        if coming.iter().any(|name| claim::version(name) == version) || whole(version) {
            continue;
        }
        _ = own.remove_tree(version);
        _ = receipts.remove_file(&name);
    }
    Ok(())
}

/// The lock of `version` if no process works on it.
fn free(work: &Directory, version: &str) -> Result<Option<Lock>, Error> {
    match Lock::try_now(work, version) {
        // A disk that can only be read, for example.
        Err(Error::File { .. }) => Ok(None),
        other => other,
    }
}

/// The names in a directory; none of one that cannot be read.
fn names(directory: &Directory) -> Vec<String> {
    directory.names().unwrap_or_default()
}
