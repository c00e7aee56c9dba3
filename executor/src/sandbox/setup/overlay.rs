//! Directories of elsewhere that a job may change without changing them.

use super::{
    failure::Failure,
    mount_calls::{self, here},
    mounts::Places,
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

/// Mounts an overlay on `target`, with the mount `tree` below and a directory with this mode and
/// owner above.
///
/// The layers are directories in `target` itself, with `tree` mounted on one of them; the overlay
/// then covers them. So they have the short relative names that follow, whatever characters the
/// path of `tree` has, and nothing else can ever reach them. What `target` is on must be a tmpfs
/// of the job: if it is not the root's, one is mounted there first. Returns the upper layer.
pub(crate) fn stack(
    places: &Places,
    tree: &OwnedFd,
    target: &OwnedFd,
    mode: u32,
    owner: Ids,
    user_namespace: bool,
) -> Result<OwnedFd, Failure> {
    let other;
    let layers = if places.is_free(target.as_fd())? {
        target
    } else {
        other = mount_calls::tmpfs(0o755, None, places.size, NOSUID | NODEV)?;
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
    seal::attach_sealed(&places.proc, tree, here(&lower), RDONLY | NOSUID | NODEV, false)?;
    fchdir(layers)?;
    let mut options = vec![("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")];
    if user_namespace {
        // The marks of deleted entries as user.* attributes: trusted.* needs real privileges.
        options.push(("userxattr", ""));
    }
    let mount = |options: &[_]| mount_calls::filesystem("overlay", options, NOSUID | NODEV);
    // A directory that is renamed stays one, with what is below it in the lower layer: programs that
    // rename one do not expect EXDEV. It takes trusted.* attributes, which not even root of another user
    // namespace has.
    let overlay = if user_namespace {
        mount(&options)
    } else {
        options.push(("redirect_dir", "on"));
        let mounted = mount(&options);
        options.pop();
        mounted.or_else(|errno| if errno == Errno::PERM { mount(&options) } else { Err(errno) })
    }?;
    mount_calls::attach(&overlay, here(target))?;
    places.owns(overlay.as_fd())?;
    fchdir(&places.cwd)?;
    Ok(upper)
}
