//! `--upload` of a file: a copy in the job's own directory.

use super::{failure::Failure, mount_calls, mounts::RootFs};
use crate::sandbox::plan::job::Ids;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, fchmod, fchown, fstat,
        futimens, openat, unlinkat,
    },
    io::Errno,
    process::fchdir,
};
use std::{fs::File, io, path::Path};

/// Copies the host's file `source` to `target`, replacing anything but a directory.
pub(crate) fn copy_file(
    rootfs: &RootFs,
    source: &Path,
    target: &Path,
    mode: u32,
    owner: Ids,
) -> Result<(), Failure> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = rootfs.target(parent, false)?;
    match unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(Errno::BUSY) => {
            // A file of a mirrored directory.
            mount_calls::uncover(&parent, name)?;
            fchdir(&rootfs.cwd)?;
            unlinkat(&parent, name, AtFlags::empty())?;
        }
        Err(errno) => return Err(errno.into()),
    }
    // Without O_NONBLOCK a file replaced by a FIFO meanwhile would block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let from = openat(&rootfs.cwd, source, flags, Mode::empty())?;
    check_file(from.as_fd())?;
    let stat = fstat(&from)?;
    let time =
        Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    let times = Timestamps { last_access: time, last_modification: time };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to: OwnedFd = openat(&parent, name, flags, Mode::from_raw_mode(0o600))?;
    let mut to = File::from(to);
    io::copy(&mut File::from(from), &mut to).map_err(|error| {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC) => Failure::launch("not enough memory for the copy; use --bind"),
            errno => errno.unwrap_or(Errno::IO).into(),
        }
    })?;
    fchown(&to, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    // With the host's modification time: make(1) depends on it, and it shows whether the job changed the file.
    futimens(&to, &times)?;
    Ok(fchmod(&to, Mode::from_raw_mode(mode))?)
}

/// Refuses what is not a regular file.
pub(super) fn check_file(file: BorrowedFd<'_>) -> Result<(), Failure> {
    match FileType::from_raw_mode(fstat(file)?.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(Failure::launch("not a regular file; replace it by one")),
    }
}
