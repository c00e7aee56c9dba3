//! How a runtime came here.

use joblet_format::{Arch, Checksum, Origin, RuntimeName, Version};
use serde::{Deserialize, Serialize};

/// What is known about how a runtime came here: `.joblet/receipts/NAME-VERSION.json`.
///
/// Informative: a runtime without a receipt works.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
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

/// What is kept beside a receipt to compare the runtime with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The index of an archive in members, as it was fetched.
    Index,
    /// The list of what any other archive has left.
    Files,
}

impl Kept {
    /// Of the file's name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Files => "files",
        }
    }

    /// The other one: a runtime has one of both.
    pub(crate) fn other(self) -> Self {
        if self == Self::Index { Self::Files } else { Self::Index }
    }
}
