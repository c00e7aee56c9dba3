//! Comparison of a lock's inputs with current ones: updates, and the vulnerabilities that they fix.

use crate::{
    lock::{Input, Kind},
    unpack::changelog::Entry,
};
use joblet_format::Arch;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Prefix of inputs from Debian's archive of security updates.
const SECURITY: &str = "debian-security/";

/// A package with another current version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Update {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// The locked version; `None` for a new package.
    pub before: Option<String>,
    /// The current version; `None` for a package that is not needed any more.
    pub after: Option<String>,
    /// The architectures concerned.
    pub arches: BTreeSet<Arch>,
    /// Whether it is from a security suite, or its changelog names one or a vulnerability.
    pub security: bool,
    /// Changelog entries since the locked version, newest first.
    pub changelog: Vec<Entry>,
    /// The current input, for one of the architectures.
    #[serde(skip)]
    pub input: Option<Input>,
}

impl Update {
    /// The vulnerabilities that its changelog names.
    pub(crate) fn cves(&self) -> BTreeSet<&str> {
        self.changelog.iter().flat_map(|entry| &entry.cves).map(String::as_str).collect()
    }

    /// The highest urgency of its changelog entries; `None` if there are none.
    pub(crate) fn urgency(&self) -> Option<&str> {
        const ORDER: [&str; 5] = ["low", "medium", "high", "emergency", "critical"];
        let rank = |urgency: &&str| ORDER.iter().position(|known| known == urgency);
        self.changelog.iter().map(|entry| entry.urgency.as_str()).max_by_key(rank)
    }

    /// Sets the changelog entries.
    pub(crate) fn explain(&mut self, changelog: Vec<Entry>) {
        let secure = |entry: &Entry| entry.suite.ends_with("-security") || !entry.cves.is_empty();
        self.security |= changelog.iter().any(secure);
        self.changelog = changelog;
    }

    /// Formats the versions: `3.0.15 → 3.0.16`, new, or removed.
    pub(crate) fn versions(&self) -> String {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before == after => format!("{after}, built again"),
            (Some(before), Some(after)) => format!("{before} → {after}"),
            (None, Some(after)) => format!("{after}, new"),
            (before, None) => format!("{}, no longer there", before.as_deref().unwrap_or("?")),
        }
    }
}

/// The updates between locked and current inputs, for each architecture, sorted by name. Archives of `urls` are not
/// compared, since their addresses are fixed.
pub(crate) fn between(
    locked: &BTreeMap<Arch, Vec<Input>>,
    now: &BTreeMap<Arch, Vec<Input>>,
) -> Vec<Update> {
    let mut found: BTreeMap<_, Update> = BTreeMap::new();
    for (arch, now) in now {
        let before = packages(locked.get(arch).map(Vec::as_slice).unwrap_or_default());
        let after = packages(now);
        let names: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
        for key in names {
            let (old, new) = (before.get(&key), after.get(&key));
            if old.map(|it| it.1.sha256) == new.map(|it| it.1.sha256) {
                continue;
            }
            let versions = (old.map(|it| it.0.clone()), new.map(|it| it.0.clone()));
            let input = new.map(|it| it.1);
            let secure = |input: &Input| input.name.starts_with(SECURITY);
            let update = found.entry((key.clone(), versions.clone())).or_insert_with(|| Update {
                name: key.1.clone(),
                kind: key.0,
                before: versions.0,
                after: versions.1,
                arches: BTreeSet::new(),
                security: input.is_some_and(secure),
                changelog: Vec::new(),
                input: input.cloned(),
            });
            update.arches.insert(*arch);
        }
    }
    found.into_values().collect()
}

/// Inputs with their versions, by kind and name.
fn packages(inputs: &[Input]) -> BTreeMap<(Kind, String), (String, &Input)> {
    let named = inputs.iter().filter_map(|input| {
        let (name, version) = input.package()?;
        Some(((input.kind, name), (version, input)))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::Checksum;

    fn input(kind: Kind, name: &str) -> Input {
        let sum = name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        let sha256 = Checksum::from_digest([sum; 32]);
        Input { kind, name: name.into(), size: Some(5), sha256 }
    }

    fn debs(names: &[&str]) -> Vec<Input> {
        let wheel = input(Kind::Wheel, "A_b-1.0-py3-none-any.whl");
        names.iter().map(|name| input(Kind::Deb, name)).chain([wheel]).collect()
    }

    #[test]
    fn newer_inputs_are_found_once_for_all_architectures() {
        let (old, new) = ("debian/pool/o/o_1-1_", "debian-security/pool/o/o_1-2_");
        let locked = BTreeMap::from([
            (Arch::Amd64, debs(&[&format!("{old}amd64.deb"), "debian/pool/g%2b%2b_9_amd64.deb"])),
            (Arch::Arm64, debs(&[&format!("{old}arm64.deb")])),
        ]);
        let now = BTreeMap::from([
            (Arch::Amd64, debs(&[&format!("{new}amd64.deb"), "debian/pool/z_3_all.deb"])),
            (Arch::Arm64, debs(&[&format!("{new}arm64.deb")])),
        ]);
        let updates = between(&locked, &now);
        let found: Vec<_> = updates
            .iter()
            .map(|it| (it.name.as_str(), it.versions(), it.arches.len(), it.security))
            .collect();
        assert_eq!(
            found,
            [
                ("g++", "9, no longer there".to_owned(), 1, false),
                ("o", "1-1 → 1-2".to_owned(), 2, true),
                ("z", "3, new".to_owned(), 1, false),
            ]
        );
        assert_eq!(between(&locked, &locked), []);
    }

    #[test]
    fn a_changelog_makes_a_security_fix_of_a_point_release() {
        let now = BTreeMap::from([(Arch::Amd64, debs(&["debian/pool/o_2_all.deb"]))]);
        let mut update = between(&BTreeMap::new(), &now).remove(0);
        let entry = |suite: &str, urgency: &str, cves: &[&str]| Entry {
            version: "2".into(),
            suite: suite.into(),
            urgency: urgency.into(),
            cves: cves.iter().map(|it| (*it).to_owned()).collect(),
            items: Vec::new(),
        };
        update.explain(vec![entry("bookworm", "low", &[])]);
        assert!(!update.security && update.urgency() == Some("low"));
        update.explain(vec![
            entry("bookworm", "high", &["CVE-2026-0002", "CVE-2026-0001"]),
            entry("bookworm", "medium", &["CVE-2026-0001"]),
        ]);
        assert!(update.security && update.urgency() == Some("high"));
        let cves: Vec<_> = update.cves().into_iter().collect();
        assert_eq!(cves, ["CVE-2026-0001", "CVE-2026-0002"]);
        let mut other = between(&BTreeMap::new(), &now).remove(0);
        other.explain(vec![entry("bookworm-security", "low", &[])]);
        assert!(other.security);
    }
}
