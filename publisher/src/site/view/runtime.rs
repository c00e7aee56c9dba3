//! The page of one runtime, and the same for programs.

use super::{
    Catalogue, SUMMARY, amd64_alone, architectures, archives,
    chart::Chart,
    description,
    fresh::Freshness,
    inside::{Inside, Listed, inside, listed},
    not_for_rnx, platforms, yanked,
};
use crate::{error::Error, source::language::example};
use joblet_format::{Arch, Record, Release, RuntimeName, text};
use serde::Serialize;
use std::{collections::BTreeSet, path::Path};

#[derive(Serialize)]
pub(in crate::site) struct RuntimePage<'a> {
    name: &'a str,
    description: String,
    latest: Option<String>,
    command: &'static str,
    /// When the latest version was published.
    day: Option<&'a str>,
    /// Architecture, size of the download and unpacked, of the latest version.
    downloads: Vec<(&'static str, String, Option<String>)>,
    /// Beside the record of the latest version.
    files: Vec<Listed>,
    /// Read from `files` by [`RuntimePage::look_inside`].
    inside: Option<Inside>,
    #[serde(skip)]
    record: Option<&'a Record>,
    /// Platforms of the latest version.
    platforms: Vec<String>,
    /// Why Joblet's own client does not install the latest version, if so.
    not_for_rnx: Option<&'static str>,
    amd64_alone: bool,
    chart: Option<Chart>,
    /// Architectures of any version, a column each.
    architectures: Vec<&'static str>,
    versions: Vec<Row<'a>>,
}

/// A version on its runtime's page.
#[derive(Serialize)]
struct Row<'a> {
    version: String,
    latest: bool,
    prerelease: bool,
    yanked: Option<String>,
    day: Option<&'a str>,
    fresh: Option<Freshness>,
    /// Sizes of the download, one for each architecture of the page.
    sizes: Vec<Option<String>>,
}

/// The versions of a runtime for programs: `runtimes/NAME/index.json`.
///
/// ```json
/// { "name": "node-20", "latest": "1.3.0",
///   "versions": [{ "version": "1.3.0", "published_at": "2025-10-20T23:56:08Z", "yanked": null,
///                  "architectures": ["amd64", "arm64"], "record": "1.3.0.json" }] }
/// ```
#[derive(Serialize)]
pub(in crate::site) struct RuntimeFile<'a> {
    name: &'a str,
    /// The version that is installed where none is named; null where all are yanked.
    latest: Option<String>,
    /// Highest first.
    versions: Vec<VersionFile<'a>>,
}

#[derive(Serialize)]
struct VersionFile<'a> {
    version: String,
    published_at: Option<&'a str>,
    yanked: Option<&'a str>,
    architectures: Vec<&'static str>,
    /// Path of the record, relative to this file.
    record: Option<String>,
}

impl<'a> Catalogue<'a> {
    pub(in crate::site) fn runtime(&self, name: &'a RuntimeName) -> RuntimePage<'a> {
        let releases = &self.registry.runtimes[name];
        let latest = self.latest(name);
        let columns: BTreeSet<Arch> = releases.values().flat_map(Release::architectures).collect();
        let row = |release: &Release| Row {
            version: release.version.to_string(),
            latest: latest.is_some_and(|latest| latest.version == release.version),
            prerelease: release.version.is_prerelease(),
            yanked: yanked(release).map(|reason| text::shortened(&reason, SUMMARY)),
            day: self.day(name, release),
            fresh: self.freshness(name, &release.version),
            sizes: columns
                .iter()
                .map(|arch| release.artifact(*arch).map(|artifact| text::size(artifact.size)))
                .collect(),
        };
        let record = latest.and_then(|latest| self.record(name, &latest.version));
        RuntimePage {
            day: latest.and_then(|latest| self.day(name, latest)),
            downloads: latest
                .into_iter()
                .flat_map(archives)
                .map(|(arch, it)| {
                    (arch.as_str(), text::size(it.size), it.unpacked_size.map(text::size))
                })
                .collect(),
            files: record.map(listed).unwrap_or_default(),
            inside: None,
            record,
            name: name.as_str(),
            description: description(latest, releases),
            latest: latest.map(|release| release.version.to_string()),
            command: example(name),
            platforms: latest
                .map(|latest| platforms(self.declared(name, latest)))
                .unwrap_or_default(),
            not_for_rnx: latest.and_then(not_for_rnx),
            amd64_alone: latest.is_some_and(amd64_alone),
            chart: self.chart(name),
            architectures: columns.iter().map(|arch| arch.as_str()).collect(),
            versions: releases.values().rev().map(row).collect(),
        }
    }

    pub(in crate::site) fn runtime_file(&self, name: &'a RuntimeName) -> RuntimeFile<'a> {
        let version = |release: &'a Release| {
            let record = self.record(name, &release.version);
            VersionFile {
                version: release.version.to_string(),
                published_at: record.map(|record| record.published_at.as_str()),
                yanked: release.yanked.as_deref(),
                architectures: architectures(release),
                record: record.map(|_| format!("{}.json", release.version)),
            }
        };
        RuntimeFile {
            name: name.as_str(),
            latest: self.latest(name).map(|release| release.version.to_string()),
            versions: self.registry.runtimes[name].values().rev().map(version).collect(),
        }
    }
}

impl RuntimePage<'_> {
    /// Reads what is inside the latest version from the files beside its record in the directory `records`.
    ///
    /// # Errors
    /// A file that is missing, another one, or of another form.
    pub(in crate::site) fn look_inside(&mut self, records: &Path) -> Result<(), Error> {
        if let Some(record) = self.record {
            self.inside = inside(records, record, None)?;
        }
        Ok(())
    }
}
