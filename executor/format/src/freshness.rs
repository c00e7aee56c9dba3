//! `freshness.json`: which published versions have newer inputs, as of the last refresh.

use crate::{RuntimeName, Version, unique};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest `freshness.json` that a reader accepts, in bytes.
pub const MAX_FRESHNESS_BYTES: u64 = 16 << 20;

/// Result of a refresh, beside `registry.json`.
///
/// Wire format (JSON):
///
/// ```json
/// { "version": "1", "checked_at": "2026-03-02T04:00:00Z",
///   "runtimes": { "python-3.11": { "1.0.0": {
///     "inputs_of": "2026-01-31T12:00:00Z", "inputs": 120, "newer": 3, "security": 1,
///     "fixes": ["CVE-2026-13176"] } } } }
/// ```
///
/// Each refresh writes it again, and it does not describe bytes: records and `registry.json` do not
/// depend on it, and readers may ignore it. Readers ignore unknown members,
/// and a document of another major version. A version that is missing was not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    version: FormatVersion,
    /// When the refresh was: RFC 3339, in UTC, whole seconds.
    pub checked_at: String,
    /// Its result, by name and version.
    #[serde(deserialize_with = "unique::map")]
    pub runtimes: BTreeMap<RuntimeName, BTreeMap<Version, Fresh>>,
}

/// Result of a refresh for one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fresh {
    /// When its inputs were resolved: RFC 3339, in UTC, whole seconds.
    pub inputs_of: String,
    /// How many there are, of the architecture that has the most.
    pub inputs: u64,
    /// How many of them have newer versions, or would be added or left out.
    pub newer: u64,
    /// How many of those have security fixes.
    pub security: u64,
    /// The vulnerabilities that those name, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
}

/// The version of the format: another major version is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct FormatVersion;

impl TryFrom<String> for FormatVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let readable = text.split('.').next() == Some("1");
        readable.then_some(Self).ok_or_else(|| format!("format version {text:?} is not known"))
    }
}

impl From<FormatVersion> for String {
    fn from(_: FormatVersion) -> Self {
        "1".to_owned()
    }
}

impl Freshness {
    /// The result of a refresh at `checked_at`.
    pub fn new(
        checked_at: String,
        runtimes: BTreeMap<RuntimeName, BTreeMap<Version, Fresh>>,
    ) -> Self {
        Self { version: FormatVersion, checked_at, runtimes }
    }

    /// The result for `name@version`.
    pub fn get(&self, name: &RuntimeName, version: &Version) -> Option<&Fresh> {
        self.runtimes.get(name)?.get(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_changes_nothing() {
        let text = r#"{"version":"1","checked_at":"2026-03-02T04:00:00Z","runtimes":{"demo":{"1.0.0":{
            "inputs_of":"2026-01-31T12:00:00Z","inputs":2,"newer":1,"security":1,"extra":0,
            "fixes":["CVE-2026-1"]}}},"extra":1}"#;
        let read: Freshness = serde_json::from_str(text).unwrap();
        let (demo, version) = ("demo".parse().unwrap(), "1.0.0".parse().unwrap());
        assert_eq!(read.get(&demo, &version).unwrap().fixes, ["CVE-2026-1"]);
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Freshness>(&written).unwrap(), read);
        assert!(serde_json::from_str::<Freshness>(&text.replace(":\"1\"", ":\"1.7\"")).is_ok());
        let other = serde_json::from_str::<Freshness>(&text.replace(":\"1\"", ":\"2\""));
        assert!(other.unwrap_err().to_string().contains("\"2\" is not known"));
    }
}
