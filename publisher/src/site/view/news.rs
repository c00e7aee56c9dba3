//! The changelog, the Atom feeds, and yanked versions.

use super::{
    super::text::{day, visible},
    Catalogue, SUMMARY, archives,
    inside::{Listed, listed, packages},
    yanked,
};
use crate::{
    error::Error,
    record::changes::{self, Change as Changed, Package},
};
use joblet_format::{Arch, Record, Release, RuntimeName, text};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{cmp::Reverse, path::Path};

/// Number of publications on the changelog page.
const CHANGES: usize = 200;

/// Number of publications in a feed.
const FEED: usize = 50;

/// Maximum number of changed packages named for a publication.
const NAMED: usize = 4;

/// Time of a feed without entries; Atom requires one.
const NEVER: &str = "1970-01-01T00:00:00Z";

#[derive(Serialize)]
pub(in crate::site) struct Changelog<'a> {
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
    /// The version before, if any.
    before: Option<String>,
    /// Growth of the download, such as `+3.8 MB`; empty if its size is equal.
    growth: String,
    /// Packages that differ from the version before, the largest first: read by [`Change::look_inside`] from the files of
    /// both records.
    packages: Vec<String>,
    /// Number of further packages that differ.
    more: usize,
    files: [Vec<Listed>; 2],
    #[serde(skip)]
    records: Option<(&'a Record, &'a Record)>,
}

#[derive(Serialize)]
pub(in crate::site) struct Feed<'a> {
    id: String,
    /// The runtime of the feed; `None` for all.
    of: Option<&'a str>,
    updated: &'a str,
    entries: Vec<Change<'a>>,
}

/// A yanked version.
#[derive(Serialize)]
pub(in crate::site) struct YankedVersion<'a> {
    name: &'a str,
    version: String,
    reason: String,
    day: Option<&'a str>,
    /// The latest version.
    latest: Option<String>,
}

impl<'a> Catalogue<'a> {
    pub(in crate::site) fn changelog(&self) -> Changelog<'a> {
        let mut days: Vec<Day> = Vec::new();
        for change in self.news.iter().take(CHANGES).map(|it| self.change(it)) {
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

    /// The feed of one runtime, or of all.
    pub(in crate::site) fn feed(&self, of: Option<&'a RuntimeName>) -> Feed<'a> {
        let every: Vec<_> = (0..self.news.len()).collect();
        let none = Vec::new();
        let places = of.map_or(&every, |name| self.news_of.get(name).unwrap_or(&none));
        let news = || places.iter().map(|&at| &self.news[at]);
        let oldest = news().next_back().map(|(record, _)| identity(record));
        let about = of.map_or("feed ".to_owned(), |name| format!("feed of {name} "));
        Feed {
            // Publications are never removed, so the oldest one identifies the registry.
            id: urn(&(about + &oldest.unwrap_or_default())),
            of: of.map(RuntimeName::as_str),
            updated: news().next().map_or(NEVER, |(record, _)| &record.published_at),
            entries: news().take(FEED).map(|it| self.change(it)).collect(),
        }
    }

    /// Every yanked version, by name, the highest first.
    pub(in crate::site) fn yanked_versions(&self) -> Vec<YankedVersion<'a>> {
        let releases = self.registry.runtimes.iter();
        let releases = releases.flat_map(|(name, it)| it.values().rev().map(move |it| (name, it)));
        let version = |(name, release): (&'a RuntimeName, &Release)| {
            Some(YankedVersion {
                name: name.as_str(),
                version: release.version.to_string(),
                reason: yanked(release)?,
                day: self.day(name, release),
                latest: self.latest(name).map(|latest| latest.version.to_string()),
            })
        };
        releases.filter_map(version).collect()
    }
}

impl<'a> Catalogue<'a> {
    fn change(&self, &(record, release): &(&'a Record, &'a Release)) -> Change<'a> {
        let before = self.before(&record.name, release);
        let record_before = before.and_then(|before| self.record(&record.name, &before.version));
        Change {
            name: record.name.as_str(),
            version: release.version.to_string(),
            description: text::shortened(&visible(&release.description), SUMMARY),
            yanked: yanked(release).map(|reason| text::shortened(&reason, SUMMARY)),
            prerelease: release.version.is_prerelease(),
            time: &record.published_at,
            id: urn(&identity(record)),
            before: before.map(|before| before.version.to_string()),
            growth: before.map(|before| growth(before, release)).unwrap_or_default(),
            packages: Vec::new(),
            more: 0,
            files: [Some(record), record_before].map(|it| it.map(listed).unwrap_or_default()),
            records: record_before.map(|before| (before, record)),
        }
    }
}

/// Growth of the download for the first architecture of both.
fn growth(before: &Release, after: &Release) -> String {
    let sizes = archives(after).find_map(|(arch, is)| Some((before.artifact(arch)?.size, is.size)));
    match sizes {
        Some((was, is)) if is > was => format!("+{}", text::size(is - was)),
        Some((was, is)) if is < was => format!("−{}", text::size(was - is)),
        _ => String::new(),
    }
}

impl Changelog<'_> {
    /// Reads the packages that differ, from the files beside the records in the directory `records`.
    ///
    /// # Errors
    /// A file that is missing, another one, or of another form.
    pub(in crate::site) fn look_inside(&mut self, records: &Path) -> Result<(), Error> {
        let mut entries = self.days.iter_mut().flat_map(|day| &mut day.entries);
        entries.try_for_each(|change| change.look_inside(records))
    }
}

impl Feed<'_> {
    /// As [`Changelog::look_inside`].
    ///
    /// # Errors
    /// A file that is missing, another one, or of another form.
    pub(in crate::site) fn look_inside(&mut self, records: &Path) -> Result<(), Error> {
        self.entries.iter_mut().try_for_each(|change| change.look_inside(records))
    }
}

impl Change<'_> {
    fn look_inside(&mut self, records: &Path) -> Result<(), Error> {
        let Some((before, after)) = self.records else { return Ok(()) };
        for arch in Arch::ALL {
            let (Some(before), Some(after)) =
                (packages(records, before, arch)?, packages(records, after, arch)?)
            else {
                continue;
            };
            let mut differences = differences(changes::between(&before, &after));
            self.more = differences.len().saturating_sub(NAMED);
            differences.truncate(NAMED);
            self.packages = differences;
            break;
        }
        Ok(())
    }
}

/// A text for each package that differs, the largest packages first.
fn differences(changes: changes::Changes) -> Vec<String> {
    let changes::Changes { added, removed, changed, .. } = changes;
    let name = |package: &Package| visible(&package.name);
    let version = |package: &Package| visible(&package.version);
    let one = |word: &str, it: &Package| (it.size, format!("{} {} {word}", name(it), version(it)));
    let pair = |Changed { before, after }: &Changed| {
        let text = if before.version == after.version {
            format!("{} {} built again", name(after), version(after))
        } else {
            format!("{} {} → {}", name(after), version(before), version(after))
        };
        (after.size, text)
    };
    let mut texts: Vec<_> = changed.iter().map(pair).collect();
    texts.extend(added.iter().map(|it| one("added", it)));
    texts.extend(removed.iter().map(|it| one("removed", it)));
    texts.sort_by_key(|(size, _)| Reverse(*size));
    texts.into_iter().map(|(_, text)| text).collect()
}

/// The immutable properties of a publication, as a text.
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
    let hex = hex::encode(uuid);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("urn:uuid:{}", parts.join("-"))
}
