//! Downloads one input from one address, and verifies it.

use super::python_index::LOCAL;
use crate::{
    error::{Error, shown},
    lock::{Input, Kind},
    net::http,
};
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    thread,
    time::Duration,
};

/// Attempts at one address.
const ATTEMPTS: u32 = 3;
/// Longest input whose size is not known, in bytes.
pub(super) const MAX_UNKNOWN: u64 = 16 << 30;

/// Why an address did not serve an input.
pub(super) enum Fault {
    /// The request failed.
    Net(String),
    /// Other content was served: not retried.
    Differs(Error),
    /// The content could not be written.
    File(io::Error),
}

/// Fetches `address` into `file`. Transient failures are retried.
pub(super) fn download(
    address: &str,
    file: &mut File,
    input: &Input,
    received: Received,
) -> Result<(), Fault> {
    if let Some(path) = address.strip_prefix(LOCAL) {
        let from = File::open(path).map_err(|error| Fault::Net(error.to_string()))?;
        return receive(Body { from, failed: None, received }, file, input, address);
    }
    let mut attempt = 1;
    loop {
        let answer = http::get(address, "*/*", input.size.unwrap_or(MAX_UNKNOWN));
        let (reason, passing) = match answer {
            Ok(answer) => {
                match receive(
                    Body { from: answer.body, failed: None, received },
                    file,
                    input,
                    address,
                ) {
                    Err(Fault::Net(reason)) => (reason, true),
                    result => return result,
                }
            }
            Err(fault) => fault,
        };
        if !passing || attempt == ATTEMPTS {
            return Err(Fault::Net(reason));
        }
        thread::sleep(Duration::from_millis(300) * attempt);
        attempt += 1;
    }
}

fn receive(
    mut body: Body<impl Read>,
    file: &mut File,
    input: &Input,
    address: &str,
) -> Result<(), Fault> {
    use std::io::Seek;
    file.set_len(0).and_then(|()| file.rewind()).map_err(Fault::File)?;
    let result = copy(&mut body, file, limit(input));
    if let Some(reason) = body.failed {
        return Err(Fault::Net(reason));
    }
    let (size, sum) = result.map_err(Fault::File)?;
    if let Some(expected) = input.size.filter(|expected| size < *expected) {
        return Err(Fault::Net(format!("ended after {size} of {expected} bytes")));
    }
    if sum == input.sha256 {
        return Ok(());
    }
    let hint = match input.kind {
        Kind::Tar => {
            "the server has a different file under this name; look for an announcement of upstream"
        }
        _ => "the mirror serves another file under this name; lock again",
    };
    let object = shown::address(address);
    Err(Fault::Differs(match input.size.filter(|expected| size > *expected) {
        None => Error::checksum(object, input.sha256, sum, hint),
        Some(expected) => {
            let (expected, actual) = (format!("{expected} bytes"), "more".to_owned());
            Error::Differs { object, field: "size", expected, actual, hint }
        }
    }))
}

/// Most bytes that are read of `input`.
pub(super) fn limit(input: &Input) -> u64 {
    input.size.unwrap_or(MAX_UNKNOWN)
}

/// Called with the number of bytes that have just arrived.
pub(super) type Received<'c> = &'c dyn Fn(u64);

/// A reader that records its errors, to distinguish them from those of the file that is written.
pub(super) struct Body<'c, R> {
    pub(super) from: R,
    pub(super) failed: Option<String>,
    pub(super) received: Received<'c>,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer);
        let read = read.inspect_err(|error| self.failed = Some(error.to_string()))?;
        (self.received)(read as u64);
        Ok(read)
    }
}

/// Copies at most `limit` + 1 bytes. Returns their number and hash.
pub(super) fn copy(from: impl Read, mut to: impl Write, limit: u64) -> io::Result<(u64, Checksum)> {
    let mut from = from.take(limit.saturating_add(1));
    let (mut size, mut hash, mut buffer) = (0, Sha256::new(), vec![0; 64 << 10]);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((size, Checksum::from_digest(hash.finalize().into()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        size += read as u64;
    }
}
