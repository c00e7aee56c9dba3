//! Reader of an archive's units: of all of them, or of some ranges.

use super::pipeline::Packed;
use super::unit::Units;
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::net::parts::Parts;
use crate::net::transfer::range_reader::RangeReader;
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::fmt;
use std::ops::Range;

/// Size of a read, in bytes; a broken connection is resumed after it.
const STRETCH: usize = 512 << 10;

/// An archive that is being read.
#[derive(Debug)]
pub(super) struct ArchiveReader<'a> {
    parts: &'a Parts,
    /// Offset of each unit in the archive, in bytes.
    starts: Vec<u64>,
    /// The ranges of the archive to read, in bytes; `None` for all of it.
    wanted: Option<Vec<Range<u64>>>,
    /// Number of the current part, and its transfer.
    open: Option<(usize, RangeReader<'a>)>,
    /// Current offset in the archive.
    at: u64,
    /// SHA-256 of everything read.
    hash: Sha256,
}

impl<'a> ArchiveReader<'a> {
    /// A reader of the whole archive in `parts`.
    pub(super) fn whole(parts: &'a Parts) -> Self {
        Self { parts, starts: Vec::new(), wanted: None, open: None, at: 0, hash: Sha256::new() }
    }

    /// A reader of the ranges `wanted` only.
    pub(super) fn some(parts: &'a Parts, wanted: Vec<Range<u64>>) -> Self {
        Self { wanted: Some(wanted), ..Self::whole(parts) }
    }

    /// Sets the units to read.
    #[must_use]
    pub(super) fn in_units(self, units: &Units) -> Self {
        self.at(units.starts())
    }

    /// Sets the offsets of units in the archive, in bytes.
    #[must_use]
    pub(super) fn at(self, starts: Vec<u64>) -> Self {
        Self { starts, ..self }
    }

    /// Checks that the archive ends here, and that its SHA-256 is `checksum`.
    ///
    /// # Errors
    /// [`Error::Size`] or [`Error::Checksum`].
    pub(super) fn finish(mut self, checksum: Checksum) -> Result<(), Error> {
        if let Some((_, transfer)) = &mut self.open {
            transfer.finish()?;
        }
        let actual = Checksum::from_digest(self.hash.finalize().into());
        if actual != checksum {
            let object = self.parts.to_string();
            return Err(Error::Checksum { object, expected: checksum, actual });
        }
        Ok(())
    }

    /// Opens the part `number`.
    fn open(&mut self, number: usize) -> Result<&mut RangeReader<'a>, Error> {
        let open = self.open.take_if(|(open, _)| *open != number);
        if let Some((_, mut before)) = open {
            before.finish()?;
        }
        if self.open.is_none() {
            let part = &self.parts.list()[number];
            let transfer = match &self.wanted {
                None => RangeReader::whole(part, 0, None)?,
                Some(wanted) => RangeReader::ranges(part, within(wanted, &part.place))?,
            };
            self.open = Some((number, transfer));
        }
        let open = self.open.as_mut();
        Ok(&mut open.expect("opened above").1)
    }
}

impl Packed for ArchiveReader<'_> {
    fn read(&mut self, number: usize, buffer: &mut [u8], progress: &Progress) -> Result<(), Error> {
        self.read_at(self.starts[number], buffer, progress)
    }
}

impl ArchiveReader<'_> {
    /// Fills `buffer` from the offset `start` of the archive.
    ///
    /// # Errors
    /// As [`RangeReader::fill`].
    pub(super) fn read_at(
        &mut self,
        mut start: u64,
        mut buffer: &mut [u8],
        progress: &Progress,
    ) -> Result<(), Error> {
        while !buffer.is_empty() {
            let holding = self.parts.holding(start);
            let part = &self.parts.list()[holding];
            let left = usize::try_from(part.place.end.saturating_sub(start)).unwrap_or(usize::MAX);
            if left == 0 {
                return Err(part.wrong_size("less"));
            }
            let (now, later) = buffer.split_at_mut(left.min(buffer.len()).min(STRETCH));
            let gap = self.gap(start, &part.place);
            let transfer = self.open(holding)?;
            transfer.skip(gap)?;
            transfer.fill(now)?;
            if self.wanted.is_none() {
                self.hash.update(&*now);
            }
            progress.advance(now.len() as u64);
            start += now.len() as u64;
            self.at = start;
            buffer = later;
        }
        Ok(())
    }

    /// Number of bytes to skip in `part` before `start`, within the same range.
    fn gap(&self, start: u64, part: &Range<u64>) -> u64 {
        let stretch = self.wanted.iter().flatten().find(|range| range.contains(&start));
        let begins = |range: &Range<u64>| self.at.max(range.start).max(part.start);
        stretch.map_or(0, |range| start.saturating_sub(begins(range)))
    }
}

impl fmt::Display for ArchiveReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

/// The intersection of `wanted` with a part, as offsets in the part.
fn within(wanted: &[Range<u64>], part: &Range<u64>) -> Vec<Range<u64>> {
    let inside = wanted.iter().map(|range| {
        let (start, end) = (range.start.max(part.start), range.end.min(part.end));
        start.saturating_sub(part.start)..end.saturating_sub(part.start)
    });
    inside.filter(|range| !range.is_empty()).collect()
}
