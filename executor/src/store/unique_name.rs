//! Unique names of staging directories and of removed runtimes.
//!
//! A staging directory is `NAME-VERSION@HOST@BOOT@N`: the host name, eight digits of
//! `/proc/sys/kernel/random/boot_id`, and the first number for which mkdir(2) succeeds. A process id would
//! not be unique across PID namespaces. A directory of this boot is in use as long as the lock of
//! `NAME-VERSION` is held; one of an earlier boot is stale; one of another host, whose locks may not be
//! visible here, is kept for a day.

use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::{self, Lock};
use rustix::fd::AsFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

/// Age up to which the staging directory of another host is kept.
const KEEP_OTHER_HOSTS: Duration = Duration::from_secs(24 * 60 * 60);

/// Creates a staging directory in `around` for `version` (`NAME-VERSION`), and returns its name.
pub(super) fn make(around: &Directory, version: &str) -> Result<String, Error> {
    let mine = format!("{version}@{}@{}", lock::host(), boot());
    let mode = Mode::from_raw_mode(0o755);
    let mut number = 0_u32;
    loop {
        let name = format!("{mine}@{number}");
        match rustix::fs::mkdirat(around.as_fd(), OsStr::new(&name), mode) {
            Err(Errno::EXIST) if number < u32::MAX => number += 1,
            done => {
                return done.map(|()| name).map_err(Error::file("create", around.path_of(version)));
            }
        }
    }
}

/// Moves the runtime `name` in `from` to `removed`, and returns its new name.
///
/// The name is `NAME-VERSION@DEVICE@INODE`, since processes that use it are found by its name on the
/// whole machine.
pub(super) fn remove(
    from: &Directory,
    name: &str,
    removed: &Directory,
    version: &str,
) -> Result<String, Errno> {
    let stat = from.stat_entry(name)?;
    let aside = format!("{version}@{:x}@{}", stat.st_dev, stat.st_ino);
    from.rename_new(name, removed, &aside).map(|()| aside)
}

/// The `NAME-VERSION` of a staging or removed name.
pub(super) fn version(name: &str) -> &str {
    name.split('@').next().unwrap_or_default()
}

/// Whether the staging directory `name` in `around` is stale; the caller holds the `lock` of its version.
pub(super) fn is_stale(around: &Directory, name: &str, lock: &Lock) -> bool {
    let mut parts = name.split('@').skip(1);
    let (host, then) = (parts.next(), parts.next());
    match (host, then) {
        (Some(host), Some(then)) if host == lock::host() && then != boot() => true,
        (Some(host), _) if host != lock::host() || !lock.holds() => {
            around.is_older(name, KEEP_OTHER_HOSTS)
        }
        _ => lock.holds() || around.is_older(name, KEEP_OTHER_HOSTS),
    }
}

/// Identifies this boot of the machine; empty if the kernel provides no id.
fn boot() -> String {
    let mut id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.truncate(8);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_directories_are_distinguished_from_those_in_use() {
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
            assert_eq!(is_stale(&around, name, &lock), left, "{name}");
        }
    }
}
