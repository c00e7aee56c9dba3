//! The command line of `joblet-exec`, from which parsing, help, the manual page and completions are derived.

use super::{Command, foreign_words, jobs, registries, runtimes};
use crate::env;
use joblet_cli::{Class, Program};

/// The program. Rows of commands and options are beside the code that reads them.
pub(super) static PROGRAM: Program<Command> = Program {
    name: "joblet-exec",
    version: env!("CARGO_PKG_VERSION"),
    help: "install Joblet runtimes and run jobs in them: no daemon, no root",
    about: "A runtime is a directory tree with an interpreter or a compiler and its packages. It is \
            installed from a registry, where every byte is checked against a digest, and jobs see it \
            read-only, in namespaces of their own, with a private /work to write to.",
    options: &registries::GLOBAL,
    commands: &[
        &jobs::RUN,
        &jobs::SHELL,
        &runtimes::INSTALL,
        &runtimes::REMOVE,
        &runtimes::LIST,
        &runtimes::SEARCH,
        &runtimes::OUTDATED,
        &runtimes::UPGRADE,
        &runtimes::INFO,
        &registries::DOCTOR,
        &runtimes::PRUNE,
        &runtimes::PATH,
        &runtimes::VERIFY,
        &registries::EXPORT,
        &registries::IMPORT,
        &joblet_cli::Command::COMPLETIONS,
        &joblet_cli::Command::MAN,
        &joblet_cli::Command::HELP,
        &joblet_cli::Command::VERSION,
    ],
    foreign_words: &foreign_words::FOREIGN,
    examples: &[
        ("joblet-exec list --available", "the runtimes of the registry"),
        ("joblet-exec install python-3.11", "its latest version"),
        ("joblet-exec run --runtime=python-3.11 python3 -V", "a job in it"),
    ],
    files: &env::FILES,
    environment: &env::VARIABLES,
    classes: &[
        Class::Usage,
        Class::Net,
        Class::Registry,
        Class::NotFound,
        Class::Integrity,
        Class::Archive,
        Class::Store,
        Class::Busy,
        Class::Config,
        Class::Launch,
        Class::NotExecutable,
        Class::NoCommand,
    ],
    status: "2 to 17 are the statuses of all commands but run and shell. Those two return the job's own status, 128+n if signal n \
             killed it, 124 after its timeout, 125 for every failure of joblet-exec itself, 126 if the command cannot be executed, 127 if it was \
             not found.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        assert_eq!(PROGRAM.faults(), Vec::<String>::new());
    }
}
