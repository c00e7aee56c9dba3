//! Changes of a version compared with the version before.

use super::super::text::{grouped, visible};
use super::{Catalogue, archives};
use joblet_format::{Artifact, Platform, Release, RuntimeName, text};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Serialize)]
pub(super) struct Changes {
    /// The version before.
    before: String,
    /// The description of the version before, if it differs.
    description: Option<String>,
    added: Vec<String>,
    removed: Vec<String>,
    /// Architectures of both versions, with the differences of the archives.
    archives: Vec<(&'static str, Vec<Row>)>,
}

/// A number before and after.
#[derive(Serialize)]
struct Row {
    what: &'static str,
    before: String,
    after: String,
    /// Such as `+4.1 MB, +3.3 %`; empty if equal.
    difference: String,
    /// Whether it grew.
    more: bool,
}

impl<'a> Catalogue<'a> {
    /// The version before `release`: the next lower one; for a release that is not a pre-release, preferably another one.
    pub(super) fn before(&self, name: &RuntimeName, release: &Release) -> Option<&'a Release> {
        let mut lower = self.registry.runtimes[name].range(..&release.version).rev();
        let next = lower.clone().next();
        let alike =
            lower.find(|(version, _)| release.version.is_prerelease() || !version.is_prerelease());
        alike.or(next).map(|(_, release)| release)
    }
}

impl Changes {
    pub(super) fn new(before: &Release, after: &Release) -> Self {
        let platforms = |release: &Release| -> BTreeSet<Platform> {
            release.platforms.iter().cloned().collect()
        };
        let (had, has) = (platforms(before), platforms(after));
        let names = |it: std::collections::btree_set::Difference<Platform>| {
            it.map(ToString::to_string).collect()
        };
        let described = before.description != after.description;
        let rows = archives(after)
            .filter_map(|(arch, is)| Some((arch.as_str(), rows(&before.artifact(arch)?, &is))));
        Self {
            before: before.version.to_string(),
            description: described.then(|| visible(&before.description)),
            added: names(has.difference(&had)),
            removed: names(had.difference(&has)),
            archives: rows.collect(),
        }
    }
}

fn rows(was: &Artifact, is: &Artifact) -> Vec<Row> {
    let unpacked = was.unpacked_size.zip(is.unpacked_size);
    let entries = was.entries.zip(is.entries);
    [
        Some(row("Download", was.size, is.size, text::size)),
        unpacked.map(|(was, is)| row("Unpacked", was, is, text::size)),
        entries.map(|(was, is)| row("Entries", was, is, grouped)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[expect(clippy::cast_precision_loss)] // one decimal of a percentage is shown
fn row(what: &'static str, was: u64, is: u64, show: fn(u64) -> String) -> Row {
    let sign = if is > was { '+' } else { '−' };
    let share = 100.0 * is.abs_diff(was) as f64 / was.max(1) as f64;
    // A share that is shown as 0.0 % says nothing.
    let share = if share < 0.05 { String::new() } else { format!(", {sign}{share:.1} %") };
    let difference = format!("{sign}{}{share}", show(is.abs_diff(was)));
    let difference = if is == was { String::new() } else { difference };
    Row { what, before: show(was), after: show(is), difference, more: is > was }
}
