//! The global options, which name registries and stores; `export`, `import`, `doctor`.

use super::{Command as Parsed, specs, values};
use joblet_cli::{Action, Call, Command, Complete, Operands, Opt, Row, Status, Usage, utf8};
use joblet_format::Arch;
use std::path::PathBuf;

/// Options of every command.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// `--registry`
    pub registry: Option<String>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--store`
    pub store: Option<PathBuf>,
    /// `--offline`
    pub offline: bool,
    /// `--refresh`
    pub refresh: bool,
    /// `--json`
    pub json: bool,
    /// `--quiet`
    pub quiet: bool,
    /// `--verbose`
    pub verbose: bool,
    /// `--color`
    pub color: Color,
}

/// When messages are coloured.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static REGISTRY: Opt<String> = Opt::value(
    "--registry",
    "WHERE",
    Complete::Files,
    utf8,
    "registry: owner/repo, https address, directory, file or name in the configuration",
);
static CONFIG: Opt<PathBuf> =
    Opt::path("--config", "FILE", "read the registries from FILE instead of ~/.rnx/config.yaml");
static STORE: Opt<PathBuf> = Opt::path("--store", "DIR", "where runtimes are installed").about(
    "Default: /opt/joblet/runtimes for root; for other users $XDG_DATA_HOME/joblet/runtimes, and they can \
     use the runtimes of root's.",
);
static OFFLINE: Opt<()> = Opt::switch(
    "--offline",
    "use no network: installed runtimes, cached documents, registries in directories",
);
static REFRESH: Opt<()> =
    Opt::switch("--refresh", "fetch the registry even if the cached copy is younger than an hour");
static JSON: Opt<()> = Opt::switch("--json", "print data as JSON");
static QUIET: Opt<()> = Opt::switch("--quiet", "print errors only").short("-q");
static VERBOSE: Opt<()> = Opt::switch("--verbose", "print details of what is done").short("-v");
static COLOR: Opt<Color> =
    Opt::choice("--color", "auto|always|never", values::color, "when messages are coloured")
        .or("auto");

pub(super) static GLOBAL: [&Row; 9] = [
    &REGISTRY.row, &CONFIG.row, &STORE.row, &OFFLINE.row, &REFRESH.row, &JSON.row, &QUIET.row,
    &VERBOSE.row, &COLOR.row,
];

pub(super) fn global(call: &mut Call) -> Result<Global, Usage> {
    let global = Global {
        registry: call.value(&REGISTRY)?,
        config: call.value(&CONFIG)?,
        store: call.value(&STORE)?,
        offline: call.switch(&OFFLINE),
        refresh: call.switch(&REFRESH),
        json: call.switch(&JSON),
        quiet: call.switch(&QUIET),
        verbose: call.switch(&VERBOSE),
        color: call.needed(&COLOR)?,
    };
    if global.offline && global.refresh {
        return Err(Usage("--offline and --refresh exclude each other".into()));
    }
    Ok(global)
}

static TO: Opt<PathBuf> = Opt::path("--to", "DIR", "the directory to create");
static ARCH: Opt<Arch> = Opt::choice(
    "--arch",
    "amd64|arm64",
    values::arch,
    "for hosts of this architecture, instead of this host's",
);

pub(super) static EXPORT: Command<Parsed> = Command {
    name: "export",
    also: &["runtime export"],
    operands: Operands::new(
        "--to=DIR SPEC…",
        Complete::Runtimes("list --available --all-versions"),
    ),
    help: "write a bundle of archives and registry, for hosts without network",
    about: "The bundle is a directory. Its archives are those of the registry, so that the digests and \
            signatures hold on the other host.",
    options: &[&TO.row, &ARCH.row],
    examples: &[(
        "joblet-exec export --to=bundle --arch=arm64 python-3.11 node-20@1.0.0",
        "two runtimes for hosts with arm64",
    )],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let arch = call.value(&ARCH)?.unwrap_or(Arch::NATIVE);
        let (specs, to) = (specs(call)?, call.needed(&TO)?);
        Ok(Parsed::Export { specs, to, arch })
    }),
};

pub(super) static IMPORT: Command<Parsed> = Command {
    name: "import",
    also: &["runtime import"],
    operands: Operands::new("DIR", Complete::Files),
    help: "install the runtimes of a bundle written by export, without network",
    about: "",
    options: &[],
    examples: &[("joblet-exec import /media/usb/bundle", "all runtimes of a bundle")],
    status: Status::OfProgram,
    action: Action::Call(|call| match call.operands().as_slice() {
        [directory] => Ok(Parsed::Import(PathBuf::from(directory))),
        _ => Err(Usage("import takes the directory of one bundle".into())),
    }),
};

static APPARMOR: Opt<()> = Opt::switch(
    "--apparmor",
    "print the AppArmor profile that lets this program make user namespaces",
);

pub(super) static DOCTOR: Command<Parsed> = Command {
    name: "doctor",
    also: &[],
    operands: Operands::NONE,
    help: "check the requirements of jobs and installations on this host, and suggest fixes",
    about: "It fails if jobs cannot run on this host.",
    options: &[&APPARMOR.row],
    examples: &[
        ("joblet-exec doctor", "one line for each requirement"),
        (
            "joblet-exec doctor --apparmor > /etc/apparmor.d/joblet-exec",
            "a profile for hosts that restrict user namespaces to root",
        ),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| Ok(Parsed::Doctor { apparmor: call.switch(&APPARMOR) })),
};
