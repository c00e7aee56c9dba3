//! argv → [`Command`](args::Command).
//!
//! In: the arguments after the program's name, and nothing else. Out: one command with its options, or the
//! text of a help page.

pub mod args;
mod table;
