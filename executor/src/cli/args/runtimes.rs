//! Commands on runtimes: `install`, `remove`, `list`, `search`, `outdated`, `upgrade`, `info`, `prune`, `path`, `verify`.

use super::{Command as Parsed, one_spec, specs, values};
use joblet_cli::{Action, Command, Complete, Operands, Opt, Status, Usage, count};
use std::time::Duration;

/// Options of `prune`.
#[derive(Debug, PartialEq, Eq)]
pub struct Prune {
    /// Number of versions of each runtime to keep.
    pub keep: usize,
    /// Remove only versions installed longer ago.
    pub older_than: Option<Duration>,
    /// Only print what would be removed.
    pub dry_run: bool,
    /// Do not ask for confirmation.
    pub yes: bool,
}

/// Completion of installed runtimes.
pub(super) const INSTALLED: Complete = Complete::Runtimes("list");

pub(super) static INSTALL: Command<Parsed> = Command {
    name: "install",
    also: &["runtime install", "add", "pull"],
    operands: Operands::new("SPEC…", Complete::Runtimes("list --available --all-versions")),
    help: "install runtimes from the registry",
    about: "SPEC is NAME for the latest version, NAME@VERSION for exactly that one, or NAME@1.3 for the \
            highest 1.3.x. What is installed already is left alone.",
    options: &[],
    examples: &[
        ("joblet-exec install python-3.11 node-20@1.0.0", "two runtimes"),
        ("joblet-exec install openjdk-21 --registry owner/repo", "from another registry"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| Ok(Parsed::Install(specs(call)?))),
};

pub(super) static REMOVE: Command<Parsed> = Command {
    name: "remove",
    also: &["runtime remove", "rm", "uninstall", "rmi"],
    operands: Operands::new("SPEC…", INSTALLED),
    help: "remove installed runtimes",
    about: "NAME is enough where one version of it is installed. The files of one that a job uses stay on the \
            disk until a command after its end.",
    options: &[],
    examples: &[("joblet-exec remove python-3.11@1.0.0", "one version")],
    status: Status::OfProgram,
    action: Action::Call(|call| Ok(Parsed::Remove(specs(call)?))),
};

static AVAILABLE: Opt<()> = Opt::switch("--available", "list the runtimes of the registry instead");
static ALL_VERSIONS: Opt<()> =
    Opt::switch("--all-versions", "list every version in the registry, not only the latest");
static WITH_NEWER: Opt<()> =
    Opt::switch("--outdated", "list those with a newer version in the registry");

pub(super) static LIST: Command<Parsed> = Command {
    name: "list",
    also: &["runtime list", "ls", "images"],
    operands: Operands::NONE,
    help: "list installed runtimes",
    about: "SIZE is that of the archive, as with --available; info shows what a runtime takes on disk. FROM \
            is the registry that it came from.",
    options: &[&AVAILABLE.row, &ALL_VERSIONS.row, &WITH_NEWER.row],
    examples: &[
        ("joblet-exec list", "the installed runtimes"),
        ("joblet-exec list --available --all-versions", "everything in the registry"),
        ("joblet-exec list --json", "the installed runtimes, for programs"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let outdated = call.switch(&WITH_NEWER);
        let (available, all_versions) = (call.switch(&AVAILABLE), call.switch(&ALL_VERSIONS));
        match outdated {
            true if available || all_versions => {
                Err(Usage("--outdated excludes --available and --all-versions".into()))
            }
            true => Ok(Parsed::Outdated),
            false if call.operand().is_some() => {
                Err(Usage("list takes no NAME; use joblet-exec search or info".into()))
            }
            false => Ok(Parsed::List { available, all_versions, words: Vec::new() }),
        }
    }),
};

pub(super) static SEARCH: Command<Parsed> = Command {
    name: "search",
    also: &["runtime search"],
    operands: Operands::new("[WORD…]", Complete::Nothing),
    help: "list runtimes whose name or description contains every WORD",
    about: "The search ignores case; packages in a runtime are not searched.",
    options: &[&ALL_VERSIONS.row],
    examples: &[("joblet-exec search python", "runtimes about Python")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let words = call.operands();
        let words = words.iter().map(|word| word.to_string_lossy().to_lowercase()).collect();
        Ok(Parsed::List { available: true, all_versions: call.switch(&ALL_VERSIONS), words })
    }),
};

pub(super) static OUTDATED: Command<Parsed> = Command {
    name: "outdated",
    also: &["runtime outdated"],
    operands: Operands::NONE,
    help: "list installed runtimes with a newer version in the registry",
    about: "",
    options: &[],
    examples: &[("joblet-exec outdated", "the versions that upgrade would install")],
    status: Status::OfProgram,
    action: Action::Call(|_| Ok(Parsed::Outdated)),
};

pub(super) static UPGRADE: Command<Parsed> = Command {
    name: "upgrade",
    also: &["runtime upgrade", "update", "runtime update"],
    operands: Operands::new("[NAME…]", INSTALLED),
    help: "install the latest version of installed runtimes; older ones are kept",
    about: "Each is looked for in the registry that it came from, unless --registry names another. prune \
            removes the older ones afterwards.",
    options: &[],
    examples: &[
        ("joblet-exec upgrade", "of all installed runtimes"),
        ("joblet-exec upgrade python-3.11", "of this runtime"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| Ok(Parsed::Upgrade(call.parsed()?))),
};

pub(super) static INFO: Command<Parsed> = Command {
    name: "info",
    also: &["runtime info", "show", "inspect"],
    operands: Operands::new("SPEC", INSTALLED),
    help: "show details of a runtime: versions, origin, size on disk, mounts, variables",
    about: "",
    options: &[],
    examples: &[("joblet-exec info python-3.11", "installed or not")],
    status: Status::OfProgram,
    action: Action::Call(|call| Ok(Parsed::Info(one_spec(call)?))),
};

static KEEP: Opt<usize> = Opt::value(
    "--keep",
    "N",
    Complete::Nothing,
    count,
    "number of versions of each runtime to keep, the latest ones",
)
.or("1");
static OLDER_THAN: Opt<Duration> = Opt::value(
    "--older-than",
    "TIME",
    Complete::Nothing,
    values::duration,
    "remove only versions installed longer ago (12h, 30d)",
)
.about(
    "On a file system that machines share, whose jobs are not all seen from here, files stay for 7 days \
     after they were removed, or for this time.",
);
static DRY_RUN: Opt<()> = Opt::switch("--dry-run", "print what would be removed, and stop");
pub(super) static YES: Opt<()> =
    Opt::switch("--yes", "do not ask for confirmation").short("-y").about(
        "Confirmation is asked for on a terminal only; without one, --keep 0 needs this option.",
    );

pub(super) static PRUNE: Command<Parsed> = Command {
    name: "prune",
    also: &["runtime prune", "clean"],
    operands: Operands::NONE,
    help: "remove old versions of installed runtimes, except those that a job uses",
    about: "Of each runtime the highest release is kept, and newer versions such as pre-releases.",
    options: &[&KEEP.row, &OLDER_THAN.row, &DRY_RUN.row, &YES.row],
    examples: &[
        ("joblet-exec prune --dry-run", "what would be removed"),
        ("joblet-exec prune --keep 2 --older-than 30d", "keeps two versions of each"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Prune(Prune {
            keep: call.needed(&KEEP)?,
            older_than: call.value(&OLDER_THAN)?,
            dry_run: call.switch(&DRY_RUN),
            yes: call.switch(&YES),
        }))
    }),
};

pub(super) static PATH: Command<Parsed> = Command {
    name: "path",
    also: &["runtime path", "which"],
    operands: Operands::new("SPEC", INSTALLED),
    help: "print the directory of an installed runtime",
    about: "",
    options: &[],
    examples: &[("joblet-exec path python-3.11", "that of its latest installed version")],
    status: Status::OfProgram,
    action: Action::Call(|call| Ok(Parsed::Path(one_spec(call)?))),
};

static REPAIR: Opt<()> = Opt::switch("--repair", "fetch damaged files again");

pub(super) static VERIFY: Command<Parsed> = Command {
    name: "verify",
    also: &["runtime verify"],
    operands: Operands::new("[SPEC…]", INSTALLED),
    help: "compare the files of installed runtimes with the published ones",
    about: "",
    options: &[&REPAIR.row],
    examples: &[
        ("joblet-exec verify", "all installed runtimes"),
        ("joblet-exec verify python-3.11 --repair", "this one, and repair it"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Verify { specs: call.parsed()?, repair: call.switch(&REPAIR) })
    }),
};
