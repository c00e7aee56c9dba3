//! HTTP.
//!
//! In: an address. Out: the body of the response; or the failure, and whether it may be retried.

pub(crate) mod http;
mod tls_roots;
