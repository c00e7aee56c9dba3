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
    fd::{AsFd, OwnedFd},
    fs::{
        AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, fchmod, fstat, fstatvfs, mkdirat,
        openat, statat, unlinkat,
    },
    io::Errno,
    process::fchdir,
};
use std::{
    cell::{OnceCell, RefCell},
    path::{Path, PathBuf},
};

/// Directory of the layers in the root while overlays are made.
const LAYERS: &str = ".layers";

/// The layers of all overlays made so far.
#[derive(Default)]
pub(crate) struct Layers {
    /// The tmpfs of the layers: directories 0, 1, … with `over` and `lower` in each.
    dir: OnceCell<OwnedFd>,
    /// The file systems of the overlays (`st_dev`), and the directories they are mounted on.
    made: RefCell<Vec<(u64, OwnedFd)>>,
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

impl Layers {
    /// Unmounts the tmpfs of the layers; the overlays keep their own references to it.
    pub(crate) fn remove(&self, root: &OwnedFd, cwd: &OwnedFd) -> Result<(), Errno> {
        if self.dir.get().is_some() {
            mount_calls::uncover(root, LAYERS)?;
            unlinkat(root, LAYERS, AtFlags::REMOVEDIR)?;
            fchdir(cwd)?;
        }
        Ok(())
    }
}

/// Makes `target`, which does not exist, in a layer over the directory above it that does.
///
/// # Errors
/// `EROFS` where that directory is writable: nothing is made on the host.
pub(crate) fn make(base: Base<'_>, target: &Path, file: bool) -> Result<OwnedFd, Failure> {
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
    let known = base.layers.made.borrow().iter().position(|(device, _)| *device == found.st_dev);
    if let Some(number) = known {
        // The same overlay again, with one more mount point: the depth of stacked overlays is limited.
        let made = base.layers.made.borrow();
        let on = &made[number].1;
        let inside = seal::path_below(base.proc, on.as_fd(), dir.as_fd())?;
        let overlay = stack(base, number, on, &inside.join(missing), file)?;
        replace(base, on, &overlay)?;
        drop(made);
        base.layers.made.borrow_mut()[number] = (fstat(&overlay)?.st_dev, overlay);
    } else {
        let number = base.layers.made.borrow().len();
        let overlay = stack(base, number, &dir, missing, file)?;
        replace(base, &dir, &overlay)?;
        base.layers.made.borrow_mut().push((fstat(&overlay)?.st_dev, overlay));
    }
    Ok(open(target)?)
}

/// Mounts a read-only overlay of the directory `source` on `target`, which mount points can be added to.
pub(crate) fn cover(base: Base<'_>, source: &OwnedFd, target: &OwnedFd) -> Result<(), Failure> {
    let number = base.layers.made.borrow().len();
    let overlay = stack(base, number, source, Path::new(""), false)?;
    attach(&overlay, here(target))?;
    base.layers.made.borrow_mut().push((fstat(&overlay)?.st_dev, overlay));
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

/// Makes the detached overlay with this `number`: `dir`, and above it an empty file or directory `missing`.
fn stack(
    base: Base<'_>,
    number: usize,
    dir: &OwnedFd,
    missing: &Path,
    file: bool,
) -> Result<OwnedFd, Failure> {
    if base.layers.dir.get().is_none() {
        let point = mount_calls::make_directory(base.root, LAYERS, 0o700)?;
        let layers = mount_calls::tmpfs(0o755, None, None, NOSUID | NODEV)?;
        attach(&layers, here(&point))?;
        base.layers.dir.get_or_init(|| layers);
    }
    let all = base.layers.dir.get().ok_or(Errno::NOENT)?;
    let name = number.to_string();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let layers = match mount_calls::make_directory(all, &name, 0o755) {
        Err(Errno::EXIST) => openat(all, &name, flags, Mode::empty())?,
        layers => {
            let layers = layers?;
            let lower = mount_calls::make_directory(&layers, "lower", 0o755)?;
            let over = mount_calls::make_directory(&layers, "over", 0o755)?;
            attach(&mount_calls::clone_tree(dir.as_fd(), false)?, here(&lower))?;
            like(dir, Path::new("."), &over)?;
            layers
        }
    };
    let mut over = openat(&layers, "over", flags, Mode::empty())?;
    let mut path = PathBuf::new();
    for part in missing {
        path.push(part);
        if file && path == missing {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(&over, part, flags, Mode::from_raw_mode(0o644))?;
            break;
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
    fchdir(&layers)?;
    let options = [("lowerdir", "over:lower")];
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
