//! `index` and `site`: records → registry.json and pages.

use crate::error::Error;
use crate::{args, fsx, index, record, site};
use joblet_format::Registry;
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn index(options: &args::Index) -> Result<String, Error> {
    let registry = index::make(&record::read_all(&options.records)?);
    write_registry(&registry, &options.out)?;
    let versions: usize = registry.runtimes.values().map(BTreeMap::len).sum();
    let (out, runtimes) = (options.out.display(), registry.runtimes.len());
    Ok(format!("{out}: runtimes: {runtimes}, versions: {versions}\n"))
}

/// Writes a registry, unless one is there whose published checksums it would change.
fn write_registry(registry: &Registry, out: &Path) -> Result<(), Error> {
    if let Some(bytes) = fsx::read_if_there(out)? {
        let before: Registry = serde_json::from_slice(&bytes)
            .map_err(|error| Error::config(out, format!("is no registry: {error}")))?;
        index::check(&before, registry)?;
    }
    fsx::write(out, index::render(registry).as_bytes())
}

/// The pages, and the registry that they link to.
pub(crate) fn site(options: &args::Site) -> Result<String, Error> {
    let records = record::read_all(&options.records)?;
    let registry = index::make(&records);
    let summary =
        site::write(&registry, &records, &options.records, &options.source, &options.out)?;
    write_registry(&registry, &options.out.join("registry.json"))?;
    let (out, site::Summary { files, written, removed }) = (options.out.display(), summary);
    Ok(format!("{out}: {files} files, {written} written, {removed} removed\n"))
}
