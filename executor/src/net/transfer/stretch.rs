//! Stretches of one file, in order, over as many connections as that takes.
//!
//! Ranges are asked for ahead: while one arrives, the next ones are on their way on the same connection
//! (pipelining, RFC 9112, section 9.3.2), so that they cost bytes and no round trips. A server that closes
//! the connection instead, or answers another range, is asked for one after the other from then on.

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

/// Most ranges that are asked for ahead. Their answers fill the line: together they are larger than what is
/// on its way in a round trip on all but the fastest lines.
const AHEAD: usize = 16;
/// How often a server may disappoint who asks ahead before it is asked for one range after the other.
const MAX_DISAPPOINTMENTS: usize = 2;
/// Progress, in bytes, that resets the retry counter.
const RETRY_RESET_BYTES: u64 = 1 << 20;
/// Bytes that are read at a time where they are of no use.
const UNUSED: usize = 16 << 10;

/// A file that is being read, whole or in ranges.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    part: &'a Part,
    /// What is still to be read, in bytes of the file. None of them is empty.
    wanted: VecDeque<Range<u64>>,
    /// Whether the end of what is wanted must be the end of the file.
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
    /// What the first answer calls the bytes of the file.
    etag: Option<String>,
    /// The answer that is being read; it stands where the first wanted range begins.
    answer: Option<Response>,
    /// How many of the ranges after the first have been asked for.
    ahead: usize,
    disappointments: usize,
    begun: bool,
    tries: Tries,
    /// What has arrived since the retry counter was reset, in bytes.
    arrived: u64,
}

/// What [`Transfer::read`] has read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// So many bytes.
    Bytes(usize),
    /// Nothing: what follows is the file from its first byte on, whatever came before.
    Restart,
    /// Nothing: all of it has been read.
    End,
}

impl<'a> Transfer<'a> {
    /// All of `part` from `from` on, in bytes; `etag` is what its server called what came before.
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

    /// The bytes of `part` in `wanted`, ascending and apart.
    ///
    /// # Errors
    /// [`Error::File`] for a local file.
    pub(crate) fn ranges(part: &'a Part, wanted: Vec<Range<u64>>) -> Result<Self, Error> {
        Ok(Self { part, wanted: wanted.into(), whole: false, source: Source::open(part, None)? })
    }

    /// What the server calls the bytes of the file, if that stands for exact ones.
    pub(crate) fn etag(&self) -> Option<&str> {
        match &self.source {
            Source::File(_) => None,
            Source::Http(remote) => remote.etag.as_deref(),
        }
    }

    /// Fills `buffer`, which ends in the range that it begins in, with what comes next.
    ///
    /// After a break it is asked for from its beginning on, and bytes before that are read past.
    ///
    /// # Errors
    /// [`Error::Net`] when four tries in a row did not bring it, [`Error::File`], [`Error::Size`].
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
                        None if !self.whole => remote.range(self.part, &self.wanted).map(|()| 0)?,
                        None => remote.rest(self.part, range.start)?,
                    };
                    remote.ask_ahead(&self.wanted);
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

    /// Reads past what comes next.
    ///
    /// # Errors
    /// As [`Transfer::fill`].
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        let mut unused = [0; UNUSED];
        while count > 0 {
            let length = usize::try_from(count).unwrap_or(UNUSED).min(UNUSED);
            self.fill(&mut unused[..length])?;
            count -= length as u64;
        }
        Ok(())
    }

    /// Reads some of what comes next of a whole file, and what is left of it at its end.
    ///
    /// # Errors
    /// As [`Transfer::fill`].
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
                if remote.answer.is_none() && remote.rest_or_all(self.part, range.start)? {
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

    /// Checks that nothing follows what was read.
    ///
    /// # Errors
    /// [`Error::Size`].
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let answer = match &mut self.source {
            Source::Http(remote) if self.whole => remote.answer.as_mut(),
            _ => None,
        };
        let Some(answer) = answer else { return Ok(()) };
        // Everything that was promised is here: how its connection ends does not matter.
        match answer.read(&mut [0]) {
            Ok(count) if count > 0 => Err(self.part.wrong_size("more")),
            _ => Ok(()),
        }
    }

    /// Notes that `count` bytes have been read.
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
                remote.turn(self.part, &self.wanted);
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
                disappointments: 0,
                begun: false,
                tries: Tries::new(),
                arrived: 0,
            })),
        })
    }
}

impl Remote<'_> {
    /// Asks for the first of the ranges that are `wanted`.
    fn range(&mut self, part: &Part, wanted: &VecDeque<Range<u64>>) -> Result<(), Error> {
        let Some(range) = wanted.front() else { return Ok(()) };
        let many = if self.asks_ahead() { AHEAD } else { 0 };
        let ahead: Vec<_> = wanted.iter().skip(1).take(many).map(http::bytes).collect();
        let answer = http::get_range(self.url, range, &ahead, part.size(), &mut self.tries)?;
        self.ahead = answer.waiting();
        self.answer = Some(answer);
        Ok(())
    }

    /// Asks for everything from `at` on. Returns how many bytes come before that.
    fn rest(&mut self, part: &Part, at: u64) -> Result<u64, Error> {
        if !std::mem::replace(&mut self.begun, true) && at == 0 {
            return self.all(part).map(|()| 0);
        }
        match http::resume(self.url, at, part.size(), self.etag.as_deref(), &mut self.tries)? {
            Resumed::Rest(answer) => {
                self.answer = Some(answer);
                Ok(0)
            }
            // It knows no ranges, or has other bytes by now: each is checked like everything else.
            Resumed::Whole(answer) => {
                self.answer = Some(answer);
                Ok(at)
            }
            Resumed::Neither(error) => Err(error),
        }
    }

    /// Asks for everything from `at` on, or for the whole file where that is not to be had; says whether
    /// it is the whole one.
    fn rest_or_all(&mut self, part: &Part, at: u64) -> Result<bool, Error> {
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
        self.all(part).map(|()| true)
    }

    /// Asks for the whole file.
    fn all(&mut self, part: &Part) -> Result<(), Error> {
        let answer = http::get(self.url)?;
        self.begin(part, answer)
    }

    /// Takes an answer that is the whole file.
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

    fn asks_ahead(&self) -> bool {
        self.disappointments < MAX_DISAPPOINTMENTS
    }

    /// Asks for ranges behind the first of those `wanted`, as many as may be on their way.
    fn ask_ahead(&mut self, wanted: &VecDeque<Range<u64>>) {
        let asks = self.asks_ahead();
        let Some(answer) = self.answer.as_mut().filter(|answer| asks && answer.may_ask_ahead())
        else {
            return;
        };
        while let Some(range) = wanted.get(self.ahead + 1).filter(|_| self.ahead < AHEAD) {
            // One that cannot be sent is not answered either, and then asked for again.
            _ = answer.ask_ahead(&[("Range", &http::bytes(range))]);
            self.ahead += 1;
        }
    }

    /// Goes on to the answer for the first of the ranges `wanted`, if that has been asked for.
    fn turn(&mut self, part: &Part, wanted: &VecDeque<Range<u64>>) {
        let answer = self.answer.take().filter(|_| self.ahead > 0);
        let (Some(answer), Some(range)) = (answer, wanted.front()) else { return };
        self.ahead -= 1;
        let next = answer.next().ok();
        self.answer =
            next.filter(|next| http::require_range(self.url, next, range, part.size()).is_ok());
        if self.answer.is_none() {
            self.ahead = 0;
            self.disappointments += 1;
        }
    }

    /// Reads past `before` bytes, and fills `buffer`.
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

    /// Waits before the next try after the connection broke.
    fn broken(&mut self, url: &Address, error: &io::Error) -> Result<(), Error> {
        (self.answer, self.ahead) = (None, 0);
        self.tries.again(Error::net(url, http::explain_io(error)))
    }
}
