//! Limits of memory, processors and processes: a group of cgroup v2, or of cgroup v1 if that has the controllers
//! ([`super::cgroup_v1`]).
//!
//! The launcher makes a group for each job and starts the job in it. Groups are made below the
//! launcher's own, or below the nearest group above it that this user may change. A job does not leave a
//! group with a limit: what limits the launcher limits the job, too. A launcher holds a lock on its group; one without is left over
//! from a launcher that was killed, and the next one removes it, see [`super::group`].

use super::{
    cgroup_v1,
    group::{self, Group, read, write},
    hierarchy::{groups, mounts, own_groups},
    scope,
};
use crate::sandbox::{
    plan::job::Limits,
    setup::mount_calls,
    sys::{NODEV, NOEXEC, NOSUID},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, fstatfs, mkdirat, open, openat, statat},
    io::Errno,
    process::getpid,
};
use std::{
    fmt, fs,
    path::{Component, Path, PathBuf},
};

impl Limits {
    /// The controllers that they need.
    fn controllers(self) -> Vec<&'static str> {
        let wanted = [
            ("memory", self.memory.is_some()),
            ("cpu", self.cpu.is_some()),
            ("pids", self.pids.is_some()),
        ];
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect()
    }

    /// Files and their content (cgroup-v2.rst of the kernel), and whether the file is optional.
    fn settings(self) -> Vec<(&'static str, String, bool)> {
        let mut all = Vec::new();
        if let Some(bytes) = self.memory {
            all.push(("memory.max", bytes.to_string(), false));
            // Absent on hosts without swap.
            all.push(("memory.swap.max", "0".to_owned(), true));
            // Kill the whole job: it would continue without the killed process.
            all.push(("memory.oom.group", "1".to_owned(), true));
        }
        if let Some(thousandths) = self.cpu {
            // Microseconds per period of 100 ms.
            all.push(("cpu.max", format!("{} 100000", u64::from(thousandths) * 100), false));
        }
        if let Some(count) = self.pids {
            all.push(("pids.max", count.to_string(), false));
        }
        all
    }
}

/// The child group that the launcher moves to if it is the only process of its group.
const LAUNCHER: &str = "launcher-of-joblet";

/// The files with a limit that a job outside of the group would evade. Not `pids.max`: systemd sets it for every
/// service.
const LIMIT_FILES: [&str; 3] = ["memory.max", "memory.high", "cpu.max"];

/// What lets a user have groups where systemd gives them out.
const SCOPE: &str = "start it in a scope of its own: systemd-run --user --scope joblet-exec …";

/// The groups of one job, with its limits.
pub(crate) enum Cgroup {
    /// cgroup v1: one in each hierarchy.
    V1(Vec<Group>),
    /// cgroup v2, and whether it is in a scope of the user's systemd manager.
    V2(Group, bool),
}

impl Cgroup {
    /// Makes a group with these limits.
    ///
    /// # Errors
    /// Why none can be made, and how to fix it.
    pub(crate) fn make(limits: Limits) -> Result<Self, String> {
        let controllers = limits.controllers();
        let (parent, scope) = match parent(&controllers) {
            Ok(found) => found,
            Err(reason) => {
                let made = cgroup_v1::make(limits, &controllers);
                return made.map_or(Err(reason), |made| made.map(Self::V1));
            }
        };
        group::sweep(&parent);
        let plain = |errno: Errno| format!("no group can be made: {errno}; {SCOPE}");
        let group = Group::make(parent).map_err(plain)?;
        for (file, value, optional) in limits.settings() {
            match write(group.dir.as_fd(), file, &value) {
                Err(Errno::NOENT) if optional => {}
                Err(errno) => return Err(format!("{file} does not take {value}: {errno}")),
                Ok(()) => {}
            }
        }
        Ok(Self::V2(group, scope))
    }

    /// The mechanism, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::V1(_) => "cgroup v1",
            Self::V2(_, false) => "cgroup v2",
            Self::V2(_, true) => "a scope of the user's systemd manager",
        }
    }

    fn groups(&self) -> &[Group] {
        match self {
            Self::V1(groups) => groups,
            Self::V2(group, _) => std::slice::from_ref(group),
        }
    }

    /// The group's directory, for clone3(2); cgroup v1 does not support that.
    pub(crate) fn dir(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::V1(_) => None,
            Self::V2(group, _) => Some(group.dir.as_fd()),
        }
    }

    /// The files by which a process joins the groups, if it cannot be cloned into them.
    pub(crate) fn entrances(&self) -> Result<Vec<OwnedFd>, Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = |group: &Group| openat(&group.dir, "cgroup.procs", flags, Mode::empty());
        self.groups().iter().map(file).collect()
    }

    /// A descriptor that is readable when the job has run out of memory, for kernels that do not kill the whole job.
    pub(crate) fn watch_memory(&self) -> Option<OwnedFd> {
        match self {
            Self::V1(groups) => groups.iter().find_map(cgroup_v1::watch_memory),
            Self::V2(..) => None,
        }
    }

    /// Whether the OOM killer ended the job for its memory limit.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let group = match self {
            Self::V1(groups) => return groups.iter().any(cgroup_v1::ran_out_of_memory),
            Self::V2(group, _) => group,
        };
        let events = read(group.dir.as_fd(), "memory.events").unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.is_some_and(|count| count != "0")
    }
}

/// The nearest group, from the launcher's own upwards, whose children can have `controllers`; and whether it is a
/// new scope.
fn parent(controllers: &[&str]) -> Result<(OwnedFd, bool), String> {
    let (root, path, own) = hierarchy()?;
    let mut nearest = match usable(&root, &path, controllers, true) {
        Ok(dir) => return Ok((dir, false)),
        Err(refusal) => format!("/{} {refusal}", path.display()),
    };
    // Before the ancestors: systemd may change its own groups at any time, which would remove the limits.
    let available = lacking(root.as_fd(), "cgroup.controllers", controllers).is_empty();
    let limited = path.ancestors().position(|path| has_limit(&root, path));
    match available.then(|| scope::enter(&own.to_string_lossy(), limited)).flatten() {
        Some(Ok(())) => {
            let (root, path, _) = hierarchy()?;
            let dir = usable(&root, &path, controllers, true);
            return dir.map(|dir| (dir, true)).map_err(|it| format!("/{} {it}", path.display()));
        }
        Some(Err(error)) => {
            nearest.push_str("; no scope from the user's systemd manager: ");
            nearest.push_str(&error.to_string());
        }
        None => {}
    }
    for path in path.ancestors().skip(1).take(limited.unwrap_or(usize::MAX)) {
        match usable(&root, path, controllers, false) {
            Ok(dir) => return Ok((dir, false)),
            // The root group shows whether the kernel has the controller; else the nearest refusal is reported.
            Err(refusal @ Refusal::NoController(_)) if path.as_os_str().is_empty() => {
                nearest = format!("/ {refusal}");
            }
            Err(_) => {}
        }
    }
    if let Some(path) = limited.and_then(|levels| path.ancestors().nth(levels)) {
        nearest = format!("{nearest}; a job stays within the limits of /{}", path.display());
    }
    Err(nearest)
}

/// Whether the group at `path` below `root` has a limit.
fn has_limit(root: &OwnedFd, path: &Path) -> bool {
    let has = |file| {
        let text = read(root.as_fd(), &path.join(file).to_string_lossy());
        text.is_ok_and(|text| !text.starts_with("max"))
    };
    LIMIT_FILES.into_iter().any(has)
}

/// The group at `path` below `root`, if its children can have `controllers`.
fn usable<'c>(
    root: &OwnedFd,
    path: &Path,
    controllers: &[&'c str],
    own: bool,
) -> Result<OwnedFd, Refusal<'c>> {
    let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(root, name, flags, Mode::empty())
        .and_then(require_cgroup2)
        .map_err(|errno| Refusal::Unusable(errno.to_string()))?;
    prepare(dir.as_fd(), controllers, own).map(|()| dir)
}

/// Returns `dir` if it is on cgroup2; another file system may be mounted there.
fn require_cgroup2(dir: OwnedFd) -> Result<OwnedFd, Errno> {
    /// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
    const MAGIC: i128 = 0x6367_7270;
    let magic = fstatfs(&dir)?.f_type;
    if i128::from(magic) == MAGIC { Ok(dir) } else { Err(Errno::NOTDIR) }
}

/// Why a group can have no children with the controllers.
enum Refusal<'c> {
    /// It does not have this controller; if it is the root group, the host does not.
    NoController(&'c str),
    /// Another reason: its owner, or the processes in it.
    Unusable(String),
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoController(name) => write!(
                f,
                "has no controller for {name}: cgroup v1 has it, or it is disabled; boot the host with \
                 systemd.unified_cgroup_hierarchy=1, or enable it for the group"
            ),
            Self::Unusable(reason) => f.write_str(reason),
        }
    }
}

/// Those of `controllers` that a group's `file` does not list.
fn lacking<'c>(dir: BorrowedFd<'_>, file: &str, controllers: &[&'c str]) -> Vec<&'c str> {
    let list = read(dir, file).unwrap_or_default();
    let listed = |name: &&str| list.split_whitespace().any(|word| word == *name);
    controllers.iter().copied().filter(|name| !listed(name)).collect()
}

/// Enables `controllers` for children of `dir`, and checks that one can be made.
fn prepare<'c>(dir: BorrowedFd<'_>, controllers: &[&'c str], own: bool) -> Result<(), Refusal<'c>> {
    let foreign = || Refusal::Unusable(format!("belongs to another user; {SCOPE}"));
    let missing = lacking(dir, "cgroup.subtree_control", controllers);
    if let Some(name) = lacking(dir, "cgroup.controllers", &missing).first() {
        return Err(Refusal::NoController(name));
    }
    let writable = rustix::fs::accessat(dir, ".", rustix::fs::Access::WRITE_OK, AtFlags::EACCESS);
    writable.map_err(|_| foreign())?;
    // A group with processes cannot enable controllers for its children, except for the root group, which has no
    // type.
    let ordinary = statat(dir, "cgroup.type", AtFlags::empty()).is_ok();
    let empty = || read(dir, "cgroup.procs").is_ok_and(|list| list.is_empty());
    if ordinary && !empty() && !(own && move_to_child(dir)) {
        return Err(Refusal::Unusable(format!("holds other processes; {SCOPE}")));
    }
    let enable = |names: &[&str]| {
        let names: String = names.iter().map(|name| format!("+{name} ")).collect();
        write(dir, "cgroup.subtree_control", &names)
    };
    // A JVM reads no limits if one of these is missing.
    let mut all = lacking(dir, "cgroup.subtree_control", &["memory", "cpu"]);
    let absent = lacking(dir, "cgroup.controllers", &all);
    all.retain(|name| !absent.contains(name));
    all.extend(&missing);
    if !all.is_empty() && enable(&all).is_err() && !missing.is_empty() {
        enable(&missing).map_err(|errno| match errno {
            Errno::ACCESS | Errno::PERM | Errno::ROFS => foreign(),
            errno => Refusal::Unusable(errno.to_string()),
        })?;
    }
    Ok(())
}

/// Moves this process to a child of `dir` if it is the only one there, as in a service or a container.
fn move_to_child(dir: BorrowedFd<'_>) -> bool {
    let own = getpid().as_raw_nonzero().to_string();
    let alone = read(dir, "cgroup.procs").is_ok_and(|list| list.trim() == own);
    alone
        && matches!(mkdirat(dir, LAUNCHER, Mode::from_raw_mode(0o755)), Ok(()) | Err(Errno::EXIST))
        && write(dir, &format!("{LAUNCHER}/cgroup.procs"), &own).is_ok()
}

/// The topmost visible group, the path of the launcher's group below it, and that path as in `/proc/self/cgroup`.
///
/// If cgroup2 is not mounted, root makes a detached mount. Not otherwise: the options of the newest mount
/// apply to all of them.
fn hierarchy() -> Result<(OwnedFd, PathBuf, PathBuf), String> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let own = own_groups();
    let own = groups(&own).find(|(names, _)| names.is_empty());
    let own = own.map_or(Path::new("/"), |(_, path)| path).to_owned();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The path of a process outside its cgroup namespace's root has `..`, which leads out of any mount.
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    for (top, point) in mounts(&table, |kind, _| kind == b"cgroup2") {
        let Ok(below) = own.strip_prefix(&top) else { continue };
        if !below.components().all(plain) {
            continue;
        }
        if let Ok(root) = open(&point, flags, Mode::empty()) {
            let below = below.to_owned();
            return Ok((root, below, own));
        }
    }
    let options = [("nsdelegate", ""), ("memory_recursiveprot", "")]; // as systemd does
    let flags = NOSUID | NODEV | NOEXEC;
    let mounted = mount_calls::filesystem("cgroup2", &options, flags)
        .or_else(|_| mount_calls::filesystem("cgroup2", &[], flags));
    let below = own.strip_prefix("/").unwrap_or(&own).to_owned();
    mounted.map(|root| (root, below, own)).map_err(|errno| {
        format!(
            "cgroup v2 is not mounted, and cannot be: {errno}; as root, `mount -t \
             cgroup2 cgroup2 /sys/fs/cgroup`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_text_and_as_settings() {
        let limits = Limits { memory: Some(8 << 30), cpu: Some(1500), pids: Some(100) };
        assert_eq!(limits.to_string(), "8192 MiB of memory, 1.5 processors, 100 processes");
        let settings: Vec<_> = limits
            .settings()
            .into_iter()
            .map(|(file, value, _)| format!("{file}={value}"))
            .collect();
        assert_eq!(
            settings.join(" "),
            "memory.max=8589934592 memory.swap.max=0 memory.oom.group=1 cpu.max=150000 100000 \
             pids.max=100"
        );
        assert_eq!(limits.controllers(), ["memory", "cpu", "pids"]);
        let one = Limits { memory: Some(4097), ..Limits::default() };
        assert_eq!(
            (one.to_string(), one.controllers()),
            ("4097 bytes of memory".into(), vec!["memory"])
        );
        assert!(Limits::default().is_empty() && !one.is_empty());
    }
}
