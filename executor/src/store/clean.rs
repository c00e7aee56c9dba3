//! Removes what killed processes left in the store.

use super::directories::Subdirectory;
use super::{Store, in_use, interrupted, unique_name};
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::Lock;
use std::time::Duration;

/// In a staging directory: the old runtime during a replacement without exchange.
pub(super) const ASIDE: &str = ".old";
/// How long interrupted downloads and installations are kept.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Store {
    /// Removes the leftovers of killed processes, and removed runtimes that jobs no longer use. Best effort:
    /// the next command tries again what cannot be removed now.
    ///
    /// # Errors
    /// [`Error::Untrusted`]: then nothing was removed.
    pub(crate) fn clean(&self) -> Result<(), Error> {
        self.clean_holding(None)
    }

    /// As [`Store::clean`], also of the version whose lock is `held`: an earlier holder may have been killed.
    ///
    /// # Errors
    /// As [`Store::clean`].
    pub(super) fn clean_holding(&self, held: Option<&Lock>) -> Result<(), Error> {
        let (Some(own), Some(work)) = (self.open_root()?, self.open_own_work()?) else {
            return Ok(());
        };
        let open = |part| work.open_subdirectory(part);
        let [downloads, staging, interrupted, removed, receipts] = Subdirectory::ALL.map(open);
        let (downloads, staging, interrupted) = (downloads?, staging?, interrupted?);
        let (removed, receipts) = (removed?, receipts?);
        if let Some(downloads) = downloads {
            clean_downloads(&downloads);
        }
        if let Some(interrupted) = interrupted {
            clean_interrupted(own, &work, &interrupted, held)?;
        }
        if let Some(staging) = &staging {
            clean_staging(own, &work, staging, held)?;
        }
        if let Some(receipts) = receipts {
            clean_receipts(own, &work, (staging.as_ref(), &receipts), held)?;
        }
        if let Some(removed) = removed {
            in_use::delete_unused(&removed, self.kept);
        }
        Ok(())
    }

    /// As [`Store::clean`], for a command that must start fast: two stat(2) calls decide whether there is
    /// anything to clean.
    ///
    /// # Errors
    /// As [`Store::clean`].
    pub(crate) fn clean_if_needed(&self) -> Result<(), Error> {
        if self.is_clean()? {
            return Ok(());
        }
        let Some(work) = self.open_own_work()? else { return Ok(()) };
        match work.open_subdirectory(Subdirectory::Staging)? {
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

/// Removes interrupted installations whose version is installed by now, or that are a week old.
fn clean_interrupted(
    own: &Directory,
    work: &Directory,
    interrupted: &Directory,
    held: Option<&Lock>,
) -> Result<(), Error> {
    for version in names(interrupted) {
        if own.has(&format!("{version}/runtime.yml")) || interrupted.is_older(&version, KEPT_FOR) {
            let Some(_lock) = free(work, &version, held)? else { continue };
            _ = interrupted.remove_tree(&version);
        }
    }
    Ok(())
}

/// Removes stale staging directories, or sets them aside for the next installation to resume.
fn clean_staging(
    own: &Directory,
    work: &Directory,
    staging: &Directory,
    held: Option<&Lock>,
) -> Result<(), Error> {
    for name in names(staging) {
        let version = unique_name::version(&name);
        let Some(lock) = free(work, version, held)? else { continue };
        if unique_name::is_stale(staging, &name, &lock) {
            // The old runtime of a replacement that was killed before the new one was renamed.
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

/// Removes receipts of runtimes that do not exist, and the rest of a removal in place.
fn clean_receipts(
    own: &Directory,
    work: &Directory,
    (staging, receipts): (Option<&Directory>, &Directory),
    held: Option<&Lock>,
) -> Result<(), Error> {
    let whole = |version: &str| own.has(&format!("{version}/runtime.yml"));
    for name in names(receipts) {
        let version = name.rsplit_once('.').map_or(name.as_str(), |(version, _)| version);
        if whole(version) {
            continue;
        }
        let Some(_lock) = free(work, version, held)? else { continue };
        // Without shared locks, another machine may be about to rename it into place.
        let coming = staging.map(names).unwrap_or_default();
        if coming.iter().any(|name| unique_name::version(name) == version) || whole(version) {
            continue;
        }
        _ = own.remove_tree(version);
        _ = receipts.remove_file(&name);
    }
    Ok(())
}

/// The lock of `version`, if it is `held` or free.
fn free(work: &Directory, version: &str, held: Option<&Lock>) -> Result<Option<Lock>, Error> {
    if let Some(lock) = held.filter(|lock| lock.name() == version) {
        return Ok(lock.again().ok());
    }
    match Lock::try_now(work, version) {
        // A read-only file system, for example.
        Err(Error::File { .. }) => Ok(None),
        other => other,
    }
}

/// The names in a directory; empty if it cannot be read.
fn names(directory: &Directory) -> Vec<String> {
    directory.names().unwrap_or_default()
}
