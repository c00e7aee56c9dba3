//! Compresses one member of the archive.

use super::{
    cut::{Cut, Plan},
    stream::{Item, Stream},
};
use joblet_format::{
    index::{Member, Piece},
    member::{MEMBER_HEADER, member_header},
    ustar::{END, padding},
};
use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest, Sha256};
use std::{io, ops::Range};

/// Compression level, of 0 to 12. Level 9 makes archives 0.9 % smaller in 2.7 times the time.
const LEVEL: i32 = 6;

/// A compressed member and its index data.
pub(super) struct PackedMember {
    /// The compressed bytes.
    pub(super) bytes: Vec<u8>,
    /// Its entry in the index.
    pub(super) member: Member,
    /// The pieces of files in it, each with the number of its entry.
    pub(super) pieces: Vec<(usize, Piece)>,
}

/// Compresses members; one for each thread.
pub(super) struct MemberEncoder<'s> {
    stream: &'s Stream,
    compressor: Compressor,
    /// The uncompressed member.
    plain: Vec<u8>,
}

impl<'s> MemberEncoder<'s> {
    pub(super) fn new(stream: &'s Stream) -> Self {
        let level = CompressionLvl::new(LEVEL).expect("a level of libdeflate");
        Self { stream, compressor: Compressor::new(level), plain: Vec::new() }
    }

    /// Makes the member of `cut`, in `bytes`.
    ///
    /// # Errors
    /// That of reading files.
    pub(super) fn make(&mut self, cut: &Cut, bytes: Vec<u8>) -> io::Result<PackedMember> {
        self.plain.clear();
        let mut pieces = Vec::new();
        match &cut.plan {
            Plan::Group(items) => {
                for number in items.clone() {
                    let item = &self.stream.items[number];
                    let piece = self.put(item, 0..item.size(), &[])?;
                    pieces.extend(piece.map(|piece| (number, piece)));
                }
            }
            Plan::Piece { item, range } => {
                let piece = self.put(&self.stream.items[*item], range.clone(), &cut.body)?;
                pieces.extend(piece.map(|piece| (*item, piece)));
            }
        }
        if cut.plan.is_last(self.stream) {
            self.plain.extend([0; END]);
        }
        let (bytes, member) = self.compress(bytes)?;
        Ok(PackedMember { bytes, member, pieces })
    }

    /// Appends a range of an entry's body, with headers and padding at its ends. If `body` is empty, the
    /// whole body is read and appended.
    fn put(&mut self, item: &Item, range: Range<u64>, body: &[u8]) -> io::Result<Option<Piece>> {
        if range.start == 0 {
            self.plain.extend(self.stream.headers(item));
        }
        let Some(content) = item.content().filter(|_| !range.is_empty()) else { return Ok(None) };
        let at = self.plain.len();
        let size = range.end - range.start;
        if body.is_empty() {
            self.plain.resize(at + usize::try_from(size).map_err(io::Error::other)?, 0);
            content.fill(&mut self.plain[at..])?;
        } else {
            self.plain.extend(body);
        }
        let sha256 = Sha256::digest(&self.plain[at..]).into();
        if range.end == item.size() {
            let zeros = usize::try_from(padding(item.size())).map_err(io::Error::other)?;
            self.plain.resize(self.plain.len() + zeros, 0);
        }
        Ok(Some(Piece { size, sha256 }))
    }

    fn compress(&mut self, mut bytes: Vec<u8>) -> io::Result<(Vec<u8>, Member)> {
        let bound = self.compressor.deflate_compress_bound(self.plain.len());
        bytes.resize(MEMBER_HEADER + bound, 0);
        let deflated = self.compressor.deflate_compress(&self.plain, &mut bytes[MEMBER_HEADER..]);
        bytes.truncate(MEMBER_HEADER + deflated.map_err(io::Error::other)?);
        let number = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let unpacked = number(self.plain.len())?;
        bytes.extend(libdeflater::crc32(&self.plain).to_le_bytes());
        bytes.extend(unpacked.to_le_bytes());
        let length = number(bytes.len())?;
        bytes[..MEMBER_HEADER].copy_from_slice(&member_header(length));
        let sha256 = Sha256::digest(&bytes).into();
        Ok((bytes, Member { length, unpacked, sha256 }))
    }
}
