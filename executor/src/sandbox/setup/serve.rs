//! The FUSE mount of a runtime whose files are not all installed yet (`--lazy`).
//!
//! `/dev/fuse` is opened in the job's user namespace, since the kernel allows the mount only there, and sent to
//! the serving process. Neither the job nor any process in its namespaces keeps it open.

use super::{
    failure::Failure,
    fd_passing,
    mount_calls::{self, attach, here},
    mounts::{RootFs, SERVED},
};
use crate::sandbox::{
    plan::job::Ids,
    sys::{NODEV, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::{Mode, OFlags, open, openat},
};

/// Mounts the runtime, and sends `/dev/fuse` to the serving process over `server`.
pub(crate) fn mount(rootfs: &RootFs, server: BorrowedFd<'_>, owner: Ids) -> Result<(), Failure> {
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let (fd, user, group) =
        (device.as_raw_fd().to_string(), owner.uid.to_string(), owner.gid.to_string());
    let options = [
        ("source", "joblet"),
        ("fd", &fd),
        ("rootmode", "40000"),
        ("user_id", &user),
        ("group_id", &group),
        // A job started by root may run as another user. Permission bits apply, as for installed files.
        ("allow_other", ""),
        ("default_permissions", ""),
        ("ro", ""),
    ];
    let tree = mount_calls::filesystem("fuse", &options, RDONLY | NOSUID | NODEV)?;
    fd_passing::send(server, &[device.as_fd()])?;
    let point = mount_calls::make_directory(&rootfs.root, SERVED, 0o700)?;
    attach(&tree, here(&point))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(&rootfs.root, SERVED, flags, Mode::empty())?;
    rootfs.served.get_or_init(|| top);
    Ok(())
}
