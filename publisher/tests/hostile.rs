//! Untrusted content of a checkout, a directory of records or a registry: links that lead
//! out, FIFOs, sockets and devices, addresses with passwords, texts that read as others, and files that
//! blow up. All of it is refused by name and at once.

#[path = "hostile/addresses.rs"]
mod addresses;
#[path = "hostile/bombs.rs"]
mod bombs;
#[path = "hostile/records.rs"]
mod records;
#[path = "hostile/sources.rs"]
mod sources;
#[path = "hostile/world.rs"]
mod world;
