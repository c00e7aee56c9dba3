//! What the templates are given: registry and records, sorted, grouped and made fit to be shown.
//!
//! Every text of the registry goes through [`visible`] here; the templates escape it for HTML.

use super::text::{
    Address, address, day, file_name, grouped, hex, human_size, shell_word, shortened, visible,
};
use joblet_format::{Arch, Artifact, Platform, Record, Registry, Release, RuntimeName, Version};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// Longest description in a list, in characters.
const SUMMARY: usize = 240;

/// Number of publications on the changelog page.
const CHANGES: usize = 200;

/// Number of publications in the feed.
const FEED: usize = 50;

/// Time of a feed without entries; Atom wants one.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// The registry, and when its versions were published.
pub(super) struct Catalogue<'a> {
    registry: &'a Registry,
    /// Only well-formed times.
    published: HashMap<(&'a RuntimeName, &'a Version), &'a str>,
    /// Dated records of versions that the registry has, newest first.
    news: Vec<(&'a Record, &'a Release)>,
}

#[derive(Serialize)]
pub(super) struct Home<'a> {
    runtimes: Vec<Listed<'a>>,
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

#[derive(Serialize)]
pub(super) struct VersionPage<'a> {
    name: &'a str,
    version: String,
    directory: String,
    description: String,
    yanked: Option<String>,
    prerelease: bool,
    /// The latest version, where it is another one.
    newer: Option<String>,
    latest: bool,
    day: Option<&'a str>,
    command: &'static str,
    platforms: Vec<String>,
    archives: Vec<Archive>,
}

/// One archive of a version.
#[derive(Serialize)]
struct Archive {
    architecture: &'static str,
    /// Name to save it under.
    file: String,
    /// Name at its address, which is shown as the text of the link.
    label: String,
    /// Where to link to, if that is safe.
    link: Option<String>,
    /// What to fetch it with, if that is safe. A relative address follows `$SITE/`.
    fetch: Option<String>,
    relative: bool,
    https: bool,
    size: String,
    bytes: String,
    unpacked: Option<(String, String)>,
    entries: Option<String>,
    sha256: String,
}

#[derive(Serialize)]
pub(super) struct Changelog<'a> {
    days: Vec<Day<'a>>,
    shown: usize,
    more: bool,
    updated: Option<&'a str>,
}

#[derive(Serialize)]
struct Day<'a> {
    day: &'a str,
    entries: Vec<Change<'a>>,
}

/// A publication, in changelog and feed.
#[derive(Serialize)]
struct Change<'a> {
    name: &'a str,
    version: String,
    description: String,
    yanked: Option<String>,
    prerelease: bool,
    time: &'a str,
    id: String,
}

#[derive(Serialize)]
pub(super) struct Feed<'a> {
    id: String,
    updated: &'a str,
    entries: Vec<Change<'a>>,
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
        Self { registry, published, news }
    }

    fn latest(&self, name: &RuntimeName) -> Option<&'a Release> {
        self.registry.latest(name, |_| true)
    }

    fn day(&self, name: &RuntimeName, release: &Release) -> Option<&'a str> {
        self.published.get(&(name, &release.version)).and_then(|time| day(time))
    }

    pub(super) fn home(&self) -> Home<'a> {
        let runtimes = self.registry.runtimes.iter();
        let releases = self.registry.runtimes.values().flat_map(BTreeMap::values);
        Home {
            runtimes: runtimes.map(|(name, releases)| self.listed(name, releases)).collect(),
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
            yanked: yanked(release),
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

    /// The page of one version. `root` leads from it to the root of the site.
    pub(super) fn version(
        &self,
        name: &'a RuntimeName,
        release: &Release,
        root: &str,
    ) -> VersionPage<'a> {
        let latest = self.latest(name).map(|latest| &latest.version);
        let platforms: BTreeSet<_> = release.platforms.iter().collect();
        let archive =
            |(arch, artifact)| Archive::new(name, &release.version, arch, &artifact, root);
        VersionPage {
            name: name.as_str(),
            version: release.version.to_string(),
            directory: name.directory(&release.version),
            description: visible(&release.description),
            yanked: yanked(release),
            prerelease: release.version.is_prerelease(),
            newer: latest.filter(|latest| **latest != release.version).map(Version::to_string),
            latest: latest == Some(&release.version),
            day: self.day(name, release),
            command: example(name),
            platforms: platforms.into_iter().map(ToString::to_string).collect(),
            archives: archives(release).map(archive).collect(),
        }
    }

    pub(super) fn changelog(&self) -> Changelog<'a> {
        let mut days: Vec<Day> = Vec::new();
        for change in self.news.iter().take(CHANGES).map(change) {
            let day = day(change.time).unwrap_or_default(); // `news` holds well-formed times only
            match days.last_mut().filter(|last| last.day == day) {
                Some(last) => last.entries.push(change),
                None => days.push(Day { day, entries: vec![change] }),
            }
        }
        Changelog {
            days,
            shown: self.news.len().min(CHANGES),
            more: self.news.len() > CHANGES,
            updated: day(&self.registry.updated_at),
        }
    }

    pub(super) fn feed(&self) -> Feed<'a> {
        let oldest = self.news.last().map(|(record, _)| identity(record));
        Feed {
            // A registry only grows, so its oldest publication tells it from every other one.
            id: urn(&format!("feed {}", oldest.unwrap_or_default())),
            updated: self.news.first().map_or(NEVER, |(record, _)| &record.published_at),
            entries: self.news.iter().take(FEED).map(change).collect(),
        }
    }
}

impl Archive {
    fn new(
        name: &RuntimeName,
        version: &Version,
        arch: Arch,
        artifact: &Artifact,
        root: &str,
    ) -> Self {
        let url = artifact.download_url.trim();
        let (link, fetch) = match address(url) {
            Address::Absolute(url) => (Some(url.to_owned()), Some(shell_word(url))),
            Address::Relative(path) => (Some(format!("{root}{path}")), Some(shell_word(path))),
            Address::Text => (None, None),
        };
        let label = if link.is_some() { file_name(url).unwrap_or(url) } else { url };
        Self {
            architecture: arch.as_str(),
            file: format!("{}-{arch}.tar.gz", name.directory(version)),
            label: visible(label),
            link,
            fetch,
            relative: matches!(address(url), Address::Relative(_)),
            https: url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")),
            size: human_size(artifact.size),
            bytes: grouped(artifact.size),
            unpacked: artifact.unpacked_size.map(|size| (human_size(size), grouped(size))),
            entries: artifact.entries.map(grouped),
            sha256: artifact.checksum.hex(),
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

fn change<'a>(&(record, release): &(&'a Record, &'a Release)) -> Change<'a> {
    Change {
        name: record.name.as_str(),
        version: release.version.to_string(),
        description: shortened(visible(&release.description), SUMMARY),
        yanked: yanked(release),
        prerelease: release.version.is_prerelease(),
        time: &record.published_at,
        id: urn(&identity(record)),
    }
}

/// What never changes about a publication, in one text.
fn identity(record: &Record) -> String {
    let Record { name, release, .. } = record;
    format!("{}@{} {}", name.as_str(), release.version, release.checksum)
}

/// A UUID of version 8 (RFC 9562) made from a digest of `text`: an address without a host.
fn urn(text: &str) -> String {
    let digest = Sha256::digest(text);
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = 0x80 | uuid[6] & 0x0f;
    uuid[8] = 0x80 | uuid[8] & 0x3f;
    let hex = hex(&uuid);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("urn:uuid:{}", parts.join("-"))
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
