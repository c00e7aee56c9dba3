//! Untrusted content of a checkout, a directory of records or a registry: links that lead
//! out, FIFOs, sockets and devices, addresses with passwords, texts that read as others, and files that
//! blow up. All of it is refused by name and at once.

mod addresses;
mod bombs;
mod records;
mod sources;
mod world;
