//! Directories below one that is open, one component at a time, never through a link.

use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What a directory is made with. The one around it may pass on bits and rules of its own.
const MODE: Mode = Mode::from_raw_mode(0o755);

/// A way into a tree: the directories that lead to the last path, open.
///
/// Trees are walked directory by directory, so most paths reuse all of these. Each was opened below
/// its parent with `O_NOFOLLOW`: no path is ever resolved twice, or through a link.
#[derive(Debug)]
pub(crate) struct Walk {
    root: OwnedFd,
    open: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    name: OsString,
    directory: OwnedFd,
    /// Set when the walk leaves the directory, in seconds since 1970; what is written in it would
    /// change it before.
    mtime: Option<u64>,
}

impl Walk {
    /// Begins at `root`.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn new(root: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self { root: rustix::io::fcntl_dupfd_cloexec(root, 3)?, open: Vec::new() })
    }

    /// The open directory that holds `path`, and the name that `path` has there.
    ///
    /// # Errors
    /// When one of its directories cannot be opened, or is none; `EEXIST` for the root itself.
    pub(crate) fn parent<'p>(
        &mut self,
        path: &'p (impl AsRef<Path> + ?Sized),
    ) -> Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        self.leading_to(path.as_ref(), false)
    }

    /// As [`Walk::parent`], and makes the directories that are missing.
    ///
    /// # Errors
    /// As there, and when one cannot be made.
    pub(crate) fn made_parent<'p>(
        &mut self,
        path: &'p Path,
    ) -> Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        self.leading_to(path, true)
    }

    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    /// As [`Walk::parent`].
    pub(crate) fn file(&mut self, path: &(impl AsRef<Path> + ?Sized)) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        // Something else may have taken the place of what was a file: a FIFO would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    }

    /// Makes the directory at `path` and what is missing before it, or takes over the one that is
    /// there, and gives it these permissions, and this time once the walk leaves it.
    ///
    /// # Errors
    /// As [`Walk::made_parent`].
    pub(crate) fn directory(&mut self, path: &Path, mode: Mode, mtime: u64) -> Result<(), Errno> {
        self.enter(path, true)?;
        if let Some(level) = self.open.last_mut() {
            rustix::fs::fchmod(&level.directory, mode)?;
            level.mtime = Some(mtime);
        }
        Ok(())
    }

    /// Leaves every directory.
    ///
    /// # Errors
    /// When a time cannot be set.
    pub(crate) fn finish(mut self) -> Result<(), Errno> {
        self.leave(0)
    }

    fn leading_to<'p>(
        &mut self,
        path: &'p Path,
        make: bool,
    ) -> Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::EXIST)?;
        self.enter(path.parent().unwrap_or(Path::new("")), make)?;
        Ok((self.deepest(), name))
    }

    fn deepest(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |level| level.directory.as_fd())
    }

    /// Opens the directory `path`, and keeps all of its parents open.
    fn enter(&mut self, path: &Path, make: bool) -> Result<(), Errno> {
        let mut parts = path.components().peekable();
        let mut common = 0;
        while let (Some(level), Some(Component::Normal(part))) =
            (self.open.get(common), parts.peek())
        {
            if level.name != *part {
                break;
            }
            parts.next();
            common += 1;
        }
        self.leave(common)?;
        for part in parts {
            // Callers have checked the path: this is the last line.
            let Component::Normal(name) = part else { return Err(Errno::INVAL) };
            let (directory, mtime) = match open(self.deepest(), name) {
                Err(Errno::NOENT) if make => (make_directory(self.deepest(), name)?, None),
                // It was filled before and will be again: it keeps the time that it has.
                Ok(directory) if make => {
                    let mtime = u64::try_from(rustix::fs::fstat(&directory)?.st_mtime).ok();
                    (directory, mtime)
                }
                opened => (opened?, None),
            };
            self.open.push(Level { name: name.to_owned(), directory, mtime });
        }
        Ok(())
    }

    /// Closes the directories below depth `keep`.
    fn leave(&mut self, keep: usize) -> Result<(), Errno> {
        while self.open.len() > keep {
            let Some(level) = self.open.pop() else { break };
            if let Some(mtime) = level.mtime {
                rustix::fs::futimens(&level.directory, &times(mtime))?;
            }
        }
        Ok(())
    }
}

/// Tells `found` of everything below `root`, with its path there, itself if it is a link. What is in
/// a directory follows later, if `found` says so.
///
/// # Errors
/// What the kernel says, with the path where it did.
pub(crate) fn visit(
    root: BorrowedFd<'_>,
    found: &mut dyn FnMut(&Path, &Stat) -> bool,
) -> Result<(), (PathBuf, Errno)> {
    let mut walk = Walk::new(root).map_err(|errno| (PathBuf::new(), errno))?;
    let mut left = vec![PathBuf::new()];
    while let Some(directory) = left.pop() {
        let failed = |errno| (directory.clone(), errno);
        walk.enter(&directory, false).map_err(failed)?;
        for entry in Dir::read_from(walk.deepest()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = directory.join(OsStr::from_bytes(name.to_bytes()));
            let stat = rustix::fs::statat(walk.deepest(), name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = stat.map_err(failed)?;
            if found(&path, &stat) && FileType::from_raw_mode(stat.st_mode).is_dir() {
                left.push(path);
            }
        }
    }
    Ok(())
}

/// Makes a directory and opens it.
///
/// # Errors
/// `EEXIST` when anything is there; otherwise what the kernel says.
pub(crate) fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(parent, name, MODE)?;
    let directory = open(parent, name)?;
    rustix::fs::fchmod(&directory, MODE)?;
    Ok(directory)
}

/// Creates a file for writing.
///
/// # Errors
/// `EEXIST` when anything is there; otherwise what the kernel says.
pub(crate) fn create(parent: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, mode)
}

/// Sets the times of what is called `name`, itself if it is a link.
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_times(parent: BorrowedFd<'_>, name: &OsStr, mtime: u64) -> Result<(), Errno> {
    rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// Both times of a file, from seconds since 1970.
pub(crate) fn times(mtime: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(i64::MAX), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn open(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Closes a file that was written: there are file systems that say only then what was lost.
///
/// # Errors
/// What the kernel says; the file is closed all the same.
pub(crate) fn close(file: impl IntoRawFd) -> Result<(), Errno> {
    nix::unistd::close(file).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}
