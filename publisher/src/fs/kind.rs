//! File types, and the check for a regular file.

use crate::error::Error;
use rustix::fs::FileType;
use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Returns `file` if it is a regular file.
pub(super) fn regular(file: File, path: &Path) -> Result<File, Error> {
    is_regular(&file.metadata().map_err(Error::file("read", path))?, path).map(|()| file)
}

pub(super) fn is_regular(metadata: &fs::Metadata, path: &Path) -> Result<(), Error> {
    match FileType::from_raw_mode(metadata.mode()) {
        FileType::RegularFile => Ok(()),
        kind => Err(Error::config(path, unwanted(kind, "a file"))),
    }
}

/// What is wrong with a file of this `kind` in the place of what is `wanted`, and what to do. A directory may hold
/// more than the user thinks of: no message advises to remove it.
pub(super) fn unwanted(kind: FileType, wanted: &str) -> String {
    let remedy = match kind {
        FileType::Directory => "name a file in it, or move it away",
        _ => "remove it",
    };
    format!("is {}, not {wanted}; {remedy}", kind_name(kind))
}

pub(super) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}
