//! Values for the templates: registry and records, sorted, grouped and escaped for display.
//!
//! In: the registry and its records. Out: one serializable value for each page.
//!
//! Every text of the registry goes through [`visible`] here; the templates escape it for HTML.

mod changes;
mod chart;
mod fresh;
mod home;
mod inside;
mod licence;
mod news;
mod runtime;
mod search;
mod started;
mod version;

use super::text::{Address, address, day, visible};
use joblet_format::{
    Arch, Artifact, Freshness, Platform, Record, Registry, Release, RuntimeName, Version,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// Maximum length of a description or reason in a list, in characters.
const SUMMARY: usize = 240;

/// The registry and its records.
pub(super) struct Catalogue<'a> {
    registry: &'a Registry,
    latest: HashMap<&'a RuntimeName, &'a Release>,
    records: HashMap<(&'a RuntimeName, &'a Version), &'a Record>,
    /// Dated records of versions in the registry, newest first.
    news: Vec<(&'a Record, &'a Release)>,
    /// Indexes in `news` of each runtime's records.
    news_of: HashMap<&'a RuntimeName, Vec<usize>>,
    /// `freshness.json`, if there is one.
    freshness: Option<&'a Freshness>,
}

impl<'a> Catalogue<'a> {
    /// A release with all platforms of its record: `registry.json` may name fewer.
    fn declared<'r>(&self, name: &'a RuntimeName, release: &'r Release) -> &'r Release
    where
        'a: 'r,
    {
        self.record(name, &release.version).map_or(release, |record| &record.release)
    }

    pub(super) fn new(
        registry: &'a Registry,
        records: &'a [Record],
        freshness: Option<&'a Freshness>,
    ) -> Self {
        let mut news: Vec<_> = records
            .iter()
            .filter(|record| day(&record.published_at).is_some())
            .filter_map(|record| {
                let release = registry.runtimes.get(&record.name)?.get(&record.release.version)?;
                Some((record, release))
            })
            .collect();
        news.sort_by_key(|(record, release)| {
            (Reverse(&record.published_at), &record.name, Reverse(&release.version))
        });
        let mut news_of: HashMap<_, Vec<_>> = HashMap::new();
        for (at, (record, _)) in news.iter().enumerate() {
            news_of.entry(&record.name).or_default().push(at);
        }
        let latest = |name| Some((name, registry.latest(name, |_| true)?));
        let key = |record: &'a Record| ((&record.name, &record.release.version), record);
        Self {
            registry,
            latest: registry.runtimes.keys().filter_map(latest).collect(),
            records: records.iter().map(key).collect(),
            news,
            news_of,
            freshness,
        }
    }

    /// The record of a version, if there is one.
    pub(super) fn record(&self, name: &RuntimeName, version: &Version) -> Option<&'a Record> {
        self.records.get(&(name, version)).copied()
    }

    /// All inputs of a runtime's pages: its records, and releases that differ from them.
    pub(super) fn sources(
        &self,
        name: &RuntimeName,
    ) -> Vec<(Option<&'a Release>, Option<&'a Record>)> {
        let releases = self.registry.runtimes[name].values();
        let sources = |release: &'a Release| {
            let record = self.record(name, &release.version);
            let other = record.is_none_or(|record| record.release != *release);
            (other.then_some(release), record)
        };
        releases.map(sources).collect()
    }

    fn latest(&self, name: &RuntimeName) -> Option<&'a Release> {
        self.latest.get(name).copied()
    }

    /// Date of publication of a version, if its timestamp is well-formed.
    fn day(&self, name: &RuntimeName, release: &Release) -> Option<&'a str> {
        day(&self.record(name, &release.version)?.published_at)
    }
}

/// The description of the latest version, or else of the highest.
fn description(latest: Option<&Release>, releases: &BTreeMap<Version, Release>) -> String {
    let release = latest.or_else(|| releases.values().next_back());
    release.map(|release| visible(&release.description)).unwrap_or_default()
}

/// The reason why the version is yanked, if it is; never empty.
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

/// The hosts that a release is declared for, sorted: `rhel-amd64`, …
/// The reason why Joblet's own client cannot install a release, if it cannot.
fn not_for_rnx(release: &Release) -> Option<&'static str> {
    let local = matches!(address(&release.download_url), Address::Relative(_));
    Some(match release {
        _ if release.in_parts() => "is larger than one file may be",
        _ if !release.architectures().contains(&Arch::Amd64) => "has no archive for amd64",
        _ if release.yanked.is_some() => "is yanked",
        _ if local => "is in a registry of relative addresses",
        _ => return None,
    })
}

/// Whether Joblet's own client on arm64 would install the archive for amd64.
fn amd64_alone(release: &Release) -> bool {
    not_for_rnx(release).is_none() && release.artifacts.contains_key(&Arch::Amd64)
}

fn platforms(release: &Release) -> Vec<String> {
    let platforms: BTreeSet<&Platform> = release.platforms.iter().collect();
    platforms.into_iter().map(ToString::to_string).collect()
}
