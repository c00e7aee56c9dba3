//! The archive as a row of members, read once from its beginning to its end.

use super::pipeline::Members;
use crate::error::Error;
use crate::net::address::Address;
use crate::net::http::{self, Response};
use crate::net::location::Location;
use crate::net::parts::{Part, Parts};
use crate::net::retry::Tries;
use crate::net::transfer::fetch;
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};

/// An archive that is being read.
#[derive(Debug)]
pub struct Archive<'a> {
    parts: &'a Parts,
    /// The part that is being read.
    number: usize,
    source: Source<'a>,
    /// How much of the archive was read, in bytes.
    offset: u64,
    /// Of what was read.
    hash: Sha256,
}

#[derive(Debug)]
enum Source<'a> {
    File(File),
    Http(Box<Connection<'a>>),
}

/// A download that survives the end of its connection.
#[derive(Debug)]
struct Connection<'a> {
    url: &'a Address,
    body: Response,
    /// What the first answer says its bytes are.
    etag: Option<String>,
    /// How often it may still break before it has brought something again.
    tries: Tries,
}

impl<'a> Archive<'a> {
    /// Opens the archive that is in `parts`.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::File`], and [`Error::Size`] where a length is known to be wrong.
    pub fn open(parts: &'a Parts) -> Result<Self, Error> {
        let source = Source::open(&parts.list()[0])?;
        Ok(Self { parts, number: 0, source, offset: 0, hash: Sha256::new() })
    }

    /// Checks that nothing follows, and that what was read is what `checksum` says.
    ///
    /// # Errors
    /// [`Error::Size`] or [`Error::Checksum`].
    pub fn finish(mut self, checksum: Checksum) -> Result<(), Error> {
        self.source.finish(&self.parts.list()[self.number])?;
        let actual = Checksum::from_digest(self.hash.finalize().into());
        if actual != checksum {
            let object = self.parts.to_string();
            return Err(Error::Checksum { object, expected: checksum, actual });
        }
        Ok(())
    }
}

impl Members for Archive<'_> {
    /// Fills `buffer`, the next member.
    ///
    /// A connection that breaks is made again, from the beginning of this member on, or of this
    /// part: whatever then arrives is checked like everything else.
    ///
    /// # Errors
    /// [`Error::Net`] when four tries in a row brought nothing whole, [`Error::File`], or
    /// [`Error::Size`].
    fn read(&mut self, _number: usize, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            let mut part = &self.parts.list()[self.number];
            if part.place.end <= self.offset && self.number + 1 < self.parts.list().len() {
                self.source.finish(part)?;
                self.number += 1;
                part = &self.parts.list()[self.number];
                self.source = Source::open(part)?;
            }
            let left = usize::try_from(part.place.end - self.offset).unwrap_or(usize::MAX);
            let (now, later) = buffer.split_at_mut(left.min(buffer.len()));
            self.source.read(now, part, self.offset - part.place.start)?;
            self.hash.update(&*now);
            self.offset += now.len() as u64;
            buffer = later;
        }
        Ok(())
    }
}

impl<'a> Source<'a> {
    fn open(part: &'a Part) -> Result<Self, Error> {
        let (source, length) = match &part.location {
            Location::File(local) => {
                let file = local.open()?;
                let length = file.metadata().map_err(Error::file("stat", local.path()))?.len();
                (Source::File(file), Some(length))
            }
            Location::Http(url) => {
                let body = http::get(url)?;
                let length = body.length();
                let etag = http::strong_etag(&body);
                let connection = Connection { url, body, etag, tries: Tries::new() };
                (Source::Http(Box::new(connection)), length)
            }
        };
        match length {
            Some(length) if length != part.size() => Err(part.wrong_size(length.to_string())),
            _ => Ok(source),
        }
    }

    /// Fills `buffer` with what stands at `offset` of the part, where it was read up to.
    fn read(&mut self, buffer: &mut [u8], part: &Part, offset: u64) -> Result<(), Error> {
        match self {
            Self::File(file) => match file.read_exact(buffer) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(part.wrong_size("less"))
                }
                done => done.map_err(|error| fetch::read_failed(&part.location, error)),
            },
            Self::Http(connection) => connection.read(buffer, offset, part.size()),
        }
    }

    /// Checks that nothing follows.
    fn finish(&mut self, part: &Part) -> Result<(), Error> {
        let mut more = [0];
        let count = match self {
            Self::File(file) => file.read(&mut more),
            Self::Http(connection) => connection.body.read(&mut more),
        };
        // Everything that was promised is here: how its connection ends does not matter.
        if count.is_ok_and(|count| count > 0) { Err(part.wrong_size("more")) } else { Ok(()) }
    }
}

impl Connection<'_> {
    /// Fills `buffer` with what stands at `offset` of the file, where the body is.
    fn read(&mut self, buffer: &mut [u8], offset: u64, size: u64) -> Result<(), Error> {
        let mut done = self.body.read_exact(buffer);
        while let Err(error) = done {
            let reason = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the connection ended early".to_owned(),
                _ => http::explain_io(&error),
            };
            self.tries.again(Error::Net { url: self.url.to_string(), reason })?;
            let before;
            (self.body, before) =
                http::get_rest(self.url, offset, size, self.etag.as_deref(), &mut self.tries)?;
            done = skip(&mut self.body, before).and_then(|()| self.body.read_exact(buffer));
        }
        self.tries = Tries::new();
        Ok(())
    }
}

/// Reads `count` bytes, of which nothing is used.
fn skip(body: &mut Response, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut body.take(count), &mut io::sink())?;
    if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
