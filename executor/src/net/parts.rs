//! An archive as one file, or split into several that are concatenated.

use super::location::Location;
use crate::error::Error;
use joblet_format::{Artifact, Checksum, Zstd};
use std::fmt;
use std::ops::Range;

/// The files that an archive consists of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The archive's own address, for messages; if it is split, no file is there.
    name: Location,
    list: Vec<Part>,
}

/// One of the files, a byte range of the archive.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its location.
    pub location: Location,
    /// Its range in the archive, in bytes.
    pub place: Range<u64>,
    /// SHA-256 of the file. Not compared where members are read: each has its own in the index.
    pub checksum: Checksum,
}

impl Parts {
    /// The files of `artifact`; `find` resolves an address of the registry.
    ///
    /// # Errors
    /// Those of `find`.
    pub(crate) fn of_artifact(
        artifact: &Artifact,
        find: impl Fn(&str) -> Result<Location, Error>,
    ) -> Result<Self, Error> {
        let file = (artifact.size, artifact.checksum);
        Self::new(&artifact.download_url, file, &artifact.parts, find)
    }

    /// The files of `zstd`.
    ///
    /// # Errors
    /// As [`Parts::of_artifact`].
    pub(crate) fn of_zstd(
        zstd: &Zstd,
        find: impl Fn(&str) -> Result<Location, Error>,
    ) -> Result<Self, Error> {
        Self::new(&zstd.download_url, (zstd.size, zstd.checksum), &zstd.parts, find)
    }

    fn new(
        url: &str,
        (size, checksum): (u64, Checksum),
        parts: &[joblet_format::Part],
        find: impl Fn(&str) -> Result<Location, Error>,
    ) -> Result<Self, Error> {
        let name = find(url)?;
        let mut list = Vec::with_capacity(parts.len().max(1));
        let mut at = 0;
        for part in parts {
            let place = at..at + part.size;
            at = place.end;
            let location = find(&part.download_url)?;
            list.push(Part { location, place, checksum: part.checksum });
        }
        if list.is_empty() {
            let (location, place) = (name.clone(), 0..size);
            list.push(Part { location, place, checksum });
        }
        Ok(Self { name, list })
    }

    /// The files, in order; at least one.
    pub(crate) fn list(&self) -> &[Part] {
        &self.list
    }

    /// The number of the file that holds the archive's byte at `offset`; the last one for an offset past
    /// the end.
    pub(crate) fn holding(&self, offset: u64) -> usize {
        self.list.partition_point(|part| part.place.end <= offset).min(self.list.len() - 1)
    }
}

impl Part {
    /// Its length, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.place.end - self.place.start
    }

    /// The error for a file of the wrong length; `actual` is a count, or `more` or `less`.
    pub(crate) fn wrong_size(&self, actual: impl Into<String>) -> Error {
        let (object, actual) = (self.location.to_string(), actual.into());
        Error::Size { object, expected: self.size(), actual }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}
