//! Directories of elsewhere that a job may change without changing them.

use super::{
    Ids,
    apply::Failure,
    mounts::{self, Places},
    step::Origin,
    sys::{NODEV, NOSUID},
};
use crate::within::Create;
use rustix::{
    fd::AsFd,
    fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, fchmod, fstat, mkdirat, openat},
    io::Errno,
    process::fchdir,
};
use std::path::Path;

/// Mounts an overlay on `target`: `origin` below, a tmpfs above.
///
/// The tmpfs is first mounted on `target` itself, with `origin` mounted on a directory in it; the
/// overlay then covers both. So its layers have the short relative names that follow, whatever
/// characters the path of `origin` has, and nothing else can ever reach them.
pub(super) fn mount(
    places: &Places,
    origin: &Origin,
    target: &Path,
    owner: Ids,
    user_namespace: bool,
) -> Result<(), Failure> {
    let target = places.target(target, Create::Directory)?;
    let scratch = mounts::tmpfs(0o755, None, &[], NOSUID | NODEV)?;
    mounts::attach(&scratch, target.as_fd())?;
    for name in ["lower", "upper", "work"] {
        mkdirat(&scratch, name, Mode::from_raw_mode(0o755))?;
    }
    let source = places.find(origin)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = openat(&scratch, "upper", flags, Mode::empty())?;
    if *origin != Origin::Cwd {
        fchmod(&upper, Mode::from_raw_mode(fstat(&source)?.st_mode & 0o1777))?;
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    chownat(&upper, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let lower = openat(&scratch, "lower", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let explain = |errno| explain(errno, origin, user_namespace);
    // Without the mounts below it: an overlay shows one file system. In a user namespace the
    // kernel refuses to uncover what lies under them.
    let tree = mounts::clone_tree(source.as_fd(), false).map_err(explain)?;
    mounts::attach(&tree, lower.as_fd())?;
    fchdir(&scratch)?;
    let mut options = vec![("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")];
    if user_namespace {
        // The marks of deleted entries as user.* attributes: trusted.* needs real privileges.
        options.push(("userxattr", ""));
    }
    let overlay = mounts::filesystem("overlay", &options, NOSUID | NODEV).map_err(explain)?;
    mounts::attach(&overlay, target.as_fd())?;
    fchdir(&places.cwd)?;
    Ok(())
}

/// What stands behind the few errno values of overlay mounts, and the way out.
fn explain(errno: Errno, origin: &Origin, user_namespace: bool) -> Failure {
    let remedy = match origin {
        Origin::Cwd => "start from another directory (from / nothing is shared) and use --bind",
        Origin::Runtime(_) | Origin::Host(_) => "run as root, or use a runtime without it",
    };
    let cause = match errno {
        Errno::INVAL if user_namespace => {
            "without root a directory with other mounts in it, or on a file system that cannot be \
             overlaid, cannot be shown"
        }
        Errno::INVAL => "its file system cannot be overlaid",
        Errno::PERM if user_namespace => "overlays without root need Linux 5.11",
        Errno::NODEV => "this kernel has no overlayfs (modprobe overlay)",
        _ => return Failure::from(errno),
    };
    Failure::launch(format!("{cause}; {remedy}"))
}
