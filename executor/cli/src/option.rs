//! Options, and parsers of values that both programs use.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

/// The description of an option, for parser, help and completions.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// With its dashes: `--store`.
    pub long: &'static str,
    /// With its dash: `-q`, or empty.
    pub short: &'static str,
    /// Whether it takes a value.
    pub value: Value,
    /// Its default value, or empty.
    pub default: &'static str,
    /// Its description: one line, without a full stop.
    pub help: &'static str,
    /// More on it: whole sentences, or empty.
    pub about: &'static str,
}

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// No value: a switch.
    None,
    /// `=VALUE`, or the next word.
    Needed(&'static str, Complete),
    /// `=VALUE`, or nothing, which is an empty value.
    Optional(&'static str, Complete),
}

/// How shells complete a value or operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// Nothing.
    Nothing,
    /// Files and directories.
    Files,
    /// One of the words between `|`.
    Words(&'static str),
    /// `NAME` and `NAME@VERSION` from the first two columns, below a heading, that the program prints for
    /// these arguments.
    Runtimes(&'static str),
    /// The names in this directory.
    Directory(&'static str),
}

/// An option whose value is a `T`.
#[derive(Debug)]
pub struct Opt<T> {
    /// Its description.
    pub row: Row,
    /// Parses the value; the error is the rule that it breaks.
    pub read: fn(&OsStr) -> Result<T, String>,
}

impl Opt<()> {
    /// An option without a value.
    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        let row = Row { long, short: "", value: Value::None, default: "", help, about: "" };
        Self { row, read: |_| Ok(()) }
    }
}

impl<T> Opt<T> {
    /// An option with a value, whose name in help is `name`.
    pub const fn value(
        long: &'static str,
        name: &'static str,
        complete: Complete,
        read: fn(&OsStr) -> Result<T, String>,
        help: &'static str,
    ) -> Self {
        let value = Value::Needed(name, complete);
        Self { row: Row { long, short: "", value, default: "", help, about: "" }, read }
    }

    /// An option whose value is one of the `words` between `|`.
    pub const fn choice(
        long: &'static str,
        words: &'static str,
        read: fn(&OsStr) -> Result<T, String>,
        help: &'static str,
    ) -> Self {
        Self::value(long, words, Complete::Words(words), read, help)
    }

    /// Adds a short name.
    #[must_use]
    pub const fn short(mut self, short: &'static str) -> Self {
        self.row.short = short;
        self
    }

    /// Adds a default value.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.row.default = default;
        self
    }

    /// Adds more description.
    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.row.about = about;
        self
    }

    /// Makes its value optional.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        if let Value::Needed(name, complete) = self.row.value {
            self.row.value = Value::Optional(name, complete);
        }
        self
    }
}

impl Opt<PathBuf> {
    /// An option whose value is a path on this host, whose name in help is `name`.
    pub const fn path(long: &'static str, name: &'static str, help: &'static str) -> Self {
        Self::value(long, name, Complete::Files, path, help)
    }
}

/// `--help`, and `-h`, which prints less.
pub(crate) static HELP: Opt<()> =
    Opt::switch("--help", "print help; -h prints the short form").short("-h");
/// `--version`
pub(crate) static VERSION: Opt<()> = Opt::switch("--version", "print the version").short("-V");

/// Parses a string.
///
/// # Errors
/// If it is not UTF-8.
pub fn utf8(word: &OsStr) -> Result<String, String> {
    word.to_str().map(str::to_owned).ok_or_else(|| format!("{word:?} is not UTF-8"))
}

/// Parses a path.
///
/// # Errors
/// If it is empty.
pub fn path(word: &OsStr) -> Result<PathBuf, String> {
    if word.is_empty() {
        return Err("is empty".to_owned());
    }
    let home = word == "~" || word.as_encoded_bytes().starts_with(b"~/");
    if home {
        return Err(format!("{word:?}: shells do not expand ~ after =; write $HOME, or ./~"));
    }
    Ok(word.into())
}

/// Parses a whole number.
///
/// # Errors
/// If it is not one.
pub fn count(word: &OsStr) -> Result<usize, String> {
    let number = word.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{word:?} is not a number"))
}

/// Parses a number above zero, for the `NonZero` types.
///
/// # Errors
/// If it is not one.
pub fn positive<T: FromStr>(word: &OsStr) -> Result<T, String> {
    let number = word.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{word:?} is not a number above zero"))
}
