//! Writes an archive to one file, or to parts if it would be too large.
//!
//! The files are temporary until all of them are complete, then renamed.

use super::index_path;
use crate::{error::Error, fs::paths};
use joblet_format::Checksum;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};
use std::{
    io::Write,
    num::NonZero,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Largest file of an archive, in bytes: the limit of Joblet's client and of release hosts.
pub const MAX_PART: u64 = (2 << 30) - 1;

/// Interval at which the kernel is asked to start writeback, in bytes: otherwise the sync at the end would
/// have to write the whole archive.
const WRITEBACK: u64 = 4 << 20;

/// A part of an archive on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedPart {
    /// Length of the file, in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub checksum: Checksum,
}

/// The path of part `number`, counted from 0, of `archive`: `ARCHIVE.001` and so on.
pub fn part_path(archive: &Path, number: usize) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(format!(".{:03}", number + 1));
    path.into()
}

/// The files of an archive that is being written.
pub(super) struct Parts<'t> {
    target: &'t Path,
    /// Largest size of a file, in bytes.
    limit: u64,
    done: Vec<(NamedTempFile, PackedPart)>,
    file: NamedTempFile,
    /// Bytes in `file`.
    size: u64,
    /// How many of them writeback was started for.
    written_back: u64,
    /// Hash of `file`. `None` for the first file, whose hash is that of the archive so far: an archive
    /// of one file is hashed once.
    hash: Option<Sha256>,
}

impl<'t> Parts<'t> {
    pub(super) fn new(target: &'t Path, limit: u64) -> Result<Self, Error> {
        let file = paths::stage(target)?;
        Ok(Self { target, limit, done: Vec::new(), file, size: 0, written_back: 0, hash: None })
    }

    /// Appends a member, which is never split. `whole` is the hash of the members before.
    pub(super) fn put(&mut self, member: &[u8], whole: &Sha256) -> Result<(), Error> {
        let length = member.len() as u64;
        if length > self.limit {
            let reason =
                format!("--part-size {} is smaller than a member of the archive", self.limit);
            return Err(Error::Usage(reason));
        }
        if self.size + length > self.limit {
            let next = paths::stage(self.target)?;
            self.close(next, whole);
            self.hash = Some(Sha256::new());
        }
        self.file.write_all(member).map_err(Error::file("write", self.target))?;
        self.size += length;
        if let Some(more) =
            NonZero::new(self.size - self.written_back).filter(|more| more.get() >= WRITEBACK)
        {
            // Best effort. The pages stay in the page cache.
            _ = fadvise(&self.file, self.written_back, Some(more), Advice::DontNeed);
            self.written_back = self.size;
        }
        if let Some(hash) = &mut self.hash {
            hash.update(member);
        }
        Ok(())
    }

    fn close(&mut self, next: NamedTempFile, whole: &Sha256) {
        let hash = self.hash.take().unwrap_or_else(|| whole.clone());
        let checksum = Checksum::from_digest(hash.finalize().into());
        let part = PackedPart { size: self.size, checksum };
        self.done.push((std::mem::replace(&mut self.file, next), part));
        (self.size, self.written_back) = (0, 0);
    }

    /// Renames the files of an archive without an index. Returns the parts; empty if it is one file.
    pub(super) fn publish_alone(self, whole: &Sha256) -> Result<Vec<PackedPart>, Error> {
        self.named(whole)
    }

    /// Renames archive and index. Returns the parts; empty if the archive is one file.
    ///
    /// An archive is never beside the index of another one: a different index is removed first, and equal
    /// indexes belong to equal archives.
    pub(super) fn publish(self, index: &[u8], whole: &Sha256) -> Result<Vec<PackedPart>, Error> {
        let target = self.target;
        let path = index_path(target);
        if paths::read_if_there(&path)?.as_deref() != Some(index) {
            remove(target, 0)?;
            paths::remove_if_there(target)?;
            paths::write(&path, index)?;
        }
        self.named(whole)
    }

    fn named(mut self, whole: &Sha256) -> Result<Vec<PackedPart>, Error> {
        let target = self.target;
        if self.done.is_empty() {
            paths::publish(self.file, target)?;
            remove(target, 0)?;
            return Ok(Vec::new());
        }
        let none = paths::stage(target)?;
        self.close(none, whole);
        let mut parts = Vec::new();
        for (number, (file, part)) in self.done.into_iter().enumerate() {
            paths::publish(file, &part_path(target, number))?;
            parts.push(part);
        }
        remove(target, parts.len())?;
        paths::remove_if_there(target)?;
        Ok(parts)
    }
}

/// Removes the parts of `archive` from number `first` on.
fn remove(archive: &Path, first: usize) -> Result<(), Error> {
    let paths = (first..).map(|number| part_path(archive, number));
    paths.take_while(|path| path.exists()).try_for_each(|path| paths::remove_if_there(&path))
}
