//! The command line: argv → [`Command`]. Reads no environment, file or clock.
//!
//! In: the arguments after the program's name. Out: a [`Command`], or [`Error::Usage`].

mod making;
mod published;
mod publishing;
mod releasing;
mod values;

pub use making::{Build, Check, Lock, Making, Selection};
pub use published::{Diff, Verify};
pub use publishing::{Index, Keygen, Sign, Site};
pub use releasing::{Plan, Reconcile, Release};

use crate::{
    cli::table::{Verb, overview, verb},
    error::Error,
};
use joblet_format::RuntimeName;
use pico_args::Arguments;
use std::{ffi::OsString, path::PathBuf};
use values::Values;

/// Where records lie unless an option says otherwise.
const RECORDS: &str = "registry-site/records";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print this text.
    Help(String),
    /// Print the version.
    Version,
    /// Resolve inputs and write `versions.lock`.
    Lock(Lock),
    /// Make archives and records.
    Build(Build),
    /// Run a runtime's check commands.
    Check(Check),
    /// Write `registry.json` from the records.
    Index(Index),
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
    /// Write a first manifest.
    New {
        /// The runtime.
        name: RuntimeName,
        /// Where runtimes lie.
        sources: PathBuf,
    },
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`Error::Usage`], with the nearest known command or option where one is near.
pub fn parse(args: Vec<OsString>) -> Result<Command, Error> {
    let mut args = Arguments::from_vec(args);
    let help = args.contains(["-h", "--help"]);
    if args.contains(["-V", "--version"]) {
        return Ok(Command::Version);
    }
    let word = args.subcommand().map_err(usage)?;
    let Some(verb) = word.as_deref().map(verb).transpose()?.flatten() else {
        if help || word.is_some() {
            return Ok(Command::Help(overview()));
        }
        let rest = rest(args)?;
        return Err(match rest.iter().find(|word| word.starts_with('-')) {
            Some(option) => Error::Usage(format!("unknown option `{option}`; see --help")),
            None => Error::Usage("no command given; see --help".into()),
        });
    };
    if help {
        return Ok(Command::Help(verb.help()));
    }
    let args = Arguments::from_vec(split_values(verb, args.finish()));
    Values { verb, args }.command()
}

/// Makes `--option=value` two words, for the options of `verb` that take a value.
fn split_values(verb: &Verb, words: Vec<OsString>) -> Vec<OsString> {
    let takes_value =
        |name: &str| verb.options.iter().any(|known| known.0 == name && !known.1.is_empty());
    let split = |word: OsString| match word.to_str().and_then(|word| word.split_once('=')) {
        Some((name, value)) if takes_value(name) => vec![name.into(), value.into()],
        _ => vec![word],
    };
    words.into_iter().flat_map(split).collect()
}

impl Values {
    fn command(mut self) -> Result<Command, Error> {
        let all = self.args.contains("--all");
        if all && !self.verb.options.iter().any(|known| known.0 == "--all") {
            return Err(self.verb.unknown("--all"));
        }
        Ok(match self.verb.name {
            "check" => Command::Check(self.check(all)?),
            "lock" => Command::Lock(self.lock(all)?),
            "build" => Command::Build(self.build(all)?),
            "index" => Command::Index(self.index()?),
            "site" => Command::Site(self.site()?),
            "serve" => self.serve()?,
            "sign" => Command::Sign(self.sign()?),
            "keygen" => Command::Keygen(self.keygen()?),
            "plan" => Command::Plan(self.plan()?),
            "release" => Command::Release(self.release()?),
            "reconcile" => Command::Reconcile(self.reconcile()?),
            "verify" => Command::Verify(self.verify()?),
            "diff" => Command::Diff(self.diff()?),
            _ => self.new_runtime()?,
        })
    }

    fn new_runtime(mut self) -> Result<Command, Error> {
        let sources = self.sources()?;
        match <[RuntimeName; 1]>::try_from(self.names()?) {
            Ok([name]) => Ok(Command::New { name, sources }),
            Err(_) => Err(Error::Usage("`new` needs one NAME".into())),
        }
    }
}

/// Whatever was not taken yet, as text.
fn rest(args: Arguments) -> Result<Vec<String>, Error> {
    let text = |word: OsString| {
        word.into_string()
            .map_err(|word| Error::Usage(format!("`{}` is not UTF-8", word.to_string_lossy())))
    };
    args.finish().into_iter().map(text).collect()
}

fn usage(error: pico_args::Error) -> Error {
    match error {
        pico_args::Error::OptionWithoutAValue(option) => {
            Error::Usage(format!("{option} needs a value"))
        }
        error => Error::Usage(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
