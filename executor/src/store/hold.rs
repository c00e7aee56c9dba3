//! A runtime in use stays where it is.
//!
//! A job holds a shared lock on the runtime's directory itself (flock(2)), by the descriptor that it
//! has of it anyway: nothing is written, a store that is only read will do, and the kernel releases
//! it with the launcher, however that ends. Who moves the directory away holds it alone.

use crate::error::Error;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, stat};
use rustix::io::Errno;
use std::fs;
use std::path::Path;

/// Keeps the runtime that is open as `directory` from being moved away from `path`.
///
/// False when somebody moves it, or has moved it, at this moment.
pub fn hold(directory: impl AsFd, path: &Path) -> bool {
    match flock(&directory, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => false,
        // Where there are no such locks, nobody can be kept from anything.
        Err(_) => true,
        Ok(()) => match (fstat(directory), stat(path)) {
            (Ok(own), Ok(there)) => (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino),
            _ => false,
        },
    }
}

/// Holds the runtime in `path` alone, until the descriptor is closed.
///
/// # Errors
/// [`Error::InUse`] with the processes that hold it, [`Error::File`].
pub(super) fn alone(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(path, flags, Mode::empty()).map_err(Error::file("open", path))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(Error::InUse { what, holders: holders(&directory) })
        }
        // As for `hold`.
        _ => Ok(directory),
    }
}

/// The processes that hold a lock on `file`, as proc_locks(5) shows them; empty if it does not.
fn holders(file: &OwnedFd) -> String {
    let (Ok(stat), Ok(locks)) = (fstat(file), fs::read_to_string("/proc/locks")) else {
        return String::new();
    };
    let inode = format!(":{}", stat.st_ino);
    let pids = locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1).filter(|word| *word != "->");
        let (kind, pid, id) = (words.next()?, words.nth(2)?, words.next()?);
        (kind == "FLOCK" && id.ends_with(&inode)).then_some(pid)
    });
    pids.collect::<Vec<_>>().join(", ")
}
