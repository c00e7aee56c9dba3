//! Resolves requirements, and fetches locked inputs.
//!
//! In: requirements of a manifest, or inputs of a lock. Out: inputs for a lock; files in the cache, each with
//! the SHA-256 of the lock.

pub(crate) mod apt;
pub(crate) mod cache;
pub(crate) mod debian_mirror;
mod download;
pub(crate) mod images;
pub(crate) mod locations;
pub(crate) mod progress;
pub(crate) mod python_index;
mod simple_api;
pub(crate) mod space;
pub(crate) mod uv;
