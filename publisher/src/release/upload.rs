//! Publishes a release: create a draft, upload, download and compare, publish.

use super::{
    Tag,
    bundle::{self, Asset, Bundle, RECORD},
    host::{self, Host, State},
};
use crate::{
    error::{Error, Note},
    record::MAX_RECORD,
};
use joblet_format::{Record, RuntimeName, Version};

/// The result of a release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Files of the release.
    pub files: usize,
    /// Files that were uploaded now.
    pub uploaded: usize,
    /// Whether the draft was published now.
    pub published: bool,
}

/// The record of a version in the release of `tag`, if there is one: from an earlier run that was completed
/// or interrupted.
///
/// # Errors
/// As [`Host::find`]; [`Error::Config`] for a malformed record.
pub(crate) fn record_of(
    host: &dyn Host,
    tag: &Tag,
    runtime: &RuntimeName,
    version: &Version,
) -> Result<Option<Record>, Error> {
    let name = format!("{}{RECORD}", runtime.directory(version));
    if !host.find(tag)?.is_some_and(|state| state.files.contains_key(&name)) {
        return Ok(None);
    }
    let bytes = host::read(host, tag, &name, MAX_RECORD)?;
    let record = serde_json::from_slice(&bytes)
        .map_err(|error| Error::config(name, format!("is not a record: {error}")))?;
    Ok(Some(record))
}

/// Sets the time of `record` to that of an earlier, interrupted run of the same release, so that a rerun
/// gives the same bytes.
///
/// # Errors
/// As [`record_of`].
pub(crate) fn adopt_time(host: &dyn Host, tag: &Tag, mut record: Record) -> Result<Record, Error> {
    if let Some(before) = record_of(host, tag, &record.name, &record.release.version)? {
        record.published_at = before.published_at;
    }
    Ok(record)
}

/// Publishes `bundles` as the release of `tag`.
///
/// # Errors
/// [`Error::Differs`] when a file on the host differs; those of the host.
pub(crate) fn release(
    host: &dyn Host,
    tag: &Tag,
    bundles: &[Bundle],
    note: Note,
) -> Result<Summary, Error> {
    let state = if let Some(state) = host.find(tag)? {
        state
    } else {
        note(&format!("{tag}: a draft"));
        host.draft(tag)?;
        State { draft: true, ..State::default() }
    };
    let assets = || bundles.iter().flat_map(|bundle| &bundle.assets);
    let mut summary = Summary { files: assets().count(), ..Summary::default() };
    for asset in assets() {
        match state.files.get(&asset.name) {
            Some(&size) if size == asset.size => continue,
            // A published file never changes; a file of a draft with another size is incomplete.
            Some(&size) if !state.draft => {
                return Err(differs(tag, asset, "size", size.to_string()));
            }
            _ => note(&format!("{tag}: {}", asset.name)),
        }
        host.upload(tag, &asset.name, &asset.path)?;
        summary.uploaded += 1;
    }
    for asset in assets() {
        note(&format!("{tag}: comparing {}", asset.name));
        let actual = host::checksum(host, tag, &asset.name)?;
        if actual != asset.checksum {
            return Err(differs(tag, asset, "checksum", actual.to_string()));
        }
    }
    if state.draft {
        host.publish(tag)?;
        summary.published = true;
    }
    Ok(summary)
}

fn differs(tag: &Tag, asset: &Asset, field: &'static str, actual: String) -> Error {
    let expected = match field {
        "size" => asset.size.to_string(),
        _ => asset.checksum.to_string(),
    };
    let hint = "a published version never changes: raise it; a draft may be deleted to start over";
    Error::Differs { object: format!("{} of {tag}", asset.name), field, expected, actual, hint }
}

/// Checks that `state` has every file of `record` with its size.
///
/// # Errors
/// The first missing file.
pub(crate) fn check_complete(state: &State, record: &Record) -> Result<(), String> {
    let wanted = record.release.artifacts.values().flat_map(|artifact| {
        let parts = artifact.parts.iter().map(|part| (&part.download_url, part.size));
        let whole = artifact.parts.is_empty().then_some((&artifact.download_url, artifact.size));
        let zstd = artifact.zstd.iter().flat_map(|zstd| {
            let parts = zstd.parts.iter().map(|part| (&part.download_url, part.size));
            parts.chain(zstd.parts.is_empty().then_some((&zstd.download_url, zstd.size)))
        });
        parts.chain(whole).chain(zstd)
    });
    for (url, size) in wanted {
        let name = bundle::file_name(url);
        if state.files.get(name) != Some(&size) {
            return Err(format!(
                "{name} is missing or does not have {size} bytes; run its release again"
            ));
        }
    }
    Ok(())
}
