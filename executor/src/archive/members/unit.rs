//! Units of verification and decompression: a gzip member, or a zstd frame with the content of several members.

use joblet_format::frames::Frame;
use joblet_format::index::Index;
use std::ops::Range;

/// How the content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Members of a `.tar.gz`.
    Gzip,
    /// Frames of a `.tar.zst`.
    Zstd,
}

/// One member or frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Length in the file, in bytes.
    pub length: u32,
    /// Length of its content, in bytes.
    pub unpacked: u32,
    /// SHA-256 of its bytes in the file.
    pub sha256: [u8; 32],
    /// The members of the index whose content it contains.
    pub members: Range<usize>,
}

/// The units of a file, in order.
#[derive(Debug, Clone)]
pub(crate) struct Units {
    pub(super) coding: Coding,
    pub(super) list: Vec<Unit>,
    /// Offset of the first one in the file, in bytes.
    start: u64,
}

impl Units {
    /// The units of the `.tar.gz` of `index`.
    pub(crate) fn members(index: &Index) -> Self {
        let list = index.members().iter().enumerate().map(|(number, member)| Unit {
            length: member.length,
            unpacked: member.unpacked,
            sha256: member.sha256,
            members: number..number + 1,
        });
        Self { coding: Coding::Gzip, list: list.collect(), start: 0 }
    }

    /// The units of a `.tar.zst` whose table, of `start` bytes, lists `frames` and agrees with `index`.
    pub(super) fn frames(index: &Index, frames: &[Frame], start: u64) -> Self {
        let mut next = 0;
        let list = frames.iter().map(|frame| {
            let members = next..next + frame.members as usize;
            next = members.end;
            let unpacked = index.members()[members.clone()].iter().map(|it| it.unpacked).sum();
            Unit { length: frame.length, unpacked, sha256: frame.sha256, members }
        });
        Self { coding: Coding::Zstd, list: list.collect(), start }
    }

    /// Offset of each in the file, in bytes.
    pub(super) fn starts(&self) -> Vec<u64> {
        let lengths = self.list.iter().map(|unit| u64::from(unit.length));
        lengths.scan(self.start, |at, length| Some(std::mem::replace(at, *at + length))).collect()
    }
}
