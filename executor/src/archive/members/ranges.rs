//! Some members of an archive, by ranges.

use super::pipeline::Members;
use crate::archive::reuse;
use crate::error::Error;
use crate::net::address::Address;
use crate::net::http::{self, Response};
use crate::net::location::Location;
use crate::net::parts::{Part, Parts};
use crate::net::retry::Tries;
use crate::net::transfer::fetch;
use joblet_format::index::Index;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The members of an archive that are not here, each read from where it stands.
#[derive(Debug)]
pub struct Ranges<'a> {
    parts: &'a Parts,
    index: &'a Index,
    /// What to ask for, in order: members, and their place in the archive in bytes.
    wanted: Vec<(Range<usize>, Range<u64>)>,
    /// Where the last bytes came from.
    source: Source,
}

#[derive(Debug)]
enum Source {
    None,
    /// A local part, by its number.
    File(usize, File),
    Http(Box<Open>),
}

/// A range that is arriving.
#[derive(Debug)]
struct Open {
    body: Response,
    /// Where in the archive its next byte stands.
    at: u64,
    /// Where it ends.
    end: u64,
}

impl<'a> Ranges<'a> {
    /// Prepares to read `members` of the archive in `parts`.
    pub fn new(parts: &'a Parts, index: &'a Index, members: &[usize]) -> Self {
        Self { parts, index, wanted: reuse::ranges(index, members), source: Source::None }
    }

    /// Where member `number` begins in the archive, in bytes.
    fn start(&self, number: usize) -> u64 {
        self.index.members()[..number].iter().map(|member| u64::from(member.length)).sum()
    }

    /// Fills `buffer` with what stands at the beginning of `range`, which lies in the part `number`.
    fn stretch(
        &mut self,
        number: usize,
        range: Range<u64>,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let part = &self.parts.list()[number];
        match &part.location {
            Location::File(local) => {
                let file = match std::mem::replace(&mut self.source, Source::None) {
                    Source::File(open, file) if open == number => file,
                    _ => local.open()?,
                };
                let done = file.read_exact_at(buffer, range.start - part.place.start);
                self.source = Source::File(number, file);
                done.map_err(|error| fetch::read_failed(&part.location, error))
            }
            Location::Http(url) => read(url, part, &mut self.source, range, buffer),
        }
    }
}

impl Members for Ranges<'_> {
    fn read(&mut self, number: usize, mut buffer: &mut [u8]) -> Result<(), Error> {
        let mut start = self.start(number);
        let end = self.wanted.iter().find(|(numbers, _)| numbers.contains(&number));
        let end = end.map_or(start + buffer.len() as u64, |(_, bytes)| bytes.end);
        while !buffer.is_empty() {
            let holding = self.parts.holding(start);
            let border = self.parts.list()[holding].place.end.min(end);
            let left = usize::try_from(border - start).unwrap_or(usize::MAX);
            let (now, later) = buffer.split_at_mut(left.min(buffer.len()));
            self.stretch(holding, start..border, now)?;
            start += now.len() as u64;
            buffer = later;
        }
        Ok(())
    }
}

/// Fills `buffer` with what stands at the beginning of `range`, asking anew where that is not what
/// arrives, and where a connection breaks.
fn read(
    url: &Address,
    part: &Part,
    source: &mut Source,
    range: Range<u64>,
    buffer: &mut [u8],
) -> Result<(), Error> {
    let mut tries = Tries::new();
    loop {
        let mut from = match std::mem::replace(source, Source::None) {
            Source::Http(open) if open.at <= range.start && open.end == range.end => open,
            _ => {
                let start = part.place.start;
                let (first, end) = (range.start - start, range.end - start);
                let body = http::get_range(url, first..end, part.size(), &mut tries)?;
                Box::new(Open { body, at: range.start, end: range.end })
            }
        };
        let gap = range.start - from.at;
        let done = io::copy(&mut from.body.by_ref().take(gap), &mut io::sink())
            .and_then(|_| from.body.read_exact(buffer));
        match done {
            Ok(()) => {
                from.at = range.start + buffer.len() as u64;
                *source = Source::Http(from);
                return Ok(());
            }
            Err(error) => {
                let reason = http::explain_io(&error);
                tries.again(Error::Net { url: url.to_string(), reason })?;
            }
        }
    }
}
