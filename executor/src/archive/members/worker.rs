//! Worker: verifies, decompresses and compares one unit of an archive, and writes its files.

use super::Extraction;
use super::inflate::{Decompress, Inflate};
use super::member_map::Part;
use super::unit::{Coding, Unit};
use crate::error::Error;
use crate::fs::walk::{Walk, close, times};
use joblet_format::Checksum;
use joblet_format::index::Body;
use joblet_format::ustar::{BLOCK, MTIME};
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::Errno;

/// Minimum length of a body for early write-back, in bytes.
const EARLY: usize = 64 << 10;

/// Comparison by blocks: byte by byte would take longer than hashing.
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// State of one thread.
pub(super) struct Worker<'a> {
    extraction: &'a Extraction<'a>,
    walk: Walk,
    decoder: Decoder,
    /// Buffer for the unpacked unit, followed by remains of larger ones.
    unpacked: Vec<u8>,
}

/// Decompressor of an archive's units.
enum Decoder {
    Gzip(Inflate),
    Zstd(Decompress),
}

impl<'a> Worker<'a> {
    /// A worker that writes into the extraction's tree.
    ///
    /// # Errors
    /// [`Error::File`] if no descriptor is left.
    pub(super) fn new(extraction: &'a Extraction<'a>) -> Result<Self, Error> {
        let decoder = match extraction.units.coding {
            Coding::Gzip => Decoder::Gzip(Inflate::new()),
            Coding::Zstd => Decoder::Zstd(Decompress::new()),
        };
        Ok(Self { extraction, walk: extraction.walk()?, decoder, unpacked: Vec::new() })
    }

    /// Writes the files, and parts of files, of the unit at the start of `buffer`.
    ///
    /// # Errors
    /// [`Error::Checksum`], [`Error::Archive`] with the violated rule, [`Error::File`] if they cannot be written.
    pub(super) fn unit(&mut self, number: usize, buffer: &[u8]) -> Result<(), Error> {
        let extraction = self.extraction;
        let unit = &extraction.units.list[number];
        let packed = &buffer[..unit.length as usize];
        self.verify(number, unit, packed)?;
        let unpacked = resized(&mut self.unpacked, unit.unpacked);
        let done = match &mut self.decoder {
            Decoder::Gzip(inflate) => inflate.member(packed, unpacked),
            Decoder::Zstd(decompress) => decompress.frame(packed, unpacked),
        };
        done.map_err(|rule| refuse(extraction, number, rule))?;
        let mut at = 0;
        let unpacked = std::mem::take(&mut self.unpacked);
        for part in unit.members.clone().flat_map(|member| extraction.plan.parts(member)) {
            let bytes = &unpacked[at..at + part.length()];
            at += part.length();
            match part {
                Part::Headers { entry, .. } => self.headers(entry, bytes)?,
                Part::Body { entry, offset, whole, .. } => {
                    self.body(entry, offset, whole, bytes)?;
                }
                Part::Zeros { .. }
                    if bytes.chunks(BLOCK).all(|some| *some == ZEROS[..some.len()]) => {}
                Part::Zeros { .. } => {
                    return Err(refuse(extraction, number, "non-zero padding"));
                }
            }
        }
        self.unpacked = unpacked;
        Ok(())
    }

    /// Checks the SHA-256 of a unit, before any of it is interpreted.
    fn verify(&self, number: usize, unit: &Unit, packed: &[u8]) -> Result<(), Error> {
        let expected = Checksum::from_digest(unit.sha256);
        let actual = Checksum::of_bytes(packed);
        if actual == expected {
            return Ok(());
        }
        let object = format!("{}: {}", self.extraction.archive, named(self.extraction, number));
        Err(Error::Checksum { object, expected, actual })
    }

    /// Compares tar headers with those determined by the index; they are not parsed.
    fn headers(&mut self, number: usize, bytes: &[u8]) -> Result<(), Error> {
        let entry = &self.extraction.index.entries()[number];
        if bytes != entry.headers(self.extraction.index.directory()) {
            let rule = format!("{:?}: tar header does not match the index", entry.path);
            return Err(Error::Archive { archive: self.extraction.archive.clone(), rule });
        }
        match &entry.body {
            Body::File { pieces, .. } if pieces.is_empty() => self.body(number, 0, true, &[]),
            _ => Ok(()),
        }
    }

    fn body(&mut self, entry: usize, offset: u64, whole: bool, bytes: &[u8]) -> Result<(), Error> {
        if !self.extraction.wants(entry) {
            return Ok(());
        }
        // Pieces of the old version may be written already.
        let whole = whole && self.extraction.wanted.is_none();
        let path = self.extraction.path(entry);
        let file = self
            .open(entry, &path, whole)
            .map_err(|errno| self.extraction.refused(&path, errno))?;
        write_all(&file, bytes, offset).map_err(Error::file("write", &path))?;
        if bytes.len() >= EARLY {
            // Starts write-back, so that the sync at the end takes less time. Best effort: it drops pages
            // from the page cache only if they are on disk already.
            let length = std::num::NonZero::new(bytes.len() as u64);
            _ = rustix::fs::fadvise(&file, offset, length, Advice::DontNeed);
        }
        if whole {
            let done = rustix::fs::futimens(&file, &times(MTIME));
            done.map_err(|errno| self.extraction.refused(&path, errno))?;
        }
        close(file).map_err(Error::file("write", &path))
    }

    /// Creates the file, or, if it is not `whole` in one member, opens the one that another thread has created.
    fn open(&mut self, entry: usize, path: &str, whole: bool) -> Result<OwnedFd, Errno> {
        let executable = matches!(
            self.extraction.index.entries()[entry].body,
            Body::File { executable: true, .. }
        );
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        let mut flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        flags.set(OFlags::EXCL, whole);
        let (parent, name) = self.walk.parent(path)?;
        rustix::fs::openat(parent, name, flags, mode)
    }
}

/// The first `length` bytes of `buffer`, which is enlarged if necessary. Their content is unspecified: clearing them
/// would cost as much as writing the data.
pub(super) fn resized(buffer: &mut Vec<u8>, length: u32) -> &mut [u8] {
    let length = length as usize;
    if buffer.len() < length {
        *buffer = vec![0; length];
    }
    &mut buffer[..length]
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))?;
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

fn refuse(extraction: &Extraction<'_>, number: usize, rule: &str) -> Error {
    let rule = format!("{}: {rule}", named(extraction, number));
    Error::Archive { archive: extraction.archive.clone(), rule }
}

/// The name of a unit in messages.
fn named(extraction: &Extraction<'_>, number: usize) -> String {
    match extraction.units.coding {
        Coding::Gzip => format!("member {number}"),
        Coding::Zstd => format!("frame {number}"),
    }
}
