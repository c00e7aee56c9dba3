//! The files of a layout: in a directory, or in a tar file, which is read in place.

use super::NOT_AN_IMAGE;
use crate::archive::plain::Unpacking;
use crate::error::Error;
use joblet_format::entries::{EntryError, Section, member_path};
use joblet_format::image::{Member, members};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The files of an image.
pub(super) enum Files {
    /// In this directory.
    Directory(PathBuf),
    /// In this tar file.
    Archive(PathBuf, File, Vec<Member>),
}

impl Files {
    /// Opens `path`; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Archive`] for anything but a directory and a tar file, [`Error::File`].
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Error> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Some(Self::Directory(path.to_owned()))),
            Ok(found) if found.is_file() => list(path).map(Some),
            Ok(_) => {
                let rule = "it is neither a directory nor a regular file".into();
                Err(Error::Archive { archive: path.display().to_string(), rule })
            }
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Err(unreadable(path, &error))
            }
            _ => Ok(None),
        }
    }

    /// The file `name`; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn blob(&self, name: &str) -> Result<Option<Section>, Error> {
        match self {
            // Names in documents are untrusted.
            _ if member_path(name.as_bytes(), false).is_err() => Ok(None),
            Self::Directory(path) => {
                let path = path.join(name);
                match fs::metadata(&path) {
                    Ok(found) if found.is_file() => {
                        Ok(Some(Section::new(open(&path)?, 0, found.len())))
                    }
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        Err(unreadable(&path, &error))
                    }
                    _ => Ok(None),
                }
            }
            Self::Archive(path, file, members) => {
                let named = |member: &&Member| member.path == Path::new(name);
                let Some(found) = members.iter().rfind(named) else { return Ok(None) };
                let file = file.try_clone().map_err(Error::file("read", path))?;
                Ok(Some(Section::new(file, found.at, found.size)))
            }
        }
    }
}

/// Opens a file for reading. Another user may own it, whose lease on it would delay that without O_NONBLOCK.
fn open(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map(File::from).map_err(|errno| unreadable(path, &errno.into()))
}

/// Unlike [`Error::File`], whose hint is about the store.
fn unreadable(path: &Path, error: &io::Error) -> Error {
    let rule = format!("it cannot be read: {error}");
    Error::Archive { archive: path.display().to_string(), rule }
}

fn list(path: &Path) -> Result<Files, Error> {
    let file = open(path)?;
    let whole = file.try_clone().and_then(Section::whole).map_err(Error::file("read", path))?;
    let name = path.to_string_lossy();
    let members = members(whole).map_err(|error| match (&error, compressed(&file)) {
        (EntryError::Refused(_), true) => {
            let rule = "it is compressed as a whole; decompress it first (gunzip, zstd -d)".into();
            Unpacking::broken(&name, EntryError::Refused(rule))
        }
        (_, false) if !is_tar(&file) => {
            Unpacking::broken(&name, EntryError::Refused(NOT_AN_IMAGE.into()))
        }
        _ => Unpacking::broken(&name, error),
    })?;
    Ok(Files::Archive(path.to_owned(), file, members))
}

/// Whether a file begins with a tar header, whose magic number is at offset 257.
fn is_tar(file: &File) -> bool {
    let mut magic = [0; 5];
    file.read_exact_at(&mut magic, 257).is_ok() && magic == *b"ustar"
}

/// Whether a file has the magic number of gzip, zstd or xz.
fn compressed(file: &File) -> bool {
    let mut start = [0; 2];
    // An unreadable file is reported by its next reader.
    _ = file.read_at(&mut start, 0);
    matches!(start, [0x1f, 0x8b] | [0x28, 0xb5] | [0xfd, 0x37])
}
