//! Some members of an archive, by ranges.

use super::pipeline::Members;
use crate::address::Address;
use crate::error::Error;
use crate::fetch;
use crate::http::{self, Response, Tries};
use crate::location::Location;
use crate::reuse;
use joblet_format::index::Index;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The members of an archive that are not here, each read from where it stands.
#[derive(Debug)]
pub struct Ranges<'a> {
    location: &'a Location,
    index: &'a Index,
    /// What to ask for, in order: members, and their place in the archive in bytes.
    wanted: Vec<(Range<usize>, Range<u64>)>,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    File(File),
    Http { url: &'a Address, open: Option<Box<Open>> },
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
    /// Prepares to read `members` of the archive at `location`.
    ///
    /// # Errors
    /// [`Error::File`] when a local archive cannot be opened.
    pub fn new(location: &'a Location, index: &'a Index, members: &[usize]) -> Result<Self, Error> {
        let source = match location {
            Location::File(path) => Source::File(fetch::open(path)?),
            Location::Http(url) => Source::Http { url, open: None },
        };
        Ok(Self { location, index, wanted: reuse::ranges(index, members), source })
    }

    /// Where member `number` begins in the archive, in bytes.
    fn start(&self, number: usize) -> u64 {
        self.index.members()[..number].iter().map(|member| u64::from(member.length)).sum()
    }
}

impl Members for Ranges<'_> {
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<(), Error> {
        let start = self.start(number);
        let end = self.wanted.iter().find(|(numbers, _)| numbers.contains(&number));
        let end = end.map_or(start + buffer.len() as u64, |(_, bytes)| bytes.end);
        let size = self.index.archive_size();
        match &mut self.source {
            Source::File(file) => file
                .read_exact_at(buffer, start)
                .map_err(|error| fetch::read_failed(self.location, error)),
            Source::Http { url, open } => read(url, open, start..end, size, buffer),
        }
    }
}

/// Fills `buffer` with what stands at the beginning of `range`, asking anew where that is not what
/// arrives, and where a connection breaks.
fn read(
    url: &Address,
    open: &mut Option<Box<Open>>,
    range: Range<u64>,
    size: u64,
    buffer: &mut [u8],
) -> Result<(), Error> {
    let mut tries = Tries::new();
    loop {
        let fits = open.take().filter(|open| open.at <= range.start && open.end == range.end);
        let mut from = if let Some(open) = fits {
            open
        } else {
            let body = http::get_range(url, range.clone(), size, &mut tries)?;
            Box::new(Open { body, at: range.start, end: range.end })
        };
        let gap = range.start - from.at;
        let done = io::copy(&mut from.body.by_ref().take(gap), &mut io::sink())
            .and_then(|_| from.body.read_exact(buffer));
        match done {
            Ok(()) => {
                from.at = range.start + buffer.len() as u64;
                *open = Some(from);
                return Ok(());
            }
            Err(error) => {
                let reason = http::explain_io(&error);
                tries.again(Error::Net { url: url.to_string(), reason })?;
            }
        }
    }
}
