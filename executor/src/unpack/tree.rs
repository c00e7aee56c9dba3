//! Writing into a directory, one component at a time, never through a link.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Most components that a path may have.
pub const MAX_DEPTH: usize = 128;

/// What every directory gets beside the archive's bits, so that its owner can fill and remove it.
const OWNER: Mode = Mode::RWXU;

/// A directory that is being filled, with the directories open that lead to the last entry.
///
/// Archives list a directory's entries together, so most entries reuse all of these. Each was
/// opened below its parent with `O_NOFOLLOW`: no path is ever resolved twice, or through a link.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    open: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    name: OsString,
    directory: OwnedFd,
    /// Set once its entries are written; writing them would change it again.
    mtime: Option<u64>,
}

impl Tree {
    /// Fills the directory `root`.
    pub fn new(root: OwnedFd) -> Self {
        Self { root, open: Vec::new() }
    }

    /// Makes the directory at `path`, or takes over the one that is there.
    ///
    /// # Errors
    /// `EEXIST` when something else is there; otherwise what the kernel says.
    pub fn directory(&mut self, path: &[&OsStr], mode: u32, mtime: u64) -> Result<(), Errno> {
        self.enter(path)?;
        if let Some(level) = self.open.last_mut() {
            rustix::fs::fchmod(&level.directory, permissions(mode) | OWNER)?;
            level.mtime = Some(mtime);
        }
        Ok(())
    }

    /// Creates the file at `path`; the caller writes it and calls [`finish_file`].
    ///
    /// # Errors
    /// `EEXIST` when anything is there already.
    pub fn file(&mut self, path: &[&OsStr], mode: u32) -> Result<OwnedFd, Errno> {
        let (parent, name) = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = permissions(mode) | Mode::RUSR | Mode::WUSR;
        rustix::fs::openat(parent, name, flags, mode)
    }

    /// Creates the symbolic link at `path`. Its target is data and not looked at.
    ///
    /// # Errors
    /// `EEXIST` when anything is there already.
    pub fn symlink(&mut self, path: &[&OsStr], target: &[u8], mtime: u64) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), parent, name)?;
        rustix::fs::utimensat(parent, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Gives the regular file at `target` a second name.
    ///
    /// # Errors
    /// `ENOENT` when there is no such file yet, `EINVAL` when it is not a regular file.
    pub fn hard_link(&mut self, path: &[&OsStr], target: &[&OsStr]) -> Result<(), Errno> {
        let (existing, file) = self.existing_parent(target)?;
        let stat = rustix::fs::statat(&existing, file, AtFlags::SYMLINK_NOFOLLOW)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Errno::INVAL);
        }
        let (parent, name) = self.parent(path)?;
        rustix::fs::linkat(existing, file, parent, name, AtFlags::empty())
    }

    /// Sets the times of the directories that are still open.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn finish(mut self) -> Result<(), Errno> {
        self.leave(0)
    }

    /// The open directory that the last component of `path` belongs in, and that component.
    fn parent<'p>(&mut self, path: &[&'p OsStr]) -> Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        let (name, parents) = path.split_last().ok_or(Errno::EXIST)?;
        self.enter(parents)?;
        Ok((self.deepest(), name))
    }

    fn deepest(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root.as_fd(), |level| level.directory.as_fd())
    }

    /// Opens the directory `path`, making what is missing, and keeps all of its parents open.
    fn enter(&mut self, path: &[&OsStr]) -> Result<(), Errno> {
        let common =
            self.open.iter().zip(path).take_while(|(level, part)| level.name == **part).count();
        self.leave(common)?;
        for part in &path[common..] {
            let parent = self.deepest();
            let level = match open_directory(parent, part) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(parent, *part, Mode::from_raw_mode(0o755))?;
                    let directory = open_directory(parent, part)?;
                    Level { name: (*part).to_owned(), directory, mtime: None }
                }
                Err(errno) => return Err(errno),
                Ok(directory) => {
                    // It was filled before and will be again: keep the time that it has.
                    let mtime = rustix::fs::fstat(&directory)?.st_mtime;
                    let mtime = u64::try_from(mtime).ok();
                    Level { name: (*part).to_owned(), directory, mtime }
                }
            };
            self.open.push(level);
        }
        Ok(())
    }

    /// Closes the directories below depth `keep`.
    fn leave(&mut self, keep: usize) -> Result<(), Errno> {
        while self.open.len() > keep {
            let Some(level) = self.open.pop() else { break };
            if let Some(mtime) = level.mtime {
                rustix::fs::futimens(&level.directory, &timestamps(mtime))?;
            }
        }
        Ok(())
    }

    /// The directory that holds `path`, which must exist, without touching the open ones.
    fn existing_parent<'p>(&self, path: &[&'p OsStr]) -> Result<(OwnedFd, &'p OsStr), Errno> {
        let (name, parents) = path.split_last().ok_or(Errno::INVAL)?;
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        for part in parents {
            directory = open_directory(directory.as_fd(), part)?;
        }
        Ok((directory, name))
    }
}

/// Sets the modification time of a file that was written.
///
/// # Errors
/// What the kernel says.
pub fn finish_file(file: impl AsFd, mtime: u64) -> Result<(), Errno> {
    rustix::fs::futimens(file, &timestamps(mtime))
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// The bits that an installed file keeps: no set-id, no sticky bit, no writing by others.
fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o755)
}

fn timestamps(mtime: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(i64::MAX), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
