//! Options that other programs have, and what to write here.

use joblet_cli::{Habit, Meaning::Advice};

/// The commands with `--out`.
const WRITING: &[&str] = &["build", "check", "index", "site", "zstd", "oci", "release"];

const OUT: &str = "it is called --out here";

pub(super) static HABITS: [Habit; 1] = [Habit::option(WRITING, &["-o", "--output"], Advice(OUT))];
