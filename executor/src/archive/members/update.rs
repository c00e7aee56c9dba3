//! A new version out of an old one: what is here is linked or copied, the rest is fetched.
//!
//! The result is the tree that a full installation leaves. The archive's own checksum cannot be
//! compared, since not all of it is read: each member that is read is, with the index, whose own
//! checksum the registry says. What is taken from the old version is taken only if nobody has
//! touched it: length, permissions and the constant time of everything in a runtime are as they
//! were installed, and pieces that are copied are hashed again.

use super::source;
use super::unit::Units;
use super::{Extraction, MemberMap, pipeline, tree};
use crate::archive::reuse::{self, FileSource, Intact};
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::fs::trust::is_ours;
use crate::fs::walk::{Walk, close, create, times};
use crate::net::parts::Parts;
use joblet_format::index::{Body, Entry, Index};
use joblet_format::ustar::MTIME;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::thread;

/// An installed version whose files may be used again.
#[derive(Debug)]
pub(super) struct Old {
    index: Index,
    /// Its directory.
    root: OwnedFd,
}

/// What an update would do.
#[derive(Debug)]
pub(crate) struct Update {
    old: Old,
    plan: reuse::ReusePlan,
}

impl Update {
    /// Plans to make `new` out of the version that is open as `root`, installed with the index `old`.
    ///
    /// `None` when it would save less than half.
    pub(crate) fn plan(old: Index, root: OwnedFd, new: &Index) -> Option<Self> {
        let old = Old { index: old, root };
        let untouched = old.untouched().ok()?;
        let plan = reuse::plan(&old.index, new, &untouched);
        (plan.fetched * 2 <= new.archive_size()).then_some(Self { old, plan })
    }

    /// Plans to make the version that is open as `root` anew, of which `good` is as it must be.
    pub(crate) fn repair(index: &Index, root: OwnedFd, good: &Intact) -> Self {
        let old = Old { index: index.clone(), root };
        let plan = reuse::plan(&old.index, index, good);
        Self { old, plan }
    }

    /// Length of the members that will be fetched, in bytes.
    pub(crate) fn fetched(&self) -> u64 {
        self.plan.fetched
    }

    /// Length of the content that is taken from the old version, in bytes.
    pub(crate) fn reused(&self) -> u64 {
        self.plan.reused
    }

    /// Makes the tree of `index` in the empty directory `into`.
    ///
    /// # Errors
    /// As [`super::unpack`], and [`Error::Net`] from a server that knows no ranges. The directory's
    /// content is then worthless.
    pub(crate) fn unpack(
        &self,
        parts: &Parts,
        index: &Index,
        into: OwnedFd,
        progress: &Progress,
    ) -> Result<(), Error> {
        let mut wanted = vec![false; index.entries().len()];
        for (entry, source) in &self.plan.files {
            wanted[*entry] = matches!(source, FileSource::Pieces(_));
        }
        let extraction = Extraction {
            archive: parts.to_string(),
            index,
            plan: MemberMap::new(index),
            units: Units::members(index),
            root: into,
            wanted: Some(wanted),
        };
        tree::directories(&extraction)?;
        // Workers write into the files that are made of pieces; whole ones are linked meanwhile.
        self.take(&extraction, |source| matches!(source, FileSource::Pieces(_)))?;
        let wanted = reuse::ranges(index, &self.plan.members);
        let mut ranges = source::ArchiveReader::some(parts, wanted).in_units(&extraction.units);
        let links = || self.take(&extraction, |source| matches!(source, FileSource::Same(_)));
        thread::scope(|scope| {
            let linking = thread::Builder::new().spawn_scoped(scope, links);
            let fetched =
                pipeline::run(&mut ranges, &self.plan.members, &extraction, (progress, &|_| ()));
            let linked = match linking {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // On this thread, where the number of threads is limited.
                Err(_) => links(),
            };
            fetched.and(linked)
        })?;
        let pieces = self.plan.files.iter();
        let pieces = pieces.filter(|(_, source)| matches!(source, FileSource::Pieces(_)));
        tree::finish(&extraction, pieces.map(|(entry, _)| *entry))
    }

    /// Links and copies what the old version has of the files whose source is `wanted`.
    fn take(
        &self,
        extraction: &Extraction<'_>,
        wanted: impl Fn(&FileSource) -> bool,
    ) -> Result<(), Error> {
        let mut from =
            Walk::new(self.old.root.as_fd()).map_err(Error::file("open", &extraction.archive))?;
        let mut to = extraction.walk()?;
        let mut link = Link::Reflink;
        for (number, source) in self.plan.files.iter().filter(|(_, source)| wanted(source)) {
            let path = extraction.path(*number);
            let done = match source {
                FileSource::Same(same) => {
                    let (old, new) =
                        (&self.old.index.entries()[*same], &extraction.index.entries()[*number]);
                    link.make(&mut from, old, &mut to, &path, new)
                }
                FileSource::Pieces(_) => {
                    self.copy(&mut from, &mut to, &path, extraction, *number, source)
                }
            };
            done.map_err(|errno| extraction.refused(&path, errno))?;
        }
        Ok(())
    }

    /// Creates a file and writes the pieces of it that are here.
    fn copy(
        &self,
        from: &mut Walk,
        to: &mut Walk,
        path: &str,
        extraction: &Extraction<'_>,
        number: usize,
        source: &FileSource,
    ) -> Result<(), Errno> {
        let entry = &extraction.index.entries()[number];
        let (FileSource::Pieces(places), Body::File { pieces, .. }) = (source, &entry.body) else {
            return Ok(());
        };
        let (parent, name) = to.parent(path)?;
        let file = File::from(create(parent, name, mode(entry))?);
        let mut at = 0;
        for (piece, place) in pieces.iter().zip(places) {
            if let Some(place) = place {
                let old = File::from(from.open_file(&self.old.index.entries()[place.entry].path)?);
                let length = usize::try_from(piece.size).map_err(|_| Errno::FBIG)?;
                let mut bytes = vec![0; length];
                let read = old.read_exact_at(&mut bytes, place.offset);
                read.map_err(|_| Errno::IO)?;
                // What the disk has lost is not handed on.
                if piece.sha256 != *Sha256::digest(&bytes) {
                    return Err(Errno::IO);
                }
                let written = file.write_all_at(&bytes, at);
                written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            }
            at += piece.size;
        }
        close(file)
    }
}

impl Old {
    /// The entries that lie there as they were installed.
    fn untouched(&self) -> Result<Intact, Errno> {
        let mut walk = Walk::new(self.root.as_fd())?;
        let mut untouched = Intact::default();
        for (number, entry) in self.index.entries().iter().enumerate() {
            if !matches!(entry.body, Body::File { .. }) {
                continue;
            }
            let found = walk.parent(&entry.path).and_then(|(parent, name)| {
                rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            });
            let Ok(found) = found else { continue };
            // Another name of somebody else's file would leave it to that one to change.
            if looks_installed(entry, &found) && is_ours(&found) {
                untouched.files.insert(number);
            }
        }
        Ok(untouched)
    }
}

/// How a file of the old version becomes one of the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// A file of its own that shares blocks: not every file system has these.
    Reflink,
    /// Another name of the same file: nobody writes to the files of a runtime.
    Hard,
}

impl Link {
    fn make(
        &mut self,
        from: &mut Walk,
        old: &Entry,
        to: &mut Walk,
        path: &str,
        new: &Entry,
    ) -> Result<(), Errno> {
        if *self == Self::Reflink && new.size() > 0 {
            let source = from.open_file(&old.path)?;
            let (parent, name) = to.parent(path)?;
            let target = create(parent, name, mode(new))?;
            match rustix::fs::ioctl_ficlone(&target, &source) {
                Ok(()) => return rustix::fs::futimens(&target, &times(MTIME)),
                Err(_) => *self = Self::Hard,
            }
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
        }
        let (old_parent, old_name) = from.parent(&old.path)?;
        let (parent, name) = to.parent(path)?;
        rustix::fs::linkat(old_parent, old_name, parent, name, AtFlags::empty())
    }
}

/// Whether a regular file has the length, permissions and time that it was installed with.
pub(super) fn looks_installed(entry: &Entry, found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode).is_file()
        && Mode::from_raw_mode(found.st_mode) == mode(entry)
        && u64::try_from(found.st_size) == Ok(entry.size())
        && u64::try_from(found.st_mtime) == Ok(MTIME)
}

fn mode(entry: &Entry) -> Mode {
    let executable = matches!(entry.body, Body::File { executable: true, .. });
    Mode::from_raw_mode(if executable { 0o755 } else { 0o644 })
}
