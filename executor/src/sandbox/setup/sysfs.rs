//! A job's `/sys`: what programs read to choose their size, and nothing of the host's devices.
//!
//! Allow-list: only what is listed here is shown. The directory is the root's own, and shows the host's processors and memory
//! (`devices/system`), and the job's own control group, as its root; beside the host's network its
//! interfaces, too (`class/net`), by which UCX, and so MPI, knows that there is one. All of it is read-only.

use super::{
    failure::Failure,
    mount_calls::{self, clone_tree, here},
    mounts::RootFs,
    seal,
};
use crate::env::weaken;
use crate::sandbox::{
    plan::host::{Group, Groups},
    sys::{NODEV, NOEXEC, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, Mode, OFlags, fstatfs, mkdirat, openat, statat, symlinkat},
    io::Errno,
};
use std::path::Path;

/// The processors and the memory, here and there.
const SYSTEM: &str = "sys/devices/system";
/// The control groups.
const GROUPS: &str = "sys/fs/cgroup";
const FLAGS: u64 = RDONLY | NOSUID | NODEV | NOEXEC;

/// `statfs.f_type` of cgroup v1 and v2, linux/magic.h.
const CGROUP2_SUPER_MAGIC: u32 = 0x6367_7270;
const CGROUP_SUPER_MAGIC: u32 = 0x0027_e0eb;

/// What of `/sys/class` belongs to a network.
const NETWORK: [&str; 3] = ["net", "infiniband", "infiniband_verbs"];

/// Makes `/sys`. `groups` are those that the job is in; it has the host's network if `network`.
pub(crate) fn mount(rootfs: &RootFs, groups: &Groups, network: bool) -> Result<(), Failure> {
    // No other process can replace one of them.
    let directory = |path: &Path| mkdirat(&rootfs.root, path, Mode::from_raw_mode(0o755));
    for path in ["sys", "sys/devices", SYSTEM, "sys/fs", GROUPS] {
        directory(Path::new(path))?;
    }
    // Files there are root's to write, by their modes alone.
    let flags = if weaken::without("sealed-sys") { FLAGS & !RDONLY } else { FLAGS };
    let show = |tree: &OwnedFd, path: &Path| {
        seal::attach_sealed(&rootfs.proc, tree, (rootfs.root.as_fd(), path), flags, true)
    };
    // A host without it, or one that hides it, has nothing to show.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(host) = openat(CWD, format!("/{SYSTEM}"), flags, Mode::empty()) {
        // With what is mounted below it, as in containers that show only some processors.
        show(&clone_tree(host.as_fd(), true)?, Path::new(SYSTEM))?;
    }
    if network {
        let parents = ["sys/class", "sys/devices/virtual"];
        let [class, devices] =
            parents.map(|path| mount_calls::make_directory(&rootfs.root, path, 0o755));
        let parents = (&class?, &devices?);
        NETWORK.iter().try_for_each(|name| interfaces(rootfs, parents, name))?;
    }
    let all = Path::new(GROUPS);
    match groups {
        Groups::None => {}
        Groups::V2(group) => {
            // Only the topmost group of a host has no type. It limits nothing, and has all others.
            let is_own = |group: &OwnedFd| statat(group, "cgroup.type", AtFlags::empty()).is_ok();
            if let Some(group) = open_group(group).filter(is_own) {
                show(&group, all)?;
            }
        }
        Groups::V1(groups) => {
            for group in groups {
                let Some(found) = open_group(group) else { continue };
                let at = all.join(&group.controllers);
                directory(&at)?;
                show(&found, &at)?;
                // Each controller by its name, where some have one hierarchy: cpu, cpuacct.
                let names = group.controllers.split(',').filter(|name| **name != group.controllers);
                for name in names {
                    match symlinkat(&group.controllers, &rootfs.root, all.join(name)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
    }
    Ok(())
}

/// A mount of `group`, attached nowhere: of its directory where hierarchies usually are, else of a new
/// file system, whose root is the group that this process is in. That is slower, most of all to end.
fn open_group(group: &Group) -> Option<OwnedFd> {
    let Group { controllers, path } = group;
    let version = if controllers.is_empty() { CGROUP2_SUPER_MAGIC } else { CGROUP_SUPER_MAGIC };
    let known = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // `/..` is above the group that this process may see.
        let path = Some(path).filter(|path| path.starts_with('/') && !path.contains("/.."))?;
        let path = format!("/{GROUPS}/{controllers}{path}");
        let found = openat(CWD, path, flags, Mode::empty()).ok()?;
        let magic = fstatfs(&found).ok()?.f_type;
        // Not recursively: the kernel keeps what is mounted below, if anything is.
        let is_one = i128::from(magic) == i128::from(version);
        is_one.then(|| clone_tree(found.as_fd(), false).ok())?
    };
    known().or_else(|| {
        let options: Vec<_> = controllers.split(',').map(|name| (name, "")).collect();
        let (name, options) =
            if controllers.is_empty() { ("cgroup2", &[][..]) } else { ("cgroup", &*options) };
        mount_calls::filesystem(name, options, FLAGS).ok()
    })
}

/// Shows what the host's `/sys/class/NAME` links to, each as a link to a device without hardware, as the
/// kernel has those: UCX looks at links only.
fn interfaces(
    rootfs: &RootFs,
    (class, devices): (&OwnedFd, &OwnedFd),
    kind: &str,
) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = openat(CWD, format!("/sys/class/{kind}"), flags, Mode::empty());
    let Ok(mut list) = host.and_then(Dir::new) else { return Ok(()) };
    let class = mount_calls::make_directory(class, kind, 0o755)?;
    let devices = mount_calls::make_directory(devices, kind, 0o755)?;
    while let Some(entry) = list.read() {
        let entry = entry?;
        let name = entry.file_name();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Some are files; an interface may be gone by now.
        let found = openat(list.fd()?, name, flags, Mode::empty());
        if let (Ok(found), false) = (found, name.to_bytes().starts_with(b".")) {
            let point = mount_calls::make_directory(&devices, name, 0o755)?;
            let link = format!("../../devices/virtual/{kind}/{}", name.to_string_lossy());
            symlinkat(link, &class, name)?;
            let tree = clone_tree(found.as_fd(), false)?;
            seal::attach_sealed(&rootfs.proc, &tree, here(&point), FLAGS, false)?;
        }
    }
    Ok(())
}
