//! Names that no two processes give: of what one of them is preparing, and of what was removed.
//!
//! `NAME-VERSION@HOST@BOOT@N`: the machine, its boot (eight digits of
//! `/proc/sys/kernel/random/boot_id`), and the first number that mkdir(2) gave no other process: ids of processes are not unique where there are PID namespaces. Whether its maker still works on it is told by the lock of
//! `NAME-VERSION`, where that is known to be seen: by this machine since it was booted. What another
//! one prepares is left alone for a day.

use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::{self, Lock};
use rustix::fd::AsFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

/// How long something is kept that another machine may still be working on.
const ELSEWHERE: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a directory in `around` for `version` (`NAME-VERSION`); its name.
pub(super) fn make(around: &Directory, version: &str) -> Result<String, Error> {
    let mine = format!("{version}@{}@{}", lock::host(), boot());
    let mode = Mode::from_raw_mode(0o755);
    let mut number = 0_u32;
    loop {
        let name = format!("{mine}@{number}");
        match rustix::fs::mkdirat(around.as_fd(), OsStr::new(&name), mode) {
            Err(Errno::EXIST) if number < u32::MAX => number += 1,
            done => {
                return done.map(|()| name).map_err(Error::file("create", around.at(version)));
            }
        }
    }
}

/// Moves the runtime called `name` in `from` to `removed`, as `version`; its name there.
///
/// `NAME-VERSION@DEVICE@INODE`: it is looked for by its name on the whole machine.
pub(super) fn remove(
    from: &Directory,
    name: &str,
    removed: &Directory,
    version: &str,
) -> Result<String, Errno> {
    let stat = from.look(name)?;
    let aside = format!("{version}@{:x}@{}", stat.st_dev, stat.st_ino);
    from.rename_new(name, removed, &aside).map(|()| aside)
}

/// The `NAME-VERSION` of a name.
pub(super) fn version(name: &str) -> &str {
    name.split('@').next().unwrap_or_default()
}

/// Whether no process works on what is called `name` in `around` any more, given the `lock` of its
/// version.
pub(super) fn is_left(around: &Directory, name: &str, lock: &Lock) -> bool {
    let mut parts = name.split('@').skip(1);
    let (host, then) = (parts.next(), parts.next());
    match (host, then) {
        (Some(host), Some(then)) if host == lock::host() && then != boot() => true,
        (Some(host), _) if host != lock::host() || !lock.holds() => {
            around.is_older(name, ELSEWHERE)
        }
        _ => lock.holds() || around.is_older(name, ELSEWHERE),
    }
}

/// Which boot of this machine it is; empty where the kernel does not say.
fn boot() -> String {
    let mut id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.truncate(8);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_told_from_what_is_worked_on() {
        let base = tempfile::tempdir().unwrap();
        let around = Directory::open(base.path()).unwrap();
        let lock = Lock::wait(&around, "demo-1.0.0", 0).unwrap();
        let mine = make(&around, "demo-1.0.0").unwrap();
        assert_ne!(make(&around, "demo-1.0.0").unwrap(), mine);
        assert_eq!(version(&mine), "demo-1.0.0");
        let host = lock::host();
        for (name, old, left) in [
            (mine.as_str(), false, true),
            ("demo-1.0.0", false, true),
            (&format!("demo-1.0.0@{host}@00000000@0"), false, true),
            ("demo-1.0.0@elsewhere@00000000@0", false, false),
            ("demo-1.0.0@elsewhere@00000000@0", true, true),
        ] {
            _ = fs::create_dir(base.path().join(name));
            if old {
                let time = crate::fs::walk::times(1_000_000_000);
                let flags = rustix::fs::AtFlags::empty();
                rustix::fs::utimensat(&around, name, &time, flags).unwrap();
            }
            assert_eq!(is_left(&around, name, &lock), left, "{name}");
        }
    }
}
