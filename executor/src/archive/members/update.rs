//! Installation of a new version from an older one: equal files are linked or copied, the rest is fetched.
//!
//! The result equals that of a full installation. The archive's checksum cannot be checked, since not all of it is
//! read; each member is checked against the index, whose checksum is in the registry. Files of the old version are
//! used only if they are unmodified: length, permissions and timestamp are those of the installation, and copied
//! pieces are hashed again.

use super::source;
use super::unit::Units;
use super::{Extraction, MemberMap, pipeline, tree};
use crate::archive::reuse::{self, FileSource, Intact};
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::fs::trust::is_ours;
use crate::fs::walk::{Walk, close, create, times};
use crate::net::parts::Parts;
use crate::thread;
use joblet_format::index::{Body, Entry, Index};
use joblet_format::ustar::MTIME;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// An installed version whose files may be reused.
#[derive(Debug)]
pub(super) struct Old {
    index: Index,
    /// Its directory.
    root: OwnedFd,
}

/// A plan of an update, and the old version.
#[derive(Debug)]
pub(crate) struct Update {
    old: Old,
    plan: reuse::ReusePlan,
}

impl Update {
    /// Plans the installation of `new` from the version open as `root`, which was installed with the index `old`.
    ///
    /// `None` if it would save less than half.
    pub(crate) fn plan(old: Index, root: OwnedFd, new: &Index) -> Option<Self> {
        let old = Old { index: old, root };
        let untouched = old.untouched().ok()?;
        let plan = reuse::plan(&old.index, new, &untouched);
        (plan.fetched * 2 <= new.archive_size()).then_some(Self { old, plan })
    }

    /// Plans the repair of the version open as `root`, of which `good` is intact.
    pub(crate) fn repair(index: &Index, root: OwnedFd, good: &Intact) -> Self {
        let old = Old { index: index.clone(), root };
        let plan = reuse::plan(&old.index, index, good);
        Self { old, plan }
    }

    /// Length of the members to fetch, in bytes.
    pub(crate) fn fetched(&self) -> u64 {
        self.plan.fetched
    }

    /// Length of the content reused from the old version, in bytes.
    pub(crate) fn reused(&self) -> u64 {
        self.plan.reused
    }

    /// Makes the tree of `index` in the empty directory `into`.
    ///
    /// # Errors
    /// As [`super::unpack`], and [`Error::Net`] for a server without support for ranges. The directory's content is
    /// then undefined.
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
        // Workers write into the files made of pieces; whole ones are linked meanwhile.
        self.take(&extraction, |source| matches!(source, FileSource::Pieces(_)))?;
        let wanted = reuse::ranges(index, &self.plan.members);
        let mut ranges = source::ArchiveReader::some(parts, wanted).in_units(&extraction.units);
        let links = || self.take(&extraction, |source| matches!(source, FileSource::Same(_)));
        let mut linked = None;
        std::thread::scope(|scope| {
            let (linked, links) = (&mut linked, &links);
            let linking = thread::spawn(scope, Box::new(move || *linked = Some(links())));
            let fetched =
                pipeline::run(&mut ranges, &self.plan.members, &extraction, (progress, &|_| ()));
            linking.into_iter().for_each(thread::join);
            fetched
        })?;
        // On this thread, if the number of threads is limited.
        linked.unwrap_or_else(links)?;
        let pieces = self.plan.files.iter();
        let pieces = pieces.filter(|(_, source)| matches!(source, FileSource::Pieces(_)));
        tree::finish(&extraction, &mut pieces.map(|(entry, _)| *entry), false)
    }

    /// Links and copies files of the old version whose source is `wanted`.
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

    /// Creates a file and writes its pieces from the old version.
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
                // A piece that is damaged on disk is not copied.
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
    /// The unmodified files, by length, permissions and timestamp.
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
            // A hard link to another user's file could be changed by that user.
            if looks_installed(entry, &found) && is_ours(&found) {
                untouched.files.insert(number);
            }
        }
        Ok(untouched)
    }
}

/// How a file of the old version is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// A new file that shares blocks (`FICLONE`), on file systems that support it.
    Reflink,
    /// A hard link: files of runtimes are never written to.
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

/// Whether a regular file has the length, permissions and timestamp of its installation.
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
