//! Directories that programs expect (hier(7)): `/run` and `/var/tmp` are writable, the others are empty
//! mount points.

use super::{
    failure::Failure,
    layer::{self, Missing},
    mount_calls,
    mounts::RootFs,
};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::plan::job::Ids;
use rustix::{
    fd::AsFd,
    fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs, mkdirat, openat, symlinkat},
    io::Errno,
};
use std::path::Path;

/// Directories that are empty and read-only.
const EMPTY: [&str; 4] = ["home", "opt", "mnt", "media"];

/// Creates those that the runtime lacks; the writable ones belong to `owner`.
pub(crate) fn create(rootfs: &RootFs, owner: Ids) -> Result<(), Failure> {
    let new = |name: &str| match mkdirat(&rootfs.root, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(false),
        other => other.map(|()| true),
    };
    for name in EMPTY {
        new(name)?;
    }
    rootfs.new_scratch(Path::new("/run"), 0o755, owner)?;
    // A symlink to /tmp saves a mount.
    if new("var")? {
        return Ok(symlinkat("../tmp", &rootfs.root, "var/tmp")?);
    }
    let tmp = Path::new("/var/tmp");
    let open = || beneath::open(rootfs.root.as_fd(), tmp, Escape::Clamp, Create::Nothing);
    let flags = open().and_then(fstatvfs).map(|found| found.f_flag);
    if flags.is_ok_and(|flags| !flags.contains(StatVfsMountFlags::RDONLY)) {
        return Ok(()); // the runtime's own
    }
    if flags.is_err() {
        return match rootfs.own_target(tmp, false) {
            // The runtime's /var is an overlay.
            Ok(_) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(&open()?, ".", flags, Mode::empty())?;
                Ok(mount_calls::set_owner(made.as_fd(), 0o1777, owner)?)
            }
            Err(Errno::ROFS) => match layer::make(rootfs.base(), tmp, Missing::LinkTo("/tmp")) {
                // This kernel cannot add it, or the directory is the host's and writable.
                Err(failure)
                    if failure.errno == Errno::ROFS.raw_os_error()
                        || layer::is_refused(&failure) =>
                {
                    Ok(())
                }
                made => made,
            },
            // A dangling symlink, or below a file: left as it is in the runtime.
            Err(_) => Ok(()),
        };
    }
    match rootfs.scratch(tmp, 0o1777, owner, None) {
        // Not a directory: left as it is in the runtime.
        Err(failure) if failure.errno == 0 || failure.errno == Errno::NOTDIR.raw_os_error() => {
            Ok(())
        }
        other => other,
    }
}
