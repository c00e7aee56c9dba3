//! The files of a layout: in a directory, or in one tar file, which is not unpacked for that.

use crate::archive::plain::entries::{Entries, EntryError, Kind, Stream};
use crate::archive::plain::{Unpacking, member_path};
use crate::error::Error;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the files of an image are.
pub(super) enum Files {
    /// In this directory.
    Directory(PathBuf),
    /// In this tar file.
    Archive(PathBuf, File, Vec<Member>),
}

/// A file in a tar file: its path, where it begins and its length, in bytes.
pub(super) struct Member(Vec<u8>, u64, u64);

impl Files {
    /// What is at `path`; none if nothing is.
    ///
    /// # Errors
    /// [`Error::Archive`] for a file that is no tar file, [`Error::File`].
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Error> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Some(Self::Directory(path.to_owned()))),
            Ok(found) if found.is_file() => list(path).map(Some),
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Err(Error::file("read", path)(error))
            }
            _ => Ok(None),
        }
    }

    /// The file called `name`; none if there is none.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn blob(&self, name: &str) -> Result<Option<Section>, Error> {
        match self {
            // A name of a document is not trusted.
            _ if member_path(name.as_bytes(), false).is_err() => Ok(None),
            Self::Directory(path) => {
                let path = path.join(name);
                match fs::metadata(&path) {
                    Ok(found) if found.is_file() => {
                        let file = File::open(&path).map_err(Error::file("read", &path))?;
                        Ok(Some(Section { file, at: 0, end: found.len() }))
                    }
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        Err(Error::file("read", path)(error))
                    }
                    _ => Ok(None),
                }
            }
            Self::Archive(path, file, members) => {
                let named = |member: &&Member| member.0 == name.as_bytes();
                let Some(Member(_, at, length)) = members.iter().rfind(named) else {
                    return Ok(None);
                };
                let file = file.try_clone().map_err(Error::file("read", path))?;
                Ok(Some(Section { file, at: *at, end: at + length }))
            }
        }
    }
}

/// Lists the members of a tar file. What is no file does not matter: a document names files.
fn list(path: &Path) -> Result<Files, Error> {
    let file = File::open(path).map_err(Error::file("read", path))?;
    let end = file.metadata().map_err(Error::file("read", path))?.len();
    let again = file.try_clone().map_err(Error::file("read", path))?;
    let mut stream = Section { file: again, at: 0, end };
    let name = path.to_string_lossy();
    let broken = |error| match (&error, compressed(&file)) {
        (EntryError::Refused(_), true) => {
            let rule = "it is compressed as a whole; decompress it first (gunzip, zstd -d)".into();
            Unpacking::broken(&name, EntryError::Refused(rule))
        }
        _ => Unpacking::broken(&name, error),
    };
    let (mut entries, mut members) = (Entries::new(&mut stream), Vec::new());
    while let Some(entry) = entries.next().map_err(broken)? {
        if let (Kind::File(size), Ok(path)) = (entry.kind, member_path(&entry.name, false)) {
            let name = path.as_os_str().as_bytes().to_owned();
            members.push(Member(name, entries.position(), size));
        }
    }
    Ok(Files::Archive(path.to_owned(), file, members))
}

/// Whether a file begins as gzip, zstd or xz does.
fn compressed(file: &File) -> bool {
    let mut start = [0; 2];
    // One that cannot be read is none of them.
    _ = file.read_at(&mut start, 0);
    matches!(start, [0x1f, 0x8b] | [0x28, 0xb5] | [0xfd, 0x37])
}

/// A stretch of a file.
pub(super) struct Section {
    file: File,
    at: u64,
    end: u64,
}

impl Section {
    /// What is left of it, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.end - self.at
    }

    /// The same, to be read on its own.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, ..*self })
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.len()).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Stream for Section {
    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        if count > self.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.at += count;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.at
    }
}
