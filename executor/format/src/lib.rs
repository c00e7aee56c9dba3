//! The names and file formats of Joblet runtimes.
//!
//! Both programs share these types, so that the grammar of a name (a path-traversal check) and of a
//! checksum (the trust decision) exist once. No file is opened here; callers choose the JSON or YAML parser,
//! these types implement the rules.
#![forbid(unsafe_code)]

/// Implements serde for a type that is a string in files, by its `FromStr` and `Display`.
macro_rules! as_text {
    ($type:ty, $error:ty) => {
        impl TryFrom<String> for $type {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(it: $type) -> Self {
                it.to_string()
            }
        }
    };
}
pub(crate) use as_text;

mod checksum;
pub mod entries;
pub mod frames;
mod freshness;
pub mod image;
pub mod index;
pub mod member;
mod name;
mod nearest;
mod platform;
mod registry;
mod repository;
mod runtime;
mod spec;
pub mod text;
mod time;
mod unique;
pub mod ustar;
mod version;

pub use checksum::{Checksum, ChecksumError};
pub use freshness::{Fresh, Freshness, MAX_FRESHNESS_BYTES};
pub use name::{NameError, RuntimeName, split_directory};
pub use nearest::{nearest, unknown_key};
pub use platform::{Arch, Platform, PlatformError};
pub use registry::{
    Artifact, EPOCH, IndexFile, MAX_REGISTRY_BYTES, MAX_SHARD_BYTES, MAX_UNSHARDED_BYTES, Part,
    Record, Refused, Registry, Release, ShardList, Zstd,
};
pub use repository::Repository;
pub use runtime::{MAX_RUNTIME_YML_BYTES, Mount, Requirements, RuntimeYml};
pub use spec::{Origin, Spec, SpecError, Wanted};
pub use time::{Timestamp, TimestampError};
pub use unique::map as unique_map;
pub use version::{Series, Version, VersionError};
