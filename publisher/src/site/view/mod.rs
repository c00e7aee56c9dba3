//! What the templates are given: registry and records, sorted, grouped and made fit to be shown.
//!
//! Every text of the registry goes through [`visible`] here; the templates escape it for HTML.

mod news;
mod version;

use super::text::{day, grouped, human_size, shortened, visible};
use joblet_format::{Arch, Artifact, Platform, Record, Registry, Release, RuntimeName, Version};
use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// Longest description or reason in a list, in characters.
const SUMMARY: usize = 240;

/// The registry, and when its versions were published.
pub(super) struct Catalogue<'a> {
    registry: &'a Registry,
    latest: HashMap<&'a RuntimeName, &'a Release>,
    /// Only well-formed times.
    published: HashMap<(&'a RuntimeName, &'a Version), &'a str>,
    /// Dated records of versions that the registry has, newest first.
    news: Vec<(&'a Record, &'a Release)>,
}

#[derive(Serialize)]
pub(super) struct Home<'a> {
    runtimes: Vec<Listed<'a>>,
    /// Name and command of a runtime to show how it is done.
    shown: Option<(&'a str, &'static str)>,
    versions: String,
    architectures: BTreeSet<&'static str>,
    updated: Option<&'a str>,
}

/// A runtime on the home page.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    description: String,
    latest: Option<String>,
    prerelease: bool,
    versions: usize,
    architectures: Vec<&'static str>,
    size: Option<String>,
}

#[derive(Serialize)]
pub(super) struct RuntimePage<'a> {
    name: &'a str,
    description: String,
    latest: Option<String>,
    command: &'static str,
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
    archives: Vec<ArchiveRow>,
}

#[derive(Serialize)]
struct ArchiveRow {
    architecture: &'static str,
    systems: String,
    size: String,
}

impl<'a> Catalogue<'a> {
    pub(super) fn new(registry: &'a Registry, records: &'a [Record]) -> Self {
        let dated = records.iter().filter(|record| day(&record.published_at).is_some());
        let mut news: Vec<_> = dated
            .filter_map(|record| {
                let release = registry.runtimes.get(&record.name)?.get(&record.release.version)?;
                Some((record, release))
            })
            .collect();
        news.sort_by_key(|(record, release)| {
            (Reverse(&record.published_at), &record.name, Reverse(&release.version))
        });
        let published = news
            .iter()
            .map(|&(record, release)| {
                ((&record.name, &release.version), record.published_at.as_str())
            })
            .collect();
        let latest = |name| Some((name, registry.latest(name, |_| true)?));
        let latest = registry.runtimes.keys().filter_map(latest).collect();
        Self { registry, latest, published, news }
    }

    fn latest(&self, name: &RuntimeName) -> Option<&'a Release> {
        self.latest.get(name).copied()
    }

    fn day(&self, name: &RuntimeName, release: &Release) -> Option<&'a str> {
        self.published.get(&(name, &release.version)).and_then(|time| day(time))
    }

    pub(super) fn home(&self) -> Home<'a> {
        let runtimes = self.registry.runtimes.iter();
        let mut runtimes: Vec<_> =
            runtimes.map(|(name, releases)| self.listed(name, releases)).collect();
        runtimes.sort_by_key(|listed| listed.latest.is_none()); // what cannot be used comes last
        let releases = self.registry.runtimes.values().flat_map(BTreeMap::values);
        let offered = |name: &&RuntimeName| self.latest(name).is_some();
        let python = |name: &&RuntimeName| name.as_str().starts_with("python");
        let offers: Vec<_> = self.registry.runtimes.keys().filter(offered).collect();
        let shown = offers.iter().copied().find(python).or(offers.first().copied());
        Home {
            shown: shown.map(|name| (name.as_str(), example(name))),
            runtimes,
            versions: grouped(releases.clone().count() as u64),
            architectures: releases.flat_map(architectures).collect(),
            updated: day(&self.registry.updated_at),
        }
    }

    fn listed(&self, name: &'a RuntimeName, releases: &BTreeMap<Version, Release>) -> Listed<'a> {
        let latest = self.latest(name);
        let sizes = latest.into_iter().flat_map(archives).map(|(_, artifact)| artifact.size);
        Listed {
            name: name.as_str(),
            description: shortened(description(latest, releases), SUMMARY),
            latest: latest.map(|release| release.version.to_string()),
            prerelease: latest.is_some_and(|release| release.version.is_prerelease()),
            versions: releases.len(),
            architectures: latest.into_iter().flat_map(architectures).collect(),
            size: sizes.max().map(human_size),
        }
    }

    pub(super) fn runtime(&self, name: &'a RuntimeName) -> RuntimePage<'a> {
        let releases = &self.registry.runtimes[name];
        let latest = self.latest(name);
        let row = |release: &Release| Row {
            version: release.version.to_string(),
            latest: latest.is_some_and(|latest| latest.version == release.version),
            prerelease: release.version.is_prerelease(),
            yanked: yanked(release).map(|reason| shortened(reason, SUMMARY)),
            day: self.day(name, release),
            archives: archives(release)
                .map(|(arch, artifact)| ArchiveRow {
                    architecture: arch.as_str(),
                    systems: systems(release, arch),
                    size: human_size(artifact.size),
                })
                .collect(),
        };
        RuntimePage {
            name: name.as_str(),
            description: description(latest, releases),
            latest: latest.map(|release| release.version.to_string()),
            command: example(name),
            versions: releases.values().rev().map(row).collect(),
        }
    }
}

/// The description of the latest version, or else of the highest.
fn description(latest: Option<&Release>, releases: &BTreeMap<Version, Release>) -> String {
    let release = latest.or_else(|| releases.values().next_back());
    release.map(|release| visible(&release.description)).unwrap_or_default()
}

/// Why the version is yanked, if it is; never empty.
fn yanked(release: &Release) -> Option<String> {
    let reason = visible(release.yanked.as_deref()?);
    Some(if reason.is_empty() { "no reason given".to_owned() } else { reason })
}

fn archives(release: &Release) -> impl Iterator<Item = (Arch, Artifact)> {
    Arch::ALL.into_iter().filter_map(|arch| Some((arch, release.artifact(arch)?)))
}

fn architectures(release: &Release) -> Vec<&'static str> {
    release.architectures().into_iter().map(Arch::as_str).collect()
}

/// The systems that a release is declared for on `arch`: `amzn, rhel, ubuntu`.
fn systems(release: &Release, arch: Arch) -> String {
    let platforms = release.platforms.iter().filter(|platform| platform.arch() == arch);
    let systems: BTreeSet<_> = platforms.map(Platform::os).collect();
    systems.into_iter().collect::<Vec<_>>().join(", ")
}

/// A command that makes sense in the runtime, as far as its name tells.
fn example(name: &RuntimeName) -> &'static str {
    let commands = [
        ("python", "python3 analyze.py"),
        ("openjdk", "java -jar app.jar"),
        ("graalvmjdk", "java -jar app.jar"),
        ("node", "node app.js"),
    ];
    let fits = |(prefix, _): &(&str, &str)| name.as_str().starts_with(prefix);
    commands.into_iter().find(fits).map_or("sh -c 'echo hello'", |(_, command)| command)
}
