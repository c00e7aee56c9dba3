//! Output of `list`, `outdated`, `prune`, `verify` and `run --dry-run`.

use crate::archive::members::Difference;
use crate::cli::escape::{shown, visible};
use crate::registry::Catalog;
use crate::sandbox::Step;
use crate::store::{Installed, Receipt};
use joblet_format::text::{shortened, size, visible_json};
use joblet_format::{Arch, Fresh, Origin, Release, RuntimeName, Timestamp, Version};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;

/// One line of `list --available`, and one object of its JSON.
#[derive(Debug, Serialize)]
pub(super) struct AvailableRow<'a> {
    /// Name of the registry in the configuration; null if it is not configured.
    registry: Option<&'a Origin>,
    name: &'a RuntimeName,
    /// The version.
    pub version: &'a Version,
    architectures: BTreeSet<Arch>,
    /// Size of the archive for this host, in bytes; null if there is none.
    pub size: Option<u64>,
    /// Whether it is installed.
    pub installed: bool,
    /// Reason why it is yanked; null if it is not.
    pub yanked: Option<&'a str>,
    description: &'a str,
}

/// One line of `outdated`, and one object of its JSON.
#[derive(Debug, Serialize)]
pub(super) struct Outdated {
    /// The runtime.
    pub name: RuntimeName,
    /// The highest installed version.
    pub installed: Version,
    /// The registry's latest version, if it is newer.
    pub latest: Option<Version>,
    /// Reason why the installed version is yanked, if it is.
    pub yanked: Option<String>,
    /// The registry's `freshness.json` for the installed version; null if it has none.
    pub fresh: Option<Fresh>,
}

/// A version that was, or would be, removed: one line of `prune`, and one object of its JSON.
#[derive(Debug, Serialize)]
pub(super) struct Pruned {
    /// The version.
    #[serde(flatten)]
    pub runtime: Installed,
    /// Space freed, in bytes.
    pub freed: u64,
}

/// A line of `list`, and one object of its JSON.
#[derive(Debug, Serialize)]
pub(super) struct InstalledRow {
    /// The runtime.
    #[serde(flatten)]
    pub runtime: Installed,
    /// Size of its archive, in bytes. Null if it was unpacked by hand, as the following members are then.
    pub size: Option<u64>,
    /// Time of installation, RFC 3339.
    pub installed_at: Option<String>,
    /// Its registry: the name in the configuration, or the address.
    pub registry: Option<String>,
}

impl InstalledRow {
    /// The row of a runtime with this receipt.
    pub(super) fn new(runtime: Installed, receipt: Option<&Receipt>) -> Self {
        let time = |receipt: &Receipt| Timestamp::from_seconds(receipt.installed_at).to_string();
        let registry = |receipt: &Receipt| {
            let origin = receipt.origin.as_ref().map(ToString::to_string);
            // Earlier versions recorded addresses with their queries.
            origin.unwrap_or_else(|| shown(&receipt.registry))
        };
        Self {
            runtime,
            size: receipt.map(|receipt| receipt.size),
            installed_at: receipt.map(time),
            registry: receipt.map(registry),
        }
    }
}

/// The installed runtimes, as a table of at most `width` columns or as JSON.
pub(super) fn installed(rows: &[InstalledRow], width: Option<usize>, json: bool) -> String {
    if json {
        return to_json(rows.iter());
    }
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |row: &InstalledRow| {
        let date = |time: &String| time.split('T').next().unwrap_or_default().to_owned();
        [
            row.runtime.name.to_string(),
            or_none(row.runtime.version.as_ref().map(in_columns)),
            or_none(row.size.map(size)),
            or_none(row.installed_at.as_ref().map(date)),
            or_none(row.registry.as_ref().map(|place| visible(in_short(place)))),
        ]
    };
    table(["NAME", "VERSION", "SIZE", "INSTALLED", "FROM"], rows.iter().map(row), width)
}

/// A version for a table: the digest of an image by its first 12 digits.
fn in_columns(version: &Version) -> String {
    let mut text = version.to_string();
    if let Some(at) = text.find("-sha256-") {
        text.truncate(at + 20);
    }
    text
}

/// Abbreviates the address of a registry: `owner/repo` on GitHub, else without scheme and `registry.json`.
fn in_short(registry: &str) -> &str {
    let bare = registry.strip_suffix("/registry.json").unwrap_or(registry);
    let github = bare.strip_prefix("https://raw.githubusercontent.com/");
    match github.and_then(|path| path.strip_suffix("/main")) {
        Some(repository) => repository,
        None => bare.strip_prefix("https://").unwrap_or(bare),
    }
}

/// Runtimes as JSON.
pub(super) fn plain(runtimes: &[Installed]) -> String {
    to_json(runtimes.iter())
}

/// Parameters of [`available`].
pub(super) struct Offer<'a> {
    /// The installed runtimes.
    pub here: &'a [Installed],
    /// The architecture whose archives' sizes are shown.
    pub arch: Arch,
    /// Whether to list every version of every registry, instead of the latest of the first one with the name.
    pub all_versions: bool,
    /// Filter: words that name or description must contain, in lower case.
    pub words: &'a [String],
    /// Maximum width of the table, in columns.
    pub width: Option<usize>,
    /// JSON instead of a table.
    pub json: bool,
}

/// Lists the runtimes of registries. A name belongs to the first registry that has it.
pub(super) fn available(catalogs: &[Catalog], offer: &Offer<'_>) -> String {
    let &Offer { here, arch, all_versions: all, words, width, json } = offer;
    let fits = |row: &AvailableRow<'_>| {
        let text = format!("{} {}", row.name, row.description).to_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    };
    let rows = catalogs.iter().enumerate().flat_map(|(number, catalog)| {
        let before = &catalogs[..number];
        let hidden = move |name: &RuntimeName| {
            before.iter().any(|earlier| earlier.registry.runtimes.contains_key(name))
        };
        let runtimes = catalog.registry.runtimes.iter();
        runtimes.filter(move |(name, _)| all || !hidden(name)).flat_map(move |(name, releases)| {
            let latest = catalog.registry.latest(name, |_| true).map(|release| &release.version);
            releases
                .values()
                .rev()
                .filter(move |release| all || Some(&release.version) == latest)
                .map(move |release| {
                    available_row(catalog.origin.as_ref(), (name, release), here, arch)
                })
        })
    });
    let rows = rows.filter(fits);
    if json {
        return to_json(rows);
    }
    // Names whose versions are not known.
    let bare = catalogs.iter().flat_map(|catalog| {
        let runtimes = catalog.registry.runtimes.iter();
        runtimes.filter(|(_, releases)| releases.is_empty()).map(move |(name, _)| (catalog, name))
    });
    let bare = bare.filter(|(_, name)| words.iter().all(|word| name.as_str().contains(word)));
    let named = |origin: Option<&Origin>, name: &RuntimeName| {
        origin.map_or(String::new(), |origin| format!("{origin}/")) + name.as_str()
    };
    table(
        ["NAME", "VERSION", "SIZE", "ARCH", "INSTALLED", "DESCRIPTION"],
        rows.map(|row| {
            let architectures: Vec<_> =
                row.architectures.iter().map(|arch| arch.as_str()).collect();
            let yanked = row.yanked.map_or(String::new(), |why| format!("(yanked: {why}) "));
            [
                named(row.registry, row.name),
                row.version.to_string(),
                row.size.map_or("-".to_owned(), size),
                architectures.join(","),
                if row.installed { "yes" } else { "-" }.to_owned(),
                visible(&(yanked + row.description)),
            ]
        })
        .chain(bare.map(|(catalog, name)| {
            let dash = || "-".to_owned();
            let name = named(catalog.origin.as_ref(), name);
            [name, dash(), dash(), dash(), dash(), String::new()]
        })),
        width,
    )
}

/// Installed runtimes that have a newer version or are yanked, as a table or as JSON.
pub(super) fn outdated(rows: &[Outdated], json: bool) -> String {
    if json {
        return to_json(rows.iter());
    }
    let row = |row: &Outdated| {
        let yanked = row.yanked.as_ref().map(|why| visible(&format!("yanked: {why}")));
        let fixes = || row.fresh.as_ref().and_then(fixes);
        [
            row.name.to_string(),
            row.installed.to_string(),
            row.latest.as_ref().map_or("-".to_owned(), Version::to_string),
            yanked.or_else(fixes).unwrap_or_default(),
        ]
    };
    table(["NAME", "INSTALLED", "LATEST", "NOTE"], rows.iter().map(row), None)
}

/// `2 security fixes since: CVE-2026-1, CVE-2026-2, …`; `None` if there are none.
pub(super) fn fixes(fresh: &Fresh) -> Option<String> {
    let named: Vec<_> = fresh.fixes.iter().take(3).map(String::as_str).collect();
    let named = visible(&named.join(", "));
    let (colon, more) = (if named.is_empty() { "" } else { ": " }, fresh.fixes.len() > 3);
    let more = if more { ", …" } else { "" };
    let lacks = fresh.security > 0;
    lacks.then(|| format!("security fixes since, {}{colon}{named}{more}", fresh.security))
}

/// Versions that were removed, as a table or as JSON.
pub(super) fn pruned(rows: &[Pruned], json: bool) -> String {
    if json {
        return to_json(rows.iter());
    }
    let row = |row: &Pruned| {
        let version = row.runtime.version.as_ref().map_or(String::new(), Version::to_string);
        [row.runtime.name.to_string(), version, size(row.freed)]
    };
    table(["NAME", "VERSION", "FREED"], rows.iter().map(row), None)
}

/// The row of one version of a registry, with the size of the archive for `arch`.
pub(super) fn available_row<'a>(
    registry: Option<&'a Origin>,
    (name, release): (&'a RuntimeName, &'a Release),
    here: &[Installed],
    arch: Arch,
) -> AvailableRow<'a> {
    let version = Some(&release.version);
    AvailableRow {
        registry,
        name,
        version: &release.version,
        architectures: release.architectures(),
        size: release.artifact(arch).map(|artifact| artifact.size),
        installed: here.iter().any(|own| own.name == *name && own.version.as_ref() == version),
        yanked: release.yanked.as_deref(),
        description: &release.description,
    }
}

/// The steps of a plan, one a line or as JSON.
pub(super) fn plan(steps: &[Step], json: bool) -> String {
    if json {
        return to_json(steps.iter());
    }
    steps.iter().map(|step| visible(&step.to_string()) + "\n").collect()
}

/// Result of `verify` for one runtime; one object of its JSON.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    /// `NAME@VERSION`.
    pub runtime: String,
    /// Differences; empty if it is intact. After a repair, the differences before.
    pub differences: Vec<Difference>,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// Results of `verify`: a line for each difference and each runtime, or JSON.
pub(super) fn verified(runtimes: &[Verified], json: bool) -> String {
    if json {
        return to_json(runtimes.iter());
    }
    let mut text = String::new();
    for runtime in runtimes {
        for Difference { path, what } in &runtime.differences {
            // Writing to a String does not fail.
            _ = writeln!(text, "{}: {} {what}", runtime.runtime, visible(path));
        }
        let verdict = match (runtime.differences.is_empty(), runtime.repaired) {
            (true, _) => "intact",
            (false, true) => "repaired",
            (false, false) => "damaged",
        };
        _ = writeln!(text, "{}: {verdict}", runtime.runtime);
    }
    text
}

/// Serializes a value as JSON in which control characters are escaped.
pub(crate) fn json(value: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(value).expect("values of this program are plain JSON");
    visible_json(&json) + "\n"
}

pub(crate) fn to_json(rows: impl Iterator<Item = impl Serialize>) -> String {
    let rows: Vec<_> = rows.collect();
    json(&rows)
}

/// A table of these columns, see [`lay_out`].
fn table<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    width: Option<usize>,
) -> String {
    let mut cells: Vec<String> = head.map(str::to_owned).into();
    rows.for_each(|row| cells.extend(row));
    lay_out(&cells, N, width)
}

/// Rows of `count` columns, as wide as their widest cell; the last one is as long as it is, or as `width`
/// permits. Columns that do not fit are left out. (Not generic: it is in the program once.)
fn lay_out(cells: &[String], count: usize, width: Option<usize>) -> String {
    let mut widths = vec![0; count];
    for (at, cell) in cells.iter().enumerate() {
        let column: &mut usize = &mut widths[at % count];
        *column = (*column).max(cell.chars().count());
    }
    while let (Some(width), Some((last, others))) = (width, widths.split_last_mut()) {
        let before: usize = others.iter().map(|column| *column + GAP).sum();
        let available = width.saturating_sub(before);
        // Only the last of all may be cut short: it is a text.
        let needed = if others.len() + 1 == count { (*last).min(LEAST) } else { *last };
        if available >= needed || others.is_empty() {
            *last = (*last).min(available.max(LEAST));
            break;
        }
        widths.pop();
    }
    let mut text = String::new();
    for row in cells.chunks(count) {
        let begin = text.len();
        for (cell, &width) in row.iter().zip(&widths) {
            let length = cell.chars().count();
            if length > width {
                text.push_str(&shortened(cell, width - 1));
            } else {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width - length));
            }
            text.push_str("  ");
        }
        text.truncate(begin + text[begin..].trim_end().len());
        text.push('\n');
    }
    text
}

/// Width of the gap between cells, in columns.
const GAP: usize = 2;
/// Columns that the last one needs if it is longer.
const LEAST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::Checksum;

    fn rows() -> [InstalledRow; 2] {
        let receipt = Receipt {
            name: "demo".parse().unwrap(),
            version: "1.10.0".parse().unwrap(),
            arch: Arch::Amd64,
            origin: None,
            registry: "https://raw.githubusercontent.com/owner/repo/main/registry.json".into(),
            url: "x".into(),
            checksum: Checksum::from_digest([0; 32]),
            size: 52_428_800,
            installed_at: 1_761_004_568,
        };
        let demo = Installed {
            name: "demo".parse().unwrap(),
            version: Some("1.10.0".parse().unwrap()),
            path: "/store/demo-1.10.0".into(),
        };
        let name = "by-hand".parse().unwrap();
        let by_hand = Installed { name, version: None, path: "/s/by-hand".into() };
        [InstalledRow::new(demo, Some(&receipt)), InstalledRow::new(by_hand, None)]
    }

    #[test]
    fn installed_runtimes_are_listed_for_people_and_for_scripts() {
        let table = "NAME     VERSION  SIZE     INSTALLED   FROM\n\
                     demo     1.10.0   52.4 MB  2025-10-20  owner/repo\n\
                     by-hand  -        -        -           -\n";
        assert_eq!(installed(&rows(), None, false), table);
        let json: serde_json::Value =
            serde_json::from_str(&installed(&rows(), None, true)).unwrap();
        assert_eq!(json[0]["version"], "1.10.0");
        assert_eq!(json[0]["path"], "/store/demo-1.10.0");
        assert_eq!(json[0]["installed_at"], "2025-10-20T23:56:08Z");
        assert_eq!(json[1]["version"], serde_json::Value::Null);
        assert_eq!(json[1]["size"], serde_json::Value::Null);
    }

    #[test]
    fn the_last_column_is_shortened_to_the_terminal() {
        let width = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
        let mut rows = rows();
        rows[0].registry = Some("/home/somebody/projects/a/long/way/to/runtimes/dist/demo".into());
        assert!(width(&installed(&rows, None, false)) > 80);
        let table = installed(&rows, Some(80), false);
        assert_eq!(width(&table), 80, "{table}");
        assert!(table.contains("  /home/somebody/") && table.contains("…\n"), "{table}");
        let narrow = installed(&rows, Some(30), false);
        assert!(
            narrow.starts_with("NAME     VERSION  SIZE\ndemo     1.10.0   52.4 MB\n"),
            "{narrow}"
        );
        assert!(installed(&rows, Some(5), false).starts_with("NAME\ndemo\nby-hand\n"));
        assert!(!installed(&rows, Some(35), false).contains('…'));
    }

    #[test]
    fn digests_are_short_in_tables() {
        for (version, want) in [
            (format!("0.0.0-sha256-{}", "0a".repeat(32)), "0.0.0-sha256-0a0a0a0a0a0a"),
            ("1.4.0-beta".to_owned(), "1.4.0-beta"),
        ] {
            assert_eq!(in_columns(&version.parse().unwrap()), want);
        }
    }

    #[test]
    fn addresses_of_registries_are_abbreviated() {
        for (registry, short) in [
            ("https://raw.githubusercontent.com/owner/repo/main/registry.json", "owner/repo"),
            ("https://example.org/runtimes/registry.json", "example.org/runtimes"),
            ("/srv/dist/registry.json", "/srv/dist"),
            ("company", "company"),
        ] {
            assert_eq!(in_short(registry), short);
        }
    }
}
