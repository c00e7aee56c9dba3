//! The archive as a row of members, read once from its beginning to its end.

use super::pipeline::Members;
use crate::address::Address;
use crate::error::Error;
use crate::fetch;
use crate::http::{self, Response, Tries};
use crate::location::Location;
use joblet_format::{Artifact, Checksum};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};

/// An archive that is being read.
#[derive(Debug)]
pub struct Archive<'a> {
    location: &'a Location,
    source: Source<'a>,
    /// What the registry says of its length, in bytes.
    size: u64,
    /// Length of the members that were read, in bytes.
    offset: u64,
    /// Of their bytes.
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
    /// How often it may still break before another member has arrived.
    tries: Tries,
}

impl<'a> Archive<'a> {
    /// Opens the archive at `location`.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::File`], and [`Error::Size`] where its length is known to be wrong.
    pub fn open(location: &'a Location, artifact: &Artifact) -> Result<Self, Error> {
        let (source, length) = match location {
            Location::File(path) => {
                let file = fetch::open(path)?;
                let length = file.metadata().map_err(Error::file("stat", path))?.len();
                (Source::File(file), Some(length))
            }
            Location::Http(url) => {
                let body = http::get(url)?;
                let length = body.headers().get("content-length");
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                let etag = http::strong_etag(&body);
                let connection = Connection { url, body, etag, tries: Tries::new() };
                (Source::Http(Box::new(connection)), length)
            }
        };
        let archive =
            Self { location, source, size: artifact.size, offset: 0, hash: Sha256::new() };
        match length {
            Some(length) if length != artifact.size => Err(archive.wrong_size(length.to_string())),
            _ => Ok(archive),
        }
    }

    /// Checks that nothing follows, and that what was read is what `checksum` says.
    ///
    /// # Errors
    /// [`Error::Size`] or [`Error::Checksum`].
    pub fn finish(mut self, checksum: Checksum) -> Result<(), Error> {
        let mut more = [0];
        let count = match &mut self.source {
            Source::File(file) => file.read(&mut more),
            Source::Http(connection) => connection.body.read(&mut more),
        };
        // Everything that was promised is here: how its connection ends does not matter.
        if count.is_ok_and(|count| count > 0) {
            return Err(self.wrong_size("more".to_owned()));
        }
        let actual = Checksum::from_digest(self.hash.finalize().into());
        if actual != checksum {
            let object = self.location.to_string();
            return Err(Error::Checksum { object, expected: checksum, actual });
        }
        Ok(())
    }

    fn wrong_size(&self, actual: String) -> Error {
        Error::Size { object: self.location.to_string(), expected: self.size, actual }
    }
}

impl Members for Archive<'_> {
    /// Fills `buffer`, the next member.
    ///
    /// A connection that breaks is made again, from the beginning of this member on: whatever then
    /// arrives is checked like everything else.
    ///
    /// # Errors
    /// [`Error::Net`] when four tries in a row brought no whole member, [`Error::File`], or
    /// [`Error::Size`].
    fn read(&mut self, _number: usize, buffer: &mut [u8]) -> Result<(), Error> {
        let done = match &mut self.source {
            Source::File(file) => file.read_exact(buffer),
            Source::Http(connection) => {
                connection.read(buffer, self.offset, self.size)?;
                Ok(())
            }
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.wrong_size("less".to_owned()));
            }
            done => done.map_err(|error| fetch::read_failed(self.location, error))?,
        }
        self.hash.update(&*buffer);
        self.offset += buffer.len() as u64;
        Ok(())
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
