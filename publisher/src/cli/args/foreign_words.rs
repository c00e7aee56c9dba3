//! Options of other tools, and what to write here.

use joblet_cli::{ForeignWords, Meaning::Advice};

/// The commands with `--out`.
const WRITING: &[&str] = &["build", "check", "index", "site", "zstd", "oci", "release"];

const OUT: &str = "it is called --out here";

pub(super) static FOREIGN: [ForeignWords; 6] = [
    ForeignWords::option(WRITING, &["-o", "--output"], Advice(OUT)),
    ForeignWords::command(
        &["push", "publish", "upload"],
        "site writes a registry, to be copied to a web server; release publishes on GitHub",
    ),
    ForeignWords::command(
        &["yank", "unpublish", "delete", "remove"],
        "set \"yanked\": \"REASON\" in the `release` of its record, then run site (RELEASING.md)",
    ),
    ForeignWords::command(
        &["list", "ls", "search"],
        "joblet-exec list --available --registry=DIR lists a registry",
    ),
    ForeignWords::command(
        &["init", "create"],
        "new NAME makes a manifest, and new NAME --from FILE one of a project's requirements",
    ),
    ForeignWords::command(&["run", "install", "shell"], "it is a command of joblet-exec"),
];
