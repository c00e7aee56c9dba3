//! The registry document, `registry.json`.
//!
//! In: records. Out: the document, its shards if it is large, and their signatures; a published registry, read
//! or served; which archives it does not allow to be overwritten.

pub(crate) mod document;
pub(crate) mod frames;
pub(crate) mod offered;
pub(crate) mod remote;
pub(crate) mod serve;
pub(crate) mod shards;
pub(crate) mod sign;
