//! The changelog of a Debian package, deb-changelog(5): entries since a version.

use super::deb;
use crate::error::Error;
use serde::Serialize;
use std::{collections::BTreeSet, io::Read, path::Path};

/// Maximum number of unpacked bytes that are read of a changelog, whose newest entries are first.
const MAX_CHANGELOG: u64 = 1 << 20;
/// Maximum number of entries of a package, and of characters of a line.
const MAX_ENTRIES: usize = 50;
const MAX_LINE: usize = 500;

/// One entry of a changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// Its version, with the epoch.
    pub version: String,
    /// The suite that it was uploaded to, such as `bookworm-security`.
    pub suite: String,
    /// Its urgency: `low`, `medium`, `high`, `emergency` or `critical`.
    pub urgency: String,
    /// The vulnerabilities that it names, sorted: `CVE-2026-12345`.
    pub cves: BTreeSet<String>,
    /// Its items, one line each.
    pub items: Vec<String>,
}

/// Reads the changelog entries of the package `name` in the file `path` since the version `since`.
///
/// A package's changelog may be a symlink to that of another package of the same source; then that package's name is
/// returned.
///
/// # Errors
/// [`Error::Archive`] for a malformed package; [`Error::File`].
pub(crate) fn since(path: &Path, label: &str, name: &str, since: &str) -> Result<News, Error> {
    let doc = format!("usr/share/doc/{name}");
    // A package of Debian's own has no second changelog, that of upstream.
    let (debian, native) = (format!("{doc}/changelog.Debian.gz"), format!("{doc}/changelog.gz"));
    Ok(match deb::first_of(path, label, &[&debian, &native, &doc])? {
        None => News::Entries(Vec::new()),
        Some(deb::Found::Link(target)) => {
            // The directory, or the file in it, may be a symlink.
            let parts: Vec<_> = target.split('/').filter(|part| !part.starts_with("..")).collect();
            let other = parts.iter().rfind(|part| !part.starts_with("changelog"));
            other.map_or(News::Entries(Vec::new()), |other| News::Of((*other).to_owned()))
        }
        Some(deb::Found::File(bytes)) => {
            let mut text = Vec::new();
            // Only the beginning is read, so defects after it are ignored.
            _ = flate2::read::MultiGzDecoder::new(bytes.as_slice())
                .take(MAX_CHANGELOG)
                .read_to_end(&mut text);
            News::Entries(parse(&String::from_utf8_lossy(&text), since))
        }
    })
}

/// Result of [`since`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The entries, newest first.
    Entries(Vec<Entry>),
    /// The changelog is in this package.
    Of(String),
}

/// The entries newer than the version `since`; only the first one if the changelog lacks that version.
fn parse(text: &str, since: &str) -> Vec<Entry> {
    let since = comparable(since);
    let mut entries: Vec<Entry> = Vec::new();
    let mut known = false;
    for line in text.lines() {
        if let Some((version, suite, urgency)) = heading(line) {
            known = comparable(version) == since;
            if known || entries.len() == MAX_ENTRIES {
                break;
            }
            entries.push(Entry {
                version: version.to_owned(),
                suite: suite.to_owned(),
                urgency,
                cves: BTreeSet::new(),
                items: Vec::new(),
            });
        } else if let (Some(entry), Some(text)) = (entries.last_mut(), line.strip_prefix("  ")) {
            entry.cves.extend(cves(text));
            add(&mut entry.items, text.trim());
        }
    }
    entries.truncate(if known { MAX_ENTRIES } else { 1 });
    entries
}

/// Parses `openssl (3.0.16-1~deb12u1) bookworm-security; urgency=high` into version, suite and urgency.
fn heading(line: &str) -> Option<(&str, &str, String)> {
    let (_, rest) = line.split_once(" (").filter(|(name, _)| !name.starts_with(' '))?;
    let (version, rest) = rest.split_once(')')?;
    let (suites, keys) = rest.split_once(';')?;
    let value = |part: &str| part.trim().strip_prefix("urgency=").map(str::to_owned);
    let urgency = keys.split(',').find_map(value).unwrap_or_default();
    let urgency = urgency.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    Some((version, suites.trim(), urgency))
}

/// Adds a line of an entry: a new item if it has a bullet, else a continuation of the last one.
fn add(items: &mut Vec<String>, text: &str) {
    match text.strip_prefix("* ") {
        Some(item) => items.push(item.trim().to_owned()),
        // `[ NAME ]` is the author of the following items.
        None if text.is_empty() || text.starts_with('[') => return,
        None => match items.last_mut() {
            Some(item) => {
                item.push(' ');
                item.push_str(text);
            }
            None => items.push(text.to_owned()),
        },
    }
    if let Some(item) = items.last_mut() {
        let end = item.char_indices().nth(MAX_LINE).map_or(item.len(), |(end, _)| end);
        item.truncate(end);
    }
}

/// A version without its epoch, which file names lack, and without the number of a binary rebuild, which
/// changelogs lack: `1:2.0-1+b3` → `2.0-1`.
fn comparable(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let rebuild = |(_, number): &(&str, &str)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    version.rsplit_once("+b").filter(rebuild).map_or(version, |(before, _)| before)
}

/// The CVE identifiers in `text`.
fn cves(text: &str) -> impl Iterator<Item = String> + '_ {
    text.match_indices("CVE-").filter_map(|(at, _)| {
        let rest = &text[at + 4..];
        let (year, rest) = rest.split_at_checked(4)?;
        let rest = rest.strip_prefix('-')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits >= 4 && year.bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| format!("CVE-{year}-{}", &rest[..digits]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
openssl (1:3.0.16-1~deb12u2) bookworm-security; urgency=high

  * Fix a timing side channel (CVE-2026-13176,
    CVE-2026-0001). Closes: #1
  [ Somebody ]
  * CVE-2026-99999: another one; CVE-20-1 and CVE-2026-12 are none

 -- Some One <one@example.org>  Mon, 02 Mar 2026 10:00:00 +0000

openssl (1:3.0.16-1~deb12u1) bookworm; urgency=Medium

  * New upstream version

 -- Some One <one@example.org>  Sun, 01 Mar 2026 10:00:00 +0000

openssl (1:3.0.15-1~deb12u1) bookworm; urgency=medium

  * CVE-2020-1111
";

    #[test]
    fn entries_end_at_the_known_version() {
        for (since, versions) in [
            ("3.0.15-1~deb12u1", &["1:3.0.16-1~deb12u2", "1:3.0.16-1~deb12u1"][..]),
            ("3.0.15-1~deb12u1+b2", &["1:3.0.16-1~deb12u2", "1:3.0.16-1~deb12u1"]),
            ("3.0.16-1~deb12u1", &["1:3.0.16-1~deb12u2"]),
            ("3.0.16-1~deb12u2", &[]),
            ("2.0", &["1:3.0.16-1~deb12u2"]),
        ] {
            let found = parse(TEXT, since);
            let found: Vec<_> = found.iter().map(|entry| entry.version.as_str()).collect();
            assert_eq!(found, versions, "{since}");
        }
        assert_eq!(parse("no changelog (at all", "1"), []);
    }

    #[test]
    fn an_entry_has_urgency_suite_items_and_vulnerabilities() {
        let entries = parse(TEXT, "3.0.15-1~deb12u1");
        let first = &entries[0];
        assert_eq!((first.suite.as_str(), first.urgency.as_str()), ("bookworm-security", "high"));
        let cves: Vec<_> = first.cves.iter().map(String::as_str).collect();
        assert_eq!(cves, ["CVE-2026-0001", "CVE-2026-13176", "CVE-2026-99999"]);
        let timing = "Fix a timing side channel (CVE-2026-13176, CVE-2026-0001). Closes: #1";
        assert_eq!(first.items[0], timing);
        assert_eq!((first.items.len(), entries[1].urgency.as_str()), (2, "medium"));
    }
}
