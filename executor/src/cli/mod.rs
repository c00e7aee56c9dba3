//! The command line and the terminal.
//!
//! In: argv, and what the program has to say. Out: a [`Command`](args::Command) with its options; help,
//! the manual page and completions, all from one table; text that is safe to print.

pub mod args;
pub(crate) mod completions;
pub(crate) mod escape;
pub(crate) mod man;
pub(crate) mod progress;
pub(crate) mod table;
pub mod ui;
