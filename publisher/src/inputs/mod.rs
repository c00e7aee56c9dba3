//! Locked inputs → files.
//!
//! In: requirements of a manifest (to resolve them) or inputs of a lock (to fetch them). Out: inputs for a
//! lock; files in the cache, each with the SHA-256 of the lock.

pub mod apt;
pub mod cache;
pub mod debian_mirror;
pub mod locations;
pub mod python_index;
mod simple_api;
pub mod space;
pub mod uv;
