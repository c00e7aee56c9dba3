//! The directories of a tree that several threads fill.
//!
//! Directories come first, links last: while files are written no path can lead through a link.
//! The tree is new and private, and every step of a path is opened below its parent with
//! `O_NOFOLLOW` all the same.

use super::Site;
use crate::error::Error;
use joblet_format::index::Body;
use joblet_format::ustar::MTIME;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// A way into the tree: the directories that lead to the last entry, open.
#[derive(Debug)]
pub struct Walk {
    root: OwnedFd,
    open: Vec<(String, OwnedFd)>,
}

impl Walk {
    /// Begins at `root`.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new(root: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self { root: rustix::io::fcntl_dupfd_cloexec(root, 3)?, open: Vec::new() })
    }

    /// The open directory that holds `path`, and the name that `path` has there.
    ///
    /// # Errors
    /// When one of its directories cannot be opened, or is none.
    pub fn parent<'p>(&mut self, path: &'p str) -> Result<(BorrowedFd<'_>, &'p str), Errno> {
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut parts = parents.split('/').filter(|part| !part.is_empty()).peekable();
        let mut common = 0;
        while let Some((open, _)) = self.open.get(common) {
            if parts.next_if_eq(&open.as_str()).is_none() {
                break;
            }
            common += 1;
        }
        self.open.truncate(common);
        for part in parts {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(self.deepest(), part, flags, Mode::empty())?;
            self.open.push((part.to_owned(), directory));
        }
        Ok((self.deepest(), name))
    }

    fn deepest(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }
}

/// Makes every directory.
///
/// # Errors
/// [`Error::Archive`] when two are one here, otherwise [`Error::File`].
pub fn directories(site: &Site<'_>) -> Result<(), Error> {
    each(site, |walk, path, body| {
        if *body != Body::Directory {
            return Ok(());
        }
        let (parent, name) = walk.parent(path)?;
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(parent, name, mode)?;
        // The directory around may pass on bits and rules of its own.
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
    })
}

/// Makes the links, and sets what writing files has changed: times of directories, and of the
/// files in `shared`, which several threads wrote.
///
/// # Errors
/// As [`directories`].
pub fn finish(site: &Site<'_>, shared: impl Iterator<Item = usize>) -> Result<(), Error> {
    each(site, |walk, path, body| {
        let Body::Symlink(target) = body else { return Ok(()) };
        let (parent, name) = walk.parent(path)?;
        rustix::fs::symlinkat(target.as_str(), parent, name)?;
        set_times(parent, name)
    })?;
    let mut walk = site.walk()?;
    for entry in shared {
        let path = site.path(entry);
        let done = walk.parent(&path).and_then(|(parent, name)| set_times(parent, name));
        done.map_err(|errno| site.refused(&path, errno))?;
    }
    each(site, |walk, path, body| {
        if *body != Body::Directory {
            return Ok(());
        }
        walk.parent(path).and_then(|(parent, name)| set_times(parent, name))
    })
}

/// Does `step` with every entry, in order.
fn each(
    site: &Site<'_>,
    step: impl Fn(&mut Walk, &str, &Body) -> Result<(), Errno>,
) -> Result<(), Error> {
    let mut walk = site.walk()?;
    for (number, entry) in site.index.entries().iter().enumerate() {
        let path = site.path(number);
        step(&mut walk, &path, &entry.body).map_err(|errno| site.refused(&path, errno))?;
    }
    Ok(())
}

/// The time of everything in an archive of ours.
pub fn times() -> Timestamps {
    let seconds = i64::try_from(MTIME).expect("a time of the last century");
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn set_times(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    rustix::fs::utimensat(parent, name, &times(), AtFlags::SYMLINK_NOFOLLOW)
}
