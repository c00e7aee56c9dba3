//! Directories of elsewhere that a job may change without changing them.

use super::{
    Ids,
    apply::Failure,
    mounts::{self, Places, here},
    seal,
    step::Origin,
    sys::{NODEV, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Dir, Mode, OFlags, fstat, mkdirat, openat, symlinkat},
    io::Errno,
    process::fchdir,
};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

/// Where the current directory is seen if it cannot be overlaid.
const SHOWN: &str = "/.cwd";

/// Mounts an overlay on `target`: `origin` below, a tmpfs above.
///
/// The layers are directories in `target` itself, with `origin` mounted on one of them; the
/// overlay then covers them. So they have the short relative names that follow, whatever
/// characters the path of `origin` has, and nothing else can ever reach them. What `target` is on
/// must be a tmpfs of the job: if it is not the root's, one is mounted there first.
///
/// What cannot be overlaid is linked to, entry by entry, if it is the current directory.
pub(super) fn mount(
    places: &Places,
    origin: &Origin,
    target: &Path,
    owner: Ids,
    user_namespace: bool,
) -> Result<(), Failure> {
    let target = places.target(target, false)?;
    let refused = match overlay(places, origin, &target, owner, user_namespace) {
        Err(failure) if *origin == Origin::Cwd => failure,
        other => return other,
    };
    link_entries(places, &target, owner).map_err(|_| refused)
}

/// Shows the current directory read-only, with what is mounted in it, and on `target` a directory
/// of links to its entries. New files can be made there; those of the caller cannot be changed.
fn link_entries(places: &Places, target: &OwnedFd, owner: Ids) -> Result<(), Failure> {
    fchdir(&places.cwd)?;
    places.bind(&Origin::Cwd, Path::new(SHOWN), false)?;
    // Over what is left of the attempt to overlay it.
    let work = mounts::tmpfs(0o755, Some(owner), &[], NOSUID | NODEV)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(openat(&places.cwd, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            let name = OsStr::from_bytes(name);
            symlinkat(Path::new(SHOWN).join(name), &work, name)?;
        }
    }
    mounts::attach(&work, here(target))?;
    Ok(places.owns(work.as_fd())?)
}

fn overlay(
    places: &Places,
    origin: &Origin,
    target: &OwnedFd,
    owner: Ids,
    user_namespace: bool,
) -> Result<(), Failure> {
    let other;
    let layers = if places.is_free(target.as_fd())? {
        target
    } else {
        other = mounts::tmpfs(0o755, None, &[], NOSUID | NODEV)?;
        mounts::attach(&other, here(target))?;
        &other
    };
    for name in ["lower", "upper", "work"] {
        mkdirat(layers, name, Mode::from_raw_mode(0o755))?;
    }
    let source = places.find(origin)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = openat(layers, "upper", flags, Mode::empty())?;
    let mode = if *origin == Origin::Cwd { 0o755 } else { fstat(&source)?.st_mode & 0o1777 };
    mounts::set_owner(upper.as_fd(), mode, owner)?;
    let lower = openat(layers, "lower", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let explain = |errno| explain(errno, origin, user_namespace);
    // Without the mounts below it: an overlay shows one file system. In a user namespace the
    // kernel refuses to uncover what lies under them.
    let tree = mounts::clone_tree(source.as_fd(), false).map_err(explain)?;
    seal::attach_sealed(places, &tree, here(&lower), RDONLY | NOSUID | NODEV, false)?;
    fchdir(layers)?;
    let mut options = vec![("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")];
    if user_namespace {
        // The marks of deleted entries as user.* attributes: trusted.* needs real privileges.
        options.push(("userxattr", ""));
    }
    let overlay = mounts::filesystem("overlay", &options, NOSUID | NODEV).map_err(explain)?;
    mounts::attach(&overlay, here(target))?;
    places.owns(overlay.as_fd())?;
    fchdir(&places.cwd)?;
    Ok(())
}

/// What stands behind the few errno values of overlay mounts, and the way out.
fn explain(errno: Errno, origin: &Origin, user_namespace: bool) -> Failure {
    let remedy = match origin {
        Origin::Cwd => "start from another directory (from / nothing is shared) and use --bind",
        Origin::Host(_) => "show it with --bind instead",
        Origin::Runtime(_) => "run as root, or use a runtime without it",
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
