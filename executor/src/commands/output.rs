//! What `list` and `run --dry-run` print.

use crate::archive::members::Difference;
use crate::cli::escape::visible;
use crate::registry::Catalog;
use crate::sandbox::Step;
use crate::store::Installed;
use joblet_format::text::size;
use joblet_format::{Arch, Origin, Release, RuntimeName, Version};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;

/// One line of `list --available`, and one object of its JSON.
#[derive(Debug, Serialize)]
pub struct AvailableRow<'a> {
    /// What the configuration calls the registry; null for one that it does not name.
    registry: Option<&'a Origin>,
    name: &'a RuntimeName,
    /// The version.
    pub version: &'a Version,
    architectures: BTreeSet<Arch>,
    /// Of the archive for this host, in bytes; null if there is none.
    pub size: Option<u64>,
    /// Whether it is here.
    pub installed: bool,
    /// Why it was withdrawn; null if it was not.
    pub yanked: Option<&'a str>,
    description: &'a str,
}

/// One line of `outdated`, and one object of its JSON.
#[derive(Debug, Serialize)]
pub struct Outdated {
    /// The runtime.
    pub name: RuntimeName,
    /// The highest version that is here.
    pub installed: Version,
    /// The registry's, if it is newer.
    pub latest: Option<Version>,
    /// Why the one that is here was withdrawn, if it was.
    pub yanked: Option<String>,
}

/// A version that was, or would be, removed: one line of `prune`, and one object of its JSON.
#[derive(Debug, Serialize)]
pub struct Pruned {
    /// The version.
    #[serde(flatten)]
    pub runtime: Installed,
    /// What that frees, in bytes.
    pub freed: u64,
}

/// The installed runtimes, as a table or as JSON.
pub fn installed(runtimes: &[Installed], json: bool) -> String {
    let row = |runtime: &'_ Installed| {
        [
            runtime.name.to_string(),
            runtime.version.as_ref().map_or("-".to_owned(), Version::to_string),
            visible(&runtime.path.to_string_lossy()),
        ]
    };
    if json {
        return to_json(runtimes.iter());
    }
    table(["NAME", "VERSION", "PATH"], runtimes.iter().map(row))
}

/// What [`available`] compares with, and how much of it is shown.
pub struct Offer<'a> {
    /// What is installed.
    pub here: &'a [Installed],
    /// The architecture whose archives' sizes are shown.
    pub arch: Arch,
    /// Every version of every registry, instead of the latest of the first that has the name.
    pub all_versions: bool,
    /// JSON instead of a table.
    pub json: bool,
}

/// What registries offer. A name is the first one's that has it.
pub fn available(catalogs: &[Catalog], offer: &Offer<'_>) -> String {
    let &Offer { here, arch, all_versions: all, json } = offer;
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
    if json {
        return to_json(rows);
    }
    table(
        ["NAME", "VERSION", "SIZE", "FOR", "HERE", "DESCRIPTION"],
        rows.map(|row| {
            let architectures: Vec<_> =
                row.architectures.iter().map(|arch| arch.as_str()).collect();
            let withdrawn = row.yanked.map_or(String::new(), |why| format!("(withdrawn: {why}) "));
            let origin = row.registry.map_or(String::new(), |origin| format!("{origin}/"));
            [
                format!("{origin}{}", row.name),
                row.version.to_string(),
                row.size.map_or("-".to_owned(), size),
                architectures.join(","),
                if row.installed { "yes" } else { "-" }.to_owned(),
                visible(&(withdrawn + row.description)),
            ]
        }),
    )
}

/// Installed runtimes that have a newer version or were withdrawn, as a table or as JSON.
pub fn outdated(rows: &[Outdated], json: bool) -> String {
    if json {
        return to_json(rows.iter());
    }
    let row = |row: &Outdated| {
        let withdrawn = row.yanked.as_ref().map(|why| visible(&format!("withdrawn: {why}")));
        [
            row.name.to_string(),
            row.installed.to_string(),
            row.latest.as_ref().map_or("-".to_owned(), Version::to_string),
            withdrawn.unwrap_or_default(),
        ]
    };
    table(["NAME", "INSTALLED", "LATEST", ""], rows.iter().map(row))
}

/// Versions that were removed, as a table or as JSON.
pub fn pruned(rows: &[Pruned], json: bool) -> String {
    if json {
        return to_json(rows.iter());
    }
    let row = |row: &Pruned| {
        let version = row.runtime.version.as_ref().map_or(String::new(), Version::to_string);
        [row.runtime.name.to_string(), version, size(row.freed)]
    };
    table(["NAME", "VERSION", "FREED"], rows.iter().map(row))
}

/// What a registry offers of one version. The size is that of the archive for `arch`.
pub fn available_row<'a>(
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
pub fn plan(steps: &[Step], json: bool) -> String {
    if json {
        return to_json(steps.iter());
    }
    steps.iter().map(|step| visible(&step.to_string()) + "\n").collect()
}

/// What `verify` found of one runtime; one object of its JSON.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// `NAME@VERSION`.
    pub runtime: String,
    /// What differs; empty if it is intact. After a repair: what differed.
    pub differences: Vec<Difference>,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// What `verify` found, a line for each difference and each runtime, or as JSON.
pub fn verified(runtimes: &[Verified], json: bool) -> String {
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

pub(crate) fn to_json(rows: impl Iterator<Item = impl Serialize>) -> String {
    let rows: Vec<_> = rows.collect();
    serde_json::to_string_pretty(&rows).expect("rows are plain JSON") + "\n"
}

/// Columns as wide as their widest cell; the last one is as long as it is.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_runtimes_are_listed_for_people_and_for_scripts() {
        let runtimes = [
            Installed {
                name: "demo".parse().unwrap(),
                version: Some("1.10.0".parse().unwrap()),
                path: "/store/demo-1.10.0".into(),
            },
            Installed {
                name: "by-hand".parse().unwrap(),
                version: None,
                path: "/s/by-hand".into(),
            },
        ];
        assert_eq!(
            installed(&runtimes, false),
            "NAME     VERSION  PATH\ndemo     1.10.0   /store/demo-1.10.0\nby-hand  -        /s/by-hand\n"
        );
        let json: serde_json::Value = serde_json::from_str(&installed(&runtimes, true)).unwrap();
        assert_eq!(json[0]["version"], "1.10.0");
        assert_eq!(json[1]["version"], serde_json::Value::Null);
    }
}
