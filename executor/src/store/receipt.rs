//! How a runtime came here.

use joblet_format::{Arch, Checksum, Origin, RuntimeName, Version};
use serde::{Deserialize, Serialize};

/// What is known about how a runtime came here: `.joblet/receipts/NAME-VERSION.json`.
///
/// Informative: a runtime without a receipt works.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The runtime.
    pub name: RuntimeName,
    /// Its version.
    pub version: Version,
    /// The architecture of the archive.
    pub arch: Arch,
    /// What the configuration called the registry that listed it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Where that registry was.
    pub registry: String,
    /// Where the archive came from.
    pub url: String,
    /// Of the archive.
    pub checksum: Checksum,
    /// Of the archive, in bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub installed_at: u64,
}
