//! `index` and `site`: records → registry.json and pages.

use crate::error::Error;
use crate::{args, fsx, index, record, site};
use joblet_format::Registry;
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn index(options: &args::Index) -> Result<String, Error> {
    let registry = index::make(&record::read_all(&options.records)?);
    let text = allowed(&registry, &options.out)?;
    fsx::write(&options.out, text.as_bytes())?;
    let versions: usize = registry.runtimes.values().map(BTreeMap::len).sum();
    let (out, runtimes) = (options.out.display(), registry.runtimes.len());
    Ok(format!("{out}: runtimes: {runtimes}, versions: {versions}\n"))
}

/// The text of a registry, unless one is there whose published checksums it would change.
fn allowed(registry: &Registry, out: &Path) -> Result<String, Error> {
    let text = index::render(registry);
    if let Some(bytes) = fsx::read_if_there(out)?.filter(|bytes| bytes != text.as_bytes()) {
        let before: Registry = serde_json::from_slice(&bytes)
            .map_err(|error| Error::config(out, format!("is no registry: {error}")))?;
        index::check(&before, registry)?;
    }
    Ok(text)
}

/// The pages, and the registry that they link to. Nothing is written if that would be refused.
pub(crate) fn site(options: &args::Site) -> Result<String, Error> {
    let records = record::read_all(&options.records)?;
    let registry = index::make(&records);
    let place = options.out.join("registry.json");
    let text = allowed(&registry, &place)?;
    let summary =
        site::write(&registry, &records, &options.records, &options.source, &options.out)?;
    fsx::write(&place, text.as_bytes())?;
    let (out, site::Summary { files, written, removed }) = (options.out.display(), summary);
    Ok(format!("{out}: {files} files, {written} written, {removed} removed\n"))
}
