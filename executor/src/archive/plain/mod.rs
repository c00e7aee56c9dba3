//! Installation of a verified `.tar.gz` without an index, by an allow-list.
//!
//! In: a verified archive and an open directory. Out: the tree in it, or the violated rule.
//!
//! Directories, regular files, symbolic links and hard links inside the archive are unpacked. Every
//! other entry, every name that leaves the directory, and every stream that two readers could
//! understand differently refuses the whole archive: nothing is skipped and nothing is repaired.

pub(super) mod decompress;

use crate::error::Error;
use crate::fs::walk::{Walk, close, create, set_times, times};
use decompress::Unpacked;
use joblet_format::entries::{
    Budget, Entries, EntryError, Kind, MAX_ENTRIES, TarEntry, member_path, shown,
};
use joblet_format::{Artifact, Checksum};
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Most entries of an archive for which the registry does not state a number.
const MAX_UNSTATED_ENTRIES: u64 = 200_000;
/// Longest target of a symbolic link, in bytes, as on Linux.
const MAX_TARGET: usize = 4095;
/// Size of a read, in bytes.
const BUFFER: usize = 128 << 10;

/// Unpacks `archive` into the empty directory `into`.
///
/// `archive` was verified when it was fetched. It is hashed again while it is read, so that a concurrent
/// change of the file is detected.
///
/// # Errors
/// [`Error::Archive`] with the violated rule, [`Error::Checksum`] if the file changed, [`Error::File`] if
/// the directory cannot be written to. The directory's content is then undefined.
pub(crate) fn unpack(
    archive: File,
    name: &str,
    artifact: &Artifact,
    into: BorrowedFd<'_>,
    mut advance: impl FnMut(u64),
) -> Result<(), Error> {
    let mut unpacked = Unpacked::gzip(Hashed::new(archive));
    let mut unpacking = Unpacking::new(name, into, budget(artifact))?;
    let mut entries = Entries::new(&mut unpacked);
    while let Some(entry) = entries.next_entry().map_err(|error| unpacking.entry_error(error))? {
        unpacking.entry(&entry, &mut entries, &mut advance)?;
    }
    unpacking.finish()?;
    check_rest(unpacked, name, name, artifact.checksum)
}

/// Checks that the whole file was read, and that its hash is still `expected`; `object` is what it is of.
pub(super) fn check_rest(
    unpacked: Unpacked,
    name: &str,
    object: &str,
    expected: Checksum,
) -> Result<(), Error> {
    match unpacked.finish().map_err(Error::file("read", name))? {
        None => {
            let rule = "bytes after the end of the compressed stream".to_owned();
            Err(Error::Archive { archive: object.to_owned(), rule })
        }
        Some(actual) if actual != expected => {
            Err(Error::Checksum { object: object.to_owned(), expected, actual })
        }
        Some(_) => Ok(()),
    }
}

/// The registry's figures, or limits derived from the size of the archive.
pub(crate) fn budget(artifact: &Artifact) -> Budget {
    let entries = artifact.entries.unwrap_or(MAX_UNSTATED_ENTRIES).min(MAX_ENTRIES);
    let unsaid = Budget::for_size(artifact.size, entries);
    Budget { bytes: artifact.unpacked_size.unwrap_or(unsaid.bytes), ..unsaid }
}

/// A tree that is being unpacked.
pub(super) struct Unpacking<'a> {
    /// The archive, for messages.
    pub(super) name: &'a str,
    /// Walk to the files that are written.
    pub(super) walk: Walk,
    /// Walk to the targets of hard links, which may be in other directories.
    pub(super) links: Walk,
    budget: Budget,
    buffer: Vec<u8>,
}

impl<'a> Unpacking<'a> {
    /// Begins to unpack into the directory `into`, within `budget`.
    ///
    /// # Errors
    /// [`Error::File`] if no descriptor is left.
    pub(super) fn new(name: &'a str, into: BorrowedFd<'_>, budget: Budget) -> Result<Self, Error> {
        let walk = || Walk::new(into).map_err(|errno| file_error("open", name, errno));
        Ok(Self { name, walk: walk()?, links: walk()?, budget, buffer: vec![0; BUFFER] })
    }

    /// Sets the times of the directories that are still open.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn finish(self) -> Result<(), Error> {
        self.walk.finish().map_err(|errno| file_error("set times in", self.name, errno))
    }

    /// Adds `entry`, whose body is read from `entries`.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::File`].
    pub(super) fn entry(
        &mut self,
        entry: &TarEntry,
        entries: &mut Entries<'_>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let archive = self.name;
        let fail = |rule: &str| refuse(archive, &entry.name, rule);
        self.budget.spend(&entry.kind).map_err(fail)?;
        let directory = entry.kind == Kind::Directory;
        let path = member_path(&entry.name, directory).map_err(fail)?;
        match &entry.kind {
            // The owner must be able to fill and remove it.
            Kind::Directory => {
                self.walk.directory(&path, permissions(entry.mode) | Mode::RWXU, entry.mtime)
            }
            Kind::Symlink(target) if target.is_empty() || target.len() > MAX_TARGET => {
                return Err(fail("a symbolic link with an empty or overlong target"));
            }
            Kind::Symlink(target) => self.symlink(&path, target, entry.mtime),
            Kind::HardLink(target) => {
                let rule = |rule: &str| fail(&format!("hard link target: {rule}"));
                let target = member_path(target, false).map_err(rule)?;
                self.hard_link(&path, &target)
            }
            Kind::File(_) => return self.file(entry, &path, entries, advance),
            Kind::Device => return Err(fail("a device")),
            Kind::Fifo => return Err(fail("a FIFO")),
        }
        .map_err(|errno| self.tree_error(entry, errno))
    }

    fn file(
        &mut self,
        entry: &TarEntry,
        path: &Path,
        entries: &mut Entries<'_>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let mode = permissions(entry.mode) | Mode::RUSR | Mode::WUSR;
        let file =
            self.walk.create_parent(path).and_then(|(parent, name)| create(parent, name, mode));
        let mut file = File::from(file.map_err(|errno| self.tree_error(entry, errno))?);
        loop {
            let count = entries
                .read_body(&mut self.buffer)
                .map_err(|error| self.entry_error(EntryError::Read(error)))?;
            if count == 0 {
                break;
            }
            let shown = || PathBuf::from(OsStr::from_bytes(&entry.name));
            file.write_all(&self.buffer[..count]).map_err(|source| Error::File {
                verb: "write",
                path: shown(),
                source,
            })?;
            advance(count as u64);
        }
        rustix::fs::futimens(&file, &times(entry.mtime))
            .and_then(|()| close(file))
            .map_err(|errno| self.tree_error(entry, errno))
    }

    /// Makes a symlink, whose target is not interpreted.
    fn symlink(&mut self, path: &Path, target: &[u8], mtime: u64) -> Result<(), Errno> {
        let (parent, name) = self.walk.create_parent(path)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), parent, name)?;
        set_times(parent, name, mtime)
    }

    /// Makes a hard link to the regular file at `target`; `EINVAL` if it is not one.
    fn hard_link(&mut self, path: &Path, target: &Path) -> Result<(), Errno> {
        let (existing, file) = self.links.parent(target)?;
        let stat = rustix::fs::statat(existing, file, AtFlags::SYMLINK_NOFOLLOW)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Errno::INVAL);
        }
        let (parent, name) = self.walk.create_parent(path)?;
        rustix::fs::linkat(existing, file, parent, name, AtFlags::empty())
    }

    /// The error for an errno: a fault of the archive, or of the disk.
    fn tree_error(&self, entry: &TarEntry, errno: Errno) -> Error {
        let rule = match errno {
            Errno::EXIST => "the same path twice, or one that the file system takes for it",
            // O_NOFOLLOW | O_DIRECTORY: a symlink or a file instead of a directory.
            Errno::LOOP | Errno::NOTDIR => "a parent that is a link or a file",
            Errno::NOENT | Errno::INVAL if matches!(entry.kind, Kind::HardLink(_)) => {
                "a hard link to no earlier regular file"
            }
            _ => return file_error("unpack", OsStr::from_bytes(&entry.name), errno),
        };
        refuse(self.name, &entry.name, rule)
    }

    /// The error for a stream that cannot be read further.
    pub(super) fn entry_error(&self, error: EntryError) -> Error {
        Self::broken(self.name, error)
    }

    /// The error for an `archive` that cannot be read further.
    pub(super) fn broken(archive: &str, error: EntryError) -> Error {
        let rule = match error {
            EntryError::Refused(rule) => rule,
            EntryError::Read(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof => "it is cut off before its end".to_owned(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    format!("it is damaged or not a gzip file: {error}")
                }
                _ => return Error::File { verb: "read", path: archive.into(), source: error },
            },
        };
        Error::Archive { archive: archive.to_owned(), rule }
    }
}

/// The error for an archive, with the member that violates a rule.
pub(super) fn refuse(archive: &str, member: &[u8], rule: &str) -> Error {
    Error::Archive { archive: archive.to_owned(), rule: format!("{}: {rule}", shown(member)) }
}

pub(super) fn file_error(verb: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Error {
    Error::File { verb, path: path.into(), source: errno.into() }
}

/// Permission bits without set-user-ID, set-group-ID, sticky bit, and write permission for group and others.
fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o755)
}

/// A reader that computes the SHA-256 of its data.
pub(super) struct Hashed {
    source: Box<dyn Read>,
    hash: Sha256,
}

impl Hashed {
    /// Reads `source`.
    pub(super) fn new(source: impl Read + 'static) -> Self {
        Self { source: Box::new(source), hash: Sha256::new() }
    }

    /// SHA-256 of the data read so far.
    pub(super) fn checksum(self) -> Checksum {
        Checksum::from_digest(self.hash.finalize().into())
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests;
