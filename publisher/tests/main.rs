//! End-to-end tests of the program, a module for each subject: `cargo test --test all SUBJECT::`.

mod common;
#[allow(dead_code, reason = "the executor's tests use all of it")]
#[path = "../../executor/tests/common/server.rs"]
mod server;
#[path = "../../executor/tests/common/shells.rs"]
mod shells;
#[path = "../../executor/tests/common/skip.rs"]
mod skip;

mod cli;
mod completions;
mod free_space;
mod hostile;
mod joblet_client;
mod line;
mod members;
mod newcomer;
mod order;
mod pack;
mod records;
mod refresh;
mod release;
mod reproducible;
mod serve;
mod shards;
mod sign;
mod site;
mod workflows;
