//! The words behind a command, on their way into what the command needs.

use super::rest;
use crate::cli::table::Verb;
use crate::error::Error;
use joblet_format::{Arch, RuntimeName};
use pico_args::Arguments;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options are taken out of it one by one; what is left in the end are the positionals.
pub(super) struct Values {
    pub(super) verb: &'static Verb,
    pub(super) args: Arguments,
}

impl Values {
    /// Where runtimes lie.
    pub(super) fn sources(&mut self) -> Result<PathBuf, Error> {
        self.path("--sources", "runtimes-src")
    }

    /// Refuses what no option has taken.
    pub(super) fn nothing_more(self) -> Result<(), Error> {
        match self.positionals()?.first() {
            Some(extra) => Err(Error::Usage(format!("unexpected argument `{extra}`"))),
            None => Ok(()),
        }
    }

    pub(super) fn names(self) -> Result<Vec<RuntimeName>, Error> {
        self.positionals()?
            .iter()
            .map(|name| name.parse().map_err(|error| Error::Usage(format!("{error}"))))
            .collect()
    }

    /// The operands: words that are not options. All options must have been taken before.
    pub(super) fn positionals(self) -> Result<Vec<String>, Error> {
        let verb = self.verb;
        let words = rest(self.args)?;
        match words.iter().find(|word| word.starts_with('-')) {
            Some(option) => Err(verb.unknown(option)),
            None => Ok(words),
        }
    }

    pub(super) fn value(&mut self, option: &'static str) -> Result<Option<OsString>, Error> {
        if !self.verb.options.iter().any(|known| known.0 == option) {
            return Ok(None);
        }
        self.args
            .opt_value_from_os_str(option, |value| Ok::<_, std::convert::Infallible>(value.into()))
            .map_err(super::usage)
    }

    pub(super) fn text(&mut self, option: &'static str) -> Result<Option<String>, Error> {
        let Some(value) = self.value(option)? else { return Ok(None) };
        let text = value.into_string();
        text.map(Some).map_err(|_| Error::Usage(format!("the value of {option} is not UTF-8")))
    }

    pub(super) fn path(&mut self, option: &'static str, default: &str) -> Result<PathBuf, Error> {
        Ok(self.value(option)?.map_or_else(|| default.into(), PathBuf::from))
    }

    pub(super) fn arches(&mut self) -> Result<Vec<Arch>, Error> {
        match self.text("--arch")?.as_deref() {
            None | Some("all") => Ok(Vec::new()),
            Some(arch) => arch.parse().map(|arch| vec![arch]).map_err(|_| {
                Error::Usage(format!("unknown architecture `{arch}`; use amd64, arm64 or all"))
            }),
        }
    }
}
