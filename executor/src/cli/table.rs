//! The command line as a table: what is parsed, and what `--help` prints.

use crate::error::Class;
use std::fmt::Write;

/// An option of the program or of a command.
#[derive(Debug)]
pub struct Opt {
    /// With its dashes: `--store`.
    pub long: &'static str,
    /// With its dash: `-q`, or empty.
    pub short: &'static str,
    /// What its value is called; empty for a switch. In `[=…]` if it may be missing.
    pub value: &'static str,
    /// One line for people.
    pub help: &'static str,
}

impl Opt {
    /// Whether the next word is its value.
    pub fn needs_value(&self) -> bool {
        !self.value.is_empty() && !self.value.starts_with('[')
    }
}

/// A command.
#[derive(Debug)]
pub struct Cmd {
    /// The word that names it.
    pub name: &'static str,
    /// The pair of words by which Joblet's own client calls it, such as `job run`.
    pub also: &'static str,
    /// What follows the name.
    pub usage: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Its own options, beside [`GLOBAL`].
    pub options: &'static [Opt],
    /// Whether the low statuses are those of a job.
    pub runs_job: bool,
}

const fn switch(long: &'static str, short: &'static str, help: &'static str) -> Opt {
    Opt { long, short, value: "", help }
}

const fn value(
    long: &'static str,
    short: &'static str,
    value: &'static str,
    help: &'static str,
) -> Opt {
    Opt { long, short, value, help }
}

/// Options that every command takes.
pub const GLOBAL: &[Opt] = &[
    value(
        "--registry",
        "",
        "WHERE",
        "registry: owner/repo, https address, directory, file or name in the configuration",
    ),
    value("--config", "", "FILE", "which registries there are, instead of ~/.rnx/config.yaml"),
    value("--store", "", "DIR", "where runtimes are installed"),
    switch("--offline", "", "use what is installed and cached, ask no server"),
    switch("--refresh", "", "ask the registry even if the cached copy is younger than an hour"),
    switch("--json", "", "print data as JSON"),
    switch("--quiet", "-q", "print errors only"),
    switch("--verbose", "-v", "say what is done"),
    value("--color", "", "auto|always|never", "when messages are coloured"),
    switch("--help", "-h", "print help"),
    switch("--version", "-V", "print the version"),
];

/// Options of the commands that run jobs. The first is not one of `shell`, which has an operand.
const JOB: &[Opt] = &[
    value("--runtime", "", "SPEC", "the runtime: NAME, NAME@VERSION or NAME@latest"),
    value("--env", "-e", "K[=V]", "set a variable, or pass the caller's on"),
    value("--env-file", "", "FILE", "set the variables of FILE: lines of K=V or K"),
    value("--upload", "", "PATH", "put a private copy of a file or directory into /work"),
    value(
        "--bind",
        "",
        "SRC:DST[:rw]",
        "show a file or directory of the host to the job, live sockets included",
    ),
    value("--tmpfs", "", "DST[:SIZE]", "an empty writable directory, of at most SIZE (64M, 2G)"),
    value("--workdir", "", "DIR", "directory of the job to start in, instead of /work"),
    value("--user", "", "UID[:GID]", "run as this user and group, by number"),
    value("--hostname", "", "NAME", "name of the host as the job sees it"),
    value("--network", "", "none|host", "none: loopback only (default); host: the host's"),
    value(
        "--timeout",
        "",
        "TIME",
        "after TIME (90, 30s, 5m, 2h) TERM, 10 s later KILL; status 124",
    ),
    value("--memory", "", "SIZE", "how much memory it may use: 8192 (MiB), 512M, 8G"),
    value("--cpu", "", "N", "how many processors' time it may use: 2, 1.5, 0.25"),
    value("--pids", "", "N", "how many processes and threads it may have at a time"),
    value("--gpu", "", "N|all", "how many of the host's GPUs it may use"),
    switch("--init", "", "run an init as PID 1 that forwards signals and reaps zombies"),
    value(
        "--tty",
        "-t",
        "[=auto|always|never]",
        "a terminal of its own for the job: auto, where input and output are one here (default)",
    ),
    value("--status-fd", "", "N", "write a line of JSON on how it ended to descriptor N"),
    switch("--dry-run", "", "print what would be done to start the job, and stop"),
];

/// The commands, in the order of `--help`.
pub const COMMANDS: &[Cmd] = &[
    Cmd {
        name: "run",
        also: "job run",
        usage: "--runtime=SPEC [OPTION…] [--] COMMAND [ARG…]",
        help: "run a job in a runtime; installs it first if no version is installed",
        options: JOB,
        runs_job: true,
    },
    Cmd {
        name: "shell",
        also: "",
        usage: "SPEC [OPTION…]",
        help: "run a shell in a runtime, with a terminal of its own",
        options: JOB.split_at(1).1,
        runs_job: true,
    },
    Cmd {
        name: "install",
        also: "runtime install",
        usage: "SPEC…",
        help: "install runtimes from the registry",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "remove",
        also: "runtime remove",
        usage: "SPEC…",
        help: "remove installed runtimes",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "list",
        also: "runtime list",
        usage: "",
        help: "list installed runtimes",
        options: &[
            switch("--available", "", "list what the registry offers instead"),
            switch("--all-versions", "", "with --available: every version, not only the latest"),
            switch("--outdated", "", "list those of which the registry has a newer version"),
        ],
        runs_job: false,
    },
    Cmd {
        name: "outdated",
        also: "runtime outdated",
        usage: "",
        help: "list installed runtimes of which the registry has a newer version",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "upgrade",
        also: "runtime upgrade",
        usage: "[NAME…]",
        help: "install the latest version of installed runtimes, beside the older ones",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "info",
        also: "runtime info",
        usage: "SPEC",
        help: "show details of a runtime: versions, origin, size on disk, mounts, variables",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "doctor",
        also: "",
        usage: "",
        help: "check what jobs and installations need of this host, and suggest fixes",
        options: &[switch(
            "--apparmor",
            "",
            "print the AppArmor profile that lets this program make user namespaces",
        )],
        runs_job: false,
    },
    Cmd {
        name: "prune",
        also: "runtime prune",
        usage: "",
        help: "remove old versions of installed runtimes, but none that a job uses",
        options: &[
            value(
                "--keep",
                "",
                "N",
                "versions of each runtime that stay, latest first (default: 1)",
            ),
            value("--older-than", "", "TIME", "only what was installed longer ago (12h, 30d)"),
            switch("--dry-run", "", "say what would be removed, and stop"),
        ],
        runs_job: false,
    },
    Cmd {
        name: "path",
        also: "runtime path",
        usage: "SPEC",
        help: "print the directory of an installed runtime",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "verify",
        also: "runtime verify",
        usage: "[SPEC…]",
        help: "compare installed runtimes with what was published, file by file",
        options: &[switch("--repair", "", "fetch again what is damaged")],
        runs_job: false,
    },
    Cmd {
        name: "export",
        also: "runtime export",
        usage: "--to=DIR SPEC…",
        help: "write what a host without network needs to install runtimes: archives and registry",
        options: &[
            value("--to", "", "DIR", "the directory to make"),
            value(
                "--arch",
                "",
                "amd64|arm64",
                "for hosts of this architecture (default: this one's)",
            ),
        ],
        runs_job: false,
    },
    Cmd {
        name: "import",
        also: "runtime import",
        usage: "DIR",
        help: "install the runtimes that export has written, without network",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "completions",
        also: "",
        usage: "bash|zsh|fish",
        help: "print a script with which a shell completes command lines",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "man",
        also: "",
        usage: "",
        help: "print the manual page: joblet-exec man | man -l -",
        options: &[],
        runs_job: false,
    },
    Cmd {
        name: "version",
        also: "",
        usage: "",
        help: "print the version",
        options: &[],
        runs_job: false,
    },
];

/// What `joblet-exec --help` prints.
pub fn help() -> String {
    let mut text = String::from(
        "Installs Joblet runtimes and runs jobs in them: no daemon, no root.\n\n\
         Usage: joblet-exec [OPTION…] COMMAND …\n\nCommands:\n",
    );
    for command in COMMANDS {
        let also = if command.also.is_empty() {
            String::new()
        } else {
            format!(" (also: {})", command.also)
        };
        _ = writeln!(text, "  {:<10} {}{also}", command.name, command.help);
    }
    text.push_str("\nOptions:\n");
    options(&mut text, GLOBAL);
    text.push_str("\nExit status of commands that run no job:\n    0  done\n");
    for (_, word, plain, _, meaning) in Class::TABLE.into_iter().filter(|row| row.2 < 125) {
        _ = writeln!(text, "  {plain:>3}  {word:<9} {meaning}");
    }
    text.push_str(
        "`run` and `shell` return the job's own status, 128+n if signal n killed it, 124 after\n\
         --timeout, 125 if joblet-exec failed, 126 if the command cannot be executed, 127 if it was not\n\
         found.\n\n\
         joblet-exec COMMAND --help tells more.\n",
    );
    text
}

/// What `joblet-exec COMMAND --help` prints.
pub fn command_help(command: &Cmd) -> String {
    let mut text = format!(
        "{}\n\nUsage: joblet-exec {} {}\n",
        sentence(command.help),
        command.name,
        command.usage
    );
    if !command.also.is_empty() {
        _ = writeln!(text, "Also:  joblet-exec {} {}", command.also, command.usage);
    }
    if command.name == "run" {
        text.push_str("\nOptions end at the first operand; the rest is the job's command line.\n");
    }
    if !command.options.is_empty() {
        text.push_str("\nOptions:\n");
        options(&mut text, command.options);
    }
    text.push_str("\nOptions of every command:\n");
    options(&mut text, GLOBAL);
    text
}

fn options(text: &mut String, options: &[Opt]) {
    for option in options {
        let names = if option.short.is_empty() {
            format!("    {}", option.long)
        } else {
            format!("{}, {}", option.short, option.long)
        };
        let gap = if option.needs_value() { " " } else { "" };
        let names = format!("{names}{gap}{}", option.value);
        _ = writeln!(text, "  {names:<28} {}", option.help);
    }
}

pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command_and_option() {
        let all = help();
        for command in COMMANDS {
            assert!(all.contains(&format!("\n  {} ", command.name)), "{}", command.name);
            let text = command_help(command);
            for option in command.options.iter().chain(GLOBAL) {
                assert!(
                    text.contains(option.long) && text.contains(option.help),
                    "{}",
                    option.long
                );
            }
        }
        assert!(
            all.lines().chain(COMMANDS.iter().map(|command| command.help)).all(|l| l.len() < 130)
        );
    }

    #[test]
    fn no_option_stands_twice() {
        for command in COMMANDS {
            let mut names: Vec<_> =
                command.options.iter().chain(GLOBAL).flat_map(|o| [o.long, o.short]).collect();
            names.retain(|name| !name.is_empty());
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", command.name);
        }
    }
}
