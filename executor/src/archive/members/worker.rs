//! One unit of an archive: verified, decompressed, compared, written.

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
use sha2::{Digest, Sha256};

/// Bodies of this length are worth writing to the disk early, in bytes.
const EARLY: usize = 64 << 10;

/// Compared with at once: byte by byte would take longer than hashing.
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What one thread needs for itself.
pub(super) struct Worker<'a> {
    extraction: &'a Extraction<'a>,
    walk: Walk,
    decoder: Decoder,
    /// What the unit unpacked to, and what is left of a larger one before it.
    unpacked: Vec<u8>,
}

/// What the units of an archive are decompressed with.
enum Decoder {
    Gzip(Inflate),
    Zstd(Decompress),
}

impl<'a> Worker<'a> {
    /// Prepares to write into the extraction's tree.
    ///
    /// # Errors
    /// [`Error::File`] when no descriptor is left.
    pub(super) fn new(extraction: &'a Extraction<'a>) -> Result<Self, Error> {
        let decoder = match extraction.units.coding {
            Coding::Gzip => Decoder::Gzip(Inflate::new()),
            Coding::Zstd => Decoder::Zstd(Decompress::new()),
        };
        Ok(Self { extraction, walk: extraction.walk()?, decoder, unpacked: Vec::new() })
    }

    /// Writes the files, and pieces of files, of the unit that `buffer` begins with.
    ///
    /// # Errors
    /// [`Error::Checksum`], [`Error::Archive`] with the rule that was broken, [`Error::File`] when
    /// they cannot be written.
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

    /// Nothing of a unit is looked at before it is known to be the promised one.
    fn verify(&self, number: usize, unit: &Unit, packed: &[u8]) -> Result<(), Error> {
        let expected = Checksum::from_digest(unit.sha256);
        let actual = Checksum::from_digest(Sha256::digest(packed).into());
        if actual == expected {
            return Ok(());
        }
        let object = format!("{}: {}", self.extraction.archive, named(self.extraction, number));
        Err(Error::Checksum { object, expected, actual })
    }

    /// The headers must be those that the index stands for: nothing in them is interpreted.
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
        // What is here of it may have been written.
        let whole = whole && self.extraction.wanted.is_none();
        let path = self.extraction.path(entry);
        let file = self
            .open(entry, &path, whole)
            .map_err(|errno| self.extraction.refused(&path, errno))?;
        write_all(&file, bytes, offset).map_err(Error::file("write", &path))?;
        if bytes.len() >= EARLY {
            // Writing to the disk begins now, so that the sync at the end has less to wait for.
            // Best effort: what it forgets of the cache is only what is on the disk already.
            let length = std::num::NonZero::new(bytes.len() as u64);
            _ = rustix::fs::fadvise(&file, offset, length, Advice::DontNeed);
        }
        if whole {
            let done = rustix::fs::futimens(&file, &times(MTIME));
            done.map_err(|errno| self.extraction.refused(&path, errno))?;
        }
        close(file).map_err(Error::file("write", &path))
    }

    /// Creates the file, or, if it is `whole` in no member, opens it where another thread has.
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

/// The first `length` bytes of `buffer`, which grows if need be. What they are is left open: writing
/// zeros first would cost as much as what is written then.
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

/// What a unit is called in messages.
fn named(extraction: &Extraction<'_>, number: usize) -> String {
    match extraction.units.coding {
        Coding::Gzip => format!("member {number}"),
        Coding::Zstd => format!("frame {number}"),
    }
}
