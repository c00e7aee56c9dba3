//! Limits by cgroup v1: a group in the hierarchy of each controller, below that of the launcher.
//! Only root may make them, unless a group was delegated to a user.

use super::{
    group::{Group, read, sweep, write},
    hierarchy::{groups, mounts, own_groups},
};
use crate::{fs::split::split, sandbox::plan::job::Limits};
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{Mode, OFlags, open, openat},
    io::Errno,
};
use std::{
    fs,
    path::{Component, Path},
};

/// The remedy if cgroup v1 refuses them.
const REMEDY: &str = "with cgroup v1 only root can set limits; let the workload manager set them (srun --mem), run \
                      as root, or boot the host with systemd.unified_cgroup_hierarchy=1";

/// Files of a controller and their content, and whether the file is optional.
fn settings(limits: Limits, controller: &str) -> Vec<(&'static str, String, bool)> {
    let all = match controller {
        "memory" => limits.memory.map(|bytes| {
            let bytes = bytes.to_string();
            // The second one includes swap, if the kernel accounts for swap.
            vec![
                ("memory.limit_in_bytes", bytes.clone(), false),
                ("memory.memsw.limit_in_bytes", bytes, true),
            ]
        }),
        "cpu" => limits.cpu.map(|thousandths| {
            // Microseconds per period of 100 ms.
            let quota = (u64::from(thousandths) * 100).to_string();
            vec![
                ("cpu.cfs_period_us", "100000".to_owned(), false),
                ("cpu.cfs_quota_us", quota, false),
            ]
        }),
        _ => limits.pids.map(|count| vec![("pids.max", count.to_string(), false)]),
    };
    all.unwrap_or_default()
}

/// Makes a group in each hierarchy that these limits need. `None` if the host lacks one of them.
///
/// # Errors
/// The reason why none can be made, and how to fix it.
pub(super) fn make(limits: Limits, controllers: &[&str]) -> Option<Result<Vec<Group>, String>> {
    let own = own_groups();
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut parents: Vec<(&str, OwnedFd, Vec<&str>)> = Vec::new();
    for &controller in controllers {
        let (names, path) = hierarchy(&own, controller)?;
        match parents.iter_mut().find(|(others, ..)| *others == names) {
            Some((.., controllers)) => controllers.push(controller),
            None => parents.push((names, parent(&mounts, controller, path)?, vec![controller])),
        }
    }
    let made = parents.into_iter().map(|(names, parent, controllers)| {
        sweep(&parent);
        let refuse = |errno: Errno| match errno {
            Errno::ACCESS | Errno::PERM | Errno::ROFS => REMEDY.to_owned(),
            errno => format!("no group of {names} can be made: {errno}"),
        };
        let group = Group::make(parent).map_err(refuse)?;
        let settings = controllers.into_iter().flat_map(|name| settings(limits, name));
        for (file, value, optional) in settings {
            match write(group.dir.as_fd(), file, &value) {
                Err(Errno::NOENT) if optional => {}
                Err(errno) => return Err(format!("{file} does not take {value}: {errno}")),
                Ok(()) => {}
            }
        }
        Ok(group)
    });
    Some(made.collect())
}

/// The controllers of the hierarchy with this one, and the launcher's group in it, of `/proc/self/cgroup`.
fn hierarchy<'a>(own: &'a [u8], controller: &str) -> Option<(&'a str, &'a Path)> {
    groups(own).find(|(names, _)| names.split(',').any(|name| name == controller))
}

/// The group `path` in the controller's hierarchy, if that is mounted.
fn parent(table: &[u8], controller: &str, path: &Path) -> Option<OwnedFd> {
    let is_it = |kind: &[u8], options: &[u8]| {
        kind == b"cgroup" && split(options, b',').any(|name| name == controller.as_bytes())
    };
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    mounts(table, is_it).find_map(|(top, point)| {
        let below = path.strip_prefix(&top).ok()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let point = point.join(below);
        below.components().all(plain).then(|| open(point, flags, Mode::empty()).ok())?
    })
}

/// A descriptor that is readable when the group has reached its memory limit. Disables the OOM killer, which would
/// kill one process while the others continue: the process waits until the launcher kills the job.
pub(super) fn watch_memory(group: &Group) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let control = openat(&group.dir, "memory.oom_control", flags, Mode::empty()).ok()?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    let words = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    write(group.dir.as_fd(), "cgroup.event_control", &words).ok()?;
    // Without it, the job is killed right after its process.
    _ = write(group.dir.as_fd(), "memory.oom_control", "1");
    Some(event)
}

/// Whether the OOM killer ended a process of the group.
pub(super) fn ran_out_of_memory(group: &Group) -> bool {
    let control = read(group.dir.as_fd(), "memory.oom_control").unwrap_or_default();
    let kills = control.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.is_some_and(|count| count != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_settings_of_cgroup_v1() {
        let limits = Limits { memory: Some(1 << 20), cpu: Some(1500), pids: Some(7) };
        for (controller, want) in [
            ("memory", "memory.limit_in_bytes=1048576 memory.memsw.limit_in_bytes=1048576"),
            ("cpu", "cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000"),
            ("pids", "pids.max=7"),
        ] {
            let found = settings(limits, controller);
            let found: Vec<_> =
                found.iter().map(|(file, value, _)| format!("{file}={value}")).collect();
            assert_eq!(found.join(" "), want);
        }
        assert!(settings(Limits::default(), "cpu").is_empty());
    }

    #[test]
    fn a_controller_is_in_one_hierarchy() {
        let own = b"4:memory:/a\n2:cpu,cpuacct:/b:c\n1:name=systemd:/\n0::/\n";
        assert_eq!(hierarchy(own, "memory"), Some(("memory", Path::new("/a"))));
        assert_eq!(hierarchy(own, "cpu"), Some(("cpu,cpuacct", Path::new("/b:c"))));
        assert_eq!(hierarchy(own, "pids"), None);
    }
}
