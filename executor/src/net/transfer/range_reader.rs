//! Reads a file, or ascending ranges of it, and reconnects where the connection breaks.
//!
//! Range requests are pipelined (RFC 9112, section 9.3.2): while one range arrives, the next ones have
//! been requested on the same connection, so that they cost no round trips. With a server that closes the
//! connection instead, or sends another range, pipelining stops.

use super::fetch::read_failed;
use crate::error::Error;
use crate::net::address::Address;
use crate::net::http::{self, Response, Resumed};
use crate::net::location::Location;
use crate::net::parts::Part;
use crate::net::retry::Tries;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Most pipelined requests. Their responses together exceed the bandwidth-delay product of all but the
/// fastest connections.
const AHEAD: usize = 16;
/// Number of failures of pipelining after which it is not used with a server.
const MAX_PIPELINE_FAILURES: usize = 2;
/// Progress, in bytes, that resets the retry counter.
const RETRY_RESET_BYTES: u64 = 1 << 20;
/// Bytes read at a time to skip them.
const UNUSED: usize = 16 << 10;

/// A file that is being read, as a whole or in ranges.
#[derive(Debug)]
pub(crate) struct RangeReader<'a> {
    part: &'a Part,
    /// The ranges still to be read, in bytes of the file. None is empty.
    wanted: VecDeque<Range<u64>>,
    /// Whether the file must end where the last range ends.
    whole: bool,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    File(File),
    Http(Box<Remote<'a>>),
}

#[derive(Debug)]
struct Remote<'a> {
    url: &'a Address,
    /// The strong entity tag of the first response.
    etag: Option<String>,
    /// The response that is being read; its next byte is the first of the first wanted range.
    answer: Option<Response>,
    /// How many ranges after the first have been requested.
    ahead: usize,
    pipeline_failures: usize,
    /// Whether the rest was requested before.
    requested: bool,
    tries: Tries,
    /// Bytes received since the retry counter was reset.
    arrived: u64,
}

/// The result of [`RangeReader::read`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// This many bytes were read.
    Bytes(usize),
    /// No data: the file is sent again from its first byte.
    Restart,
    /// No data: the end.
    End,
}

impl<'a> RangeReader<'a> {
    /// Reads `part` from offset `from` to its end, in bytes; `etag` is the entity tag of the bytes before.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Size`] for a local file.
    pub(crate) fn whole(part: &'a Part, from: u64, etag: Option<String>) -> Result<Self, Error> {
        let range = Some(from..part.size()).filter(|range| !range.is_empty());
        let wanted = range.into_iter().collect();
        let transfer = Self { part, wanted, whole: true, source: Source::open(part, etag)? };
        if let Source::File(file) = &transfer.source {
            let length = file.metadata().map_err(|error| read_failed(&part.location, error))?.len();
            if length != part.size() {
                return Err(part.wrong_size(length.to_string()));
            }
        }
        Ok(transfer)
    }

    /// Reads the ranges `wanted` of `part`, which ascend and do not touch.
    ///
    /// # Errors
    /// [`Error::File`] for a local file.
    pub(crate) fn ranges(part: &'a Part, wanted: Vec<Range<u64>>) -> Result<Self, Error> {
        Ok(Self { part, wanted: wanted.into(), whole: false, source: Source::open(part, None)? })
    }

    /// The strong entity tag of the file.
    pub(crate) fn etag(&self) -> Option<&str> {
        match &self.source {
            Source::File(_) => None,
            Source::Http(remote) => remote.etag.as_deref(),
        }
    }

    /// Fills `buffer` with the next bytes, which must lie in one range.
    ///
    /// After a broken connection the whole buffer is requested again; bytes before it that the server sends
    /// are skipped.
    ///
    /// # Errors
    /// [`Error::Net`] after four failed attempts in a row, [`Error::File`], [`Error::Size`].
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let Some(range) = self.wanted.front().cloned() else {
            return if buffer.is_empty() { Ok(()) } else { Err(self.part.wrong_size("less")) };
        };
        match &mut self.source {
            Source::File(file) => {
                file.read_exact_at(buffer, range.start).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => self.part.wrong_size("less"),
                    _ => read_failed(&self.part.location, error),
                })?;
            }
            Source::Http(remote) => {
                let url = remote.url;
                loop {
                    let before = match &remote.answer {
                        Some(_) => 0,
                        None if !self.whole => {
                            remote.request_range(self.part, &self.wanted).map(|()| 0)?
                        }
                        None => remote.request_rest(self.part, range.start)?,
                    };
                    remote.pipeline(&self.wanted);
                    match remote.read_exact(before, buffer) {
                        Ok(()) => break,
                        Err(error) => remote.broken(url, &error)?,
                    }
                }
                remote.tries = Tries::new();
            }
        }
        self.advance(buffer.len() as u64);
        Ok(())
    }

    /// Skips the next `count` bytes.
    ///
    /// # Errors
    /// As [`RangeReader::fill`].
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        let mut unused = [0; UNUSED];
        while count > 0 {
            let length = usize::try_from(count).unwrap_or(UNUSED).min(UNUSED);
            self.fill(&mut unused[..length])?;
            count -= length as u64;
        }
        Ok(())
    }

    /// Reads some of the next bytes of a whole file.
    ///
    /// # Errors
    /// As [`RangeReader::fill`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Chunk, Error> {
        let Some(range) = self.wanted.front().cloned() else {
            return self.finish().map(|()| Chunk::End);
        };
        let most = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = match &mut self.source {
            Source::File(file) => file
                .read_at(&mut buffer[..most], range.start)
                .map_err(|error| read_failed(&self.part.location, error))?,
            Source::Http(remote) => loop {
                if remote.answer.is_none() && remote.request_rest_or_all(self.part, range.start)? {
                    self.wanted.clear();
                    self.wanted.push_back(0..self.part.size());
                    return Ok(Chunk::Restart);
                }
                let answer = remote.answer.as_mut().map(|answer| answer.read(&mut buffer[..most]));
                match answer {
                    Some(Ok(count)) => break count,
                    Some(Err(error)) => remote.broken(remote.url, &error)?,
                    None => {}
                }
            },
        };
        if count == 0 {
            return Err(self.part.wrong_size(range.start.to_string()));
        }
        self.advance(count as u64);
        Ok(Chunk::Bytes(count))
    }

    /// Checks that the file ends here, if it was read as a whole.
    ///
    /// # Errors
    /// [`Error::Size`].
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let answer = match &mut self.source {
            Source::Http(remote) if self.whole => remote.answer.as_mut(),
            _ => None,
        };
        let Some(answer) = answer else { return Ok(()) };
        // All expected bytes have arrived: how the connection ends does not matter.
        match answer.read(&mut [0]) {
            Ok(count) if count > 0 => Err(self.part.wrong_size("more")),
            _ => Ok(()),
        }
    }

    /// Records that `count` bytes have been read.
    fn advance(&mut self, count: u64) {
        let Some(range) = self.wanted.front_mut() else { return };
        range.start += count;
        let done = range.is_empty();
        if done {
            self.wanted.pop_front();
        }
        if let Source::Http(remote) = &mut self.source {
            remote.arrived += count;
            if remote.arrived >= RETRY_RESET_BYTES {
                (remote.tries, remote.arrived) = (Tries::new(), 0);
            }
            if done && !self.whole {
                remote.next_response(self.part, &self.wanted);
            }
        }
    }
}

impl<'a> Source<'a> {
    fn open(part: &'a Part, etag: Option<String>) -> Result<Self, Error> {
        Ok(match &part.location {
            Location::File(local) => Self::File(local.open()?),
            Location::Http(url) => Self::Http(Box::new(Remote {
                url,
                etag,
                answer: None,
                ahead: 0,
                pipeline_failures: 0,
                requested: false,
                tries: Tries::new(),
                arrived: 0,
            })),
        })
    }
}

impl Remote<'_> {
    /// Requests the first of the ranges `wanted`.
    fn request_range(&mut self, part: &Part, wanted: &VecDeque<Range<u64>>) -> Result<(), Error> {
        let Some(range) = wanted.front() else { return Ok(()) };
        let many = if self.may_pipeline() { AHEAD } else { 0 };
        let ahead: Vec<_> = wanted.iter().skip(1).take(many).map(http::range_header).collect();
        let answer = http::get_range(self.url, range, &ahead, part.size(), &mut self.tries)?;
        self.ahead = answer.waiting();
        self.answer = Some(answer);
        Ok(())
    }

    /// Requests everything from `at` on. Returns how many bytes the response has before that.
    fn request_rest(&mut self, part: &Part, at: u64) -> Result<u64, Error> {
        if !std::mem::replace(&mut self.requested, true) && at == 0 {
            return self.request_all(part).map(|()| 0);
        }
        match http::resume(self.url, at, part.size(), self.etag.as_deref(), &mut self.tries)? {
            Resumed::Rest(answer) => {
                self.answer = Some(answer);
                Ok(0)
            }
            // No support for ranges, or the file has changed: the checksum decides, as for all bytes.
            Resumed::Whole(answer) => {
                self.answer = Some(answer);
                Ok(at)
            }
            Resumed::Neither(error) => Err(error),
        }
    }

    /// Requests everything from `at` on, else the whole file; returns whether it is the whole file.
    fn request_rest_or_all(&mut self, part: &Part, at: u64) -> Result<bool, Error> {
        if at > 0 {
            let etag = self.etag.as_deref();
            match http::resume(self.url, at, part.size(), etag, &mut self.tries)? {
                Resumed::Rest(answer) => {
                    self.answer = Some(answer);
                    return Ok(false);
                }
                Resumed::Whole(answer) => {
                    self.begin(part, answer)?;
                    return Ok(true);
                }
                Resumed::Neither(_) => {}
            }
        }
        self.request_all(part).map(|()| true)
    }

    /// Requests the whole file.
    fn request_all(&mut self, part: &Part) -> Result<(), Error> {
        let answer = http::get(self.url)?;
        self.begin(part, answer)
    }

    /// Starts reading a response that is the whole file.
    fn begin(&mut self, part: &Part, answer: Response) -> Result<(), Error> {
        self.etag = http::strong_etag(&answer);
        match answer.length() {
            Some(length) if length != part.size() => Err(part.wrong_size(length.to_string())),
            _ => {
                self.answer = Some(answer);
                Ok(())
            }
        }
    }

    fn may_pipeline(&self) -> bool {
        self.pipeline_failures < MAX_PIPELINE_FAILURES
    }

    /// Pipelines requests for the ranges after the first of `wanted`, up to [`AHEAD`].
    fn pipeline(&mut self, wanted: &VecDeque<Range<u64>>) {
        let asks = self.may_pipeline();
        let Some(answer) = self.answer.as_mut().filter(|answer| asks && answer.may_pipeline())
        else {
            return;
        };
        while let Some(range) = wanted.get(self.ahead + 1).filter(|_| self.ahead < AHEAD) {
            // A request that could not be sent gets no response, and is sent again then.
            _ = answer.pipeline(&[("Range", &http::range_header(range))]);
            self.ahead += 1;
        }
    }

    /// Moves on to the pipelined response for the first of the ranges `wanted`, if there is one.
    fn next_response(&mut self, part: &Part, wanted: &VecDeque<Range<u64>>) {
        let answer = self.answer.take().filter(|_| self.ahead > 0);
        let (Some(answer), Some(range)) = (answer, wanted.front()) else { return };
        self.ahead -= 1;
        let next = answer.next().ok();
        self.answer =
            next.filter(|next| http::require_range(self.url, next, range, part.size()).is_ok());
        if self.answer.is_none() {
            self.ahead = 0;
            self.pipeline_failures += 1;
        }
    }

    /// Skips `before` bytes, then fills `buffer`.
    fn read_exact(&mut self, before: u64, buffer: &mut [u8]) -> io::Result<()> {
        let answer = self.answer.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let skipped = io::copy(&mut answer.take(before), &mut io::sink())?;
        if skipped < before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::ErrorKind::UnexpectedEof.into(),
            _ => error,
        })
    }

    /// Waits before the next attempt after the connection broke.
    fn broken(&mut self, url: &Address, error: &io::Error) -> Result<(), Error> {
        (self.answer, self.ahead) = (None, 0);
        self.tries.again(Error::net(url, http::explain_io(error)))
    }
}
