//! The mount API of Linux 5.2, with the flags that all steps use.

use crate::sandbox::plan::job::Ids;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        Gid, Mode, OFlags, StatVfsMountFlags, Uid, fchmod, fchown, fstat, fstatvfs, mkdirat, openat,
    },
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
        open_tree, unmount,
    },
    path::Arg,
    process::fchdir,
};
use std::path::Path;

/// A mount point: a name in a directory, or if the name is empty the directory itself.
pub(crate) type Point<'a> = (BorrowedFd<'a>, &'a Path);

/// The directory `dir` itself as a mount point.
pub(crate) fn here(dir: &OwnedFd) -> Point<'_> {
    (dir.as_fd(), Path::new(""))
}

/// Changes owner and permission bits of the directory `dir`.
pub(crate) fn set_owner(dir: BorrowedFd<'_>, mode: u32, owner: Ids) -> Result<(), Errno> {
    fchown(dir, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    fchmod(dir, Mode::from_raw_mode(mode))
}

/// The identity of a file: device and inode.
pub(crate) fn identity(dir: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let stat = fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Whether the mount of `dir` is read-only.
pub(crate) fn is_read_only(dir: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatvfs(dir)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Makes a detached mount of a new tmpfs of `size` bytes (default: half of the memory), owned by
/// `owner` (default: this process).
pub(crate) fn tmpfs(
    mode: u32,
    owner: Option<Ids>,
    size: Option<u64>,
    flags: u64,
) -> Result<OwnedFd, Errno> {
    let mode = format!("{mode:o}");
    let mut all = vec![("mode", mode.as_str())];
    let size = size.map(|bytes| bytes.to_string());
    all.extend(size.iter().map(|bytes| ("size", bytes.as_str())));
    let ids = owner.map(|ids| (ids.uid.to_string(), ids.gid.to_string()));
    if let Some((uid, gid)) = &ids {
        all.extend([("uid", uid.as_str()), ("gid", gid.as_str())]);
    }
    filesystem("tmpfs", &all, flags)
}

/// Makes a detached mount of a new file system. An option with an empty value is a flag.
pub(crate) fn filesystem(
    name: &str,
    options: &[(&str, &str)],
    flags: u64,
) -> Result<OwnedFd, Errno> {
    let fs = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for &(key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(&fs, key)?;
        } else {
            fsconfig_set_string(&fs, key, value)?;
        }
    }
    fsconfig_create(&fs)?;
    // The values of MOUNT_ATTR_* fit 32 bits in this older call.
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0));
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// Makes a detached second mount of `source`: open_tree(2) with `OPEN_TREE_CLONE`.
pub(crate) fn clone_tree(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    clone_at((source, Path::new("")), recursive)
}

/// [`clone_tree`] of a file by its name.
pub(crate) fn clone_at((dir, name): Point<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let recursive = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(dir, name, flags | recursive)
}

/// Attaches `mount` at a mount point, over anything mounted there: move_mount(2).
pub(crate) fn attach(mount: &OwnedFd, (dir, name): Point<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", dir, name, flags)
}

/// Makes the directory `name` in `dir`, which no other process can change, and opens it as a mount point.
pub(crate) fn make_directory(
    dir: &OwnedFd,
    name: impl Arg + Copy,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    mkdirat(dir, name, Mode::from_raw_mode(mode))?;
    openat(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Unmounts `name` in `dir`, which becomes the current directory.
pub(crate) fn uncover(dir: &OwnedFd, name: impl Arg) -> Result<(), Errno> {
    fchdir(dir)?;
    unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}
