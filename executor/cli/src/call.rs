//! The values of a call, on their way into what a command needs.

use crate::help::Length;
use crate::option::{HELP, Opt, Row};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

/// What is wrong with a command line, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Options and operands of a command line. They are taken out one by one; what is left at the end is wrong.
#[derive(Debug, Default)]
pub struct Call {
    /// The command as its table calls it.
    pub(crate) command: &'static str,
    /// Each with the name by which it was called.
    pub(crate) options: Vec<(&'static Row, OsString, OsString)>,
    pub(crate) operands: Vec<OsString>,
    /// Options that the command has and that nothing has asked for yet.
    pub(crate) unread: Vec<&'static str>,
}

impl Call {
    /// What the command is called, for messages.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// The first value of an option and how it was called.
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
    /// What is wrong with it.
    pub fn value<T>(&mut self, option: &Opt<T>) -> Result<Option<T>, Usage> {
        let default = option.row.default;
        let given = self.take(&option.row).map(|(_, value)| value);
        let value = given.or_else(|| (!default.is_empty()).then(|| default.into()));
        value.map(|value| read(option, &value)).transpose()
    }

    /// The value of an option that must be given, or has a default.
    ///
    /// # Errors
    /// What is wrong with it, or that it was not given.
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
    /// What is wrong with the first that is wrong.
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

    /// All operands, as what their texts are.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&mut self) -> Result<Vec<T>, Usage> {
        let operands = self.operands();
        operands.iter().map(|word| parsed(&word.to_string_lossy())).collect()
    }

    /// Refuses what was given and not taken.
    ///
    /// # Errors
    /// The operand that the command does not take, or the option that was given twice.
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

    /// Whether help was asked for, and how much.
    pub(crate) fn help(&mut self) -> Option<Length> {
        let (name, _) = self.take(&HELP.row)?;
        Some(if name == HELP.row.short { Length::Short } else { Length::Long })
    }
}

fn read<T>(option: &Opt<T>, value: &OsStr) -> Result<T, Usage> {
    (option.read)(value).map_err(|reason| Usage(format!("{}: {reason}", option.row.long)))
}

/// A text as what it is.
fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, Usage> {
    text.parse().map_err(|error: T::Err| Usage(error.to_string()))
}
