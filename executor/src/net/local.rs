//! Files of a registry that is a directory on this host.
//!
//! The directory may be untrusted (a bundle from removable media, an unpacked archive): paths and links
//! in it are confined to it, and only regular files are read.

use crate::error::Error;
use crate::fs::beneath;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A file below the directory of a local registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Local {
    directory: PathBuf,
    /// A path without `..` and without a root.
    file: PathBuf,
}

impl Local {
    /// The file `name` in the registry directory `directory`.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        Self { directory: directory.to_owned(), file: name.into() }
    }

    /// The file at `path`; its parent is the registry directory.
    pub(crate) fn from_path(path: &Path) -> Self {
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        Self { directory: path.parent().unwrap_or(Path::new("")).to_owned(), file: name }
    }

    /// The file at `path` below the same directory; none if the path is absolute or contains `..`.
    pub(crate) fn below(&self, path: &str) -> Option<Self> {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        let stays = !path.is_empty() && Path::new(path).components().all(inside);
        stays.then(|| Self { directory: self.directory.clone(), file: path.into() })
    }

    /// Appends `suffix` to the file name.
    #[must_use]
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        let mut file: OsString = self.file.clone().into();
        file.push(suffix);
        Self { directory: self.directory.clone(), file: file.into() }
    }

    /// Its path, for messages only.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }

    /// Whether the name exists, whatever kind of file it is.
    pub(crate) fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Opens it for reading. Never blocks on a FIFO and never opens a device.
    ///
    /// # Errors
    /// [`Error::File`]; also when a link leads out of the directory, and for what is not a regular file.
    pub(crate) fn open(&self) -> Result<File, Error> {
        let here = self.directory.as_os_str().is_empty();
        let directory = if here { Path::new(".") } else { &self.directory };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty());
        let file =
            directory.and_then(|directory| beneath::open_file(directory.as_fd(), &self.file));
        file.map(File::from).map_err(|errno| {
            let refuse = |why| Error::file("read", self.path())(io::Error::other(why));
            match errno {
                Errno::XDEV => refuse("a link in it leads out of the registry's directory"),
                Errno::LOOP => refuse("it is a loop of links"),
                Errno::INVAL => refuse("it is not a regular file"),
                errno => Error::file("open", self.path())(errno),
            }
        })
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}
