//! Every test of the program as its users run it, one module a subject: `cargo test --test all SUBJECT::`.

mod common;
mod support;

mod archives;
mod bare;
mod bundle;
mod caller;
mod cli;
mod completions;
mod disks;
mod doctor;
mod door;
mod engines;
mod escape;
mod faults;
mod foreign;
mod fuzz;
mod gpu;
mod habits;
mod images;
mod install;
mod kept;
mod lazy;
mod members;
#[cfg(target_arch = "x86_64")]
mod minimal;
mod mounts;
mod network;
mod newcomer;
mod nginx;
mod order;
mod overview;
mod parts;
mod places;
mod progress;
mod proxies;
mod readme;
mod registries;
mod results;
mod sandbox;
mod scopes;
mod standard_files;
mod store;
mod update;
mod world;
mod zstd;
