//! Untrusted content of a checkout, a directory of records or a registry: links that lead out, FIFOs, sockets and
//! devices, addresses with passwords, misleading texts, and decompression bombs. Each is refused at once, and named.

mod addresses;
mod bombs;
mod records;
mod sources;
mod world;
