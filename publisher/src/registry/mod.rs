//! `registry.json`.
//!
//! In: records. Out: the registry document and its signature; a published one, read back or served.

pub mod document;
pub mod remote;
pub mod serve;
pub mod sign;
