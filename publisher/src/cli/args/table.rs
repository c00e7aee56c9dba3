//! The command line of `joblet-publish`, from which parsing, help, the manual page and completions are derived.

use super::{Command, foreign_words, images, making, published, publishing, refreshing, releasing};
use crate::env;
use joblet_cli::{Class, Program};

/// The program. Rows of commands and options are beside the code that reads them.
pub(super) static PROGRAM: Program<Command> = Program {
    name: "joblet-publish",
    version: env!("CARGO_PKG_VERSION"),
    help: "build Joblet runtimes from locked inputs and publish their registry",
    about: "A runtime is a directory runtimes-src/NAME with a manifest. lock resolves its inputs to exact \
            files; build makes of them the same archive on every machine; index and site write the \
            registry and its pages; plan, release and reconcile publish versions.",
    options: &[],
    commands: &[
        &making::NEW,
        &making::LOCK,
        &refreshing::OUTDATED,
        &refreshing::BUMP,
        &making::BUILD,
        &making::CHECK,
        &publishing::INDEX,
        &publishing::ADOPT,
        &publishing::SITE,
        &publishing::SERVE,
        &publishing::KEYGEN,
        &publishing::SIGN,
        &published::VERIFY,
        &published::ADD_ZSTD,
        &published::DIFF,
        &images::OCI,
        &releasing::PLAN,
        &releasing::RELEASE,
        &releasing::RECONCILE,
        &joblet_cli::Command::COMPLETIONS,
        &joblet_cli::Command::MAN,
        &joblet_cli::Command::HELP,
        &joblet_cli::Command::VERSION,
    ],
    foreign_words: &foreign_words::FOREIGN,
    examples: &[
        ("joblet-publish new tools-1", "a new runtimes-src/tools-1/manifest.yaml, to be edited"),
        ("joblet-publish lock tools-1", "the lock of its inputs, to be committed"),
        ("joblet-publish build tools-1", "its archives and records, in dist"),
        ("joblet-publish check tools-1", "tests of the packed runtime"),
    ],
    files: &env::FILES,
    environment: &env::VARIABLES,
    classes: &[
        Class::Usage,
        Class::Net,
        Class::NotFound,
        Class::Integrity,
        Class::Archive,
        Class::Store,
        Class::Config,
        Class::Check,
        Class::Tool,
    ],
    status: "",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete() {
        assert_eq!(PROGRAM.faults(), Vec::<String>::new());
    }
}
