//! Directories that every program may expect: `/run` and `/var/tmp` can be written to, the others are
//! there to be found, and to mount something on.

use super::{failure::Failure, mount_calls, mounts::Places};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::plan::job::Ids;
use rustix::{
    fd::AsFd,
    fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs, mkdirat, openat, symlinkat},
    io::Errno,
};
use std::path::Path;

/// Those that are empty.
const EMPTY: [&str; 4] = ["home", "opt", "mnt", "media"];

/// Makes what the runtime does not have; what it writes to there is `owner`'s.
pub(crate) fn make(places: &Places, owner: Ids) -> Result<(), Failure> {
    let new = |name: &str| match mkdirat(&places.root, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(false),
        other => other.map(|()| true),
    };
    for name in EMPTY {
        new(name)?;
    }
    places.new_scratch(Path::new("/run"), 0o755, owner)?;
    // The same as /tmp where it need not be a mount of its own.
    if new("var")? {
        return Ok(symlinkat("../tmp", &places.root, "var/tmp")?);
    }
    let tmp = Path::new("/var/tmp");
    let open = || beneath::open(places.root.as_fd(), tmp, Escape::Clamp, Create::Nothing);
    let flags = open().and_then(fstatvfs).map(|found| found.f_flag);
    if flags.is_ok_and(|flags| !flags.contains(StatVfsMountFlags::RDONLY)) {
        return Ok(()); // the runtime's own
    }
    if flags.is_err() && places.own_target(tmp, false).is_ok() {
        // In a copy of the runtime's /var.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&open()?, ".", flags, Mode::empty())?;
        return Ok(mount_calls::set_owner(made.as_fd(), 0o1777, owner)?);
    }
    match places.scratch(tmp, 0o1777, owner, None) {
        // Something else than a directory, or nothing that this kernel could add: as the runtime is.
        Err(failure) if failure.errno == 0 || failure.errno == Errno::NOTDIR.raw_os_error() => {
            Ok(())
        }
        other => other,
    }
}
