//! `registry.json`.
//!
//! In: records. Out: the registry document and its signature; a published one, read back or served.

pub(crate) mod document;
pub(crate) mod remote;
pub(crate) mod serve;
pub(crate) mod sign;
