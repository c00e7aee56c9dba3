//! `registry.shards.json`: a large registry in one small document per runtime.

use super::IndexFile;
use crate::freshness::FormatVersion;
use crate::{Checksum, RuntimeName, unique};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Length of `registry.json`, in bytes, above which it is also published in shards and readers ask for
/// them. Part of the format.
pub const MAX_UNSHARDED_BYTES: u64 = 1 << 20;

/// Largest list of shards, and largest shard, that a reader accepts, in bytes.
pub const MAX_SHARD_BYTES: u64 = 16 << 20;

/// The list of the shards of a registry, beside its `registry.json`.
///
/// Wire format (JSON):
///
/// ```json
/// { "version": "1", "updated_at": "2025-10-20T23:56:08Z",
///   "registry": { "checksum": "sha256:…", "size": 92000000 },
///   "shards": { "python-3.11-ml": "sha256:…" } }
/// ```
///
/// A shard is a registry ([`super::Registry`]) with the versions of one runtime and no `updated_at`. Its
/// file is `registry.shards/NAME-DIGITS.json` beside the list, with the first 16 hex digits of its SHA-256:
/// another content has another name, so a cache between server and reader cannot mix two states. The names
/// of both follow the name of `registry.json`, if that is another ([`ShardList::list_file`]).
///
/// `registry` is the document that the shards are made of. A reader for which the server states another length of
/// `registry.json` does not use the list, but the whole document: it is always complete, and a list that
/// is missing or out of date costs time only. Readers ignore unknown members and refuse any other major
/// version. Where the registry is signed, so is the list, in `registry.shards.json.minisig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardList {
    version: FormatVersion,
    /// As in the registry: when the newest version was published, RFC 3339 in UTC.
    pub updated_at: String,
    /// Size and checksum of `registry.json`.
    pub registry: IndexFile,
    /// The SHA-256 of each runtime's shard.
    #[serde(deserialize_with = "unique::map")]
    pub shards: BTreeMap<RuntimeName, Checksum>,
}

impl ShardList {
    /// The list of `shards` of the document `registry`, dated `updated_at`.
    pub fn new(
        updated_at: String,
        registry: IndexFile,
        shards: BTreeMap<RuntimeName, Checksum>,
    ) -> Self {
        Self { version: FormatVersion, updated_at, registry, shards }
    }

    /// The file name of the list beside a document called `document`; `None` unless that ends in `.json`.
    pub fn list_file(document: &str) -> Option<String> {
        Some(document.strip_suffix(".json")?.to_owned() + ".shards.json")
    }

    /// The directory of the shards beside a document called `document`; `None` unless that ends in `.json`.
    pub fn directory(document: &str) -> Option<String> {
        Some(document.strip_suffix(".json")?.to_owned() + ".shards")
    }

    /// The file name of the shard of `name` with the content `checksum`, in that directory.
    pub fn shard(name: &RuntimeName, checksum: &Checksum) -> String {
        format!("{name}-{}.json", &checksum.hex()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> String {
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        format!(
            r#"{{"version":"1","updated_at":"2025-10-20T23:56:08Z","registry":{{"checksum":"sha256:{one}",
                "size":7}},"shards":{{"demo":"sha256:{two}"}},"extra":1}}"#
        )
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let read: ShardList = serde_json::from_str(&list()).unwrap();
        let demo = "demo".parse().unwrap();
        let shard = ShardList::shard(&demo, &read.shards[&demo]);
        assert_eq!(shard, "demo-2222222222222222.json");
        assert_eq!(
            read,
            ShardList::new(read.updated_at.clone(), read.registry, read.shards.clone())
        );
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<ShardList>(&written).unwrap(), read);
    }

    #[test]
    fn lists_that_break_a_rule_are_refused() {
        let two = "2".repeat(64);
        for (from, to) in [
            (":\"1\"", ":\"2\""),
            ("\"demo\":", "\"../demo\":"),
            ("\"demo\":", &format!("\"demo\":\"sha256:{two}\",\"demo\":")),
            ("sha256:2", "md5:2"),
            ("\"size\":7", "\"size\":-7"),
            ("\"shards\":", "\"shard\":"),
        ] {
            let changed = list().replacen(from, to, 1);
            assert_ne!(changed, list());
            assert!(serde_json::from_str::<ShardList>(&changed).is_err(), "{to}");
        }
    }

    #[test]
    fn files_are_named_after_their_document() {
        for (document, file, directory) in [
            ("registry.json", "registry.shards.json", "registry.shards"),
            ("team.json", "team.shards.json", "team.shards"),
        ] {
            assert_eq!(ShardList::list_file(document).as_deref(), Some(file));
            assert_eq!(ShardList::directory(document).as_deref(), Some(directory));
        }
        assert_eq!(ShardList::list_file("registry"), None);
    }
}
