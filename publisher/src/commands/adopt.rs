//! `adopt`: generates records from an existing `registry.json`.

use crate::error::Error;
use crate::{cli::args, fs::paths, record, registry::document};
use joblet_format::{Record, Registry, Timestamp};
use std::fmt::Write as _;

/// Writes a record for each version without one.
///
/// A registry contains only the time of its newest version, which is used for all. Every version is checked before the
/// first record is written.
pub(crate) fn adopt(options: &args::Adopt) -> Result<String, Error> {
    let file = &document::path_of(&options.registry);
    let registry: Registry = serde_json::from_slice(&paths::read(file)?)
        .map_err(|error| Error::config(file, format!("is not a registry: {error}")))?;
    if let Some(refused) = registry.refused.first() {
        let (name, version) = (&refused.name, &refused.version);
        let reason = format!(
            "{name:?} {version:?} cannot be recorded: {}; correct or remove it",
            refused.reason
        );
        return Err(Error::config(file, reason));
    }
    let time = registry.updated_at.parse().unwrap_or(Timestamp::from_seconds(0)).to_string();
    paths::create_dirs(&options.records)?;
    let (mut new, mut there) = (Vec::new(), 0);
    for (name, releases) in &registry.runtimes {
        for (version, release) in releases {
            let path = record::path(&options.records, name, version);
            if record::read(&options.records, &path)?.is_some() {
                there += 1; // `index` compares both
                continue;
            }
            let record = Record {
                name: name.clone(),
                published_at: time.clone(),
                release: release.clone(),
                files: std::collections::BTreeMap::new(),
            };
            let text = record::render(&record);
            // Records that a later command would refuse are not written.
            record::parse(text.as_bytes()).map_err(|reason| Error::config(&path, reason))?;
            new.push((path, text));
        }
    }
    let mut report = String::new();
    for (path, text) in &new {
        paths::write_below(&options.records, path, text.as_bytes())?;
        _ = writeln!(report, "{}", path.display()); // a String never fails
    }
    _ = writeln!(report, "records: {} written, {there} there already", new.len());
    Ok(report)
}
