//! Read-only overlays: of a directory and one in memory that contains only the mount points missing in the other.

use super::{
    failure::Failure,
    mount_calls::{self, attach, here, is_read_only},
    seal,
};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::sys::{NODEV, NOEXEC, NOSUID, RDONLY};
use nix::errno::Errno as NixErrno;
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{
        FileType, Gid, Mode, OFlags, StatVfsMountFlags, Uid, fchmod, fchown, fgetxattr, fstat,
        fstatvfs, mkdirat, openat,
    },
    io::Errno,
    process::fchdir,
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    path::Path,
};

/// The layers of all overlays made so far.
#[derive(Default)]
pub(crate) struct Layers {
    /// The directory that `/proc` is mounted on, and which it hides: the upper layers are 0, 1, … in it.
    pub dir: OnceCell<OwnedFd>,
    /// The name of the next upper layer. None is used twice: the kernel may refuse an overlay, and its layer stays.
    next: Cell<usize>,
    made: RefCell<Vec<Made>>,
}

/// A mounted overlay.
struct Made {
    /// Its file system (`st_dev`).
    device: u64,
    overlay: OwnedFd,
    upper: OwnedFd,
    lower: OwnedFd,
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
    if !directory || !is_read_only(&dir)? {
        return Err(Errno::ROFS.into());
    }
    let mut all = base.layers.made.borrow_mut();
    if let Some(made) = all.iter_mut().find(|made| made.device == found.st_dev) {
        // The same overlay again, with one more mount point: the depth of stacked overlays is limited.
        let inside = seal::path_below(base.proc, made.overlay.as_fd(), dir.as_fd())?;
        let overlay = stack(base, (&made.upper, &made.lower), &inside.join(missing), file)?;
        replace(base, &made.overlay, &overlay)?;
        (made.device, made.overlay) = (fstat(&overlay)?.st_dev, overlay);
    } else {
        let upper = new_upper(base.layers, &dir)?;
        let overlay = stack(base, (&upper, &dir), missing, file)?;
        replace(base, &dir, &overlay)?;
        all.push(Made { device: fstat(&overlay)?.st_dev, overlay, upper, lower: dir });
    }
    Ok(open(target)?)
}

/// Mounts a read-only overlay of the directory `source` on `target`, which mount points can be added to.
pub(crate) fn cover(base: Base<'_>, source: OwnedFd, target: &OwnedFd) -> Result<(), Failure> {
    let upper = new_upper(base.layers, &source)?;
    let overlay = stack(base, (&upper, &source), Path::new(""), false)?;
    attach(&overlay, here(target))?;
    let device = fstat(&overlay)?.st_dev;
    base.layers.made.borrow_mut().push(Made { device, overlay, upper, lower: source });
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

/// Makes an empty upper layer for the directory `lower`.
fn new_upper(layers: &Layers, lower: &OwnedFd) -> Result<OwnedFd, Failure> {
    let all = layers.dir.get().ok_or(Errno::NOENT)?;
    let name = layers.next.replace(layers.next.get() + 1).to_string();
    let upper = mount_calls::make_directory(all, &name, 0o755)?;
    like(lower, &upper)?;
    Ok(upper)
}

/// Makes a detached overlay of two layers, and in the upper one `missing`, an empty file or directory.
fn stack(
    base: Base<'_>,
    (upper, lower): (&OwnedFd, &OwnedFd),
    missing: &Path,
    file: bool,
) -> Result<OwnedFd, Failure> {
    let proc = base.proc.get().ok_or(Errno::NOENT)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut over = openat(upper, ".", flags, Mode::empty())?;
    let mut under = openat(lower, ".", flags, Mode::empty());
    let mut parts = missing.components().peekable();
    while let Some(part) = parts.next() {
        let part = Path::new(part.as_os_str());
        if file && parts.peek().is_none() {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(&over, part, flags, Mode::from_raw_mode(0o644))?;
            break;
        }
        let new = match mkdirat(&over, part, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => false,
            made => made.map(|()| true)?,
        };
        over = openat(&over, part, flags, Mode::empty())?;
        under = under.and_then(|under| openat(under, part, flags, Mode::empty()));
        if let (true, Ok(under)) = (new, &under) {
            like(under, &over)?;
        }
    }
    // The names of descriptors, so that no character of a path needs an escape.
    fchdir(proc)?;
    let layers = format!("self/fd/{}:self/fd/{}", upper.as_raw_fd(), lower.as_raw_fd());
    let options = [("lowerdir", layers.as_str())];
    let noexec = fstatvfs(lower)?.f_flag.contains(StatVfsMountFlags::NOEXEC);
    let flags = RDONLY | NOSUID | NODEV | if noexec { NOEXEC } else { 0 };
    let overlay = mount_calls::filesystem("overlay", &options, flags);
    fchdir(base.cwd)?;
    Ok(overlay?)
}

/// Gives `upper` the owner and the permissions of the directory `lower`, with which it is merged.
///
/// Where the owner cannot be set, this process has no power over the owner's files either, and the kernel checks the
/// lower directory by this process's rights. With an access control list the group's permissions are the largest of all
/// its entries: none, then.
fn like(lower: &OwnedFd, upper: &OwnedFd) -> Result<(), Errno> {
    let found = fstat(lower)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = openat(upper, ".", flags, Mode::empty())?;
    let list = openat(lower, ".", flags, Mode::empty())
        .and_then(|lower| fgetxattr(lower, "system.posix_acl_access", &mut [0_u8; 0][..]));
    let bits = if list.is_ok() { 0o1707 } else { 0o1777 };
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    match fchown(&upper, Some(uid), Some(gid)) {
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    fchmod(&upper, Mode::from_raw_mode(found.st_mode & bits))
}

/// Whether `failure` means that this kernel refuses the overlay to this user, or that there is no mount point.
pub(crate) fn is_refused(failure: &Failure) -> bool {
    let errno = NixErrno::from_raw(failure.errno);
    matches!(errno, NixErrno::ENOENT | NixErrno::EPERM | NixErrno::EINVAL | NixErrno::ENODEV)
}
