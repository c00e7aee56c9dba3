//! `diff`: packages of two published versions, from the bills of materials beside their records.

use super::published::{find, wanted};
use crate::error::Error;
use crate::record::changes::{self, Changes, Package, Packages};
use crate::record::files;
use crate::{cli::args, error::shown, record};
use joblet_format::{Arch, Artifact, Record, text};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The archives of one architecture, and their differences.
struct Compared {
    before: Artifact,
    after: Artifact,
    changes: Changes,
}

pub(crate) fn diff(options: &args::Diff) -> Result<String, Error> {
    let records = record::read_all(&options.records)?;
    let find = |spec| find(&records, spec, &options.records);
    let (before, after) = (find(&options.before)?, find(&options.after)?);
    let mut compared = BTreeMap::new();
    let there = wanted(before, &options.arches)?;
    for arch in wanted(after, &options.arches)?.into_iter().filter(|arch| there.contains(arch)) {
        let (old, new) =
            (packages(&options.records, before, arch)?, packages(&options.records, after, arch)?);
        if let Some((before, after)) =
            before.release.artifact(arch).zip(after.release.artifact(arch))
        {
            let changes = changes::between(&old, &new);
            compared.insert(arch, Compared { before, after, changes });
        }
    }
    let name = |record: &Record| format!("{}@{}", record.name, record.release.version);
    let (before, after) = (name(before), name(after));
    if compared.is_empty() {
        return Err(Error::NotFound(format!(
            "{before} and {after} have no architecture in common"
        )));
    }
    Ok(if options.json {
        as_json(&before, &after, &compared)
    } else {
        let text: String =
            compared.iter().map(|(arch, it)| as_text(&before, &after, *arch, it)).collect();
        shown::message(&text) // names and versions come from a bill of materials
    })
}

/// The packages of `record` for `arch`, from the files beside it.
fn packages(records: &Path, record: &Record, arch: Arch) -> Result<Packages, Error> {
    let found = changes::read(records, record, arch)?;
    found.map(|(packages, _)| packages).ok_or_else(|| {
        let (runtime, version) = (&record.name, &record.release.version);
        let (sbom, contents) = (files::sbom(arch), files::contents(arch));
        Error::NotFound(format!(
            "the record of {runtime}@{version} does not list {sbom}, {contents}"
        ))
    })
}

fn as_text(before: &str, after: &str, arch: Arch, compared: &Compared) -> String {
    let Compared { before: old, after: new, changes } = compared;
    let sizes = |old: u64, new: u64| format!("{} → {}", text::size(old), text::size(new));
    let mut text = format!("{before} → {after} {arch}: {}", sizes(old.size, new.size));
    if let Some((old, new)) = old.unpacked_size.zip(new.unpacked_size) {
        _ = write!(text, ", unpacked {}", sizes(old, new)); // a String never fails
    }
    text.push('\n');
    let mut line = |sign: char, name: &str, version: &str, size: &str| {
        _ = writeln!(text, "  {sign} {name:<28} {version:<36} {size}"); // neither
    };
    let one = |package: &Package| (package.version.clone(), text::size(package.size));
    for package in &changes.added {
        let (version, size) = one(package);
        line('+', &package.name, &version, &size);
    }
    for package in &changes.removed {
        let (version, size) = one(package);
        line('-', &package.name, &version, &size);
    }
    for change in &changes.changed {
        let (old, new) = (&change.before, &change.after);
        let version = if old.version == new.version {
            format!("{}, built again", new.version)
        } else {
            format!("{} → {}", old.version, new.version)
        };
        line('~', &new.name, &version, &sizes(old.size, new.size));
    }
    line('=', &format!("{} packages", changes.unchanged), "unchanged", "");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn as_json(before: &str, after: &str, compared: &BTreeMap<Arch, Compared>) -> String {
    let sizes = |artifact: &Artifact| serde_json::json!({ "size": artifact.size, "unpacked_size": artifact.unpacked_size });
    let entry = |(arch, it): (&Arch, &Compared)| {
        let value = serde_json::json!({
            "before": sizes(&it.before), "after": sizes(&it.after), "packages": it.changes,
        });
        (arch.to_string(), value)
    };
    let arches: serde_json::Map<_, _> = compared.iter().map(entry).collect();
    let report = serde_json::json!({ "before": before, "after": after, "architectures": arches });
    format!("{report:#}\n")
}
