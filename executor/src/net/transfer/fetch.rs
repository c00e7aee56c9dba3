//! Reads a [`Location`] into memory, or verifies a local file, against the registry's size and SHA-256.

use crate::cli::progress::Progress;
use crate::error::Error;
use crate::net::address::Address;
use crate::net::http::{self, Resumed, Validators};
use crate::net::local::Local;
use crate::net::location::Location;
use crate::net::parts::Part;
use crate::net::retry::Tries;
use joblet_format::{Checksum, IndexFile};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// Reads a whole document of at most `limit` bytes.
///
/// # Errors
/// [`Error::Net`] when the request fails, [`Error::File`] when the file cannot be read,
/// [`Error::Registry`] when it is too long.
pub(crate) fn document(location: &Location, limit: u64) -> Result<Vec<u8>, Error> {
    whole(&mut reader(location)?, location, limit)
}

/// Reads the document at `url`; `None` if the validators `known` still match.
///
/// # Errors
/// As [`document`].
pub(crate) fn changed(
    url: &Address,
    limit: u64,
    known: &Validators,
) -> Result<Option<(Vec<u8>, Validators)>, Error> {
    let mut response = http::get_if_changed(url, known, None)?;
    if response.status() == 304 {
        return Ok(None);
    }
    let validators = Validators::from_response(&response);
    let body = whole(&mut response, &Location::Http(url.clone()), limit)?;
    Ok(Some((body, validators)))
}

/// The response to a request for the beginning of a document.
pub(crate) enum Beginning {
    /// The validators still match.
    Unchanged,
    /// The document, which is small.
    Whole(Vec<u8>, Validators),
    /// Its length, in bytes, which is more than the limit.
    Large(u64, Validators),
    /// Not usable: it must be requested without a range.
    Unclear,
}

/// Requests the first `most` bytes of the document at `url`, and the rest if it is no longer than `large`
/// bytes in all, or if the server, which does not support ranges, does not state its length: up to `limit` bytes.
///
/// # Errors
/// As [`document`].
pub(crate) fn beginning(
    url: &Address,
    most: u64,
    (large, limit): (u64, u64),
    known: &Validators,
) -> Result<Beginning, Error> {
    let mut response = http::get_if_changed(url, known, Some(&(0..most)))?;
    let (validators, location) =
        (Validators::from_response(&response), Location::Http(url.clone()));
    let length = match response.status() {
        200 => {
            // A server without ranges: what it still sends of a large document is cut off.
            if let Some(length) = response.length().filter(|length| *length > large) {
                return Ok(Beginning::Large(length, validators));
            }
            return Ok(Beginning::Whole(whole(&mut response, &location, limit)?, validators));
        }
        206 => http::range_total(url, &response, most),
        304 => return Ok(Beginning::Unchanged),
        _ => None,
    };
    let Some(length) = length else { return Ok(Beginning::Unclear) };
    let etag = http::strong_etag(&response);
    let mut body = whole(&mut response, &location, most)?;
    if length > large {
        return Ok(Beginning::Large(length, validators));
    }
    let start = body.len() as u64;
    if start < length {
        // Without a strong entity tag the rest may be that of another state.
        let Some(etag) = etag else { return Ok(Beginning::Unclear) };
        let rest = http::resume(url, start, length, Some(&etag), &mut Tries::new())?;
        let Resumed::Rest(mut rest) = rest else { return Ok(Beginning::Unclear) };
        body.append(&mut whole(&mut rest, &location, length - start)?);
    }
    let complete = body.len() as u64 == length;
    Ok(if complete { Beginning::Whole(body, validators) } else { Beginning::Unclear })
}

fn whole(from: &mut impl Read, location: &Location, limit: u64) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let read = from.take(limit + 1).read_to_end(&mut body);
    read.map_err(|error| read_failed(location, error))?;
    if body.len() as u64 > limit {
        let reason = format!("it is longer than {limit} bytes");
        return Err(Error::Registry { registry: location.to_string(), reason });
    }
    Ok(body)
}

/// Reads the small file at `location` and verifies size and checksum of `expected`; `then` is the file
/// that is read next, if any.
///
/// # Errors
/// As [`document`], and [`Error::Size`] or [`Error::Checksum`] when the bytes differ.
pub(crate) fn verified(
    location: &Location,
    expected: &IndexFile,
    then: Option<&Location>,
) -> Result<Vec<u8>, Error> {
    let mut from: Box<dyn Read> = match (location, then) {
        (Location::Http(url), Some(Location::Http(then))) => Box::new(http::get_before(url, then)?),
        _ => reader(location)?,
    };
    let mut body = Vec::new();
    let expected = (expected.size, expected.checksum);
    verify(&mut from, &mut body, location, expected, &Progress::none())?;
    Ok(body)
}

/// Opens a local file and verifies size and checksum of `part`.
///
/// # Errors
/// [`Error::File`], [`Error::Size`] or [`Error::Checksum`].
pub(crate) fn local(part: &Part, local: &Local, progress: &Progress) -> Result<File, Error> {
    let mut file = local.open()?;
    let expected = (part.size(), part.checksum);
    verify(&mut file, &mut io::sink(), &part.location, expected, progress)?;
    file.rewind().map_err(Error::file("rewind", local.path()))?;
    Ok(file)
}

/// Opens `location` for reading.
fn reader(location: &Location) -> Result<Box<dyn Read>, Error> {
    Ok(match location {
        Location::File(file) => Box::new(file.open()?),
        Location::Http(url) => Box::new(http::get(url)?),
    })
}

/// Copies `from` to `to` while hashing, and fails at the first byte past the expected size.
fn verify(
    from: &mut impl Read,
    to: &mut impl Write,
    location: &Location,
    (size, checksum): (u64, Checksum),
    progress: &Progress,
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER];
    let mut hash = Sha256::new();
    let mut length = 0;
    let wrong = |actual| Error::Size { object: location.to_string(), expected: size, actual };
    loop {
        let count = from.read(&mut buffer).map_err(|error| read_failed(location, error))?;
        if count == 0 {
            break;
        }
        length += count as u64;
        if length > size {
            return Err(wrong("more".to_owned()));
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count]).map_err(Error::file("write", "the download"))?;
        progress.advance(count as u64);
    }
    if length < size {
        return Err(wrong(length.to_string()));
    }
    let actual = Checksum::from_digest(hash.finalize().into());
    if actual != checksum {
        let (object, expected) = (location.to_string(), checksum);
        return Err(Error::Checksum { object, expected, actual });
    }
    Ok(())
}

/// Opens a regular file for reading; never blocks on a FIFO.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::file("open", path))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(Error::file("stat", path))?;
    if !metadata.is_file() {
        let source = io::Error::other("it is not a regular file");
        return Err(Error::File { verb: "read", path: path.to_owned(), source });
    }
    Ok(file)
}

/// The error for a failed read of `location`.
pub(crate) fn read_failed(location: &Location, error: io::Error) -> Error {
    match location {
        Location::File(file) => Error::File { verb: "read", path: file.path(), source: error },
        Location::Http(url) => Error::net(url, http::explain_io(&error)),
    }
}
