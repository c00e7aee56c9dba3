//! The options and operands of a parsed command line, as typed values.

use crate::help::Length;
use crate::option::{HELP, Opt, Row};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

/// A usage error: what is wrong with a command line, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The options and operands of a command line. A command takes its own; [`Call::finish`] refuses the rest.
#[derive(Debug, Default)]
pub struct Call {
    /// The command's name in the table.
    pub(crate) command: &'static str,
    /// Row, name as typed, and value of each option.
    pub(crate) options: Vec<(&'static Row, OsString, OsString)>,
    pub(crate) operands: Vec<OsString>,
    /// Options of the command that have not been read yet.
    pub(crate) unread: Vec<&'static str>,
}

impl Call {
    /// The command's name, for messages.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// Takes the first occurrence of an option: its name as typed and its value.
    fn take(&mut self, row: &Row) -> Option<(OsString, OsString)> {
        self.unread.retain(|long| *long != row.long);
        let at = self.options.iter().position(|(known, ..)| known.long == row.long)?;
        let (_, name, value) = self.options.remove(at);
        Some((name, value))
    }

    /// Whether a switch was given.
    pub fn switch(&mut self, option: &Opt<()>) -> bool {
        self.take(&option.row).is_some()
    }

    /// The value of an option, if it was given or has a default.
    ///
    /// # Errors
    /// The value does not parse.
    pub fn value<T>(&mut self, option: &Opt<T>) -> Result<Option<T>, Usage> {
        let default = option.row.default;
        let given = self.take(&option.row).map(|(_, value)| value);
        let value = given.or_else(|| (!default.is_empty()).then(|| default.into()));
        value.map(|value| read(option, &value)).transpose()
    }

    /// The value of an option that must be given, or has a default.
    ///
    /// # Errors
    /// The value does not parse, or is missing.
    pub fn needed<T>(&mut self, option: &Opt<T>) -> Result<T, Usage> {
        let command = self.command;
        let row = &option.row;
        self.value(option)?.ok_or_else(|| {
            let name = row.value_name();
            Usage(format!("{command} needs {}={name}: {}", row.long, row.help))
        })
    }

    /// Every value of an option that may be given more than once; its default if it was not given.
    ///
    /// # Errors
    /// The first value that does not parse.
    pub fn values<T>(&mut self, option: &Opt<T>) -> Result<Vec<T>, Usage> {
        let mut values = Vec::new();
        while let Some((_, value)) = self.take(&option.row) {
            values.push(read(option, &value)?);
        }
        if values.is_empty() {
            values.extend(self.value(option)?);
        }
        Ok(values)
    }

    /// All operands.
    pub fn operands(&mut self) -> Vec<OsString> {
        std::mem::take(&mut self.operands)
    }

    /// The first operand, or the next.
    pub fn operand(&mut self) -> Option<OsString> {
        (!self.operands.is_empty()).then(|| self.operands.remove(0))
    }

    /// All operands, parsed.
    ///
    /// # Errors
    /// The first operand that does not parse.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&mut self) -> Result<Vec<T>, Usage> {
        let operands = self.operands();
        operands.iter().map(|word| parsed(&word.to_string_lossy())).collect()
    }

    /// Refuses options and operands that were given and not taken.
    ///
    /// # Errors
    /// An unexpected operand, or an option that was given twice.
    pub fn finish(self) -> Result<(), Usage> {
        debug_assert!(self.unread.is_empty(), "{}: nothing reads {:?}", self.command, self.unread);
        if let Some(extra) = self.operands.first() {
            return Err(Usage(format!("unexpected argument {extra:?}")));
        }
        match self.options.first() {
            None => Ok(()),
            Some((row, ..)) => Err(Usage(format!("option {} is given twice", row.long))),
        }
    }

    /// Whether help was requested, and in which length.
    pub(crate) fn help(&mut self) -> Option<Length> {
        let (name, _) = self.take(&HELP.row)?;
        Some(if name == HELP.row.short { Length::Short } else { Length::Long })
    }
}

fn read<T>(option: &Opt<T>, value: &OsStr) -> Result<T, Usage> {
    (option.read)(value).map_err(|reason| Usage(format!("{}: {reason}", option.row.long)))
}

/// Parses an operand.
fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, Usage> {
    text.parse().map_err(|error: T::Err| Usage(error.to_string()))
}
