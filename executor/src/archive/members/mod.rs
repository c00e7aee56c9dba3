//! Installation of an archive in members, while it is downloaded.
//!
//! In: an index, an archive, and an open directory. Out: the complete tree in it, or an error.
//!
//! The index determines every byte of the archive, so no tar header is parsed here: a member is verified before
//! it is inflated, headers are compared with the index, contents are written.
//!
//! ```text
//! archive → buffer → verify, inflate, compare, write      in parallel on all cores
//!    ↑                                     ↓
//!    └───────────── the buffer ────────────┘
//! ```

mod demand;
mod follow;
mod inflate;
mod member_map;
mod pipeline;
mod progress_file;
mod source;
mod tree;
mod unit;
mod update;
mod verify_installed;
mod worker;

use crate::archive::plain;
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::fs::walk::Walk;
use crate::net::location::Location;
use crate::net::parts::Parts;
use crate::net::transfer::fetch;
pub(crate) use demand::{Availability, Duty, OnDemand};
use flate2::bufread::GzDecoder;
pub(crate) use follow::Follow;
pub(crate) use inflate::{Decompress, Inflate};
use joblet_format::frames::{self, MAX_TABLE_BYTES};
use joblet_format::index::{Index, MAX_INDEX_BYTES};
use joblet_format::{Artifact, Checksum, IndexFile, Zstd};
pub(crate) use member_map::MemberMap;
pub(crate) use progress_file::ProgressFile;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use source::ArchiveReader;
use std::io::Read;
pub(crate) use unit::Units;
pub(crate) use update::Update;
pub(crate) use verify_installed::{Difference, verify};

/// An archive and the tree that it becomes.
#[derive(Debug)]
struct Extraction<'a> {
    /// The archive's address or file.
    archive: String,
    index: &'a Index,
    plan: MemberMap,
    units: Units,
    root: OwnedFd,
    /// For each entry, whether its content is from members; `None` if all are.
    wanted: Option<Vec<bool>>,
}

/// Fetches the index at `location` of the archive in `parts`, which contains `directory`. Returns it parsed, and as
/// fetched.
///
/// If the registry lists an index, it must exist, like the archive: registries are copied with all of their
/// files.
///
/// # Errors
/// [`Error::Net`] or [`Error::File`] if it cannot be read, [`Error::Size`] or [`Error::Checksum`] if it differs
/// from the registry's, [`Error::Archive`] if it contradicts the registry.
pub(crate) fn index(
    location: &Location,
    promise: &IndexFile,
    artifact: &Artifact,
    directory: &str,
    parts: &Parts,
) -> Result<(Index, Vec<u8>), Error> {
    let refuse = |rule: String| Error::Archive { archive: location.to_string(), rule };
    if promise.size > MAX_INDEX_BYTES {
        return Err(refuse(format!("it is longer than {MAX_INDEX_BYTES} bytes")));
    }
    let packed =
        fetch::verified(location, promise, parts.list().first().map(|part| &part.location))?;
    let index = verified_index(&packed, artifact, directory).map_err(refuse)?;
    Ok((index, packed))
}

/// Parses an index that has the registry's checksum.
fn verified_index(packed: &[u8], artifact: &Artifact, directory: &str) -> Result<Index, String> {
    let index = inflate(packed).and_then(|bytes| Index::parse(&bytes))?;
    agrees(&index, artifact, directory)?;
    Ok(index)
}

/// As [`index`], of one that another process has fetched; `None` if it is not the one that the registry promises.
pub(crate) fn known_index(
    packed: &[u8],
    promise: &IndexFile,
    artifact: &Artifact,
    directory: &str,
) -> Option<Index> {
    let same = Checksum::of_bytes(packed) == promise.checksum;
    same.then(|| verified_index(packed, artifact, directory).ok()).flatten()
}

/// Parses the index recorded by an installation; `None` if it is damaged.
pub(crate) fn parse_index(packed: &[u8]) -> Option<Index> {
    Index::parse(&inflate(packed).ok()?).ok()
}

/// Inflates an index, which is one gzip stream without further bytes.
fn inflate(packed: &[u8]) -> Result<Vec<u8>, String> {
    // Its last four bytes are a hint for the length, which is not trusted.
    let length = packed.last_chunk().map_or(0, |length| u64::from(u32::from_le_bytes(*length)));
    let capacity = usize::try_from(length.min(MAX_INDEX_BYTES)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(capacity);
    let mut gzip = GzDecoder::new(packed);
    let read = gzip.by_ref().take(MAX_INDEX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("it is damaged or not a gzip file: {error}"))?;
    if bytes.len() as u64 > MAX_INDEX_BYTES {
        return Err(format!("it is longer than {MAX_INDEX_BYTES} bytes"));
    }
    if !gzip.into_inner().is_empty() {
        return Err("bytes after the end of the gzip stream".to_owned());
    }
    Ok(bytes)
}

/// Checks that the index is of the archive in the registry.
fn agrees(index: &Index, artifact: &Artifact, directory: &str) -> Result<(), String> {
    let budget = plain::budget(artifact);
    if index.directory() != directory {
        return Err(format!("it is the index of {:?}", index.directory()));
    }
    if index.archive_size() != artifact.size {
        let size = index.archive_size();
        return Err(format!("its archive has {size} bytes, the registry's {}", artifact.size));
    }
    if index.entries().len() as u64 > budget.entries || index.unpacked_size() > budget.bytes {
        return Err("more bytes or entries than the registry states, or than the limit".to_owned());
    }
    Ok(())
}

/// Fetches the archive in `parts` and unpacks it into the empty directory `into`.
///
/// # Errors
/// [`Error::Net`] if it cannot be fetched, [`Error::Size`] or [`Error::Checksum`] if it differs from the index,
/// [`Error::Archive`] with the violated rule, [`Error::File`] if the directory cannot be written to. The
/// directory's content is then undefined.
pub(crate) fn unpack(
    parts: &Parts,
    artifact: &Artifact,
    index: &Index,
    into: OwnedFd,
    progress: &Progress,
) -> Result<(), Error> {
    let (units, archive) = (Units::members(index), ArchiveReader::whole(parts));
    whole(archive, units, artifact.checksum, index, into, progress)
}

/// [`unpack`] for the frames of `zstd`, which is in `parts`.
///
/// # Errors
/// As [`unpack`].
pub(crate) fn unpack_frames(
    parts: &Parts,
    zstd: &Zstd,
    index: &Index,
    into: OwnedFd,
    progress: &Progress,
) -> Result<(), Error> {
    let mut archive = ArchiveReader::whole(parts);
    let units = frames(&table(&mut archive, parts, zstd, progress)?, parts, zstd, index)?;
    whole(archive, units, zstd.checksum, index, into, progress)
}

/// Reads the table of the frames of `zstd`, which is in `parts`; `archive` is at its start.
fn table(
    archive: &mut ArchiveReader<'_>,
    parts: &Parts,
    zstd: &Zstd,
    progress: &Progress,
) -> Result<Vec<u8>, Error> {
    let length = zstd.table.size;
    if length > MAX_TABLE_BYTES || length > zstd.size {
        let rule = format!("its table of frames is longer than {MAX_TABLE_BYTES} bytes");
        return Err(Error::Archive { archive: parts.to_string(), rule });
    }
    let mut table = vec![0; usize::try_from(length).unwrap_or_default()];
    archive.read_at(0, &mut table, progress)?;
    let actual = Checksum::of_bytes(&table);
    if actual != zstd.table.checksum {
        let object = format!("{parts}: table of frames");
        return Err(Error::Checksum { object, expected: zstd.table.checksum, actual });
    }
    Ok(table)
}

/// The units that the `table` of `zstd`, which is in `parts`, lists.
///
/// # Errors
/// [`Error::Archive`] if they are not those of `index`.
pub(crate) fn frames(
    table: &[u8],
    parts: &Parts,
    zstd: &Zstd,
    index: &Index,
) -> Result<Units, Error> {
    let frames = frames::parse(table, zstd.size, index);
    let frames = frames.map_err(|rule| Error::Archive { archive: parts.to_string(), rule })?;
    Ok(Units::frames(index, &frames, zstd.table.size))
}

/// The frame table of `zstd`, which is in `parts`, read on its own, for [`OnDemand`].
///
/// # Errors
/// As [`unpack`].
pub(crate) fn table_alone(parts: &Parts, zstd: &Zstd) -> Result<Vec<u8>, Error> {
    let table_only = 0..zstd.table.size;
    let mut archive = ArchiveReader::some(parts, vec![table_only]);
    table(&mut archive, parts, zstd, &Progress::none())
}

/// Unpacks a whole archive.
fn whole(
    archive: ArchiveReader<'_>,
    units: Units,
    checksum: Checksum,
    index: &Index,
    into: OwnedFd,
    progress: &Progress,
) -> Result<(), Error> {
    let mut archive = archive.in_units(&units);
    let (plan, name) = (MemberMap::new(index), archive.to_string());
    let extraction = Extraction { archive: name, index, plan, units, root: into, wanted: None };
    tree::directories(&extraction)?;
    let all: Vec<_> = (0..extraction.units.list.len()).collect();
    pipeline::run(&mut archive, &all, &extraction, (progress, &|_| ()))?;
    archive.finish(checksum)?;
    tree::finish(&extraction, &mut extraction.plan.shared(), false)
}

impl Extraction<'_> {
    fn walk(&self) -> Result<Walk, Error> {
        Walk::new(self.root.as_fd()).map_err(Error::file("open", self.index.directory()))
    }

    /// Whether the entry's content is from members.
    fn wants(&self, entry: usize) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted[entry])
    }

    /// The entry's path below the root.
    fn path(&self, entry: usize) -> String {
        let (directory, path) = (self.index.directory(), &self.index.entries()[entry].path);
        if path.is_empty() { directory.to_owned() } else { format!("{directory}/{path}") }
    }

    /// The error for an errno: a fault of the archive, or of the disk.
    fn refused(&self, path: &str, errno: Errno) -> Error {
        let rule = match errno {
            // Paths in an index are unique.
            Errno::EXIST => self.folded(path),
            Errno::LOOP | Errno::NOTDIR => "a parent that is a link or a file".to_owned(),
            _ => return Error::file("unpack", path)(errno),
        };
        Error::Archive { archive: self.archive.clone(), rule: format!("{path:?}: {rule}") }
    }

    /// The rule for a `path` that exists although it is unique in the index: the file system treats another name as equal.
    fn folded(&self, path: &str) -> String {
        let paths = (0..self.index.entries().len()).map(|entry| self.path(entry));
        let other = paths.filter(|it| it != path).find(|it| it.eq_ignore_ascii_case(path));
        let other = other.map_or_else(|| "another entry".to_owned(), |other| format!("{other:?}"));
        format!("the store's file system treats it as {other}; use --store on a case-sensitive one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::index::{Body, Entry, Member};

    /// SEC-A12: the error of a case-insensitive file system, which not every kernel supports.
    #[test]
    fn names_that_the_file_system_takes_for_one_are_both_named() {
        let entry = |path: &str| Entry { path: path.to_owned(), body: Body::Directory };
        let entries = ["", "isolated", "isolated/A", "isolated/a", "isolated/\u{e9}"].map(entry);
        let member = Member { length: 100, unpacked: 3584, sha256: [0; 32] };
        let index = Index::new("demo-1.0.0".into(), vec![member], entries.into()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(dir.path()).unwrap().into();
        let (archive, plan) = ("x.tar.gz".to_owned(), MemberMap::new(&index));
        let units = Units::members(&index);
        let extraction = Extraction { archive, index: &index, plan, units, root, wanted: None };
        for (path, other) in [("a", "\"demo-1.0.0/isolated/A\""), ("\u{e9}", "another entry")] {
            let path = format!("demo-1.0.0/isolated/{path}");
            let error = extraction.refused(&path, Errno::EXIST);
            let want = format!("{path:?}: the store's file system treats it as {other};");
            assert!(error.to_string().contains(&want), "{error}");
            assert_eq!(error.class().word(), "ARCHIVE");
        }
    }
}
