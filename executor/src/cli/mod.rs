//! The command line and the terminal.
//!
//! In: argv, and what the program has to say. Out: a [`Command`](args::Command) with its options, by the
//! table that help, the manual page and completions follow from, too; text that is safe to print.

pub mod args;
pub(crate) mod escape;
pub(crate) mod progress;
pub mod ui;
