//! Receipts: the origin of an installed runtime.

use joblet_format::{Arch, Checksum, Origin, RuntimeName, Version};
use serde::{Deserialize, Serialize};

/// The origin of an installed runtime: `.joblet/receipts/NAME-VERSION.json`.
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
    /// The name of its registry in the configuration, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The location of the registry.
    pub registry: String,
    /// The address of the archive.
    pub url: String,
    /// SHA-256 of the archive.
    pub checksum: Checksum,
    /// Length of the archive, in bytes.
    pub size: u64,
    /// When it was installed, in seconds since 1970.
    pub installed_at: u64,
}

/// The record beside a receipt by which the runtime is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The index of an archive in members, as it was fetched.
    Index,
    /// The list of the files that any other archive unpacked to.
    Files,
}

impl Kept {
    /// The extension of its file name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Files => "files",
        }
    }

    /// The other of the two: a runtime has one of them.
    pub(crate) fn counterpart(self) -> Self {
        if self == Self::Index { Self::Files } else { Self::Index }
    }
}
