//! Directories that programs expect (hier(7)): `/run` and `/var/tmp`, which is `/tmp` once more, are writable, the
//! others are empty mount points.

use super::{
    failure::Failure,
    mount_calls::{self, attach, clone_tree, here, is_read_only},
    mounts::RootFs,
};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::plan::job::Ids;
use rustix::{
    fd::AsFd,
    fs::{Mode, OFlags, fstat, mkdirat, openat},
    io::Errno,
};
use std::path::Path;

/// Directories that are empty and read-only.
const EMPTY: [&str; 4] = ["home", "opt", "mnt", "media"];

/// Creates those that the runtime lacks; the writable ones belong to `owner`.
pub(crate) fn create(rootfs: &RootFs, owner: Ids) -> Result<(), Failure> {
    for name in EMPTY.iter().chain(&["var"]) {
        match mkdirat(&rootfs.root, *name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    rootfs.new_scratch(Path::new("/run"), 0o755, owner)?;
    let root = rootfs.root.as_fd();
    let open = |path| beneath::open(root, Path::new(path), Escape::Clamp, Create::Nothing);
    let Ok(var) = open("/var") else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&var, "tmp", flags, Mode::empty()) {
        // Covered if it is read-only, or in a user namespace another user's.
        Ok(tmp)
            if is_read_only(&tmp)?
                || (fstat(&tmp)?.st_mode & 0o002 == 0
                    && mount_calls::set_owner(tmp.as_fd(), 0o1777, owner).is_err()) => {}
        Err(Errno::NOENT) => {}
        // One in a writable mount of the runtime; a file, a link: left as it is.
        _ => return Ok(()),
    }
    let tmp = Path::new("/var/tmp");
    let shared = open("/tmp")?;
    if is_read_only(&shared)? {
        return rootfs.scratch(tmp, 0o1777, owner, None);
    }
    match rootfs.target(tmp, false) {
        // This kernel cannot add it to the runtime's /var.
        Err(failure) if failure.errno == 0 => Ok(()),
        point => Ok(attach(&clone_tree(shared.as_fd(), false)?, here(&point?))?),
    }
}
