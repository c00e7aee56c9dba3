//! Parser of the command line: argv → [`Cli`]. Reads no environment variable, file or clock.
//!
//! In: argv. Out: a [`Command`] and the global options, or [`Error::Usage`] with a hint. Each file
//! defines some commands: rows of the table, and the functions that read their values.

pub mod apptainer;
mod foreign_words;
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
    /// Options of every command.
    pub global: Global,
    /// The command.
    pub command: Command,
}

/// A command with its operands and options.
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
        /// List the registry's versions instead of installed ones.
        available: bool,
        /// Every version, not only the latest.
        all_versions: bool,
        /// Filter: words that name or description must contain.
        words: Vec<String>,
    },
    /// List installed runtimes that have a newer version.
    Outdated,
    /// Install the latest version of these runtimes; of all installed ones if empty.
    Upgrade(Vec<RuntimeName>),
    /// Show details of a runtime.
    Info(Spec),
    /// Remove old versions.
    Prune(Prune),
    /// Write a bundle.
    Export {
        /// The runtimes in it.
        specs: Vec<Spec>,
        /// The new directory.
        to: PathBuf,
        /// The architecture of the hosts it is for.
        arch: Arch,
    },
    /// Install the runtimes of a bundle.
    Import(PathBuf),
    /// Check the requirements of jobs and installations.
    Doctor {
        /// Print the AppArmor profile instead.
        apparmor: bool,
    },
    /// Print a runtime's directory.
    Path(Spec),
    /// Compare installed runtimes with their indexes.
    Verify {
        /// The runtimes; all if empty.
        specs: Vec<Spec>,
        /// Fetch damaged files again.
        repair: bool,
    },
}

/// The options of `run`.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// The runtime.
    pub spec: Spec,
    /// `--image`: the runtime is made from this image, and `spec` is ignored.
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
    /// Options that share more of the host.
    pub shared: Shared,
    /// The job's command and its arguments.
    pub argv: Vec<OsString>,
}

/// When to start a job whose runtime is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `--lazy`: while it is being installed; an error if that is not possible.
    Lazy,
    /// `--wait`: after it is installed.
    Installed,
}

/// Whether a job gets a terminal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// `--tty=never`: its files are pipes.
    Never,
    /// `--tty`: it gets one; an error if that is not possible.
    Always,
    /// `--tty=auto`: it gets one if the caller has one.
    Auto,
}

/// One `--bind SRC:DST[:rw]`.
#[derive(Debug, PartialEq, Eq)]
pub struct BindArg {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the job.
    pub target: PathBuf,
    /// Whether it is writable.
    pub writable: bool,
}

/// One `--tmpfs DST[:SIZE]`.
#[derive(Debug, PartialEq, Eq)]
pub struct TmpfsArg {
    /// Path in the job.
    pub target: PathBuf,
    /// Maximum size, in bytes.
    pub size: Option<u64>,
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Error::Usage`] with the wrong word and the most similar valid one.
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

/// Whether the command is `run` or `shell`, whose failures have other exit statuses.
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
