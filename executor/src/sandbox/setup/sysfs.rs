//! A job's `/sys`: what programs size themselves by, and nothing of the host's devices.
//!
//! Secure by absence: the directory is the root's own, and shows the host's processors and memory
//! (`devices/system`), and the job's own control group, as its root; beside the host's network its
//! interfaces, too (`class/net`), by which UCX, and so MPI, knows that there is one. All of it is read-only.

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
    fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat, symlinkat},
    io::Errno,
};

/// The processors and the memory, here and there.
const SYSTEM: &str = "/sys/devices/system";
const FLAGS: u64 = RDONLY | NOSUID | NODEV | NOEXEC;

/// What of `/sys/class` belongs to a network.
const NETWORK: [&str; 3] = ["net", "infiniband", "infiniband_verbs"];

/// Makes `/sys`. `groups` are those that the job is in; it has the host's network if `network`.
pub(crate) fn mount(places: &Places, groups: &Groups, network: bool) -> Result<(), Failure> {
    let sys = mount_calls::directory(&places.root, "sys", 0o755)?;
    // A host without it, or one that hides it, has nothing to show.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let devices = mount_calls::directory(&sys, "devices", 0o755)?;
    if let Ok(host) = openat(CWD, SYSTEM, flags, Mode::empty()) {
        let point = mount_calls::directory(&devices, "system", 0o755)?;
        // With what is mounted below it, as in containers that show only some processors.
        let tree = clone_tree(host.as_fd(), true)?;
        seal::attach_sealed(&places.proc, &tree, here(&point), FLAGS, true)?;
    }
    if network {
        let class = mount_calls::directory(&sys, "class", 0o755)?;
        let devices = mount_calls::directory(&devices, "virtual", 0o755)?;
        NETWORK.iter().try_for_each(|name| interfaces(places, (&class, &devices), name))?;
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

/// Shows what the host's `/sys/class/NAME` links to, each as a link to a device without hardware, as the
/// kernel has those: UCX looks at links only.
fn interfaces(
    places: &Places,
    (class, devices): (&OwnedFd, &OwnedFd),
    kind: &str,
) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = openat(CWD, format!("/sys/class/{kind}"), flags, Mode::empty());
    let Ok(mut list) = host.and_then(Dir::new) else { return Ok(()) };
    let class = mount_calls::directory(class, kind, 0o755)?;
    let devices = mount_calls::directory(devices, kind, 0o755)?;
    while let Some(entry) = list.read() {
        let entry = entry?;
        let name = entry.file_name();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Some are files; an interface may be gone by now.
        let found = openat(list.fd()?, name, flags, Mode::empty());
        if let (Ok(found), false) = (found, name.to_bytes().starts_with(b".")) {
            let point = mount_calls::directory(&devices, name, 0o755)?;
            let link = format!("../../devices/virtual/{kind}/{}", name.to_string_lossy());
            symlinkat(link, &class, name)?;
            let tree = clone_tree(found.as_fd(), false)?;
            seal::attach_sealed(&places.proc, &tree, here(&point), FLAGS, false)?;
        }
    }
    Ok(())
}
