//! The store's directories, each opened once and checked for owner and mode.
//!
//! A user who may write a store decides what runs from it. Root uses only a store that belongs to root and
//! that no other user may write. An ordinary user may run from any store, and changes only one whose
//! `.joblet` belongs to that user or to root. All operations are relative to the descriptor that was
//! checked, so later renames above it have no effect.
//!
//! This is *not* guaranteed: if another user may rename a directory above the store (root uses `--store
//! /home/u/store`), that user can choose which directory is found at the path. It is refused unless it
//! belongs to root and no other user may write it.

use super::{Installed, Store, WORK};
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::trust::{self, distrust, is_ours, open_to_others, untrusted, user};
use crate::runtime::Runtime;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::path::Path;
use std::sync::OnceLock;

/// A subdirectory of `.joblet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subdirectory {
    /// Partial downloads.
    Downloads,
    /// Versions being prepared.
    Staging,
    /// Versions whose preparation was interrupted.
    Interrupted,
    /// Versions that were removed while jobs ran in them.
    Removed,
    /// Receipts, indexes and file lists.
    Receipts,
}

impl Subdirectory {
    pub(super) const ALL: [Self; 5] =
        [Self::Downloads, Self::Staging, Self::Interrupted, Self::Removed, Self::Receipts];

    /// Its name and mode: 0700 unless other users need it.
    fn name_and_mode(self) -> (&'static str, u32) {
        match self {
            Self::Downloads => ("downloads", 0o700),
            Self::Staging => ("staging", 0o700),
            Self::Interrupted => ("interrupted", 0o700),
            Self::Removed => ("removed", 0o700),
            Self::Receipts => ("receipts", 0o755),
        }
    }

    /// Opens it in `work`, creating it if it is missing.
    pub(super) fn open_or_create(self, work: &Directory) -> Result<Directory, Error> {
        let (name, mode) = self.name_and_mode();
        work.enter_or_create(name, mode)
    }
}

impl Store {
    /// Opens the writable store's directory; `None` if it does not exist.
    pub(super) fn open_root(&self) -> Result<Option<&Directory>, Error> {
        opened(&self.opened, &self.root)
    }

    /// Refuses a store that is not trusted.
    ///
    /// # Errors
    /// [`Error::Untrusted`]. A store that cannot be opened is not refused.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.open_own_work() {
            Err(error @ Error::Untrusted { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// As [`Store::open_root`], creating it if it is missing.
    pub(super) fn open_or_create_root(&self) -> Result<&Directory, Error> {
        if self.open_root()?.is_none() {
            Directory::make_all(&self.root, 0o755)?;
        }
        self.open_root()?.ok_or_else(|| Error::file("open", &self.root)(Errno::NOENT))
    }

    /// Opens `.joblet` for changes, creating it if it is missing.
    pub(super) fn open_or_create_work(&self) -> Result<Directory, Error> {
        self.open_or_create_root()?.enter_or_create(WORK, 0o755)
    }

    /// Opens a subdirectory of `.joblet`, creating it if it is missing.
    pub(super) fn subdirectory(&self, subdirectory: Subdirectory) -> Result<Directory, Error> {
        subdirectory.open_or_create(&self.open_or_create_work()?)
    }

    /// The store directory that `runtime` is in, and its path there: `NAME-VERSION`, or
    /// `NAME/VERSION` as Joblet has it; `None` if it is in another.
    pub(super) fn directory_of<'r>(
        &self,
        runtime: &'r Installed,
    ) -> Result<Option<(&Directory, &'r Path)>, Error> {
        for above in runtime.path.ancestors().skip(1).take(2) {
            let other = || self.others.iter().find(|other| other.0 == above);
            let found = if above == self.root {
                self.open_root()?
            } else if let Some((root, cell)) = other() {
                opened(cell, root)?
            } else {
                continue;
            };
            return Ok(found.zip(runtime.path.strip_prefix(above).ok()));
        }
        Ok(None)
    }

    /// Opens an installed runtime.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn open(&self, runtime: &Installed) -> Result<OwnedFd, Error> {
        let refused = |errno| Error::file("open", &runtime.path)(errno);
        let (around, name) = self.directory_of(runtime)?.ok_or_else(|| refused(Errno::NOENT))?;
        if let (0, Some(above)) = (user(), name.parent().and_then(Path::to_str)) {
            // A user who can rename in it decides which version is found there.
            let above = if above.is_empty() { None } else { around.enter(above)? };
            above.map(Directory::trusted).transpose()?;
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match openat(around.as_fd(), name, flags | OFlags::RDONLY, Mode::empty()) {
            // Search permission alone suffices to use it.
            Err(Errno::ACCESS) => openat(around.as_fd(), name, flags | OFlags::PATH, Mode::empty()),
            opened => opened,
        };
        let opened = opened.map_err(refused)?;
        // A directory that was unpacked by hand may belong to any user.
        let reason = if user() == 0 {
            distrust(&trust::stat(&opened).map_err(refused)?, None)
        } else {
            None
        };
        reason.map_or(Ok(opened), |reason| Err(untrusted(&runtime.path, reason)))
    }

    /// Adds to the `loaded` runtime whether its store belongs to a user who is neither root nor the caller.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn add_owner(
        &self,
        runtime: &Installed,
        mut loaded: Runtime,
    ) -> Result<Runtime, Error> {
        if let (None, Some((around, _))) = (&loaded.of_others, self.directory_of(runtime)?) {
            let stat = around.stat()?;
            // A runtime in it that others may not write is unchanged, even if others may write the store.
            loaded.of_others =
                if is_ours(&stat) { None } else { open_to_others(&stat, around.as_fd()) };
        }
        Ok(loaded)
    }

    /// Whether the path of `runtime` still refers to the open `directory`.
    pub(crate) fn is_current(&self, runtime: &Installed, directory: &OwnedFd) -> bool {
        let Ok(Some((around, name))) = self.directory_of(runtime) else { return false };
        match (fstat(directory), statat(around.as_fd(), name, AtFlags::empty())) {
            (Ok(own), Ok(there)) => (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino),
            _ => false,
        }
    }

    /// Opens `.joblet` of the writable store for cleanup; `None` if it does not belong to the caller.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(super) fn open_own_work(&self) -> Result<Option<Directory>, Error> {
        let Some(own) = self.open_root()? else { return Ok(None) };
        match open_trusted_work(own) {
            Ok(Some(work)) if owner(&work)? == user() => Ok(Some(work)),
            Err(Error::File { .. }) | Ok(_) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Opens `.joblet` in `around` for reading; `None` if it does not exist.
///
/// # Errors
/// [`Error::Untrusted`]; [`Error::File`] where it cannot be opened.
pub(super) fn open_trusted_work(around: &Directory) -> Result<Option<Directory>, Error> {
    let Some(work) = around.enter(WORK)? else { return Ok(None) };
    let refused = distrust(&work.stat()?, None);
    match refused {
        Some(reason) if !is_of_one_other_user(around, &work)? => {
            Err(untrusted(work.path(), reason))
        }
        _ => Ok(Some(work)),
    }
}

/// Whether store and `.joblet` belong to the same other user: then the receipts are as trusted as the
/// runtimes.
fn is_of_one_other_user(around: &Directory, work: &Directory) -> Result<bool, Error> {
    let (root, own) = (user() == 0, work.stat()?);
    Ok(!root && !is_ours(&own) && own.st_uid == owner(around)?)
}

fn owner(directory: &Directory) -> Result<u32, Error> {
    directory.stat().map(|stat| stat.st_uid)
}

impl Directory {
    /// Opens a subdirectory of `.joblet`, if it exists and can be opened.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(super) fn open_subdirectory(
        &self,
        subdirectory: Subdirectory,
    ) -> Result<Option<Self>, Error> {
        match self.enter(subdirectory.name_and_mode().0) {
            Ok(Some(found)) => found.trusted().map(Some),
            Ok(None) | Err(Error::File { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// Whether there is nothing to clean up or refuse, by few calls; false in doubt.
    pub(super) fn is_clean(&self) -> Result<bool, Error> {
        let Some(own) = self.open_root()? else { return Ok(true) };
        let fine = |stat: &Stat| {
            FileType::from_raw_mode(stat.st_mode).is_dir() && distrust(stat, None).is_none()
        };
        let directory = match own.enter(WORK) {
            Ok(None) => return Ok(true),
            Ok(Some(found)) => found,
            Err(_) => return Ok(false),
        };
        let work = directory.stat()?;
        if work.st_uid != user() {
            return Ok(fine(&work));
        }
        // The link count of a directory is 2 plus its subdirectories; file systems that do not count
        // report 1.
        let staging = directory.stat_entry("staging");
        let empty = |it: Stat| fine(&it) && it.st_nlink == 2 && it.st_dev == work.st_dev;
        Ok(fine(&work) && staging.map_or(true, empty))
    }
}

pub(super) fn opened<'s>(
    cell: &'s OnceLock<Directory>,
    path: &Path,
) -> Result<Option<&'s Directory>, Error> {
    if let Some(found) = cell.get() {
        return Ok(Some(found));
    }
    let Some(found) = Directory::open_own(path)? else { return Ok(None) };
    let root = user() == 0;
    let found = if root { found.trusted()? } else { found };
    Ok(Some(cell.get_or_init(|| found)))
}
