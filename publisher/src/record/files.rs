//! Files beside a record, which lists each of them with its checksum: `NAME/VERSION.files/…`.
//!
//! ```text
//! manifest.yaml  versions.lock  files.tar  reads.txt     the sources of the version (`provenance`)
//! ARCH.contents.txt                           the list of contents (`contents`)
//! ARCH.spdx.json                              the bill of materials (`sbom`)
//! ```

use crate::{
    error::Error,
    fs::{
        below::{self, Below},
        paths,
    },
};
use joblet_format::{Arch, Checksum, IndexFile, Record, Release, RuntimeName, Version};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Contents of files, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The directory of a version's files below `records`.
///
/// No record has this path: those end in `.json`.
pub fn dir(records: &Path, name: &RuntimeName, version: &Version) -> PathBuf {
    records.join(name.as_str()).join(format!("{version}.files"))
}

/// Name of the list of contents.
pub fn contents(arch: Arch) -> String {
    format!("{arch}.contents.txt")
}

/// Name of the bill of materials.
pub fn sbom(arch: Arch) -> String {
    format!("{arch}.spdx.json")
}

/// Whether `name` is a plain file name.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.starts_with('.') && !name.is_empty() && name.bytes().all(plain)
}

/// The record's entries for `files`, and for those in `before` of architectures that the release still
/// has.
pub(super) fn entries(
    files: &Files,
    release: &Release,
    before: Option<&Record>,
) -> BTreeMap<String, IndexFile> {
    let about = |name: &str| name.split('.').next().and_then(|arch| arch.parse::<Arch>().ok());
    let kept = before.map(|record| record.files.clone()).unwrap_or_default();
    let mut described: BTreeMap<_, _> = kept
        .into_iter()
        .filter(|(name, _)| about(name).is_some_and(|arch| release.artifacts.contains_key(&arch)))
        .collect();
    described.extend(files.iter().map(|(name, bytes)| (name.clone(), describe(bytes))));
    described
}

fn describe(bytes: &[u8]) -> IndexFile {
    let checksum = Checksum::of_bytes(bytes);
    IndexFile { checksum, size: bytes.len() as u64 }
}

/// Reads the file `name` of `record`; `None` if the record does not list it.
///
/// # Errors
/// [`Error::NotFound`] if it does not exist; [`Error::Differs`] if its checksum differs; [`Error::File`].
pub fn read(records: &Path, record: &Record, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let Some(expected) = record.files.get(name) else { return Ok(None) };
    let path = dir(records, &record.name, &record.release.version).join(name);
    let root = Below::open(records)?;
    // A longer file cannot be the expected one.
    let limit = expected.size.max(below::MAX_WHOLE);
    let Some(bytes) = root.map_or(Ok(None), |root| root.read(&path, limit))? else {
        let path = path.display();
        let reason = format!("{path} does not exist, but the record names it; restore it");
        return Err(Error::NotFound(reason));
    };
    let actual = describe(&bytes).checksum;
    if actual == expected.checksum {
        return Ok(Some(bytes));
    }
    let hint = "the record has a different file; restore it";
    Err(Error::checksum(path.display().to_string(), expected.checksum, actual, hint))
}

/// Writes `files` beside `record`, and copies the other files that it lists from `before` (a directory of
/// records and the record in it). Removes files that it does not list.
///
/// # Errors
/// As [`read`], of the files of `before`; [`Error::File`].
pub fn write(
    records: &Path,
    record: &Record,
    files: &Files,
    before: Option<(&Path, &Record)>,
) -> Result<(), Error> {
    let dir = dir(records, &record.name, &record.release.version);
    for name in record.files.keys() {
        if let Some(bytes) = files.get(name) {
            paths::write_below(records, &dir.join(name), bytes)?;
        } else if let Some((from, before)) = before {
            if let Some(bytes) = read(from, before, name)? {
                paths::write_below(records, &dir.join(name), &bytes)?;
            }
        }
    }
    let root = Below::open(records)?;
    let Some(beside) = root.map_or(Ok(None), |root| root.dir(&dir))? else { return Ok(()) };
    for (name, _) in beside.entries()? {
        if !record.files.contains_key(&*name.to_string_lossy()) {
            beside.remove(&name)?;
        }
    }
    Ok(())
}
