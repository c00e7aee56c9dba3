//! The command line: argv → [`Command`](args::Command).
//!
//! In: the arguments after the program's name, and nothing else. Out: one command with its options, by the
//! table that help, the manual page and completions follow from, too.

pub(crate) mod args;
