//! Transfers of documents and archives.
//!
//! In: a location and what was promised of it. Out: verified bytes ([`fetch`]), or a file that is resumed
//! after an interruption ([`download`]).

pub(crate) mod download;
pub(crate) mod fetch;
pub(crate) mod stretch;
