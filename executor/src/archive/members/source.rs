//! Members of an archive, each read from where it stands: all of them, or those that are not here.

use super::pipeline::Packed;
use super::unit::Units;
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::net::parts::Parts;
use crate::net::transfer::stretch::Transfer;
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::fmt;
use std::ops::Range;

/// Bytes that are read at a time, and from which a broken connection goes on.
const STRETCH: usize = 512 << 10;

/// An archive that is being read.
#[derive(Debug)]
pub(super) struct ArchiveReader<'a> {
    parts: &'a Parts,
    /// Where each unit begins, in bytes of the archive.
    starts: Vec<u64>,
    /// The stretches of the archive that are read, in bytes; none if all of it is.
    wanted: Option<Vec<Range<u64>>>,
    /// The part that is being read, by its number.
    open: Option<(usize, Transfer<'a>)>,
    /// Where in the archive the next byte stands.
    at: u64,
    /// Of all that was read.
    hash: Sha256,
}

impl<'a> ArchiveReader<'a> {
    /// Reads all of the archive in `parts`.
    pub(super) fn whole(parts: &'a Parts) -> Self {
        Self { parts, starts: Vec::new(), wanted: None, open: None, at: 0, hash: Sha256::new() }
    }

    /// Reads the stretches `wanted` alone.
    pub(super) fn some(parts: &'a Parts, wanted: Vec<Range<u64>>) -> Self {
        Self { wanted: Some(wanted), ..Self::whole(parts) }
    }

    /// The same, in these units.
    #[must_use]
    pub(super) fn in_units(self, units: &Units) -> Self {
        self.at(units.starts())
    }

    /// The same, in units that begin at `starts`, in bytes of the archive.
    #[must_use]
    pub(super) fn at(self, starts: Vec<u64>) -> Self {
        Self { starts, ..self }
    }

    /// Checks that nothing follows, and that what was read is what `checksum` says.
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
    fn open(&mut self, number: usize) -> Result<&mut Transfer<'a>, Error> {
        let open = self.open.take_if(|(open, _)| *open != number);
        if let Some((_, mut before)) = open {
            before.finish()?;
        }
        if self.open.is_none() {
            let part = &self.parts.list()[number];
            let transfer = match &self.wanted {
                None => Transfer::whole(part, 0, None)?,
                Some(wanted) => Transfer::ranges(part, within(wanted, &part.place))?,
            };
            self.open = Some((number, transfer));
        }
        let open = self.open.as_mut();
        Ok(&mut open.expect("it was opened just now").1)
    }
}

impl Packed for ArchiveReader<'_> {
    fn read(&mut self, number: usize, buffer: &mut [u8], progress: &Progress) -> Result<(), Error> {
        self.read_at(self.starts[number], buffer, progress)
    }
}

impl ArchiveReader<'_> {
    /// Fills `buffer` with what stands at `start` of the archive.
    ///
    /// # Errors
    /// As [`Transfer::fill`].
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

    /// What lies in `part` before `start`, in the stretch that holds it, and was not read, in bytes.
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

/// What of `wanted` lies in a part, in bytes of the part.
fn within(wanted: &[Range<u64>], part: &Range<u64>) -> Vec<Range<u64>> {
    let inside = wanted.iter().map(|range| {
        let (start, end) = (range.start.max(part.start), range.end.min(part.end));
        start.saturating_sub(part.start)..end.saturating_sub(part.start)
    });
    inside.filter(|range| !range.is_empty()).collect()
}
