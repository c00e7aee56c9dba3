//! Removed runtimes remain on the disk as long as jobs run in them.
//!
//! A job needs no path of its runtime once it has begun: its mounts keep what they were made of, and
//! what hurts it is only that files are deleted. So a runtime that is removed or replaced loses its
//! name at once, by rename(2), although jobs use it, and goes to `.joblet/removed` under a name that
//! nothing else ever has. From then on no job begins to use it: one that opened it before finds that it
//! is not where it was, and looks again. Its files are deleted when no process uses it any more, at once
//! or by a later command. Whether one does is found in two ways:
//!
//! * `/proc`: no process has the directory open, or has anything in it mounted. The kernel shows
//!   paths as they are now, so that one name is looked for in them. A launcher has its runtime open
//!   until its job has ended. Root sees all processes of its PID namespace and those below, another
//!   user its own. Nobody can keep a process from being seen here.
//! * flock(2): a job holds a shared lock on the directory, as far as it gets it. That is seen where
//!   `/proc` shows nothing: jobs of other users on a store of an ordinary user, in other containers,
//!   on other machines if the file system carries locks.
//!
//! On a file system that machines share neither is enough: not all of them carry locks, and none shows the
//! processes of others. There, files stay for a while after their runtime was removed ([`KEPT_FOR`], or
//! what `prune --older-than` says), longer than jobs run.
//!
//! Anybody who may open the directory may hold such a lock, also an exclusive one. What that can do
//! is bounded: a start tries once, and continues without; removal frees the name; what is left is
//! that files stay on the disk until the holder ends, who is named, which anybody reaches by running
//! a job, too. And who holds an exclusive lock while a job begins takes from this job the second way
//! of being seen, not the first.
//!
//! No lock on a file in the store would do: users could not take one in root's store without being
//! able to open that file, and then they could hold it against each other.

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

/// How long the files of a removed runtime stay where jobs of other machines may use them.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Tells those who would delete the runtime that is open as `directory` that it is used, as long as
/// it is open.
pub(crate) fn hold(directory: impl AsFd) {
    // Where there are no such locks, or another user holds them: see above.
    _ = flock(directory, FlockOperation::NonBlockingLockShared);
}

/// Who uses the runtime called `name` in `around`, for messages; none if nobody does, as far as it is seen
/// from here, or for `kept` after it was removed.
///
/// Nobody can begin to use it who has not opened it yet: it must have a name of its own by now, or
/// be [`Named::InPlace`].
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
    /// By a name that nothing else ever has.
    Uniquely,
    /// By its own: one in another store has the same, so that it is recognised by what it is.
    InPlace,
}

/// The processes that have a directory called `name` open, or what is in it mounted; if it must be
/// the one with this device and inode, those that have it open.
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

/// The processes that hold a lock on `file`, as proc_locks(5) shows them; none if it does not.
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

/// Deletes what was removed and is not used any more. Best effort.
pub(super) fn empty(removed: &Directory, kept: Duration) {
    for name in removed.names().unwrap_or_default() {
        if users(removed, &name, Named::Uniquely, kept).is_none() {
            _ = removed.remove_tree(&name);
        }
    }
}
