//! A job's `/dev`: the devices that every program may expect, and nothing of the host's hardware.

use super::{
    failure::Failure,
    mount_calls::{self, here},
    mounts::RootFs,
    seal,
};
use crate::env::weaken;
use crate::sandbox::{
    plan::job::Device,
    sys::{NODEV, NOEXEC, RDONLY},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, fstat, major, makedev, minor, mkdir, mkdirat,
        mknodat, openat, stat, symlink, unlinkat,
    },
    io::Errno,
    mount::{self, MountFlags, mount_bind},
    process::{fchdir, umask},
};
use std::path::Path;

/// The nodes, with their numbers from the kernel's list of devices.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The links.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Mounts a new `/dev`. Nodes are made if `make_nodes`, else the host's are mounted one by one: in
/// a user namespace no new node can be opened.
/// `more` are nodes of the host, with the directories that they are in. `/dev/shm` is the host's if
/// `share_memory`, else the job's own.
pub(crate) fn mount(
    rootfs: &RootFs,
    make_nodes: bool,
    (more, share_memory): (&[Device], bool),
) -> Result<(), Failure> {
    let target = rootfs.target(Path::new("/dev"), false)?;
    // A directory of the root, mounted on itself: it keeps its devices when the root, which was
    // without nodev for it, loses them.
    let dev = mount_calls::clone_tree(target.as_fd(), false)?;
    seal::attach_sealed(&rootfs.proc, &dev, here(&target), NOEXEC, false)?;
    seal::seal(&rootfs.proc, rootfs.root.as_fd(), NODEV, false)?;
    let before = umask(Mode::empty());
    fchdir(&dev)?;
    for (name, major, minor) in NODES {
        let made = if make_nodes { make(name, major, minor) } else { Err(Errno::PERM) };
        match made {
            // Also as root in a container without CAP_MKNOD.
            Err(Errno::PERM) => share(name, major, minor)?,
            other => other?,
        }
    }
    for (name, target) in LINKS {
        symlink(target, name)?;
    }
    for device in more {
        let refuse = |errno| Failure::launch(format!("{}: {errno}", device.host.display()));
        add(&dev, device).map_err(refuse)?;
    }
    // It stays writable: cloned before the rest is sealed.
    let shm = mount_calls::make_directory(&dev, "shm", 0o1777)?;
    let tree = if share_memory {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refuse = |errno| Failure::launch(format!("the host's /dev/shm: {errno}"));
        let host = openat(CWD, "/dev/shm", flags, Mode::empty()).map_err(refuse)?;
        mount_calls::clone_tree(host.as_fd(), false)?
    } else {
        mount_calls::clone_tree(shm.as_fd(), false)?
    };
    mkdir("pts", Mode::from_raw_mode(0o755))?;
    umask(before);
    // With the nodes of the host: they can be opened by users with permission, but their owners and modes
    // stay the host's. Before more is mounted, which is the job's.
    seal::seal(&rootfs.proc, dev.as_fd(), RDONLY, !weaken::without("sealed-devices"))?;
    // Terminals of its own; the names in it lead to no terminal of the host.
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount::mount(
        "devpts",
        "pts",
        "devpts",
        flags,
        c"newinstance,ptmxmode=0666,mode=0620,max=1024",
    )?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // No other process can mount anything here, and no step has yet.
    let pts = openat(CWD, "pts", flags, Mode::empty())?;
    rootfs.pts.get_or_init(|| pts);
    fchdir(&rootfs.cwd)?;
    seal::attach_sealed(&rootfs.proc, &tree, here(&shm), NODEV, false)
}

/// Makes a node in the current directory.
fn make(name: &str, major: u32, minor: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, name, FileType::CharacterDevice, mode, makedev(major, minor))
}

/// Mounts the host's node in the current directory. It must be the one it is named after.
fn share(name: &str, want_major: u32, want_minor: u32) -> Result<(), Failure> {
    let path = format!("/dev/{name}");
    mknodat(CWD, name, FileType::RegularFile, Mode::empty(), 0)?;
    match mount_bind(&path, name) {
        // A host without terminals; a job notices only if it opens one.
        Err(Errno::NOENT) if name == "tty" => return Ok(unlinkat(CWD, name, AtFlags::empty())?),
        Err(Errno::NOENT) => {
            return Err(Failure::launch(format!("the host has no {path}, which a job needs")));
        }
        other => other?,
    }
    let stat = stat(name)?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !device || (major(stat.st_rdev), minor(stat.st_rdev)) != (want_major, want_minor) {
        return Err(Failure::launch(format!("the host's {path} is not that device")));
    }
    Ok(())
}

/// Mounts a device of the host.
fn add(dev: &OwnedFd, device: &Device) -> Result<(), Errno> {
    let host = openat(CWD, &device.host, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(fstat(&host)?.st_mode);
    if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        return Err(Errno::NOTBLK);
    }
    // Nothing but what is made here is in this directory: no link leads out of it.
    let parents = device.path.ancestors().skip(1).filter(|parent| parent.as_os_str() != "");
    let parents: Vec<_> = parents.collect();
    for parent in parents.into_iter().rev() {
        match mkdirat(dev, parent, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            other => return other,
        }
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let point = match openat(dev, &device.path, flags, Mode::from_raw_mode(0o644)) {
        // One that every job has, or that is named twice.
        Err(Errno::EXIST) => return Ok(()),
        point => point?,
    };
    mount_calls::attach(&mount_calls::clone_tree(host.as_fd(), false)?, here(&point))
}
