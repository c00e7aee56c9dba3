//! The command line of `joblet-publish`: everything that parsing, help, the manual page and completions follow from.

use super::{Command, images, making, published, publishing, refreshing, releasing};
use crate::env;
use joblet_cli::{Class, Program};

/// The rows of the commands and of their options are beside the code that reads them.
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
    habits: &[],
    examples: &[
        ("joblet-publish new tools-1", "a first runtimes-src/tools-1/manifest.yaml, to be edited"),
        ("joblet-publish lock tools-1", "which files it is made of: commit the lock"),
        ("joblet-publish build tools-1", "its archives and records, in dist"),
        ("joblet-publish check tools-1", "whether it works"),
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
    fn the_table_is_whole() {
        assert_eq!(PROGRAM.faults(), Vec::<String>::new());
    }
}
