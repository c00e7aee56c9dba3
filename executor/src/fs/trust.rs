//! Trusted files: those of the effective user and of root that no other user can write.

use crate::env::weaken;
use crate::error::Error;
use rustix::fs::Stat;
use std::path::Path;
use std::sync::OnceLock;

/// The effective user id of this process.
pub(crate) fn user() -> u32 {
    static ASKED: OnceLock<u32> = OnceLock::new();
    *ASKED.get_or_init(|| rustix::process::geteuid().as_raw())
}

/// Whether a file or directory belongs to the effective user or to root.
pub(crate) fn is_ours(stat: &Stat) -> bool {
    [0, user()].contains(&stat.st_uid)
}

/// Why a file or directory is not trusted: another user owns it or may write it.
///
/// Group write permission is accepted from an ordinary user, since many distributions give each user a
/// group of their own; root does not accept it.
pub(crate) fn distrust(stat: &Stat) -> Option<String> {
    if weaken::without("store-owners") {
        return None;
    }
    if !is_ours(stat) {
        return Some(format!("it belongs to user {}; chown it", stat.st_uid));
    }
    let others = if user() == 0 { 0o022 } else { 0o002 };
    let mode = stat.st_mode & 0o7777;
    (mode & others != 0).then(|| format!("others may write it (mode {mode:o}); chmod go-w it"))
}

/// Why others than root and the effective user can change a runtime's directory, if they can.
///
/// Group write permission is accepted of the effective group alone, whose members are its user where each user
/// has a group of their own.
pub(crate) fn open_to_others(stat: &Stat) -> Option<String> {
    if weaken::without("own-runtimes") {
        return None;
    }
    if !is_ours(stat) {
        return Some(format!("it belongs to user {}", stat.st_uid));
    }
    let (mode, own) = (stat.st_mode & 0o7777, || rustix::process::getegid().as_raw());
    let writable = mode & 0o002 != 0 || (mode & 0o020 != 0 && stat.st_gid != own());
    writable.then(|| format!("others may write it (mode {mode:o})"))
}

/// The error that refuses `path`.
pub(crate) fn untrusted(path: &Path, reason: String) -> Error {
    Error::Untrusted { path: path.to_owned(), reason, option: "--store DIR" }
}
