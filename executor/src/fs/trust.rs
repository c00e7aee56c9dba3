//! Trusted files: those of the effective user and of root that no other user can write.
//!
//! The group bits of a mode are the ACL mask (acl(5)), so group write permission is accepted only if it belongs to the user
//! alone: see [`is_private`].

use super::kind;
use super::split::split;
use super::walk;
use crate::env::weaken;
use crate::error::Error;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{Stat, fstat, getxattr};
use rustix::io::Errno;
use std::path::Path;
use std::sync::OnceLock;

/// The effective user id of this process.
pub(crate) fn user() -> u32 {
    static ASKED: OnceLock<u32> = OnceLock::new();
    *ASKED.get_or_init(|| rustix::process::geteuid().as_raw())
}

/// fstat(2) of `file`. All that is on a FUSE file system of a user who is neither root nor the caller belongs to that user.
///
/// # Errors
/// That of fstat(2).
pub(crate) fn stat(file: impl AsFd) -> Result<Stat, Errno> {
    let mut stat = fstat(&file)?;
    let mounter = kind::mounter(&file, stat.st_dev).filter(|found| ![0, user()].contains(found));
    stat.st_uid = mounter.unwrap_or(stat.st_uid);
    Ok(stat)
}

/// Whether a file or directory belongs to the effective user or to root.
pub(crate) fn is_ours(stat: &Stat) -> bool {
    [0, user()].contains(&stat.st_uid)
}

/// Why a directory is not [`is_fresh`].
pub(crate) const REPLACED: &str = "another user has put it there";

/// Whether `own` is the directory that this process has just made in `around`, or one that is as good: where others can
/// rename, they may have put another one there. It is empty, the effective user's, and has none of the permissions `refused`.
///
/// # Errors
/// Those of fstat(2) and getdents(2).
pub(crate) fn is_fresh(around: impl AsFd, own: impl AsFd, refused: u32) -> Result<bool, Errno> {
    let (outer, inner) = (stat(around)?, stat(&own)?);
    // Where nobody can rename it, no more is asked: what root makes on a network file system may belong to another user.
    let sticky = outer.st_mode & 0o1000 != 0;
    if is_ours(&outer) && (sticky || outer.st_mode & 0o022 == 0) {
        return Ok(true);
    }
    Ok(inner.st_uid == user() && inner.st_mode & refused == 0 && walk::is_empty(own)?)
}

/// Why a file or directory is not trusted: another user owns it or may write it. `stat` is that of [`stat`].
///
/// Group write permission is accepted of a private group alone, and only if `file` is passed, so that its ACL can be read: not
/// in the directories that this program makes, and not by root.
pub(crate) fn distrust(stat: &Stat, file: Option<BorrowedFd<'_>>) -> Option<String> {
    if weaken::without("store-owners") {
        return None;
    }
    let file = file.filter(|_| user() != 0);
    let others = others(stat, file)?;
    let remedy = if is_ours(stat) { "chmod go-w it" } else { "run as that user" };
    Some(format!("{others}; {remedy}"))
}

/// Why others than root and the effective user can change a runtime's directory `file`, if they can.
pub(crate) fn open_to_others(stat: &Stat, file: BorrowedFd<'_>) -> Option<String> {
    if weaken::without("own-runtimes") {
        return None;
    }
    others(stat, Some(file))
}

/// The other users who own or may write a file, if there are any.
fn others(stat: &Stat, file: Option<BorrowedFd<'_>>) -> Option<String> {
    if !is_ours(stat) {
        return Some(format!("it belongs to user {}", stat.st_uid));
    }
    let mode = stat.st_mode & 0o7777;
    let group = || !file.is_some_and(|file| is_private(stat.st_gid, file));
    let writable = mode & 0o002 != 0 || (mode & 0o020 != 0 && group());
    writable.then(|| format!("others may write it (mode {mode:o})"))
}

/// Whether group write permission of `file`, whose group is `group`, is the effective user's alone: by the group, and no access
/// control list gives the permission to others.
fn is_private(group: u32, file: BorrowedFd<'_>) -> bool {
    let read = |path| std::fs::read(path).unwrap_or_default();
    if group != rustix::process::getegid().as_raw()
        || !is_user_group((group, &read("/etc/group")), (user(), &read("/etc/passwd")))
    {
        return false;
    }
    // Not by the descriptor, which may be opened with `O_PATH`.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let list = getxattr(path, "system.posix_acl_access", &mut [0_u8; 0][..]);
    matches!(list, Err(Errno::NODATA | Errno::OPNOTSUPP)) || weaken::without("access-lists")
}

/// Whether a group has one user alone, as many distributions make one for each: by its name and its list of members in
/// `/etc/group`, or by its number if one of the files does not have it, as in a network's directory.
fn is_user_group((group, groups): (u32, &[u8]), (user, users): (u32, &[u8])) -> bool {
    match (entry(groups, group), entry(users, user)) {
        (Some(group), Some(user)) => {
            group[0] == user[0] && group.get(3).is_none_or(|members| members.is_empty())
        }
        _ => group == user,
    }
}

/// The fields of the entry with this number in a file like `/etc/group`: name, password, number and more.
fn entry(text: &[u8], number: u32) -> Option<Vec<&[u8]>> {
    let number = number.to_string();
    split(text, b'\n').find_map(|line| {
        let fields: Vec<_> = split(line, b':').collect();
        (*fields.get(2)? == number.as_bytes()).then_some(fields)
    })
}

/// The error that refuses `path`.
pub(crate) fn untrusted(path: &Path, reason: String) -> Error {
    Error::Untrusted { path: path.to_owned(), reason, option: "--store DIR" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-B26: by the files of groups and users.
    #[test]
    fn groups_of_one_user_alone() {
        let users = b"root:x:0:0:root:/root:/bin/sh\n\xff:x:7:1001\na:x:1001:1002::/home/a:\nb:x:100:100::/:\nc:x:1005:1005::/:";
        let groups = b"root:x:0:\nusers:x:100:\na:x:1002:\nc:x:1005:b\nteam:x:1003:a\n1004:x:9:";
        for (group, user, want) in [
            (0, 0, true),
            (1002, 1001, true),
            (1003, 1001, false),
            (100, 100, false),
            (1005, 1005, false),
            (5000, 5000, true),
            (5001, 5000, false),
            (1004, 1001, false),
        ] {
            assert_eq!(is_user_group((group, groups), (user, users)), want, "{group} {user}");
        }
    }
}
