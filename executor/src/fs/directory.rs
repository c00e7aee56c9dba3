//! Directories that are open: what is in them is named below their descriptor, never through a link.
//!
//! A path means whatever is there when it is resolved; who may rename one of its directories
//! decides what that is. A descriptor means the directory that was checked.

use super::walk::close;
use crate::env::weaken;
use crate::error::Error;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fstat, openat, renameat,
    renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// Where it was found: for messages only.
    path: PathBuf,
}

impl Directory {
    /// Opens the directory at `path`, wherever links lead.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let fd = rustix::fs::open(path, OPEN, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// As [`Directory::open`]; the last component may be a link only of root's or of the caller's:
    /// in a world-writable directory, a link of another user is refused.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`]; none where nothing is there.
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

    /// Makes the directory at `path`, and those above it that are missing, each with `mode` less what the
    /// umask takes.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn make_all(path: &Path, mode: u32) -> Result<(), Error> {
        let done = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        done.map_err(Error::file("create", path))
    }

    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if it is something else, [`Error::File`]; none where nothing is there.
    pub(crate) fn enter(&self, name: &str) -> Result<Option<Self>, Error> {
        let path = self.at(name);
        match openat(self.as_fd(), OsStr::new(name), OPEN | no_follow(), Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(untrusted(&path, "it is not a directory; move it away".into()))
            }
            Err(errno) => Err(Error::file("open", path)(errno)),
        }
    }

    /// Opens the directory `name` in this one, which this process or its like has made; makes it if
    /// it is missing.
    ///
    /// # Errors
    /// As [`Directory::enter`] and [`Directory::trusted`].
    pub(crate) fn own(&self, name: &str, mode: u32) -> Result<Self, Error> {
        loop {
            if let Some(found) = self.enter(name)? {
                return found.trusted();
            }
            match rustix::fs::mkdirat(self.as_fd(), OsStr::new(name), Mode::from_raw_mode(mode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::file("create", self.at(name))(errno)),
            }
        }
    }

    /// Refuses a directory in which others decide what is there.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`].
    pub(crate) fn trusted(self) -> Result<Self, Error> {
        match distrust(&self.stat()?) {
            Some(reason) => Err(untrusted(&self.path, reason)),
            None => Ok(self),
        }
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn stat(&self) -> Result<Stat, Error> {
        fstat(&self.fd).map_err(Error::file("stat", &self.path))
    }

    /// Where it was found: for messages only.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where `name` in it is: for messages only.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What is called `name` in it, itself if it is a link.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn look(&self, name: &str) -> Result<Stat, Errno> {
        rustix::fs::statat(self.as_fd(), OsStr::new(name), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Whether what is called `name` in it was modified longer ago.
    pub(crate) fn is_older(&self, name: &str, limit: Duration) -> bool {
        let Ok(stat) = self.look(name) else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(stat.st_mtime).unwrap_or_default();
        now.as_secs().saturating_sub(time) > limit.as_secs()
    }

    /// Whether what is called `name` in it was changed, or got this name, within so long.
    pub(crate) fn is_fresh(&self, name: &str, limit: Duration) -> bool {
        let Ok(stat) = self.look(name) else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(stat.st_ctime).unwrap_or_default();
        now.as_secs().saturating_sub(time) < limit.as_secs()
    }

    /// Whether anything is called `name` in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.look(name).is_ok()
    }

    /// The names in it, in no order. One that is not UTF-8 is replaced by a name that no file has.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let read = || -> Result<_, Errno> {
            // Read from its beginning: the offset is shared with other readers.
            let mut entries =
                Dir::new(openat(self.as_fd(), OsStr::new("."), OPEN, Mode::empty())?)?;
            let mut names = Vec::new();
            while let Some(entry) = entries.read() {
                names.extend(named(entry)?.map(|name| name.to_string_lossy().into_owned()));
            }
            Ok(names)
        };
        read().map_err(Error::file("read", self.path.clone()))
    }

    /// Opens the file `name` in it; never waits for a FIFO.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn file(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        let flags = flags | no_follow() | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(self.as_fd(), OsStr::new(name), flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Reads the regular file `name` in it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = self.file(name, OFlags::RDONLY)?;
        if !file.metadata()?.is_file() {
            return Err(Errno::NOENT.into());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Writes a file whose name is not in use yet. What had the name is no longer there then.
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
        done().map_err(Error::file("write", self.at(name)))
    }

    /// Gives what is called `from` in it the name `to` in `there`, which nothing has yet.
    ///
    /// # Errors
    /// `EEXIST` or `ENOTEMPTY` where something has it; otherwise what the kernel says.
    pub(crate) fn rename_new(&self, from: &str, there: &Self, to: &str) -> Result<(), Errno> {
        let (here, to) = ((self.as_fd(), OsStr::new(from)), (there.as_fd(), OsStr::new(to)));
        match renameat_with(here.0, here.1, to.0, to.1, RenameFlags::NOREPLACE) {
            // File systems without that flag: rename(2) replaces no directory that has entries.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(here.0, here.1, to.0, to.1),
            done => done,
        }
    }

    /// Gives what is called `from` in it the name `to` in `there`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn rename(&self, from: &str, there: &Self, to: &str) -> Result<(), Errno> {
        renameat(self.as_fd(), OsStr::new(from), there.as_fd(), OsStr::new(to))
    }

    /// Exchanges what is called `name` in it with what is called `other` in `there`.
    ///
    /// # Errors
    /// `EINVAL` or `ENOSYS` where that cannot be done; otherwise what the kernel says.
    pub(crate) fn exchange(&self, name: &str, there: &Self, other: &str) -> Result<(), Errno> {
        let (name, other) = (OsStr::new(name), OsStr::new(other));
        renameat_with(self.as_fd(), name, there.as_fd(), other, RenameFlags::EXCHANGE)
    }

    /// Removes the file `name`; none is fine.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), Error> {
        match unlinkat(self.as_fd(), OsStr::new(name), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::file("remove", self.at(name))(errno)),
        }
    }

    /// Removes what is called `name` and all that is in it; nothing is fine.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn remove_tree(&self, name: &str) -> Result<(), Error> {
        remove_tree(self.as_fd(), OsStr::new(name)).map_err(Error::file("remove", self.at(name)))
    }

    /// Its entries are on the disk then.
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

/// The name of an entry; none for `.` and `..`.
fn named(entry: Result<rustix::fs::DirEntry, Errno>) -> Result<Option<CString>, Errno> {
    let name = entry?.file_name().to_owned();
    Ok(Some(name).filter(|name| !matches!(name.to_bytes(), b"." | b"..")))
}

fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let refused = match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A directory, by Linux and by POSIX.
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => errno,
        Err(errno) => return Err(errno),
    };
    let entries = match openat(parent, name, OPEN | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused),
        opened => opened?,
    };
    let mut entries = Dir::new(entries)?;
    while let Some(entry) = entries.read() {
        if let Some(name) = named(entry)? {
            remove_tree(entries.fd()?, OsStr::from_bytes(name.to_bytes()))?;
        }
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

fn no_follow() -> OFlags {
    if weaken::without("store-links") { OFlags::empty() } else { OFlags::NOFOLLOW }
}

/// The user that this process acts as.
pub(crate) fn user() -> u32 {
    static ASKED: OnceLock<u32> = OnceLock::new();
    *ASKED.get_or_init(|| rustix::process::geteuid().as_raw())
}

/// Whether a file or directory belongs to the caller or to root.
pub(crate) fn is_ours(stat: &Stat) -> bool {
    [0, user()].contains(&stat.st_uid)
}

/// Why others decide what is in a file or directory, if they do.
///
/// A group may be of one user alone, as many distributions have it, and who is not root may trust
/// it; root does not.
pub(crate) fn distrust(stat: &Stat) -> Option<String> {
    if weaken::without("store-owners") {
        return None;
    }
    if !is_ours(stat) {
        return Some(format!("it belongs to user {}; chown it", stat.st_uid));
    }
    let others = if user() == 0 { 0o022 } else { 0o002 };
    let mode = stat.st_mode & 0o7777;
    (mode & others != 0).then(|| format!("others may write it (mode {mode:o}); chmod go-w it"))
}

/// The refusal of `path`.
pub(crate) fn untrusted(path: &Path, reason: String) -> Error {
    Error::Untrusted { path: path.to_owned(), reason, option: "--store DIR" }
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

    /// SEC-E04
    #[test]
    fn a_directory_is_refused_for_its_kind_owner_or_mode() {
        let base = tempfile::tempdir().unwrap();
        let directory = open(base.path());
        directory.own("real", 0o755).unwrap();
        symlink("real", base.path().join("link")).unwrap();
        fs::write(base.path().join("file"), "").unwrap();
        for name in ["link", "file"] {
            let error = directory.own(name, 0o755).unwrap_err().to_string();
            assert!(error.contains("is refused: it is not a directory; "), "{error}");
        }
        let root = rustix::process::geteuid().is_root();
        for (mode, refused) in [(0o755, false), (0o700, false), (0o775, root), (0o1777, true)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(base.path().join("real"), permissions).unwrap();
            let found = directory.own("real", 0o755).map(drop).map_err(|error| error.to_string());
            let want = format!("is refused: others may write it (mode {mode:o})");
            let fits = found.as_ref().err().is_some_and(|error| error.contains(&want));
            assert!(fits == refused && found.is_err() == refused, "{mode:o}: {found:?}");
        }
        if root {
            let path = base.path().join("foreign");
            fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let error = directory.own("foreign", 0o755).unwrap_err().to_string();
            assert!(error.contains("is refused: it belongs to user 65534"), "{error}");
            std::os::unix::fs::lchown(base.path().join("link"), Some(65534), None).unwrap();
            let error = Directory::open_own(&base.path().join("link")).unwrap_err().to_string();
            assert!(error.contains("is refused: it is a symbolic link of user 65534"), "{error}");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_not_replaced() {
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
