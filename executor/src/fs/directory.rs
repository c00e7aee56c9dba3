//! Open directories, whose entries are accessed by name relative to the descriptor, never through a link.
//!
//! A path is resolved at each use, so a user who may rename one of its directories decides what it resolves to.
//! A descriptor refers to the directory that was checked.

use super::trust::{self, distrust, is_ours, untrusted};
use super::walk::close;
use crate::env::weaken;
use crate::error::Error;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, chmod, fstat, openat,
    openat2, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// The path it was opened by, for messages only.
    path: PathBuf,
}

impl Directory {
    /// Opens the directory at `path`, following links.
    ///
    /// # Errors
    /// That of open(2).
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let fd = rustix::fs::open(path, OPEN, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// As [`Directory::open`], but a link as the last component is followed only if it belongs to root or
    /// to the caller: another user could have made it in a world-writable directory. `None` if the path
    /// does not exist.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`].
    pub(crate) fn open_own(path: &Path) -> Result<Option<Self>, Error> {
        let opened = match rustix::fs::open(path, OPEN | no_follow(), Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let link = rustix::fs::lstat(path).map_err(Error::file("open", path))?;
                if FileType::from_raw_mode(link.st_mode).is_symlink() && !is_ours(&link) {
                    let reason =
                        format!("it is a symbolic link of user {}; remove it", link.st_uid);
                    return Err(untrusted(path, reason));
                }
                rustix::fs::open(path, OPEN, Mode::empty())
            }
            opened => opened,
        };
        match opened {
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::file("open", path)(errno)),
            Ok(fd) => Ok(Some(Self { fd, path: path.to_owned() })),
        }
    }

    /// Creates the directory at `path` and its missing parents, each with `mode` as masked by the umask.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn make_all(path: &Path, mode: u32) -> Result<(), Error> {
        let done = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        done.map_err(Error::file("create", path))
    }

    /// Opens the directory `name` in this one; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is not a directory, [`Error::File`].
    pub(crate) fn enter(&self, name: &str) -> Result<Option<Self>, Error> {
        let path = self.path_of(name);
        match openat(self.as_fd(), OsStr::new(name), OPEN | no_follow(), Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(untrusted(&path, "it is not a directory; move it away".into()))
            }
            Err(errno) => Err(Error::file("open", path)(errno)),
        }
    }

    /// Opens the directory `name` in this one, which only this program creates; creates it if it is missing.
    ///
    /// # Errors
    /// As [`Directory::enter`] and [`Directory::trusted`].
    pub(crate) fn enter_or_create(&self, name: &str, mode: u32) -> Result<Self, Error> {
        loop {
            if let Some(found) = self.enter(name)? {
                return found.trusted();
            }
            match rustix::fs::mkdirat(self.as_fd(), OsStr::new(name), Mode::from_raw_mode(mode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::file("create", self.path_of(name))(errno)),
            }
        }
    }

    /// Makes the new directory `name` in this one and opens it: if another user can rename in this one, perhaps one that
    /// has replaced it.
    ///
    /// # Errors
    /// [`Error::File`], and as [`Directory::enter`].
    pub(crate) fn make(&self, name: &str) -> Result<Self, Error> {
        let all = Mode::from_raw_mode(0o777);
        let made = rustix::fs::mkdirat(self.as_fd(), OsStr::new(name), all);
        made.map_err(Error::file("create", self.path_of(name)))?;
        let gone = || Error::file("open", self.path_of(name))(Errno::NOENT);
        self.enter(name)?.ok_or_else(gone)
    }

    /// Refuses a directory that other users may write.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`].
    pub(crate) fn trusted(self) -> Result<Self, Error> {
        match distrust(&self.stat()?, None) {
            Some(reason) => Err(untrusted(&self.path, reason)),
            None => Ok(self),
        }
    }

    /// Its fstat(2), and its owner by [`trust::stat`].
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn stat(&self) -> Result<Stat, Error> {
        trust::stat(&self.fd).map_err(Error::file("stat", &self.path))
    }

    /// The path it was opened by, for messages only.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in it, for messages only.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The metadata of `name` in it; links are not followed.
    ///
    /// # Errors
    /// That of fstatat(2).
    pub(crate) fn stat_entry(&self, name: &str) -> Result<Stat, Errno> {
        rustix::fs::statat(self.as_fd(), OsStr::new(name), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Whether `name` in it was last modified longer than `limit` ago.
    pub(crate) fn is_older(&self, name: &str, limit: Duration) -> bool {
        let Ok(stat) = self.stat_entry(name) else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(stat.st_mtime).unwrap_or_default();
        now.as_secs().saturating_sub(time) > limit.as_secs()
    }

    /// Whether what is called `name` in it was changed, or got this name, within so long.
    pub(crate) fn is_fresh(&self, name: &str, limit: Duration) -> bool {
        let Ok(stat) = self.stat_entry(name) else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(stat.st_ctime).unwrap_or_default();
        now.as_secs().saturating_sub(time) < limit.as_secs()
    }

    /// Whether `name` exists in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.stat_entry(name).is_ok()
    }

    /// The names in it, unordered. A name that is not UTF-8 is replaced by one that no file has.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let read = || -> Result<_, Errno> {
            // Reopened, to read from the beginning: the offset of a descriptor is shared.
            let mut entries =
                Dir::new(openat(self.as_fd(), OsStr::new("."), OPEN, Mode::empty())?)?;
            let mut names = Vec::new();
            while let Some(entry) = entries.read() {
                names.extend(entry_name(entry)?.map(|name| name.to_string_lossy().into_owned()));
            }
            Ok(names)
        };
        read().map_err(Error::file("read", self.path.clone()))
    }

    /// Opens the file `name` in it; never blocks on a FIFO.
    ///
    /// # Errors
    /// That of openat(2).
    pub(crate) fn open_file(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        let flags = flags | no_follow() | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(self.as_fd(), OsStr::new(name), flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Reads the regular file `name` in it.
    ///
    /// # Errors
    /// Those of openat(2) and read(2).
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = self.open_file(name, OFlags::RDONLY)?;
        if !file.metadata()?.is_file() {
            return Err(Errno::NOENT.into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Writes a new file `name`; an existing one is removed first.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.remove_file(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let done = || -> io::Result<()> {
            let mode = Mode::from_raw_mode(0o644);
            let mut file = File::from(openat(self.as_fd(), OsStr::new(name), flags, mode)?);
            file.write_all(bytes)?;
            Ok(close(file)?)
        };
        done().map_err(Error::file("write", self.path_of(name)))
    }

    /// Renames `from` in it to `to` in `there`, without replacing anything.
    ///
    /// # Errors
    /// `EEXIST` or `ENOTEMPTY` if `to` exists; otherwise that of renameat2(2).
    pub(crate) fn rename_new(&self, from: &str, there: &Self, to: &str) -> Result<(), Errno> {
        let (here, to) = ((self.as_fd(), OsStr::new(from)), (there.as_fd(), OsStr::new(to)));
        match renameat_with(here.0, here.1, to.0, to.1, RenameFlags::NOREPLACE) {
            // File systems without RENAME_NOREPLACE: rename(2) never replaces a directory that is not empty.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(here.0, here.1, to.0, to.1),
            done => done,
        }
    }

    /// Renames `from` in it to `to` in `there`.
    ///
    /// # Errors
    /// That of renameat(2).
    pub(crate) fn rename(&self, from: &str, there: &Self, to: &str) -> Result<(), Errno> {
        renameat(self.as_fd(), OsStr::new(from), there.as_fd(), OsStr::new(to))
    }

    /// Exchanges `name` in it with `other` in `there`, atomically.
    ///
    /// # Errors
    /// `EINVAL` or `ENOSYS` where the kernel or file system cannot; otherwise that of renameat2(2).
    pub(crate) fn exchange(&self, name: &str, there: &Self, other: &str) -> Result<(), Errno> {
        let (name, other) = (OsStr::new(name), OsStr::new(other));
        renameat_with(self.as_fd(), name, there.as_fd(), other, RenameFlags::EXCHANGE)
    }

    /// Removes the file `name`, if it exists.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), Error> {
        match unlinkat(self.as_fd(), OsStr::new(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::file("remove", self.path_of(name))(errno)),
        }
    }

    /// Removes `name` and everything below it, if it exists.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn remove_tree(&self, name: &str) -> Result<(), Error> {
        remove_tree(self.as_fd(), OsStr::new(name))
            .map_err(Error::file("remove", self.path_of(name)))
    }

    /// Writes its entries to the disk (fsync(2)).
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn sync(&self) -> Result<(), Error> {
        rustix::fs::fsync(&self.fd).map_err(Error::file("sync", &self.path))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The name of an entry; `None` for `.` and `..`.
fn entry_name(entry: Result<rustix::fs::DirEntry, Errno>) -> Result<Option<CString>, Errno> {
    let name = entry?.file_name().to_owned();
    Ok(Some(name).filter(|name| !matches!(name.to_bytes(), b"." | b"..")))
}

/// Removes `name` in `parent`, with its content. Other mounts are not entered.
///
/// # Errors
/// The first error, after everything else was removed; `EXDEV` for a mount.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let refused = match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // For a directory: EISDIR on Linux, EPERM by POSIX, EACCES if the parent is not writable.
        Err(errno @ (Errno::ISDIR | Errno::PERM | Errno::ACCESS)) => errno,
        Err(errno) => return Err(errno),
    };
    match enter_own_mount(parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused),
        opened => remove_content(opened?)?,
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// A directory that contains the one whose entries are being removed.
struct Above {
    /// Device and inode number.
    identity: (u64, u64),
    /// The name in it of the directory below.
    name: CString,
    /// Its other directories.
    left: Vec<(CString, Errno)>,
}

/// Removes the entries of `directory`, as [`remove_tree`]. A job can nest directories deeper than there are descriptors,
/// or than a stack is large: a single one is open, and `..` must lead back to where it came from.
///
/// # Errors
/// As [`remove_tree`]; `ESTALE` if a directory was moved away meanwhile.
pub(crate) fn remove_content(directory: OwnedFd) -> Result<(), Errno> {
    let (mut here, mut done, mut path) = (directory, Ok(()), Vec::<Above>::new());
    let mut left = remove_files(here.as_fd(), &mut done);
    loop {
        if let Some((name, refused)) = left.pop() {
            match enter_own_mount(here.as_fd(), OsStr::from_bytes(name.to_bytes())) {
                Ok(below) => {
                    let identity = identity(&fstat(&here)?);
                    here = below;
                    let below = remove_files(here.as_fd(), &mut done);
                    path.push(Above { identity, name, left: mem::replace(&mut left, below) });
                }
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => done = done.and(Err(refused)),
                Err(errno) => done = done.and(Err(errno)),
            }
            continue;
        }
        let Some(above) = path.pop() else { return done };
        here = openat(&here, "..", OPEN, Mode::empty())?;
        if identity(&fstat(&here)?) != above.identity {
            return Err(Errno::STALE);
        }
        left = above.left;
        match unlinkat(&here, &*above.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => done = done.and(Err(errno)),
        }
    }
}

/// Removes the entries of `directory` that are not directories. Returns the names of the others, and why they were refused.
fn remove_files(directory: BorrowedFd<'_>, done: &mut Result<(), Errno>) -> Vec<(CString, Errno)> {
    let mut left = Vec::new();
    let mut remove = || {
        let mut entries = Dir::new(rustix::io::fcntl_dupfd_cloexec(directory, 3)?)?;
        while let Some(entry) = entries.read() {
            let Some(name) = entry_name(entry)? else { continue };
            match unlinkat(directory, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // For a directory: EISDIR on Linux, EPERM by POSIX, EACCES if the parent is not writable.
                Err(errno @ (Errno::ISDIR | Errno::PERM | Errno::ACCESS)) => {
                    left.push((name, errno));
                }
                Err(errno) => *done = done.and(Err(errno)),
            }
        }
        Ok(())
    };
    let removed = remove();
    *done = done.and(removed);
    left
}

/// Device and inode number.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Opens the directory `name` in `parent`, which must not be a mount point, and gives its owner full permissions.
///
/// # Errors
/// `EXDEV` for a mount point, `ELOOP` or `ENOTDIR` for anything but a directory.
pub(crate) fn enter_own_mount(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        match openat2(parent, name, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => {
                let below = openat(parent, name, flags, Mode::empty())?;
                let is_mount = fstat(&below)?.st_dev != fstat(parent)?.st_dev;
                if is_mount { Err(Errno::XDEV) } else { Ok(below) }
            }
            opened => opened,
        }
    };
    let found = open(OFlags::PATH)?;
    if fstat(&found)?.st_mode & 0o700 != 0o700 {
        chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU)?;
    }
    // One descriptor at a time: what failed for want of them is removed with no more.
    drop(found);
    open(OFlags::RDONLY)
}

fn no_follow() -> OFlags {
    if weaken::without("store-links") { OFlags::empty() } else { OFlags::NOFOLLOW }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn open(path: &Path) -> Directory {
        Directory::open(path).unwrap()
    }

    #[test]
    fn a_tree_is_removed_and_no_link_is_followed() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("tree/a/b")).unwrap();
        fs::create_dir(base.path().join("kept")).unwrap();
        fs::write(base.path().join("kept/file"), "x").unwrap();
        for link in ["tree/link", "tree/a/b/link", "link"] {
            symlink(base.path().join("kept"), base.path().join(link)).unwrap();
        }
        let directory = open(base.path());
        for name in ["tree", "link", "nothing"] {
            directory.remove_tree(name).unwrap();
        }
        assert_eq!(directory.names().unwrap(), ["kept"]);
        assert_eq!(fs::read(base.path().join("kept/file")).unwrap(), b"x");
    }

    /// SEC-B32: more levels than a process has descriptors, or this thread's stack has room for.
    #[test]
    fn a_tree_of_any_depth_is_removed() {
        // Where a directory is cheap, if there is such a place.
        let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let directory = open(base.path());
        let make = |parent: BorrowedFd<'_>, name: &str| {
            rustix::fs::mkdirat(parent, name, Mode::RWXU).unwrap();
            openat(parent, name, OPEN, Mode::empty()).unwrap()
        };
        let mut deepest = make(directory.as_fd(), "tree");
        for level in 0..5000 {
            if level % 1000 == 0 {
                make(deepest.as_fd(), "beside");
            }
            deepest = make(deepest.as_fd(), "d");
        }
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        let remove = thread.spawn(move || directory.remove_tree("tree").unwrap()).unwrap();
        remove.join().unwrap();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    /// SEC-E04
    #[test]
    fn a_directory_is_refused_for_its_kind_owner_or_mode() {
        let base = tempfile::tempdir().unwrap();
        let directory = open(base.path());
        directory.enter_or_create("real", 0o755).unwrap();
        symlink("real", base.path().join("link")).unwrap();
        fs::write(base.path().join("file"), "").unwrap();
        for name in ["link", "file"] {
            let error = directory.enter_or_create(name, 0o755).unwrap_err().to_string();
            assert!(error.contains("is refused: it is not a directory; "), "{error}");
        }
        let root = rustix::process::geteuid().is_root();
        for (mode, refused) in [(0o755, false), (0o700, false), (0o775, root), (0o1777, true)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(base.path().join("real"), permissions).unwrap();
            let found = directory
                .enter_or_create("real", 0o755)
                .map(drop)
                .map_err(|error| error.to_string());
            let want = format!("is refused: others may write it (mode {mode:o})");
            let fits = found.as_ref().err().is_some_and(|error| error.contains(&want));
            assert!(fits == refused && found.is_err() == refused, "{mode:o}: {found:?}");
        }
        if root {
            let path = base.path().join("foreign");
            fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let error = directory.enter_or_create("foreign", 0o755).unwrap_err().to_string();
            assert!(error.contains("is refused: it belongs to user 65534"), "{error}");
            std::os::unix::fs::lchown(base.path().join("link"), Some(65534), None).unwrap();
            let error = Directory::open_own(&base.path().join("link")).unwrap_err().to_string();
            assert!(error.contains("is refused: it is a symbolic link of user 65534"), "{error}");
        }
    }

    #[test]
    fn an_existing_name_is_not_replaced() {
        let base = tempfile::tempdir().unwrap();
        for directory in ["a", "b/full"] {
            fs::create_dir_all(base.path().join(directory)).unwrap();
        }
        let directory = open(base.path());
        let refused = directory.rename_new("a", &directory, "b").unwrap_err();
        assert!(matches!(refused, Errno::EXIST | Errno::NOTEMPTY), "{refused}");
        directory.rename_new("a", &directory, "c").unwrap();
    }
}
