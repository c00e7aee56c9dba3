//! The interface of release hosts: a release per tag, with named files.

use super::tag::Tag;
use crate::error::Error;
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

/// The state of a release on its host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Whether it is a draft, not public yet.
    pub draft: bool,
    /// Size of each completely uploaded file, in bytes.
    pub files: BTreeMap<String, u64>,
}

/// A release host.
pub(crate) trait Host {
    /// The release of `tag`, if there is one.
    ///
    /// # Errors
    /// [`Error::Tool`] or [`Error::File`], here and below.
    fn find(&self, tag: &Tag) -> Result<Option<State>, Error>;
    /// Creates an empty draft.
    ///
    /// # Errors
    /// As [`Host::find`].
    fn draft(&self, tag: &Tag) -> Result<(), Error>;
    /// Uploads the file at `from` as `name`, replacing an incomplete one.
    ///
    /// # Errors
    /// As [`Host::find`].
    fn upload(&self, tag: &Tag, name: &str, from: &Path) -> Result<(), Error>;
    /// Downloads the file `name` to `to`.
    ///
    /// # Errors
    /// As [`Host::find`].
    fn download(&self, tag: &Tag, name: &str, to: &mut dyn Write) -> Result<(), Error>;
    /// Publishes a draft.
    ///
    /// # Errors
    /// As [`Host::find`].
    fn publish(&self, tag: &Tag) -> Result<(), Error>;
    /// The tags of all releases of runtimes, and whether each is a draft.
    ///
    /// # Errors
    /// As [`Host::find`].
    fn releases(&self) -> Result<Vec<(Tag, bool)>, Error>;
}

/// Reads the file `name` of a release, of at most `limit` bytes.
///
/// # Errors
/// As [`Host::download`]; [`Error::Config`] for a longer one.
pub(crate) fn read(host: &dyn Host, tag: &Tag, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let mut whole = Whole { bytes: Vec::new(), limit, full: false };
    let outcome = host.download(tag, name, &mut whole);
    if whole.full {
        return Err(Error::config(
            format!("{name} of {tag}"),
            format!("is larger than {limit} bytes"),
        ));
    }
    outcome.map(|()| whole.bytes)
}

/// A writer to memory with a limit.
struct Whole {
    bytes: Vec<u8>,
    limit: u64,
    full: bool,
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.full |= (self.bytes.len() + bytes.len()) as u64 > self.limit;
        if self.full {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Downloads the file `name`, and returns its checksum.
///
/// # Errors
/// As [`Host::download`].
pub(crate) fn checksum(host: &dyn Host, tag: &Tag, name: &str) -> Result<Checksum, Error> {
    let mut hash = Sha256::new();
    host.download(tag, name, &mut hash)?;
    Ok(Checksum::from_digest(hash.finalize().into()))
}
