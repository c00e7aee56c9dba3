//! The runtime's files by FUSE, where they are not all here yet.
//!
//! The device is opened in the job's own user namespace, since the kernel mounts what it stands for in that
//! one alone, and goes to the process that serves. The job has neither the device nor any process of its
//! namespace that has it.

use super::{
    descriptors,
    failure::Failure,
    mount_calls::{self, attach, here},
    mounts::{Places, SERVED},
};
use crate::sandbox::{
    plan::job::Ids,
    sys::{NODEV, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::{Mode, OFlags, open, openat},
};

/// Mounts the runtime, and sends the device to who serves it at the other end of `server`.
pub(crate) fn mount(places: &Places, server: BorrowedFd<'_>, owner: Ids) -> Result<(), Failure> {
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let (fd, user, group) =
        (device.as_raw_fd().to_string(), owner.uid.to_string(), owner.gid.to_string());
    let options = [
        ("source", "joblet"),
        ("fd", &fd),
        ("rootmode", "40000"),
        ("user_id", &user),
        ("group_id", &group),
        // A job of root may run as another user; modes decide, as for files.
        ("allow_other", ""),
        ("default_permissions", ""),
        ("ro", ""),
    ];
    let tree = mount_calls::filesystem("fuse", &options, RDONLY | NOSUID | NODEV)?;
    descriptors::send(server, &[device.as_fd()])?;
    let point = mount_calls::directory(&places.root, SERVED, 0o700)?;
    attach(&tree, here(&point))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(&places.root, SERVED, flags, Mode::empty())?;
    places.served.get_or_init(|| top);
    Ok(())
}
