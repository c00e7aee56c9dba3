//! Free space on a file system.

use super::directory::Directory;
use crate::error::Error;
use rustix::fd::AsFd;

/// Space that this user may use on the file system of `directory`, in bytes.
pub(crate) fn free(directory: &Directory) -> Result<u64, Error> {
    let found = rustix::fs::fstatvfs(directory.as_fd());
    let found = found.map_err(Error::file("stat", directory.path()))?;
    Ok(available(&found).unwrap_or(u64::MAX))
}

/// Available space, in bytes. `None` for a file system without a size, such as ramfs.
pub(crate) fn available(found: &rustix::fs::StatVfs) -> Option<u64> {
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}
