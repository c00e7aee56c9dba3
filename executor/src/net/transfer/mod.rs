//! Transfers of documents and archives.
//!
//! In: a location with the expected size and SHA-256. Out: verified bytes ([`fetch`]), or a file whose
//! download is resumed after an interruption ([`download`]).

pub(crate) mod download;
pub(crate) mod fetch;
pub(crate) mod range_reader;
