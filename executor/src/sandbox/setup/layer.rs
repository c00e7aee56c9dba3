//! Read-only overlays: of a directory and one in memory that contains only the mount points missing in the other.

use super::{
    failure::Failure,
    mount_calls::{self, attach, here},
    seal,
};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::sys::{NODEV, NOSUID, RDONLY};
use nix::errno::Errno as NixErrno;
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{
        AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, fchmod, fstat, fstatvfs, mkdirat,
        openat, statat, symlinkat,
    },
    io::Errno,
    process::fchdir,
};
use std::{
    cell::{OnceCell, RefCell},
    path::{Path, PathBuf},
};

/// The layers of all overlays made so far.
#[derive(Default)]
pub(crate) struct Layers {
    /// The directory that `/proc` is mounted on, and which it hides: the upper layers are 0, 1, … in it.
    pub dir: OnceCell<OwnedFd>,
    made: RefCell<Vec<Made>>,
}

/// A mounted overlay.
struct Made {
    /// Its file system (`st_dev`).
    device: u64,
    overlay: OwnedFd,
    /// Its lower layer.
    lower: OwnedFd,
}

/// What is made where a directory lacks it.
#[derive(Clone, Copy)]
pub(crate) enum Missing {
    Directory,
    File,
    LinkTo(&'static str),
}

/// The fields of [`super::mounts::RootFs`] that are needed here.
#[derive(Clone, Copy)]
pub(crate) struct Base<'a> {
    /// The job's root.
    pub root: &'a OwnedFd,
    /// The job's `/proc`.
    pub proc: &'a OnceCell<OwnedFd>,
    /// The caller's current directory, restored after each change of directory.
    pub cwd: &'a OwnedFd,
    /// The layers made before.
    pub layers: &'a Layers,
}

/// Makes `target`, which does not exist, in a layer over the directory above it that does.
///
/// # Errors
/// `EROFS` where that directory is writable: nothing is made on the host.
pub(crate) fn make(base: Base<'_>, target: &Path, kind: Missing) -> Result<(), Failure> {
    let root = base.root.as_fd();
    let open = |path| beneath::open(root, path, Escape::Clamp, Create::Nothing);
    let (above, dir) = target
        .ancestors()
        .skip(1)
        .find_map(|path| Some((path, open(path).ok()?)))
        .ok_or(Errno::NOENT)?;
    let missing = target.strip_prefix(above).unwrap_or(target);
    let found = fstat(&dir)?;
    let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    if !directory || !fstatvfs(&dir)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Errno::ROFS.into());
    }
    let mut all = base.layers.made.borrow_mut();
    let number = all.iter().position(|made| made.device == found.st_dev);
    if let Some(number) = number {
        // The same overlay again, with one more mount point: the depth of stacked overlays is limited.
        let made = &mut all[number];
        let inside = seal::path_below(base.proc, made.overlay.as_fd(), dir.as_fd())?;
        let overlay = stack(base, number, &made.lower, &inside.join(missing), kind)?;
        replace(base, &made.overlay, &overlay)?;
        (made.device, made.overlay) = (fstat(&overlay)?.st_dev, overlay);
    } else {
        let overlay = stack(base, all.len(), &dir, missing, kind)?;
        replace(base, &dir, &overlay)?;
        all.push(Made { device: fstat(&overlay)?.st_dev, overlay, lower: dir });
    }
    Ok(())
}

/// Mounts a read-only overlay of the directory `source` on `target`, which mount points can be added to.
pub(crate) fn cover(base: Base<'_>, source: OwnedFd, target: &OwnedFd) -> Result<(), Failure> {
    let mut all = base.layers.made.borrow_mut();
    let overlay = stack(base, all.len(), &source, Path::new(""), Missing::Directory)?;
    attach(&overlay, here(target))?;
    all.push(Made { device: fstat(&overlay)?.st_dev, overlay, lower: source });
    Ok(())
}

/// Mounts `overlay` on `dir`, and the mounts below `dir` again, with their flags.
fn replace(base: Base<'_>, dir: &OwnedFd, overlay: &OwnedFd) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = seal::mounts_below(base.proc, dir.as_fd())?;
    let opened = below.iter().map(|path| openat(dir, path, flags, Mode::empty()));
    let opened = opened.collect::<Result<Vec<_>, Errno>>()?;
    attach(overlay, here(dir))?;
    for (mount, path) in opened.iter().zip(&below) {
        let point = openat(overlay, path, flags, Mode::empty())?;
        attach(mount, here(&point))?;
    }
    Ok(())
}

/// Makes the detached overlay with this `number`: `dir`, and above it `missing`, an empty file or directory or a link.
fn stack(
    base: Base<'_>,
    number: usize,
    dir: &OwnedFd,
    missing: &Path,
    kind: Missing,
) -> Result<OwnedFd, Failure> {
    let (all, proc) = base.layers.dir.get().zip(base.proc.get()).ok_or(Errno::NOENT)?;
    let name = number.to_string();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = match mount_calls::make_directory(all, &name, 0o755) {
        Err(Errno::EXIST) => openat(all, &name, flags, Mode::empty())?,
        made => {
            let made = made?;
            like(dir, Path::new("."), &made)?;
            made
        }
    };
    let mut over = openat(&top, ".", flags, Mode::empty())?;
    let mut path = PathBuf::new();
    for part in missing {
        path.push(part);
        match kind {
            Missing::File if path == missing => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                openat(&over, part, flags, Mode::from_raw_mode(0o644))?;
                break;
            }
            Missing::LinkTo(target) if path == missing => {
                symlinkat(target, &over, part)?;
                break;
            }
            _ => {}
        }
        match mkdirat(&over, part, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => over = openat(&over, part, flags, Mode::empty())?,
            made => {
                made?;
                over = openat(&over, part, flags, Mode::empty())?;
                like(dir, &path, &over)?;
            }
        }
    }
    // The names of descriptors, so that no character of a path needs an escape.
    fchdir(proc)?;
    let layers = format!("self/fd/{}:self/fd/{}", top.as_raw_fd(), dir.as_raw_fd());
    let options = [("lowerdir", layers.as_str())];
    let overlay = mount_calls::filesystem("overlay", &options, RDONLY | NOSUID | NODEV);
    fchdir(base.cwd)?;
    Ok(overlay?)
}

/// Copies the permissions of the directory `path` in `dir`, if it exists, to `over`, which is merged with it.
fn like(dir: &OwnedFd, path: &Path, over: &OwnedFd) -> Result<(), Errno> {
    match statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(_) => Ok(()),
        Ok(found) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let over = openat(over, ".", flags, Mode::empty())?;
            fchmod(&over, Mode::from_raw_mode(found.st_mode & 0o777))
        }
    }
}

/// Whether `failure` means that this kernel refuses the overlay to this user, or that there is no mount point.
pub(crate) fn is_refused(failure: &Failure) -> bool {
    let errno = NixErrno::from_raw(failure.errno);
    matches!(errno, NixErrno::ENOENT | NixErrno::EPERM | NixErrno::EINVAL | NixErrno::ENODEV)
}
