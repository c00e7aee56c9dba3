//! argv → [`Cli`]. Reads no environment, file or clock.
//!
//! In: argv. Out: a [`Command`] and the options of all commands, or [`Error::Usage`] with a hint. Each file
//! has the rows of some commands and the functions that read them.

pub mod apptainer;
mod habits;
mod jobs;
mod registries;
mod runtimes;
mod shared;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use registries::{Color, Global};
pub use runtimes::Prune;
pub use shared::Shared;
pub(crate) use shared::profile;
pub(crate) use values::env_line;

use crate::error::Error;
use crate::gpu::Wanted;
use joblet_cli::{Call, Parsed, Usage};
use joblet_format::{Arch, RuntimeName, Spec};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use table::PROGRAM;

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Cli {
    /// Options that every command takes.
    pub global: Global,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print a text: help, version, the manual page, completions.
    Print(String),
    /// Run a job.
    Run(Box<Run>),
    /// Install runtimes.
    Install(Vec<Spec>),
    /// Remove installed runtimes.
    Remove(Vec<Spec>),
    /// List runtimes.
    List {
        /// Those of the registry.
        available: bool,
        /// Every version of them.
        all_versions: bool,
        /// Those whose name or description has all of these words.
        words: Vec<String>,
    },
    /// List installed runtimes that have a newer version.
    Outdated,
    /// Install the latest version of these runtimes; of all that are installed if empty.
    Upgrade(Vec<RuntimeName>),
    /// Show details of a runtime.
    Info(Spec),
    /// Remove old versions.
    Prune(Prune),
    /// Write a bundle.
    Export {
        /// Of these runtimes.
        specs: Vec<Spec>,
        /// The new directory.
        to: PathBuf,
        /// The hosts it is for.
        arch: Arch,
    },
    /// Install the runtimes of a bundle.
    Import(PathBuf),
    /// Look at what jobs and installations need.
    Doctor {
        /// Print the profile for AppArmor instead.
        apparmor: bool,
    },
    /// Print a runtime's directory.
    Path(Spec),
    /// Compare installed runtimes with their indexes.
    Verify {
        /// Which; all if empty.
        specs: Vec<Spec>,
        /// Fetch again what is damaged.
        repair: bool,
    },
}

/// What `run` was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// The runtime.
    pub spec: Spec,
    /// `--image`: it is made of this image first, and `spec` is not looked at.
    pub image: Option<OsString>,
    /// `--env K=V`, or `--env K` with no value.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// `--env-file`
    pub env_files: Vec<PathBuf>,
    /// `--upload`
    pub uploads: Vec<PathBuf>,
    /// `--bind`
    pub binds: Vec<BindArg>,
    /// `--here`
    pub here: bool,
    /// `--output`
    pub output: Option<PathBuf>,
    /// `--tmpfs`
    pub tmpfs: Vec<TmpfsArg>,
    /// `--workdir`
    pub workdir: Option<PathBuf>,
    /// `--user`, as user and group
    pub user: Option<(u32, u32)>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--network`: whether it is the host's
    pub host_network: Option<bool>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--memory`, in bytes
    pub memory: Option<u64>,
    /// `--cpu`, in thousandths
    pub cpu: Option<u32>,
    /// `--pids`
    pub pids: Option<u32>,
    /// `--gpu`
    pub gpu: Option<Wanted>,
    /// `--init`
    pub init: bool,
    /// `--tty`
    pub terminal: Terminal,
    /// `--status-fd`
    pub status_fd: Option<i32>,
    /// `--lazy`, `--wait`
    pub start: Start,
    /// `--dry-run`
    pub dry_run: bool,
    /// What it shares of the host.
    pub shared: Shared,
    /// The job's command and its arguments.
    pub argv: Vec<OsString>,
}

/// When a job starts whose runtime is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `--lazy`: while it is being installed, or not at all.
    Lazy,
    /// `--wait`: when it is installed.
    Installed,
}

/// Whether a job gets a terminal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// `--tty=never`: its files are pipes.
    Never,
    /// `--tty`: it gets one, or is not run.
    Always,
    /// It gets one where the caller has one.
    Auto,
}

/// One `--bind SRC:DST[:rw]`.
#[derive(Debug, PartialEq, Eq)]
pub struct BindArg {
    /// On the host.
    pub source: PathBuf,
    /// In the job.
    pub target: PathBuf,
    /// Whether the job may write.
    pub writable: bool,
}

/// One `--tmpfs DST[:SIZE]`.
#[derive(Debug, PartialEq, Eq)]
pub struct TmpfsArg {
    /// In the job.
    pub target: PathBuf,
    /// How much it may hold, in bytes.
    pub size: Option<u64>,
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Error::Usage`] with the word that is wrong, and the nearest right one.
pub fn parse(args: Vec<OsString>) -> Result<Cli, Error> {
    Ok(match PROGRAM.parse(args)? {
        Parsed::Text(text) => Cli { global: Global::default(), command: Command::Print(text) },
        Parsed::Call(read, mut call) => {
            let global = registries::global(&mut call)?;
            let command = read(&mut call)?;
            call.finish()?;
            Cli { global, command }
        }
    })
}

/// Whether the command line is one of `run` or `shell`, whose failures have statuses of their own.
pub fn runs_job(args: &[OsString]) -> bool {
    PROGRAM.runs_job(args)
}

/// The operands of a command that needs at least one runtime.
fn specs(call: &mut Call) -> Result<Vec<Spec>, Usage> {
    let specs = call.parsed()?;
    if specs.is_empty() {
        return Err(Usage(format!("{} needs a runtime: NAME or NAME@VERSION", call.command())));
    }
    Ok(specs)
}

/// The operand of a command that takes one runtime.
fn one_spec(call: &mut Call) -> Result<Spec, Usage> {
    match <[Spec; 1]>::try_from(specs(call)?) {
        Ok([spec]) => Ok(spec),
        Err(_) => Err(Usage(format!("{} takes one SPEC", call.command()))),
    }
}
