//! Overlays: changes that only the job sees, above a directory that stays as it is.

use super::{
    failure::Failure,
    mount_calls::{self, here},
    mounts::RootFs,
    seal,
};
use crate::sandbox::{
    plan::job::Ids,
    sys::{NODEV, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, mkdirat, openat},
    io::Errno,
    process::fchdir,
};

/// Mounts an overlay on `target`: the lower layer is the mount `tree`, the upper one a new directory with
/// this mode and owner.
///
/// The layers are directories in `target` itself, with `tree` mounted on one of them, and the overlay
/// covers them. So their names in the options are short and relative, whatever characters the path of
/// `tree` has, and no path reaches them afterwards. `target` must be on a tmpfs of the job: if it is not
/// on the root's, one is mounted on it first. Returns the upper layer.
pub(crate) fn stack(
    rootfs: &RootFs,
    tree: &OwnedFd,
    target: &OwnedFd,
    mode: u32,
    owner: Ids,
    user_namespace: bool,
) -> Result<OwnedFd, Failure> {
    let other;
    let layers = if rootfs.is_unused(target.as_fd())? {
        target
    } else {
        other = mount_calls::tmpfs(0o755, None, rootfs.size, NOSUID | NODEV)?;
        mount_calls::attach(&other, here(target))?;
        &other
    };
    for name in ["lower", "upper", "work"] {
        mkdirat(layers, name, Mode::from_raw_mode(0o755))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = openat(layers, "upper", flags, Mode::empty())?;
    mount_calls::set_owner(upper.as_fd(), mode, owner)?;
    let lower = openat(layers, "lower", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    seal::attach_sealed(&rootfs.proc, tree, here(&lower), RDONLY | NOSUID | NODEV, false)?;
    fchdir(layers)?;
    let mut options = vec![("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")];
    if user_namespace {
        // Whiteouts as user.* attributes: trusted.* needs privileges outside of the user namespace.
        options.push(("userxattr", ""));
    }
    let mount = |options: &[_]| mount_calls::filesystem("overlay", options, NOSUID | NODEV);
    // Allows rename(2) of a directory of the lower layer, which otherwise fails with EXDEV: programs do
    // not expect that. It needs trusted.* attributes, which root of another user namespace cannot set.
    let overlay = if user_namespace {
        mount(&options)
    } else {
        options.push(("redirect_dir", "on"));
        let mounted = mount(&options);
        options.pop();
        mounted.or_else(|errno| if errno == Errno::PERM { mount(&options) } else { Err(errno) })
    }?;
    mount_calls::attach(&overlay, here(target))?;
    rootfs.add_own(overlay.as_fd())?;
    fchdir(&rootfs.cwd)?;
    Ok(upper)
}
