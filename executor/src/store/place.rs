//! The store's directories, each opened once and checked.
//!
//! Whoever may write a store decides what runs from it. Root uses only a store that is root's and
//! that no other user may write. An ordinary user may run from any, and changes only one whose
//! `.joblet` is the user's own or root's. Whatever is done is done below the descriptor that was
//! checked, so it does not matter who renames what above it afterwards.
//!
//! What is *not* promised: where another user may rename a directory above the store (`--store
//! /home/u/store`, by root), that one decides which directory of root's is found there. It is one
//! of root's that no other user may write, or it is refused.

use super::{Installed, Store, WORK};
use crate::error::Error;
use crate::fs::directory::{Directory, distrust, is_ours, untrusted, user};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::path::Path;
use std::sync::OnceLock;

/// A part of `.joblet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What has arrived of archives.
    Downloads,
    /// Versions that are being prepared.
    Staging,
    /// Versions whose preparation was interrupted.
    Interrupted,
    /// Versions that were removed while jobs ran in them.
    Removed,
    /// How runtimes came here, and what they are compared with.
    Receipts,
}

impl Part {
    pub(super) const ALL: [Self; 5] =
        [Self::Downloads, Self::Staging, Self::Interrupted, Self::Removed, Self::Receipts];

    /// Its name, and the permissions it is made with: what other users do not need, they cannot open.
    fn name_and_mode(self) -> (&'static str, u32) {
        match self {
            Self::Downloads => ("downloads", 0o700),
            Self::Staging => ("staging", 0o700),
            Self::Interrupted => ("interrupted", 0o700),
            Self::Removed => ("removed", 0o700),
            Self::Receipts => ("receipts", 0o755),
        }
    }

    /// It in `work`, made if it is missing.
    pub(super) fn made(self, work: &Directory) -> Result<Directory, Error> {
        let (name, mode) = self.name_and_mode();
        work.own(name, mode)
    }
}

impl Store {
    /// The directory that is changed; none where there is none yet.
    pub(super) fn own(&self) -> Result<Option<&Directory>, Error> {
        opened(&self.opened, &self.root)
    }

    /// Refuses a store that must not be used.
    ///
    /// # Errors
    /// [`Error::Untrusted`]. One that cannot be opened is not refused.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.workshop() {
            Err(error @ Error::Untrusted { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// As [`Store::own`], made if it is missing.
    pub(super) fn made(&self) -> Result<&Directory, Error> {
        if self.own()?.is_none() {
            Directory::make_all(&self.root, 0o755)?;
        }
        self.own()?.ok_or_else(|| Error::file("open", &self.root)(Errno::NOENT))
    }

    /// Where this program works, made if it is missing: for who changes something.
    pub(super) fn work(&self) -> Result<Directory, Error> {
        self.made()?.own(WORK, 0o755)
    }

    /// A part of it, made if it is missing.
    pub(super) fn part(&self, part: Part) -> Result<Directory, Error> {
        part.made(&self.work()?)
    }

    /// The directory that `runtime` is in; none if that is not of this store.
    pub(super) fn around(&self, runtime: &Installed) -> Result<Option<&Directory>, Error> {
        match runtime.path.parent() {
            Some(parent) if parent == self.root => self.own(),
            Some(parent) => {
                let other = self.others.iter().find(|other| other.0 == parent);
                other.map_or(Ok(None), |(path, cell)| opened(cell, path))
            }
            None => Ok(None),
        }
    }

    /// Opens an installed runtime.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn open(&self, runtime: &Installed) -> Result<OwnedFd, Error> {
        let refused = |errno| Error::file("open", &runtime.path)(errno);
        let around = self.around(runtime)?.ok_or_else(|| refused(Errno::NOENT))?;
        let name = runtime.path.file_name().unwrap_or_default();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match openat(around.as_fd(), name, flags | OFlags::RDONLY, Mode::empty()) {
            // Who may not list it may still use it.
            Err(Errno::ACCESS) => openat(around.as_fd(), name, flags | OFlags::PATH, Mode::empty()),
            opened => opened,
        };
        let opened = opened.map_err(refused)?;
        // One that was unpacked by hand may be anybody's.
        let reason = if user() == 0 { distrust(&fstat(&opened).map_err(refused)?) } else { None };
        reason.map_or(Ok(opened), |reason| Err(untrusted(&runtime.path, reason)))
    }

    /// Whether what is open as `directory` is what `runtime` names now.
    pub(crate) fn is_there(&self, runtime: &Installed, directory: &OwnedFd) -> bool {
        let Ok(Some(around)) = self.around(runtime) else { return false };
        let name = runtime.path.file_name().unwrap_or_default();
        match (fstat(directory), statat(around.as_fd(), name, AtFlags::empty())) {
            (Ok(own), Ok(there)) => (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino),
            _ => false,
        }
    }

    /// Where this program works, for who removes leftovers; none where they are not the caller's.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(super) fn workshop(&self) -> Result<Option<Directory>, Error> {
        let Some(own) = self.own()? else { return Ok(None) };
        match trusted(own) {
            Ok(Some(work)) if owner(&work)? == user() => Ok(Some(work)),
            Err(Error::File { .. }) | Ok(_) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where this program works in `around`, to read what is kept there; none where there is nothing.
///
/// # Errors
/// [`Error::Untrusted`]; [`Error::File`] where it may not be opened.
pub(super) fn trusted(around: &Directory) -> Result<Option<Directory>, Error> {
    let Some(work) = around.enter(WORK)? else { return Ok(None) };
    let refused = distrust(&work.stat()?);
    match refused {
        Some(reason) if !somebody_elses(around, &work)? => Err(untrusted(work.path(), reason)),
        _ => Ok(Some(work)),
    }
}

/// Whether all of the store is another user's: what is kept there is as good as what is run.
fn somebody_elses(around: &Directory, work: &Directory) -> Result<bool, Error> {
    let (root, own) = (user() == 0, work.stat()?);
    Ok(!root && !is_ours(&own) && own.st_uid == owner(around)?)
}

fn owner(directory: &Directory) -> Result<u32, Error> {
    directory.stat().map(|stat| stat.st_uid)
}

impl Directory {
    /// A part of this one, if it is there and can be opened.
    ///
    /// # Errors
    /// [`Error::Untrusted`].
    pub(super) fn opened_part(&self, part: Part) -> Result<Option<Self>, Error> {
        match self.enter(part.name_and_mode().0) {
            Ok(Some(found)) => found.trusted().map(Some),
            Ok(None) | Err(Error::File { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// Whether there is nothing to remove and nothing to refuse, as far as two looks can tell: in
    /// doubt there is something.
    pub(super) fn is_tidy(&self) -> Result<bool, Error> {
        let Some(own) = self.own()? else { return Ok(true) };
        let fine = |stat: &Stat| {
            FileType::from_raw_mode(stat.st_mode).is_dir() && distrust(stat).is_none()
        };
        let Ok(work) = own.look(WORK) else { return Ok(true) };
        if work.st_uid != user() {
            return Ok(fine(&work));
        }
        // A directory has a name of its own, `.`, and one in each directory in it; file systems
        // that do not count say 1.
        let staging = own.look(".joblet/staging");
        Ok(fine(&work) && staging.map_or(true, |staging| fine(&staging) && staging.st_nlink == 2))
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
