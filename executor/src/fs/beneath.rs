//! Path resolution confined to a directory, by descriptors.
//!
//! openat2(2) opens an existing path in one call. A walk of one component at a time does the rest:
//! creating missing components, kernels before 5.6, and every failure, so that the same paths are
//! refused for the same reason on every kernel. The walk is safe against concurrent renames: each step
//! opens one name with `O_NOFOLLOW`, `..` returns to a descriptor that is held open, and a symbolic link
//! is read and its text is walked. Magic links of `/proc` are never followed: their text is walked, too.

use crate::env::weaken;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2, readlinkat},
    io::Errno,
};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

/// Most links followed in one path, as in `path_resolution(7)`.
const MAX_LINKS: usize = 40;

/// Handling of an absolute link, or of a `..` above the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Start again at the directory, which is the root (as in a job).
    Clamp,
    /// An error, `EXDEV` (as in the files of a runtime).
    Refuse,
}

/// Missing components to create, and on which file systems (`st_dev`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Create<'a> {
    /// Nothing: `ENOENT`.
    Nothing,
    /// Directories up to the last component.
    Directory(&'a [u64]),
    /// Directories, then an empty file.
    File(&'a [u64]),
}

/// A bit of the mode of empty files made as mount points, which distinguishes them from a job's results.
pub(crate) const POINT: u32 = 0o1000;

/// Opens `path` inside `root` with `O_PATH`; an absolute path starts at `root`, too.
///
/// # Errors
/// `EXDEV` for [`Escape::Refuse`], `EROFS` where a component would have to be created on another file
/// system, `ELOOP` for too many links, `EEXIST` where a dangling link is in the way, and those of
/// openat(2) and mkdirat(2).
pub(crate) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    escape: Escape,
    create: Create<'_>,
) -> Result<OwnedFd, Errno> {
    if escape == Escape::Refuse && weaken::without("within") {
        return openat(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    }
    if create == Create::Nothing {
        let inside = match escape {
            Escape::Clamp => ResolveFlags::IN_ROOT,
            Escape::Refuse => ResolveFlags::BENEATH,
        };
        let resolve = inside | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = path.strip_prefix("/").unwrap_or(path);
        match openat2(root, path, flags, Mode::empty(), resolve) {
            // The one error that is the same for a walk.
            Err(Errno::NOENT) if !path.as_os_str().is_empty() => return Err(Errno::NOENT),
            Ok(found) => return Ok(found),
            Err(_) => {}
        }
    }
    walk(root, path, escape, create)
}

/// Opens the regular file at `path` inside `root` for reading; a link that leads outside is an error.
///
/// Never blocks on a FIFO and never opens a device or socket.
///
/// # Errors
/// `EXDEV`; `EINVAL` for anything but a regular file; `ELOOP`, and those of openat(2).
pub(crate) fn open_file(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if weaken::without("within") {
        return openat(root, path, flags - OFlags::NONBLOCK, Mode::empty());
    }
    let mut stack = descend(root, path, Escape::Refuse, Create::Nothing)?;
    let (found, name) = stack.pop().ok_or(Errno::INVAL)?;
    let parent = stack.last().map_or(root, |(parent, _)| parent.as_fd());
    let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
    let found = fstat(&found)?;
    if kind(&found) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    // A descriptor with O_PATH cannot be read, and there may be no /proc to open it again.
    let file = openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let opened = fstat(&file)?;
    let same = (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino);
    // Replaced since it was checked: the caller may retry.
    if same { Ok(file) } else { Err(Errno::STALE) }
}

fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    escape: Escape,
    create: Create<'_>,
) -> Result<OwnedFd, Errno> {
    match descend(root, path, escape, create)?.pop() {
        Some((found, _)) => Ok(found),
        None => openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
    }
}

/// Resolves `path`: the directories below `root` on the way, each with its name, then the result.
fn descend(
    root: BorrowedFd<'_>,
    path: &Path,
    escape: Escape,
    create: Create<'_>,
) -> Result<Vec<(OwnedFd, OsString)>, Errno> {
    let mut stack: Vec<(OwnedFd, OsString)> = Vec::new();
    let mut pending = VecDeque::new();
    prepend(&mut pending, path.as_os_str().as_bytes());
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            if stack.pop().is_none() && escape == Escape::Refuse {
                return Err(Errno::XDEV);
            }
            continue;
        }
        let parent = stack.last().map_or(root, |(parent, _)| parent.as_fd());
        let found = enter(parent, &name, pending.is_empty(), create)?;
        if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Symlink {
            stack.push((found, name));
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&found, "", Vec::new())?.into_bytes();
        if target.starts_with(b"/") {
            if escape == Escape::Refuse {
                return Err(Errno::XDEV);
            }
            stack.clear();
        }
        prepend(&mut pending, &target);
    }
    Ok(stack)
}

/// Prepends the components of `path` to those that are still to be walked.
fn prepend(pending: &mut VecDeque<OsString>, path: &[u8]) {
    for part in path.split(|&byte| byte == b'/').rev() {
        if !matches!(part, b"" | b".") {
            pending.push_front(OsString::from_vec(part.to_vec()));
        }
    }
}

/// Opens `name` in `parent` with `O_NOFOLLOW`, and creates it if `create` allows.
fn enter(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    last: bool,
    create: Create<'_>,
) -> Result<OwnedFd, Errno> {
    let look =
        || openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let found = look();
    let (devices, file) = match create {
        Create::Nothing => return found,
        Create::Directory(devices) => (devices, false),
        Create::File(devices) => (devices, last),
    };
    if !matches!(found, Err(Errno::NOENT)) {
        return found;
    }
    if !devices.contains(&fstat(parent)?.st_dev) {
        return Err(Errno::ROFS);
    }
    if file {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(parent, name, flags, Mode::from_raw_mode(0o644 | POINT))?;
    } else {
        mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    }
    look()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    /// A directory `root` with the links and files that the tables below walk.
    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/lib64")).unwrap();
        fs::write(root.join("usr/lib64/libc.so"), "").unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        for (link, target) in [
            ("lib64", "usr/lib64"),
            ("usr/up", "../usr/lib64"),
            ("absolute", "/usr/lib64"),
            ("out", "../outside"),
            ("far", "../../../../../../etc"),
            ("loop", "loop"),
            ("dangling", "nowhere/at/all"),
            ("run", "/var/run"),
            ("magic", "/proc/self/root"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let fd = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn paths_are_resolved_inside_the_root() {
        let (dir, root) = tree();
        for (path, refused, clamped) in [
            ("usr/lib64/libc.so", Ok("usr/lib64/libc.so"), Ok("usr/lib64/libc.so")),
            ("/usr//./lib64/", Ok("usr/lib64"), Ok("usr/lib64")),
            ("lib64/libc.so", Ok("usr/lib64/libc.so"), Ok("usr/lib64/libc.so")),
            ("usr/up", Ok("usr/lib64"), Ok("usr/lib64")),
            ("usr/lib64/../..", Ok(""), Ok("")),
            ("absolute", Err(Errno::XDEV), Ok("usr/lib64")),
            ("..", Err(Errno::XDEV), Ok("")),
            ("out", Err(Errno::XDEV), Err(Errno::NOENT)),
            ("far", Err(Errno::XDEV), Err(Errno::NOENT)),
            ("magic", Err(Errno::XDEV), Err(Errno::NOENT)),
            ("loop", Err(Errno::LOOP), Err(Errno::LOOP)),
            ("dangling", Err(Errno::NOENT), Err(Errno::NOENT)),
            ("usr/lib64/libc.so/x", Err(Errno::NOTDIR), Err(Errno::NOTDIR)),
        ] {
            for (open, escape, want) in [
                (open as fn(_, _, _, _) -> _, Escape::Refuse, refused),
                (open, Escape::Clamp, clamped),
                (walk, Escape::Refuse, refused),
                (walk, Escape::Clamp, clamped),
            ] {
                let got = open(root.as_fd(), Path::new(path), escape, Create::Nothing);
                let got = got.map(|fd: OwnedFd| fstat(fd).unwrap().st_ino);
                let want = want.map(|inside| {
                    rustix::fs::stat(dir.path().join("root").join(inside)).unwrap().st_ino
                });
                assert_eq!(got, want, "{path} {escape:?}");
            }
        }
    }

    /// SEC-E15
    #[test]
    fn only_regular_files_inside_are_read() {
        let (dir, root) = tree();
        let inside = |name: &str| dir.path().join("root").join(name);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inside("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        fs::write(dir.path().join("outside/secret"), "").unwrap();
        symlink("../outside/secret", inside("secret")).unwrap();
        symlink("fifo", inside("pipe")).unwrap();
        symlink("usr/lib64/libc.so", inside("libc")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(inside("socket")).unwrap();
        for (path, want) in [
            ("usr/lib64/libc.so", Ok(())),
            ("lib64/libc.so", Ok(())),
            ("libc", Ok(())),
            ("secret", Err(Errno::XDEV)),
            ("out/secret", Err(Errno::XDEV)),
            ("absolute/libc.so", Err(Errno::XDEV)),
            ("magic/etc/passwd", Err(Errno::XDEV)),
            ("fifo", Err(Errno::INVAL)),
            ("pipe", Err(Errno::INVAL)),
            ("socket", Err(Errno::INVAL)),
            ("usr", Err(Errno::INVAL)),
            ("", Err(Errno::INVAL)),
            ("usr/..", Err(Errno::INVAL)),
            ("none", Err(Errno::NOENT)),
            ("loop", Err(Errno::LOOP)),
        ] {
            assert_eq!(open_file(root.as_fd(), Path::new(path)).map(drop), want, "{path}");
        }
    }

    #[test]
    fn missing_directories_are_created_inside_the_root() {
        let (dir, root) = tree();
        let here = [fstat(&root).unwrap().st_dev];
        let (directory, file) = (Create::Directory(&here), Create::File(&here));
        for (path, create, made) in [
            ("/a/b", directory, "a/b"),
            ("c/file", file, "c/file"),
            ("run/x", directory, "var/run/x"),
            ("out/x", directory, "outside/x"),
            ("dangling/x", file, "nowhere/at/all/x"),
        ] {
            open(root.as_fd(), Path::new(path), Escape::Clamp, create).unwrap();
            let made = fs::symlink_metadata(dir.path().join("root").join(made)).unwrap();
            assert_eq!(made.is_file(), create == file, "{path}");
        }
        let elsewhere = Create::Directory(&[]);
        let refused = open(root.as_fd(), Path::new("new"), Escape::Clamp, elsewhere);
        assert_eq!(refused.unwrap_err(), Errno::ROFS);
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
    }
}
