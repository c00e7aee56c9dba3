//! Mount flags (read-only, nosuid, nodev, noexec) of whole trees of mounts.
//!
//! `mount_setattr(2)` changes a mount and all below it before they are attached. Kernels before 5.12 have
//! only `MS_REMOUNT | MS_BIND`, which changes one attached mount: there each mount below is found in
//! `mountinfo` and changed separately, still before the job exists.

use super::{
    failure::Failure,
    mount_calls::{self, Point},
};
use crate::fs::split::split;
use crate::sandbox::sys::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use nix::errno::Errno as NixErrno;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags, openat, readlinkat},
    io::Errno,
    mount::{MountFlags, mount_remount},
    process::fchdir,
};
use std::{
    cell::OnceCell,
    collections::BTreeSet,
    ffi::{CStr, OsString},
    fs::File,
    io::Read,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// Attaches `tree` at `target` with `flags` added to it and, if `recursive`, to all below it.
pub(crate) fn attach_sealed(
    proc: &OnceCell<OwnedFd>,
    tree: &OwnedFd,
    target: Point<'_>,
    flags: u64,
    recursive: bool,
) -> Result<(), Failure> {
    match sys::set_mount_flags(tree.as_fd(), c"", flags, recursive) {
        Ok(()) => Ok(mount_calls::attach(tree, target)?),
        Err(NixErrno::ENOSYS) => {
            mount_calls::attach(tree, target)?;
            remount(proc, tree.as_fd(), flags, recursive)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Adds `flags` to the attached mount `mount` and, if `recursive`, to all below it.
pub(crate) fn seal(
    proc: &OnceCell<OwnedFd>,
    mount: BorrowedFd<'_>,
    flags: u64,
    recursive: bool,
) -> Result<(), Failure> {
    match sys::set_mount_flags(mount, c"", flags, recursive) {
        Err(NixErrno::ENOSYS) => remount(proc, mount, flags, recursive),
        other => Ok(other?),
    }
}

/// Adds `flags` to the attached mount that has the `name` in the current directory.
pub(crate) fn seal_here(proc: &OnceCell<OwnedFd>, name: &CStr, flags: u64) -> Result<(), Failure> {
    match sys::set_mount_flags(CWD, name, flags, false) {
        Err(NixErrno::ENOSYS) => {
            let mount = openat(CWD, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            remount(proc, mount.as_fd(), flags, false)
        }
        other => Ok(other?),
    }
}

/// Adds `flags` to the attached mount `mount` and to all below it, before Linux 5.12.
fn remount(
    proc: &OnceCell<OwnedFd>,
    mount: BorrowedFd<'_>,
    flags: u64,
    recursive: bool,
) -> Result<(), Failure> {
    let here = openat(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let proc = own_process(proc)?;
    let mountinfo = read(proc.as_fd(), "mountinfo")?;
    let table: Vec<_> = split(&mountinfo, b'\n').filter_map(Mount::parse).collect();
    let top = find_mount(&table, proc.as_fd(), mount)?;
    let mut found = BTreeSet::from([top.id]);
    let mut list = vec![top];
    // A mount comes after its parent, unless it was moved there: repeat until nothing is new.
    loop {
        let known = list.len();
        for mount in table.iter().filter(|_| recursive) {
            if found.contains(mount.parent) && found.insert(mount.id) {
                list.push(mount);
            }
        }
        if list.len() == known {
            break;
        }
    }
    for entry in list {
        let below = entry.path.strip_prefix(&top.path).unwrap_or(Path::new(""));
        let opened;
        let fd = if below.as_os_str().is_empty() {
            mount
        } else {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            opened = openat(mount, below, flags, Mode::empty())?;
            opened.as_fd()
        };
        // A remount needs a path; this one refers to a descriptor, relative to /proc/self.
        let flags = MountFlags::BIND | entry.flags | remount_flags(flags);
        fchdir(&proc)?;
        mount_remount(format!("fd/{}", fd.as_raw_fd()), flags, c"")?;
    }
    Ok(fchdir(&here)?)
}

/// Opens the directory of this process in the job's own /proc, which is the first mount.
fn own_process(proc: &OnceCell<OwnedFd>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat(proc.get().ok_or(Errno::NOENT)?, "self", flags, Mode::empty())
}

/// The mount that the open `file` is on, in `table`.
fn find_mount<'a, 't>(
    table: &'t [Mount<'a>],
    process: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
) -> Result<&'t Mount<'a>, Failure> {
    let fdinfo = read(process, &format!("fdinfo/{}", file.as_raw_fd()))?;
    let mut lines = split(&fdinfo, b'\n');
    let id = lines.find_map(|line| line.strip_prefix(b"mnt_id:")).map(<[u8]>::trim_ascii);
    Ok(table.iter().find(|mount| Some(mount.id) == id).ok_or(Errno::NOENT)?)
}

/// The relative paths of the mount points below the directory `dir`, on the same mount as `dir`.
pub(crate) fn mounts_below(
    proc: &OnceCell<OwnedFd>,
    dir: BorrowedFd<'_>,
) -> Result<Vec<PathBuf>, Failure> {
    let process = own_process(proc)?;
    let mountinfo = read(process.as_fd(), "mountinfo")?;
    let table: Vec<_> = split(&mountinfo, b'\n').filter_map(Mount::parse).collect();
    let top = find_mount(&table, process.as_fd(), dir)?.id;
    let path = path_of(process.as_fd(), dir)?;
    let below = table.iter().filter(|mount| mount.parent == top);
    let below = below.filter_map(|mount| Some(mount.path.strip_prefix(&path).ok()?.to_owned()));
    Ok(below.filter(|path| !path.as_os_str().is_empty()).collect())
}

/// The absolute path of the open `file`.
fn path_of(process: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<PathBuf, Errno> {
    let path = readlinkat(process, format!("fd/{}", file.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}

/// The path of the open `file` in the directory `dir`.
pub(crate) fn path_below(
    proc: &OnceCell<OwnedFd>,
    dir: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
) -> Result<PathBuf, Failure> {
    let process = own_process(proc)?;
    let (dir, file) = (path_of(process.as_fd(), dir)?, path_of(process.as_fd(), file)?);
    Ok(file.strip_prefix(dir).map_err(|_| Errno::XDEV)?.to_owned())
}

/// Converts flags of `mount_setattr(2)` to those of mount(2).
fn remount_flags(flags: u64) -> MountFlags {
    [
        (RDONLY, MountFlags::RDONLY),
        (NOSUID, MountFlags::NOSUID),
        (NODEV, MountFlags::NODEV),
        (NOEXEC, MountFlags::NOEXEC),
    ]
    .into_iter()
    .filter(|(new, _)| flags & new != 0)
    .map(|(_, old)| old)
    .collect()
}

/// One line of `/proc/self/mountinfo`, `proc_pid_mountinfo(5)`.
#[derive(Debug, PartialEq)]
struct Mount<'a> {
    id: &'a [u8],
    parent: &'a [u8],
    path: PathBuf,
    /// Flags that the mount has already, which a remount must preserve.
    flags: MountFlags,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = split(line, b' ');
        let (id, parent) = (fields.next()?, fields.next()?);
        let path = unescape(fields.nth(2)?);
        let flag = |option: &[u8]| match option {
            b"ro" => MountFlags::RDONLY,
            b"nosuid" => MountFlags::NOSUID,
            b"nodev" => MountFlags::NODEV,
            b"noexec" => MountFlags::NOEXEC,
            b"noatime" => MountFlags::NOATIME,
            b"nodiratime" => MountFlags::NODIRATIME,
            b"relatime" => MountFlags::RELATIME,
            _ => MountFlags::empty(),
        };
        let flags = split(fields.next()?, b',').map(flag).collect();
        Some(Self { id, parent, path, flags })
    }
}

/// Decodes the octal escapes of space, tab, newline and backslash.
pub(crate) fn unescape(mut rest: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn read(dir: BorrowedFd<'_>, name: &str) -> Result<Vec<u8>, Failure> {
    // Each read of mountinfo returns up to a page, but walks all mounts.
    let mut text = Vec::with_capacity(1 << 13);
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file)
        .read_to_end(&mut text)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(text)
}

/// Makes every mount of this namespace private: mount events propagate neither out nor in.
pub(crate) fn make_private() -> Result<(), Errno> {
    use rustix::mount::{MountPropagationFlags as Flags, mount_change};
    mount_change("/", Flags::PRIVATE | Flags::REC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line =
            b"36 35 98:0 /mnt1 /a\\040b\\134c\xff rw,noatime,nosuid master:1 - ext3 /dev/root rw";
        let want = Mount {
            id: b"36",
            parent: b"35",
            path: OsString::from_vec(b"/a b\\c\xff".into()).into(),
            flags: MountFlags::NOATIME | MountFlags::NOSUID,
        };
        assert_eq!(Mount::parse(line), Some(want));
        assert_eq!(Mount::parse(b"36 35 98:0"), None);
    }
}
