//! Access to a tree below an open directory, one component at a time, never through a link.

use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Mode of a new directory, before the setgid bit and default ACL that its parent may impose.
const MODE: Mode = Mode::from_raw_mode(0o755);

/// Maximum depth of a tree: each directory on the way is open, and most processes may have 1024 descriptors.
const DEEPEST: usize = 512;

/// A position in a tree: the chain of open directories that leads to the last path.
///
/// Trees are walked directory by directory, so most paths reuse the whole chain. Each directory was opened
/// relative to its parent with `O_NOFOLLOW`: no path is resolved twice, or through a link.
#[derive(Debug)]
pub(crate) struct Walk {
    root: OwnedFd,
    open: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    name: OsString,
    directory: OwnedFd,
    /// The time that is set when the walk leaves the directory, in seconds since 1970: writing in it
    /// before would change it.
    mtime: Option<u64>,
}

impl Walk {
    /// Starts at `root`.
    ///
    /// # Errors
    /// That of dup(2).
    pub(crate) fn new(root: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self { root: rustix::io::fcntl_dupfd_cloexec(root, 3)?, open: Vec::new() })
    }

    /// The open parent directory of `path`, and the last component of `path`.
    ///
    /// # Errors
    /// When a parent cannot be opened or is not a directory; `EEXIST` for the root itself.
    pub(crate) fn parent<'p>(
        &mut self,
        path: &'p (impl AsRef<Path> + ?Sized),
    ) -> Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        self.leading_to(path.as_ref(), false)
    }

    /// As [`Walk::parent`], and creates missing directories.
    ///
    /// # Errors
    /// As there, and that of mkdirat(2).
    pub(crate) fn create_parent<'p>(
        &mut self,
        path: &'p Path,
    ) -> Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        self.leading_to(path, true)
    }

    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    /// As [`Walk::parent`].
    pub(crate) fn open_file(
        &mut self,
        path: &(impl AsRef<Path> + ?Sized),
    ) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        // O_NONBLOCK: the file may have been replaced by a FIFO.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::empty())
    }

    /// Creates the directory at `path` and its missing parents, unless it exists, and sets its permissions
    /// now and its time when the walk leaves it.
    ///
    /// # Errors
    /// As [`Walk::create_parent`].
    pub(crate) fn directory(&mut self, path: &Path, mode: Mode, mtime: u64) -> Result<(), Errno> {
        self.enter(path, true)?;
        if let Some(level) = self.open.last_mut() {
            rustix::fs::fchmod(&level.directory, mode)?;
            level.mtime = Some(mtime);
        }
        Ok(())
    }

    /// Leaves every directory, so that the next path is opened from the root: they may have been moved.
    ///
    /// # Errors
    /// When a time cannot be set.
    pub(crate) fn reset(&mut self) -> Result<(), Errno> {
        self.leave(0)
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
            if self.open.len() == DEEPEST {
                return Err(Errno::NAMETOOLONG);
            }
            // Callers have checked the path; checked again as a second line of defence.
            let Component::Normal(name) = part else { return Err(Errno::INVAL) };
            let (directory, mtime) = match open(self.deepest(), name) {
                Err(Errno::NOENT) if make => (make_directory(self.deepest(), name)?, None),
                // An existing directory: it keeps its time.
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

/// Calls `found` with the path and metadata of everything below `root`; links are not followed. The
/// entries of a directory follow later, if `found` returns true for it.
///
/// # Errors
/// The failed system call's, with the path.
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

/// Creates a directory and opens it.
///
/// # Errors
/// `EEXIST` when the name exists; otherwise those of mkdirat(2) and openat(2).
pub(crate) fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(parent, name, MODE)?;
    let directory = open(parent, name)?;
    rustix::fs::fchmod(&directory, MODE)?;
    Ok(directory)
}

/// Creates a file for writing.
///
/// # Errors
/// `EEXIST` when the name exists; otherwise that of openat(2).
pub(crate) fn create(parent: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, mode)
}

/// Sets the times of `name`; links are not followed.
///
/// # Errors
/// That of utimensat(2).
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

/// Closes a file that was written: some file systems report write errors only at close(2).
///
/// # Errors
/// That of close(2); the descriptor is closed in any case.
pub(crate) fn close(file: impl IntoRawFd) -> Result<(), Errno> {
    nix::unistd::close(file).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Whether `directory` has no entries.
///
/// # Errors
/// Those of openat(2) and getdents(2).
pub(crate) fn is_empty(directory: impl AsFd) -> Result<bool, Errno> {
    // Reopened: a descriptor with `O_PATH` cannot be read.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(rustix::fs::openat(directory, ".", flags, Mode::empty())?)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-B32
    #[test]
    fn a_tree_that_is_too_deep_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let path = |depth| std::iter::repeat_n("d", depth).collect::<PathBuf>();
        std::fs::create_dir_all(base.path().join(path(DEEPEST))).unwrap();
        let look = || visit(std::fs::File::open(base.path()).unwrap().as_fd(), &mut |_, _| true);
        look().unwrap();
        std::fs::create_dir(base.path().join(path(DEEPEST + 1))).unwrap();
        assert_eq!(look().unwrap_err(), (path(DEEPEST + 1), Errno::NAMETOOLONG));
    }
}
