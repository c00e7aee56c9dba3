//! `registry.json`: the published runtimes and their archives.

mod document;
mod shards;

pub use shards::{MAX_SHARD_BYTES, MAX_UNSHARDED_BYTES, ShardList};

use crate::{Arch, Checksum, Platform, RuntimeName, Version};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Largest `registry.json` that a reader accepts, in bytes.
pub const MAX_REGISTRY_BYTES: u64 = 128 << 20;

/// `updated_at` of a registry without versions: Joblet's client reads no document where it is empty.
pub const EPOCH: &str = "1970-01-01T00:00:00Z";

/// A registry: every published version of every runtime.
///
/// Wire format (JSON), as Joblet's client reads it:
///
/// ```json
/// { "version": "1", "updated_at": "2025-10-20T23:56:08Z",
///   "runtimes": { "python-3.11-ml": { "1.3.2": { "version": "1.3.2", "…": "see Release" } } },
///   "extended": { "python-3.11-cuda": { "1.0.0": { "version": "1.0.0", "…": "see Release" } } } }
/// ```
///
/// `extended` holds the versions that Joblet's client must not see ([`Release::is_extended`]). Readers
/// treat both alike.
///
/// Readers ignore unknown members and refuse any other major version. Duplicate keys and wrong types
/// invalidate the whole document; an entry whose name, version, checksum or platform breaks a rule is left
/// out and listed in [`Registry::refused`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// When the newest version was published, RFC 3339 in UTC; [`EPOCH`] where nothing is. Empty where the
    /// document that was read has none.
    pub updated_at: String,
    /// The releases of `runtimes` and `extended`, by name and version.
    pub runtimes: BTreeMap<RuntimeName, BTreeMap<Version, Release>>,
    /// Entries that broke a rule. Never written.
    pub refused: Vec<Refused>,
}

/// An entry of a registry that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The entry's name as it is in the document: any text at all.
    pub name: String,
    /// The entry's version as it is in the document: any text at all.
    pub version: String,
    /// The rule it breaks.
    pub reason: String,
}

/// One published version of a runtime.
///
/// The members beside `artifacts` describe the amd64 artifact, for Joblet's client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// The same version as the key it is under.
    pub version: Version,
    /// One line for people.
    pub description: String,
    /// The archive's URL, or a path relative to the registry's own URL.
    pub download_url: String,
    /// SHA-256 of the archive.
    pub checksum: Checksum,
    /// Length of the archive, in bytes.
    pub size: u64,
    /// The hosts it is declared for.
    pub platforms: Vec<Platform>,
    /// One archive per architecture. Empty in registries that Joblet's own tools wrote.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<Arch, Artifact>,
    /// Why this version is yanked: it should no longer be used. `None` if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yanked: Option<String>,
}

/// One archive of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The archive's URL, or a path relative to the registry's own URL. If the archive is in parts, no
    /// file has this URL, but the index's is derived from it.
    pub download_url: String,
    /// SHA-256 of the whole archive.
    pub checksum: Checksum,
    /// Length of the whole archive, in bytes.
    pub size: u64,
    /// The files whose concatenation is the archive; empty if it is one file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Sum of the lengths of the regular files in the archive, in bytes, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked_size: Option<u64>,
    /// Number of tar entries in the archive, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// The index of the archive, if it has one, at the archive's URL with `.index` appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexFile>,
    /// The same tar stream in zstd frames, if there is one. Only with an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zstd: Option<Zstd>,
}

/// The tar stream of an archive in zstd frames ([`crate::frames`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zstd {
    /// The file's URL, or a path relative to the registry's own URL.
    pub download_url: String,
    /// SHA-256 of the whole file.
    pub checksum: Checksum,
    /// Length of the whole file, in bytes.
    pub size: u64,
    /// The files whose concatenation is this file; empty if it is one file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The table of frames that the file begins with.
    pub table: IndexFile,
}

/// A range of an archive in a file of its own. No part is empty; their lengths add up to the archive's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its URL, or a path relative to the registry's own URL.
    pub download_url: String,
    /// Its length, in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub checksum: Checksum,
}

/// Size and checksum of an archive's index ([`crate::index`]), or of a file beside a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    /// SHA-256 of the file.
    pub checksum: Checksum,
    /// Its length, in bytes.
    pub size: u64,
}

/// The record of a published version of a runtime: `records/NAME/VERSION.json`.
///
/// A record is written once. Its checksums never change; only `yanked` may be set later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The runtime.
    pub name: RuntimeName,
    /// When it was published: RFC 3339, in UTC, whole seconds.
    pub published_at: String,
    /// Its entry in `registry.json`.
    pub release: Release,
    /// Files in the directory `VERSION.files` beside the record, by name: its sources and lists of its
    /// content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, IndexFile>,
}

impl Release {
    /// The archive for `arch`, if this version has one.
    pub fn artifact(&self, arch: Arch) -> Option<Artifact> {
        if !self.artifacts.is_empty() {
            return self.artifacts.get(&arch).cloned();
        }
        self.platforms.iter().any(|platform| platform.arch() == arch).then(|| Artifact {
            download_url: self.download_url.clone(),
            checksum: self.checksum,
            size: self.size,
            parts: Vec::new(),
            unpacked_size: None,
            entries: None,
            index: None,
            zstd: None,
        })
    }

    /// Whether it is under `extended`, where Joblet's client does not look: that reads whole archives only,
    /// does not support `yanked`, and takes the members beside `artifacts` for amd64.
    pub fn is_extended(&self) -> bool {
        let foreign = !self.artifacts.is_empty() && !self.artifacts.contains_key(&Arch::Amd64);
        self.in_parts() || self.yanked.is_some() || foreign
    }

    /// Whether any of its archives is in parts.
    pub fn in_parts(&self) -> bool {
        self.artifacts.values().any(|artifact| !artifact.parts.is_empty())
    }

    /// The architectures for which [`Release::artifact`] returns an archive.
    pub fn architectures(&self) -> BTreeSet<Arch> {
        Arch::ALL.into_iter().filter(|&arch| self.artifact(arch).is_some()).collect()
    }
}

impl Registry {
    /// The latest version of `name` that is not yanked, and whose releases `usable` accepts.
    pub fn latest(
        &self,
        name: &RuntimeName,
        usable: impl Fn(&Release) -> bool,
    ) -> Option<&Release> {
        let releases = self.runtimes.get(name)?;
        let offered = releases
            .values()
            .filter(|release| release.yanked.is_none() && usable(release))
            .map(|release| &release.version);
        releases.get(Version::latest(offered)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registry of Joblet's documentation, with checksums of full length.
    const DESCRIPTION: &str = include_str!("../fixtures/registry-of-the-description.json");

    fn parse(json: &str) -> Result<Registry, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// A registry with one entry, in which `from` is replaced by `to`.
    fn with(from: &str, to: &str) -> Result<Registry, serde_json::Error> {
        let entry = format!(
            r#"{{"version": "1", "runtimes": {{"demo": {{"1.0.0": {{"version": "1.0.0",
                "download_url": "demo.tar.gz", "checksum": "sha256:{}", "size": 7,
                "platforms": ["ubuntu-amd64"]}}}}}}}}"#,
            "0".repeat(64)
        );
        assert!(entry.contains(from), "{from}");
        parse(&entry.replace(from, to))
    }

    #[test]
    fn the_registry_of_the_description_parses() {
        let registry = parse(DESCRIPTION).unwrap();
        assert_eq!(registry.refused, []);
        assert_eq!(registry.updated_at, "2025-10-20T23:56:08Z");
        let ml = "python-3.11-ml".parse().unwrap();
        let latest = registry.latest(&ml, |_| true).unwrap();
        assert_eq!(latest.version.to_string(), "1.3.2");
        assert_eq!(latest.artifact(Arch::Arm64).unwrap().size, 12705);
        let cuda = &registry.runtimes[&"python-3.11-pytorch-cuda".parse().unwrap()];
        assert_eq!(cuda[&"1.3.1".parse().unwrap()].artifact(Arch::Arm64), None);
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let registry = parse(DESCRIPTION).unwrap();
        let written = serde_json::to_value(&registry).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(DESCRIPTION).unwrap());
    }

    #[test]
    fn unknown_members_are_ignored() {
        assert_eq!(with("\"size\"", "\"extra\": [1], \"size\"").unwrap().refused, []);
        assert_eq!(with("\"runtimes\"", "\"extra\": {}, \"runtimes\"").unwrap().refused, []);
        let registry = with("ubuntu-amd64", "ubuntu-riscv64").unwrap();
        assert_eq!((registry.refused.len(), registry.runtimes.len()), (0, 1));
    }

    #[test]
    fn entries_that_break_a_rule_are_left_out_and_named() {
        for (from, to, reason) in [
            ("\"demo\"", "\"../demo\"", "is not a runtime name"),
            ("\"demo\"", "\"demo-1.0.0\"", "ambiguous"),
            ("\"1.0.0\": {", "\"1.0\": {", "is not a version"),
            ("\"1.0.0\": {", "\"1.0.1\": {", "its `version` is \"1.0.0\""),
            ("sha256:", "md5:", "is not `sha256:`"),
        ] {
            let registry = with(from, to).unwrap();
            assert_eq!(registry.runtimes.len(), 0, "{to}");
            let [refused] = registry.refused.as_slice() else { panic!("{to}: {registry:?}") };
            assert!(refused.reason.contains(reason), "{to}: {}", refused.reason);
        }
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        for (from, to) in [
            ("{\"version\": \"1\"", "{\"version\": \"2\""),
            ("{\"version\": \"1\"", "{\"version\": 1"),
            ("\"demo\": {", "\"demo\": {}, \"demo\": {"),
            ("\"demo\": {", "\"other\": 7, \"demo\": {"),
            ("\"size\": 7", "\"size\": -1"),
            ("\"size\": 7", "\"size\": 7, \"size\": 8"),
        ] {
            assert!(with(from, to).is_err(), "{to}");
        }
    }

    /// A registry with one version whose amd64 archive has these `parts`, under `member`.
    fn with_parts(member: &str, parts: &str) -> Registry {
        let zeros = "0".repeat(64);
        let other = if member == "runtimes" { "extended" } else { "runtimes" };
        let json = format!(
            r#"{{"version": "1", "{other}": {{}}, "{member}": {{"demo": {{"1.0.0": {{
                "version": "1.0.0", "download_url": "a", "checksum": "sha256:{zeros}", "size": 7,
                "platforms": ["ubuntu-amd64"], "artifacts": {{"amd64": {{"download_url": "a",
                    "checksum": "sha256:{zeros}", "size": 7, "parts": [{parts}]}}}}}}}}}}}}"#
        );
        parse(&json).unwrap()
    }

    fn part(size: u64) -> String {
        let zeros = "0".repeat(64);
        format!(r#"{{"download_url": "a.{size}", "size": {size}, "checksum": "sha256:{zeros}"}}"#)
    }

    #[test]
    fn archives_in_parts_are_in_a_member_that_other_readers_ignore() {
        let registry = with_parts("extended", &[part(3), part(4)].join(","));
        assert_eq!(registry.refused, []);
        let demo = registry.latest(&"demo".parse().unwrap(), |_| true).unwrap();
        assert_eq!(demo.artifact(Arch::Amd64).unwrap().parts[1].download_url, "a.4");
        let written = serde_json::to_value(&registry).unwrap();
        assert_eq!(written["runtimes"], serde_json::json!({}));
        let parts = &written["extended"]["demo"]["1.0.0"]["artifacts"]["amd64"]["parts"];
        assert_eq!(parts.as_array().unwrap().len(), 2);
        assert_eq!(serde_json::from_value::<Registry>(written).unwrap(), registry);
        // Versions that Joblet's client supports are written under `runtimes`, and read from both members.
        for member in ["runtimes", "extended"] {
            let written = serde_json::to_value(with_parts(member, "")).unwrap();
            assert!(written["runtimes"]["demo"].is_object() && written.get("extended").is_none());
        }
    }

    #[test]
    fn what_joblets_client_must_not_take_is_extended() {
        let mut registry = with_parts("runtimes", "");
        let demo: RuntimeName = "demo".parse().unwrap();
        let release = registry.runtimes.get_mut(&demo).unwrap().values_mut().next().unwrap();
        assert!(!release.is_extended());
        release.yanked = Some("broken".into());
        let written = serde_json::to_value(&registry).unwrap();
        assert_eq!(written["runtimes"], serde_json::json!({}));
        assert_eq!(written["extended"]["demo"]["1.0.0"]["yanked"], "broken");
        let release = registry.runtimes.get_mut(&demo).unwrap().values_mut().next().unwrap();
        release.yanked = None;
        let archive = release.artifacts.remove(&Arch::Amd64).unwrap();
        release.artifacts.insert(Arch::Arm64, archive);
        assert!(release.is_extended(), "an amd64 host would unpack arm64");
        // As written by Joblet's own tools: one archive for all declared platforms.
        release.artifacts.clear();
        assert!(!release.is_extended());
    }

    #[test]
    fn parts_are_complete_and_no_version_is_listed_twice() {
        for (parts, reason) in [
            ([part(3), part(3)], "its parts have 6 bytes, it has 7"),
            ([part(7), part(0)], "one of its parts is empty"),
            ([part(7), part(u64::MAX)], "its parts have 18446744073709551615 bytes"),
            ([part(3), part(4).replace("sha256", "md5")], "is not `sha256:`"),
        ] {
            let registry = with_parts("extended", &parts.join(","));
            let [refused] = registry.refused.as_slice() else { panic!("{registry:?}") };
            assert!(refused.reason.contains(reason), "{}", refused.reason);
        }
        let mut twice = serde_json::to_value(with_parts("runtimes", "")).unwrap();
        twice["extended"] = twice["runtimes"].clone();
        let registry: Registry = serde_json::from_value(twice).unwrap();
        assert!(registry.refused[0].reason.contains("under `runtimes` and under `extended`"));
        assert_eq!(registry.runtimes.len(), 1);
    }

    #[test]
    fn latest_leaves_out_yanked_versions_and_pre_releases() {
        let entry = |version: &str, more: &str| {
            format!(
                r#""{version}": {{"version": "{version}", "download_url": "x", "size": 1{more},
                    "checksum": "sha256:{}", "platforms": ["ubuntu-amd64"]}}"#,
                "0".repeat(64)
            )
        };
        let json = format!(
            r#"{{"version": "1", "runtimes": {{"demo": {{ {}, {}, {}, {} }}}}}}"#,
            entry("1.9.0", ""),
            entry("1.10.0", ""),
            entry("1.11.0", r#", "yanked": "broken""#),
            entry("2.0.0-rc.1", "")
        );
        let registry = parse(&json).unwrap();
        let latest = registry.latest(&"demo".parse().unwrap(), |_| true).unwrap();
        assert_eq!(latest.version.to_string(), "1.10.0");
    }
}
