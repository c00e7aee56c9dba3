//! The command line: argv → [`Command`]. Reads no environment, file or clock.
//!
//! In: the arguments after the program's name. Out: a [`Command`], or [`Error::Usage`]. Each file has the rows
//! of some commands and the functions that read them.

mod images;
mod making;
mod options;
mod published;
mod publishing;
mod refreshing;
mod releasing;
mod table;

pub(crate) use images::Oci;
pub(crate) use making::{Build, Check, Lock, Making, New, Selection};
pub(crate) use options::Signing;
pub(crate) use published::{Diff, Verify};
pub(crate) use publishing::{Adopt, Index, Keygen, Sign, Site};
pub(crate) use refreshing::{Bump, Outdated};
pub(crate) use releasing::{Plan, Reconcile, Release};

use crate::error::Error;
use joblet_cli::Parsed;
use std::{ffi::OsString, path::PathBuf};
use table::PROGRAM;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print a text: help, version, the manual page, completions.
    Print(String),
    /// Resolve inputs and write `versions.lock`.
    Lock(Lock),
    /// Say what is newer than what is locked.
    Outdated(Outdated),
    /// Lock what is newer, as the next version.
    Bump(Bump),
    /// Make archives and records.
    Build(Build),
    /// Run a runtime's check commands.
    Check(Check),
    /// Write `registry.json` from the records.
    Index(Index),
    /// Write the records of a registry.
    Adopt(Adopt),
    /// Write the site from the records.
    Site(Site),
    /// Show a directory on loopback.
    Serve {
        /// The directory.
        root: PathBuf,
        /// Where to listen; 0: at a port that is free.
        port: u16,
    },
    /// Sign a registry.
    Sign(Sign),
    /// Make a pair of keys.
    Keygen(Keygen),
    /// Say what a tag releases.
    Plan(Plan),
    /// Publish what was built.
    Release(Release),
    /// Record what is published.
    Reconcile(Reconcile),
    /// Build what was published once more, and compare.
    Verify(Verify),
    /// Say what differs between two versions.
    Diff(Diff),
    /// Write a version as an image.
    Oci(Oci),
    /// Write a first manifest.
    New(New),
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Error::Usage`], with the nearest known command or option where one is near.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Command, Error> {
    match PROGRAM.parse(args)? {
        Parsed::Text(text) => Ok(Command::Print(text)),
        Parsed::Call(read, mut call) => {
            let command = read(&mut call)?;
            call.finish()?;
            Ok(command)
        }
    }
}

#[cfg(test)]
mod tests;
