//! The registry document, `registry.json`.
//!
//! In: records. Out: the document and its signature; a published registry, read or served.

pub(crate) mod document;
pub(crate) mod remote;
pub(crate) mod serve;
pub(crate) mod sign;
