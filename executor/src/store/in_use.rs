//! Detects whether jobs use a runtime, so that its files are kept until they end.
//!
//! A running job needs no path of its runtime: its mounts refer to the directories themselves, and only
//! the deletion of files would harm it. So a runtime that is removed or replaced is renamed at once, even
//! in use, to a unique name in `.joblet/removed`. From then on no new job uses it: one that opened it just
//! before finds that the name refers to another directory, and starts over. Its files are deleted when no
//! process uses it any more, at once or by a later command. Use is detected in two ways:
//!
//! * `/proc`: a process has the directory open, or something in it mounted. The kernel shows current
//!   paths, so the unique name is searched for in them. A launcher keeps its runtime open until its job has
//!   ended. Root sees all processes of its PID namespace and those below, another user only their own. A
//!   process cannot prevent its detection here.
//! * flock(2): a job takes a shared lock on the directory, if it can. This detects what `/proc` does not
//!   show: jobs of other users in an ordinary user's store, in other containers, and on other machines if
//!   the file system propagates locks.
//!
//! On a file system that machines share neither suffices: not all of them propagate locks, and `/proc` shows
//! only this machine's processes. There, the files of a removed runtime are kept for a time ([`KEPT_FOR`], or
//! that of `prune --older-than`) that exceeds the duration of jobs.
//!
//! Every user who may open the directory may hold such a lock, even an exclusive one. The effect is limited: a
//! starting job tries once and continues without the lock; a removal frees the name, and only the files
//! stay on the disk until the holder, which is named in a message, ends. Running a job has the same
//! effect. An exclusive lock that is held while a job starts disables the second way of detection for that
//! job, not the first.
//!
//! A lock file in the store would not do: in root's store other users could lock it only if they could
//! open it, and then they could hold it against each other.

use crate::env::weaken;
use crate::fs::directory::Directory;
use crate::fs::kind;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};
use std::time::Duration;

/// How long the files of a removed runtime are kept in a store that other machines may use.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Marks the runtime that is open as `directory` as in use, as long as the descriptor is open.
pub(crate) fn hold(directory: impl AsFd) {
    // Best effort: no support for locks, or an exclusive holder; see above.
    _ = flock(directory, FlockOperation::NonBlockingLockShared);
}

/// The detected users of the runtime `name` in `around`, for messages; `None` if there are none. In a store
/// that machines share, a runtime counts as used for `kept` after its removal.
///
/// No new process may start to use it: it must have been renamed to a unique name before, or be
/// [`Named::InPlace`].
pub(super) fn users(
    around: &Directory,
    name: &str,
    named: Named,
    kept: Duration,
) -> Option<String> {
    if weaken::without("in-use") {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(around.as_fd(), OsStr::new(name), flags, Mode::empty()).ok();
    let mut found = Vec::new();
    let alone = |directory: &OwnedFd| flock(directory, FlockOperation::NonBlockingLockExclusive);
    let locked = directory.as_ref().is_some_and(|it| alone(it) == Err(Errno::WOULDBLOCK));
    if let (true, Some(directory)) = (locked, &directory) {
        found.extend(holders(directory));
    }
    let identity = |it: &OwnedFd| fstat(it).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let only = directory.as_ref().and_then(identity).filter(|_| named == Named::InPlace);
    let seen = processes(name.as_bytes(), only);
    let used = locked || !seen.is_empty();
    let new: Vec<_> = seen.into_iter().filter(|pid| !found.contains(pid)).collect();
    found.extend(new);
    let pids: Vec<_> = found.iter().map(u32::to_string).collect();
    match kind::shared(around) {
        _ if !pids.is_empty() => Some(format!("process {}", pids.join(", "))),
        _ if used => Some("process unknown, of another user, container or machine".into()),
        Some(kind) if named == Named::Uniquely && around.is_fresh(name, kept) => {
            let days = kept.as_secs() / (24 * 60 * 60);
            Some(format!("perhaps by other machines, for {days} days: the store is on {kind}"))
        }
        _ => None,
    }
}

/// Whether the name of a runtime is unique on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A unique name.
    Uniquely,
    /// Its ordinary name, which a runtime in another store may have, too: compared by device and inode.
    InPlace,
}

/// The processes that have a directory called `name` open, or something in it mounted. With `only`, a
/// device and inode, those that have this directory open.
fn processes(name: &[u8], only: Option<(u64, u64)>) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    let uses = |pid| (only.is_none() && mounts(pid, name)) || opens(pid, name, only);
    others.filter(|pid| uses(*pid)).collect()
}

/// Whether a process has something in a directory called `name` mounted: proc_pid_mountinfo(5).
fn mounts(pid: u32, name: &[u8]) -> bool {
    let mounts = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    mounts.split(|byte| *byte == b'\n').any(|line| {
        let root = line.split(|byte| *byte == b' ').nth(3);
        root.is_some_and(|root| leads_through(root, name))
    })
}

/// Whether a process has something in a directory called `name` open.
fn opens(pid: u32, name: &[u8], only: Option<(u64, u64)>) -> bool {
    let mut files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.any(|entry| {
        let target = fs::read_link(entry.path());
        let is_it = |it: (u64, u64)| {
            fs::metadata(entry.path()).is_ok_and(|found| (found.dev(), found.ino()) == it)
        };
        target.is_ok_and(|target| leads_through(target.as_os_str().as_bytes(), name))
            && only.is_none_or(is_it)
    })
}

fn leads_through(path: &[u8], name: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part == name)
}

/// The processes that hold a lock on `file`, by proc_locks(5); empty if it shows none.
fn holders(file: &OwnedFd) -> Vec<u32> {
    let (Ok(stat), Ok(locks)) = (fstat(file), fs::read_to_string("/proc/locks")) else {
        return Vec::new();
    };
    let inode = format!(":{}", stat.st_ino);
    let pids = locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1).filter(|word| *word != "->");
        let (kind, pid, id) = (words.next()?, words.nth(2)?, words.next()?);
        let pid = pid.parse().ok()?;
        (kind == "FLOCK" && pid > 0 && id.ends_with(&inode)).then_some(pid)
    });
    pids.collect()
}

/// Deletes removed runtimes that are no longer in use. Best effort.
pub(super) fn delete_unused(removed: &Directory, kept: Duration) {
    for name in removed.names().unwrap_or_default() {
        if users(removed, &name, Named::Uniquely, kept).is_none() {
            _ = removed.remove_tree(&name);
        }
    }
}
