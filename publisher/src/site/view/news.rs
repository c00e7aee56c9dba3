//! What was published when: the changelog page and the Atom feed.

use super::{
    super::text::{day, hex, shortened, visible},
    Catalogue, SUMMARY, yanked,
};
use joblet_format::{Record, Release};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Number of publications on the changelog page.
const CHANGES: usize = 200;

/// Number of publications in the feed.
const FEED: usize = 50;

/// Time of a feed without entries; Atom wants one.
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
    updated: &'a str,
    entries: Vec<Change<'a>>,
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

    pub(in crate::site) fn feed(&self) -> Feed<'a> {
        let oldest = self.news.last().map(|(record, _)| identity(record));
        Feed {
            // A registry only grows, so its oldest publication tells it from every other one.
            id: urn(&format!("feed {}", oldest.unwrap_or_default())),
            updated: self.news.first().map_or(NEVER, |(record, _)| &record.published_at),
            entries: self.news.iter().take(FEED).map(change).collect(),
        }
    }
}

fn change<'a>(&(record, release): &(&'a Record, &'a Release)) -> Change<'a> {
    Change {
        name: record.name.as_str(),
        version: release.version.to_string(),
        description: shortened(visible(&release.description), SUMMARY),
        yanked: yanked(release).map(|reason| shortened(reason, SUMMARY)),
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
