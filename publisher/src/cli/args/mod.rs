//! Parser of the command line: argv → [`Command`]. Reads no environment variable, file or clock.
//!
//! In: the arguments after the program's name. Out: a [`Command`], or [`Error::Usage`]. Each file has the rows
//! of some commands and the functions that read them.

mod foreign_words;
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
pub(crate) use published::{AddZstd, Diff, Verify};
pub(crate) use publishing::{Adopt, Index, Keygen, Sign, Site};
pub(crate) use refreshing::{Bump, Outdated};
pub(crate) use releasing::{Plan, Reconcile, Release};

use crate::error::Error;
use joblet_cli::Parsed;
use std::{ffi::OsString, path::PathBuf};
use table::PROGRAM;

/// A command with its operands and options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print a text: help, version, the manual page, completions.
    Print(String),
    /// Resolve inputs and write `versions.lock`.
    Lock(Lock),
    /// Report newer versions of locked inputs.
    Outdated(Outdated),
    /// Lock newer inputs, as the next version.
    Bump(Bump),
    /// Build archives and records.
    Build(Build),
    /// Run a runtime's check commands.
    Check(Check),
    /// Write `registry.json` from the records.
    Index(Index),
    /// Generate the records of an existing registry.
    Adopt(Adopt),
    /// Write the site from the records.
    Site(Site),
    /// Serve a directory on loopback.
    Serve {
        /// The directory.
        root: PathBuf,
        /// Port to listen on; 0 for any free port.
        port: u16,
    },
    /// Sign a registry.
    Sign(Sign),
    /// Generate a key pair.
    Keygen(Keygen),
    /// Plan the release of a tag.
    Plan(Plan),
    /// Publish the builds of a tag.
    Release(Release),
    /// Record published releases.
    Reconcile(Reconcile),
    /// Rebuild a published version, and compare.
    Verify(Verify),
    /// Add the `.tar.zst` of published versions.
    Zstd(AddZstd),
    /// Compare the packages of two versions.
    Diff(Diff),
    /// Convert a version to an image.
    Oci(Oci),
    /// Write a new manifest.
    New(New),
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Error::Usage`], with the most similar command or option.
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
