//! The names and file formats of Joblet runtimes.
//!
//! Both programs share these types, so that the grammar of a name (a path-traversal check) and of a
//! checksum (the trust decision) exist once. No I/O happens here, and no JSON or YAML is parsed:
//! callers bring the engine, these types bring the rules.
#![forbid(unsafe_code)]

mod checksum;
pub mod index;
pub mod member;
mod name;
mod nearest;
mod platform;
mod registry;
mod runtime;
mod spec;
mod unique;
pub mod ustar;
mod version;

pub use checksum::{Checksum, ChecksumError};
pub use name::{NameError, RuntimeName, split_directory};
pub use nearest::nearest;
pub use platform::{Arch, Platform, PlatformError};
pub use registry::{
    Artifact, Contents, IndexFile, MAX_REGISTRY_BYTES, Part, RawVersions, Record, Refused,
    Registry, Release,
};
pub use runtime::{MAX_RUNTIME_YML_BYTES, Mount, Requirements, RuntimeYml};
pub use spec::{Origin, Spec, SpecError, Wanted};
pub use unique::map as unique_map;
pub use version::{Version, VersionError};
