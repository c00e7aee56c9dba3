//! HTTP and local files: addresses, requests, verified transfers.
//!
//! In: a [`Location`](location::Location) and, where the registry states them, size and SHA-256. Out: its
//! bytes, verified against both, after redirects, retries and resumed transfers.

pub(crate) mod address;
mod connection;
mod exchange;
mod failure;
pub(crate) mod http;
pub(crate) mod local;
pub(crate) mod location;
pub(crate) mod message;
pub(crate) mod parts;
mod pool;
mod proxy;
mod redirect;
pub(crate) mod retry;
mod tls;
mod tls_roots;
pub(crate) mod transfer;

/// Closes every idle connection, once nothing more is fetched.
pub(crate) fn disconnect() {
    redirect::close();
    pool::close();
}
