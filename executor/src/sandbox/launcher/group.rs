//! The control group of one job: creation, lock, mark and removal.
//!
//! Other programs' groups are siblings, and may have similar names. So only groups that are recognized
//! by [`is_ours`], and that do not contain this process, are killed or removed.

use super::hierarchy::{groups, own_groups};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, XattrFlags, fgetxattr, flock,
        fsetxattr, fstat, mkdirat, openat, statat, unlinkat,
    },
    io::Errno,
    process::{Pid, PidfdFlags, Signal, geteuid, getpid, pidfd_open, pidfd_send_signal},
};
use std::{
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read,
    thread,
    time::Duration,
};

/// Prefix of the names of all jobs' groups; the launcher's process id, a dot and 16 random
/// hexadecimal digits follow: `joblet-exec.job.4711.0123456789abcdef`.
const PREFIX: &str = "joblet-exec.job.";

/// Extended attribute of a group with the digits of its name, from Linux 5.7 on.
const MARK: &str = "user.joblet-exec.job";

/// Mode of a group: no other user may enter or open it, and so none can lock it.
const MODE: u32 = 0o700;

/// The group of one job. When dropped, its processes are killed and it is removed.
pub(crate) struct Group {
    parent: OwnedFd,
    name: String,
    /// Its directory, locked.
    pub dir: OwnedFd,
}

impl Group {
    /// Makes an empty group below `parent`, and locks and marks it.
    pub(crate) fn make(parent: OwnedFd) -> Result<Self, Errno> {
        for _ in 0..100 {
            let digits = format!("{:016x}", RandomState::new().hash_one(0));
            let name = format!("{PREFIX}{}.{digits}", getpid().as_raw_nonzero());
            mkdirat(&parent, &name, Mode::from_raw_mode(MODE))?;
            // Before Linux 5.7 another launcher of this user may have removed it as a leftover.
            let Some(dir) = locked(parent.as_fd(), &name) else { continue };
            // Marked after it is locked. A group without a mark is removed by its own launcher only.
            _ = fsetxattr(&dir, MARK, digits.as_bytes(), XattrFlags::CREATE);
            return Ok(Self { parent, name, dir });
        }
        Err(Errno::EXIST)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(self.parent.as_fd(), &self.name, self.dir.as_fd());
    }
}

/// Removes the groups below `parent` whose launchers were killed.
pub(crate) fn sweep(parent: &OwnedFd) {
    let Ok(list) = Dir::read_from(parent) else { return };
    for entry in list.flatten() {
        let Some(name) = entry.file_name().to_str().ok().filter(|name| digits(name).is_some())
        else {
            continue;
        };
        let found = locked(parent.as_fd(), name);
        if let Some(dir) = found.filter(|dir| is_ours(dir.as_fd(), name)) {
            remove(parent.as_fd(), name, dir.as_fd());
        }
    }
}

/// The random digits of `name` if it has the whole form of this program's names.
fn digits(name: &str) -> Option<&str> {
    let (pid, digits) = name.strip_prefix(PREFIX)?.split_once('.')?;
    let number = pid.parse::<i32>().ok().filter(|number| *number > 0)?;
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let whole = number.to_string() == pid && digits.len() == 16 && digits.bytes().all(hex);
    whole.then_some(digits)
}

/// Whether the group `dir` with this `name` was made by this program for this user, by its
/// name, owner, mode, and mark if the kernel supports it.
fn is_ours(dir: BorrowedFd<'_>, name: &str) -> bool {
    let owned = fstat(dir)
        .is_ok_and(|stat| stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o777 == MODE);
    let Some(digits) = digits(name).filter(|_| owned) else { return false };
    let mut value = [0; 16];
    match fgetxattr(dir, MARK, &mut value) {
        Ok(len) => value.get(..len) == Some(digits.as_bytes()),
        Err(errno) => errno == Errno::OPNOTSUPP,
    }
}

/// Whether this process is in the group `name` or below it. Names are unique.
fn holds_us(name: &str) -> bool {
    let own = own_groups();
    groups(&own).any(|(_, path)| path.iter().any(|part| part == name))
}

/// Opens and locks the group `name`; `None` if another process has locked or removed it.
fn locked(parent: BorrowedFd<'_>, name: &str) -> Option<OwnedFd> {
    let dir = open(parent, name)?;
    flock(&dir, FlockOperation::NonBlockingLockExclusive).ok()?;
    // It may have been removed and made again before the lock was taken.
    let (held, named) = (fstat(&dir).ok()?, statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?);
    (held.st_ino == named.st_ino).then_some(dir)
}

fn open(parent: BorrowedFd<'_>, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).ok()
}

/// Kills the processes in a group of this program and removes it. If that fails, a later launcher does
/// it.
fn remove(parent: BorrowedFd<'_>, name: &str, dir: BorrowedFd<'_>) {
    // A killed process leaves its group with a delay.
    for wait in 0..100 {
        if unlinkat(parent, name, AtFlags::REMOVEDIR) != Err(Errno::BUSY) || holds_us(name) {
            return;
        }
        // Before Linux 5.14 processes are killed one by one.
        let by_hand = wait == 0 && write(dir, "cgroup.kill", "1").is_err();
        if by_hand {
            kill_all(dir);
        }
        remove_below(dir, by_hand);
        thread::sleep(Duration::from_millis(wait));
    }
}

/// Kills the processes in the group `dir`. A process ID may be reused before the signal is sent, so a
/// pidfd is opened, and the group is read once more before it is signalled.
fn kill_all(dir: BorrowedFd<'_>) {
    let list = || {
        let list = read(dir, "cgroup.procs").unwrap_or_default();
        let pids = list.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
        pids.filter(|pid| *pid != getpid()).collect::<Vec<_>>()
    };
    let held = list()
        .into_iter()
        .filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)));
    let held: Vec<_> = held.collect();
    let now = list();
    for (_, process) in held.iter().filter(|(pid, _)| now.contains(pid)) {
        _ = pidfd_send_signal(process, Signal::KILL); // it may have ended already
    }
}

/// Removes the groups that a job made in its own, and kills their processes if `end`.
fn remove_below(dir: BorrowedFd<'_>, end: bool) {
    for entry in Dir::read_from(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if entry.file_type() != FileType::Directory || matches!(name, "." | "..") {
            continue;
        }
        if let Some(below) = open(dir, name) {
            if end {
                kill_all(below.as_fd());
            }
            remove_below(below.as_fd(), end);
            // Fails for a group with processes.
            _ = unlinkat(dir, name, AtFlags::REMOVEDIR);
        }
    }
}

/// The content of a group's `file`.
pub(crate) fn read(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let mut text = String::new();
    let file = openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let read = File::from(file).read_to_string(&mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(text)
}

/// Writes `text` to a group's `file`, in one call.
pub(crate) fn write(dir: BorrowedFd<'_>, file: &str, text: &str) -> Result<(), Errno> {
    let file = openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

#[cfg(test)]
#[path = "../../../tests/common/skip.rs"]
#[allow(dead_code, reason = "the tests of the crate use all of it")]
mod skip;

#[cfg(test)]
mod tests {
    use super::{super::hierarchy::mounts, *};
    use std::{
        fs,
        os::unix::{fs::chown, process::CommandExt},
        path::PathBuf,
        process::{Child, Command, Stdio},
    };

    /// Names the group that [`sweep_one`] sweeps.
    const VARIABLE: &str = "JOBLET_TEST_GROUP";

    #[test]
    fn names_are_matched_whole() {
        let ours = "joblet-exec.job.77.0123456789abcdef";
        assert_eq!(digits(ours), Some("0123456789abcdef"));
        for other in [
            "joblet-agent.service",
            "joblet-x.scope",
            "joblet-1-0",
            "joblet-exec.job.77",
            "joblet-exec.job.77.0123456789abcde",
            "joblet-exec.job.77.0123456789abcdef0",
            "joblet-exec.job.77.0123456789ABCDEF",
            "joblet-exec.job.077.0123456789abcdef",
            "joblet-exec.job.+7.0123456789abcdef",
            "joblet-exec.job.0.0123456789abcdef",
            "joblet-exec.job.-1.0123456789abcdef",
            "joblet-exec.job.77.0123456789abcdef.scope",
            "x-joblet-exec.job.77.0123456789abcdef",
        ] {
            assert_eq!(digits(other), None, "{other}");
        }
    }

    /// A new group below a mount of cgroup v2. Only root can make one; a skip
    /// where there is no such mount.
    fn hierarchy(name: &str) -> Option<PathBuf> {
        if !geteuid().is_root() {
            skip::not_applicable("only root makes control groups of several users");
            return None;
        }
        let table = fs::read("/proc/self/mountinfo").unwrap();
        let point = mounts(&table, |kind, _| kind == b"cgroup2").next().map(|found| found.1);
        let at = point.map(|it| it.join(format!("joblet-test-{}-{name}", std::process::id())));
        let made = at.filter(|at| fs::create_dir(at).is_ok());
        if made.is_none() {
            skip::skip("no cgroup v2 can be written");
        }
        made
    }

    /// A process in a group, killed on drop, also if a test fails.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            _ = self.0.kill(); // some have ended
            _ = self.0.wait();
        }
    }

    /// Makes a group with a process in it.
    fn group(at: &PathBuf, mode: u32, mark: &str, owner: u32) -> Sleeper {
        fs::create_dir(at).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(at, flags, Mode::empty()).unwrap();
        if !mark.is_empty() {
            _ = fsetxattr(&dir, MARK, mark.as_bytes(), XattrFlags::CREATE);
        }
        let child = Sleeper(Command::new("sleep").arg("1000").spawn().unwrap());
        write(dir.as_fd(), "cgroup.procs", &child.0.id().to_string()).unwrap();
        for file in [at.clone(), at.join("cgroup.procs"), at.join("cgroup.kill")] {
            _ = chown(file, Some(owner), Some(owner)); // cgroup.kill since Linux 5.14
        }
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).unwrap();
        child
    }

    /// Sweeps the group that the test below names, as its user.
    #[test]
    fn sweep_one() {
        let Some(at) = std::env::var_os(VARIABLE) else { return };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        sweep(&rustix::fs::open(at, flags, Mode::empty()).unwrap());
    }

    /// Runs [`sweep_one`] as `user`, in the group `within`.
    fn sweep_as(user: u32, at: &PathBuf, within: Option<&PathBuf>) {
        let join =
            within.map_or(":".into(), |dir| format!("echo $$ >{}/cgroup.procs", dir.display()));
        let script =
            format!("{join}; exec setpriv --reuid={user} --regid={user} --clear-groups \"$@\"");
        let mut run = Command::new("sh");
        run.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
        let (_, module) = module_path!().split_once("::").unwrap();
        run.args(["--exact", &format!("{module}::sweep_one")]);
        assert!(run.env(VARIABLE, at).stdout(Stdio::null()).status().unwrap().success());
    }

    /// SEC-E06: of all groups beside a launcher's, only those left by killed launchers are removed.
    #[test]
    fn only_leftovers_are_removed() {
        const DIGITS: &str = "0123456789abcdef";
        let Some(top) = hierarchy("sweep") else { return };
        let ours = |pid: u32| format!("{PREFIX}{pid}.{DIGITS}");
        for user in [0, 65534] {
            let at = top.join(user.to_string());
            fs::create_dir(&at).unwrap();
            chown(&at, Some(user), Some(user)).unwrap();
            let other = if user == 0 { 65534 } else { 0 };
            let cases = [
                ("joblet-agent.service".to_owned(), MODE, DIGITS, user),
                ("joblet-x.scope".to_owned(), MODE, DIGITS, user),
                ("joblet-1-0".to_owned(), MODE, DIGITS, user),
                (format!("{}.service", ours(1)), MODE, DIGITS, user),
                (ours(2), MODE, "", user),
                (ours(3), MODE, "0123456789abcdee", user),
                (ours(4), 0o755, DIGITS, user),
                (ours(5), MODE, DIGITS, other),
                (ours(6), MODE, DIGITS, user), // locked below
                (ours(7), MODE, DIGITS, user), // entered below
            ];
            let mut kept = Vec::new();
            for (name, mode, mark, owner) in &cases {
                kept.push((at.join(name), group(&at.join(name), *mode, mark, *owner)));
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let locked = rustix::fs::open(&kept[8].0, flags, Mode::empty()).unwrap();
            flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap();
            let (left, below) = (at.join(ours(8)), at.join(ours(8)).join("below"));
            let mut ended = vec![group(&left, MODE, DIGITS, user)];
            ended.push(group(&below, 0o755, "", user));
            sweep_as(user, &at, Some(&kept[9].0));
            assert!(!left.exists(), "{user}");
            for child in &mut ended {
                assert!(!child.0.wait().unwrap().success(), "{user}");
            }
            for (path, child) in &mut kept {
                assert!(path.exists() && child.0.try_wait().unwrap().is_none(), "{user} {path:?}");
            }
            // Both are leftovers once no process is in them.
            drop(locked);
            sweep_as(user, &at, None);
            for (index, (path, child)) in kept.into_iter().enumerate() {
                assert_eq!(path.exists(), index < 8, "{user} {path:?}");
                drop(child);
                while fs::remove_dir(&path).is_err_and(|error| error.raw_os_error() == Some(16)) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            fs::remove_dir(&at).unwrap();
        }
        fs::remove_dir(&top).unwrap();
    }

    /// SEC-E06: no other user can lock a new group, which is removed with its owner.
    #[test]
    fn a_new_group_belongs_to_its_owner_alone() {
        let Some(top) = hierarchy("make") else { return };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = || rustix::fs::open(&top, flags, Mode::empty()).unwrap();
        let made = Group::make(parent()).unwrap();
        let path = top.join(&made.name);
        assert!(is_ours(made.dir.as_fd(), &made.name));
        let mut flock = Command::new("flock");
        flock.args(["--nonblock"]).arg(&path).arg("true").stderr(Stdio::null());
        // As another user it cannot be opened, as root not be locked.
        assert!(!flock.uid(65534).gid(65534).status().unwrap().success());
        sweep(&parent());
        assert!(path.exists());
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        write(made.dir.as_fd(), "cgroup.procs", &child.id().to_string()).unwrap();
        fs::create_dir(path.join("made-by-the-job")).unwrap();
        let waiter = thread::spawn(move || child.wait_with_output());
        drop(made);
        assert!(!waiter.join().unwrap().unwrap().status.success() && !path.exists());
        fs::remove_dir(&top).unwrap();
    }
}
