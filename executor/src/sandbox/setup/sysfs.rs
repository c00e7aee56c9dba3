//! A job's `/sys`: what programs size themselves by, and nothing of the host's devices.
//!
//! Secure by absence: the directory is the root's own, and shows the host's processors and memory
//! (`devices/system`), and the job's own control group, as its root. All of it is read-only.

use super::{
    failure::Failure,
    mount_calls::{self, attach, clone_tree, here},
    mounts::Places,
    seal,
};
use crate::sandbox::{
    plan::host::Groups,
    sys::{NODEV, NOEXEC, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Mode, OFlags, openat, statat, symlinkat},
    io::Errno,
};

/// The processors and the memory, here and there.
const SYSTEM: &str = "/sys/devices/system";
const FLAGS: u64 = RDONLY | NOSUID | NODEV | NOEXEC;

/// Makes `/sys`. `groups` are those that the job is in.
pub(crate) fn mount(places: &Places, groups: &Groups) -> Result<(), Failure> {
    let sys = mount_calls::directory(&places.root, "sys", 0o755)?;
    // A host without it, or one that hides it, has nothing to show.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(host) = openat(CWD, SYSTEM, flags, Mode::empty()) {
        let devices = mount_calls::directory(&sys, "devices", 0o755)?;
        let point = mount_calls::directory(&devices, "system", 0o755)?;
        // With what is mounted below it, as in containers that show only some processors.
        let tree = clone_tree(host.as_fd(), true)?;
        seal::attach_sealed(&places.proc, &tree, here(&point), FLAGS, true)?;
    }
    let fs = mount_calls::directory(&sys, "fs", 0o755)?;
    let point = mount_calls::directory(&fs, "cgroup", 0o755)?;
    match groups {
        Groups::None => {}
        Groups::Two => {
            let found = mount_calls::filesystem("cgroup2", &[], FLAGS);
            // Only the topmost group of a host has no type. It limits nothing, and has all others.
            let is_own =
                |group: &OwnedFd| statat(group.as_fd(), "cgroup.type", AtFlags::empty()).is_ok();
            if let Some(group) = found.ok().filter(is_own) {
                attach(&group, here(&point))?;
            }
        }
        Groups::One(hierarchies) => {
            for names in hierarchies {
                let options: Vec<_> = names.split(',').map(|name| (name, "")).collect();
                let Ok(group) = mount_calls::filesystem("cgroup", &options, FLAGS) else {
                    continue;
                };
                attach(&group, here(&mount_calls::directory(&point, names.as_str(), 0o755)?))?;
                // Each controller by its name, where some have one hierarchy: cpu, cpuacct.
                for name in names.split(',').filter(|_| options.len() > 1) {
                    match symlinkat(names, &point, name) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
    }
    Ok(())
}
