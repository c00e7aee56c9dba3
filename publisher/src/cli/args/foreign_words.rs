//! Options of other tools, and what to write here.

use joblet_cli::{ForeignWords, Meaning::Advice};

/// The commands with `--out`.
const WRITING: &[&str] = &["build", "check", "index", "site", "zstd", "oci", "release"];

const OUT: &str = "it is called --out here";

pub(super) static FOREIGN: [ForeignWords; 1] =
    [ForeignWords::option(WRITING, &["-o", "--output"], Advice(OUT))];
