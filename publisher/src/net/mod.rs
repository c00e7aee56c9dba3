//! HTTP.
//!
//! In: an address. Out: the body of its answer, or whether trying again may help.

pub(crate) mod http;
mod tls_roots;
