//! Access to files below an untrusted directory: a checkout, records, a served site.
//!
//! The path of the directory itself comes from the caller, and links in it are followed. Below it, every
//! component is opened by descriptor: a link on the way, or anything but a regular file at its end, is
//! refused, and no FIFO or device is opened.

use super::kind::{kind_name, regular, unwanted};
use crate::error::Error;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::{Component, Path, PathBuf},
};

/// Default limit for files that are read as a whole, in bytes.
pub(crate) const MAX_WHOLE: u64 = 256 << 20;

const WALK: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Below {
    fd: OwnedFd,
    /// Its path, for messages.
    path: PathBuf,
}

/// A file, directory or link.
#[derive(Debug)]
pub(crate) enum Node {
    /// A directory.
    Dir,
    /// A symbolic link and its target.
    Link(OsString),
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its content.
        bytes: Vec<u8>,
    },
}

impl Below {
    /// Opens the directory `root`; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn open(root: &Path) -> Result<Option<Self>, Error> {
        let path = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        match rustix::fs::open(path, WALK.difference(OFlags::NOFOLLOW), Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path: root.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::file("read", path)(errno)),
        }
    }

    /// Opens the directory `path`, which begins with this one's path; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Config`] for what is not a directory; [`Error::File`].
    pub(crate) fn dir(&self, path: &Path) -> Result<Option<Self>, Error> {
        let mut dir = Self { fd: self.again()?, path: self.path.clone() };
        for name in self.names(path)? {
            let path = dir.path.join(name);
            match rustix::fs::openat(&dir.fd, name, WALK, Mode::empty()) {
                Ok(fd) => dir = Self { fd, path },
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(dir.refused(name, "a directory", errno)),
            }
        }
        Ok(Some(dir))
    }

    /// Opens the regular file `path`, which begins with this directory's path; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not a regular file; [`Error::File`].
    pub(crate) fn open_path(&self, path: &Path) -> Result<Option<File>, Error> {
        let Some((dir, name)) = self.place(path)? else { return Ok(None) };
        dir.open_file(name)
    }

    /// Reads the regular file `path`, which begins with this directory's path; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not a regular file or longer than `limit`; [`Error::File`].
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let file = self.open_path(path)?;
        file.map(|file| read_whole(file, path, limit)).transpose()
    }

    /// Opens the parent directory of `path`, creating missing ones, and returns it with the last name.
    ///
    /// # Errors
    /// [`Error::Config`] if a parent is not a directory; [`Error::File`].
    pub(crate) fn create_parent<'p>(&self, path: &'p Path) -> Result<(Self, &'p OsStr), Error> {
        let names = self.names(path)?;
        let Some((last, parents)) = names.split_last() else {
            return Err(Error::config(path, "is a directory"));
        };
        let mut dir = Self { fd: self.again()?, path: self.path.clone() };
        for name in parents {
            let path = dir.path.join(name);
            let new = match rustix::fs::mkdirat(&dir.fd, *name, Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(errno) => return Err(Error::file("create", path)(errno)),
            };
            let fd = rustix::fs::openat(&dir.fd, *name, WALK, Mode::empty());
            let fd = fd.map_err(|errno| dir.refused(name, "a directory", errno))?;
            if new {
                // Readable by all users, independent of the umask.
                let mode = Mode::from_raw_mode(0o755);
                let place = format!("/proc/self/fd/{}", fd.as_raw_fd());
                rustix::fs::chmod(place, mode).map_err(Error::file("create", &path))?;
            }
            dir = Self { fd, path };
        }
        Ok((dir, last))
    }

    /// A path that refers to this open directory even if it is renamed.
    pub(crate) fn proc_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into()
    }

    /// Writes a new file; returns false if the name exists.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn write_new(&self, name: &OsStr, bytes: &[u8]) -> Result<bool, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let failed = |error: std::io::Error| Error::file("write", self.path.join(name))(error);
        match rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o666)) {
            Ok(fd) => {
                let mut file = File::from(fd);
                // As above.
                let readable = std::fs::Permissions::from_mode(0o644);
                file.set_permissions(readable).map_err(failed)?;
                file.write_all(bytes).map_err(failed).map(|()| true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Removes a file if it exists.
    ///
    /// # Errors
    /// [`Error::File`] for anything but absence.
    pub(crate) fn remove(&self, name: &OsStr) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::file("remove", self.path.join(name))(errno)),
        }
    }

    /// Renames a file within this directory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> Result<(), Error> {
        let renamed = rustix::fs::renameat(&self.fd, from, &self.fd, to);
        renamed.map_err(Error::file("rename", self.path.join(to)))
    }

    /// The entries of this directory with their types, sorted by name.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn entries(&self) -> Result<Vec<(OsString, FileType)>, Error> {
        let failed = |errno: Errno| Error::file("list", &self.path)(errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::new(fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                // Removed concurrently.
                let Some(kind) = self.kind(name)? else { continue };
                entries.push((name.to_owned(), kind));
            }
        }
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(entries)
    }

    /// Whether the name exists in this directory.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn has(&self, name: &OsStr) -> Result<bool, Error> {
        Ok(self.kind(name)?.is_some())
    }

    /// Everything below this directory with its relative path, a directory before its content, sorted by
    /// name within each. Links are not followed.
    ///
    /// # Errors
    /// [`Error::Config`] for other kinds of files, and for files of more than `limit` bytes in all;
    /// [`Error::File`].
    pub(crate) fn walk(&self, limit: u64) -> Result<Vec<(PathBuf, Node)>, Error> {
        let (mut found, mut left) = (Vec::new(), limit);
        self.walk_into(Path::new(""), &mut left, &mut found)?;
        Ok(found)
    }

    fn walk_into(
        &self,
        place: &Path,
        left: &mut u64,
        found: &mut Vec<(PathBuf, Node)>,
    ) -> Result<(), Error> {
        for (name, kind) in self.entries()? {
            let (path, own) = (place.join(&name), self.path.join(&name));
            match kind {
                FileType::Directory => {
                    let Some(dir) = self.dir(&own)? else { continue };
                    found.push((path.clone(), Node::Dir));
                    dir.walk_into(&path, left, found)?;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&self.fd, &name, Vec::new());
                    let target = target.map_err(Error::file("read", own))?;
                    found.push((
                        path,
                        Node::Link(OsString::from(OsStr::from_bytes(target.to_bytes()))),
                    ));
                }
                _ => {
                    let Some(file) = self.open_file(&name)? else { continue };
                    let metadata = file.metadata().map_err(Error::file("read", &own))?;
                    if metadata.len() > *left {
                        let reason = "is too large, with what precedes it; at most 1 GiB is read";
                        return Err(Error::config(own, reason));
                    }
                    let mode = metadata.permissions();
                    let bytes = read_whole(file, &own, *left)?;
                    *left -= bytes.len() as u64;
                    let executable = mode.mode() & 0o100 != 0;
                    found.push((path, Node::File { executable, bytes }));
                }
            }
        }
        Ok(())
    }

    fn open_file(&self, name: &OsStr) -> Result<Option<File>, Error> {
        // Checked before it is opened: opening a device may have side effects.
        match self.kind(name)? {
            None => return Ok(None),
            Some(FileType::RegularFile) => {}
            Some(kind) => return Err(self.wrong(name, kind, "a file")),
        }
        let file = match rustix::fs::openat(&self.fd, name, READ, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.refused(name, "a file", errno)),
        };
        let own = self.path.join(name);
        regular(file, &own).map(Some)
    }

    fn place<'p>(&self, path: &'p Path) -> Result<Option<(Self, &'p OsStr)>, Error> {
        let (parent, name) = (path.parent().unwrap_or(path), path.file_name());
        let name = name.ok_or_else(|| Error::config(path, "is a directory"))?;
        Ok(self.dir(parent)?.map(|dir| (dir, name)))
    }

    /// The components of `path` behind this directory's.
    fn names<'p>(&self, path: &'p Path) -> Result<Vec<&'p OsStr>, Error> {
        let out = || {
            let reason = format!("leads out of {}", self.path.display());
            Error::config(path, reason)
        };
        let rest = path.strip_prefix(&self.path).map_err(|_| out())?;
        let name = |part| match part {
            Component::Normal(name) => Some(Ok(name)),
            Component::CurDir => None,
            _ => Some(Err(out())),
        };
        rest.components().filter_map(name).collect()
    }

    fn kind(&self, name: &OsStr) -> Result<Option<FileType>, Error> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::file("read", self.path.join(name))(errno)),
        }
    }

    /// Why `name` could not be opened as what was `wanted`.
    fn refused(&self, name: &OsStr, wanted: &str, errno: Errno) -> Error {
        match (errno, self.kind(name)) {
            (Errno::NOTDIR | Errno::LOOP | Errno::NXIO, Ok(Some(kind))) => {
                self.wrong(name, kind, wanted)
            }
            _ => Error::file("read", self.path.join(name))(errno),
        }
    }

    fn wrong(&self, name: &OsStr, kind: FileType, wanted: &str) -> Error {
        let reason = match kind {
            FileType::Symlink => {
                format!("is {}, which is not followed; replace it by {wanted}", kind_name(kind))
            }
            _ => unwanted(kind, wanted),
        };
        Error::config(self.path.join(name), reason)
    }

    fn again(&self) -> Result<OwnedFd, Error> {
        self.fd.try_clone().map_err(Error::file("read", &self.path))
    }
}

/// Reads `file` to its end; `path` is for messages.
pub(super) fn read_whole(file: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(Error::file("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::config(path, format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}
