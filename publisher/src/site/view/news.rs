//! What was published when: the changelog, the Atom feeds, and what was yanked.

use super::{
    super::text::{day, visible},
    Catalogue, SUMMARY, yanked,
};
use joblet_format::{Record, Release, RuntimeName, text};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Number of publications on the changelog page.
const CHANGES: usize = 200;

/// Number of publications in a feed.
const FEED: usize = 50;

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
}

#[derive(Serialize)]
pub(in crate::site) struct Feed<'a> {
    id: String,
    /// The runtime that it is about; none: all.
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
    /// What to use instead.
    latest: Option<String>,
}

impl<'a> Catalogue<'a> {
    pub(in crate::site) fn changelog(&self) -> Changelog<'a> {
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

    /// The feed of one runtime, or of all.
    pub(in crate::site) fn feed(&self, of: Option<&'a RuntimeName>) -> Feed<'a> {
        let every: Vec<_> = (0..self.news.len()).collect();
        let none = Vec::new();
        let places = of.map_or(&every, |name| self.news_of.get(name).unwrap_or(&none));
        let news = || places.iter().map(|&at| &self.news[at]);
        let oldest = news().next_back().map(|(record, _)| identity(record));
        let about = of.map_or("feed ".to_owned(), |name| format!("feed of {name} "));
        Feed {
            // A registry only grows, so its oldest publication identifies it.
            id: urn(&(about + &oldest.unwrap_or_default())),
            of: of.map(RuntimeName::as_str),
            updated: news().next().map_or(NEVER, |(record, _)| &record.published_at),
            entries: news().take(FEED).map(change).collect(),
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

fn change<'a>(&(record, release): &(&'a Record, &'a Release)) -> Change<'a> {
    Change {
        name: record.name.as_str(),
        version: release.version.to_string(),
        description: text::shortened(&visible(&release.description), SUMMARY),
        yanked: yanked(release).map(|reason| text::shortened(&reason, SUMMARY)),
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
    let hex = hex::encode(uuid);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("urn:uuid:{}", parts.join("-"))
}
