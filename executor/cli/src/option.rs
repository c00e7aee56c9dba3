//! Options, and the values that options of both programs take.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

/// An option as parsers, help pages and completions see it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// With its dashes: `--store`.
    pub long: &'static str,
    /// With its dash: `-q`, or empty.
    pub short: &'static str,
    /// What stands behind it.
    pub value: Value,
    /// The value if it is not given, or empty.
    pub default: &'static str,
    /// What it means: one line, without a full stop.
    pub help: &'static str,
    /// More on it: whole sentences, or nothing.
    pub about: &'static str,
}

/// What stands behind an option.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// Nothing: it is a switch.
    None,
    /// `=VALUE`, or the next word.
    Needed(&'static str, Complete),
    /// `=VALUE`, or nothing, which is an empty value.
    Optional(&'static str, Complete),
}

/// What shells complete in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// Nothing.
    Nothing,
    /// Files and directories.
    Files,
    /// One of the words between `|`.
    Words(&'static str),
    /// `NAME` and `NAME@VERSION` of what the program prints in two columns below a head if it is called with these
    /// words.
    Runtimes(&'static str),
    /// The names in this directory.
    Directory(&'static str),
}

/// An option whose value is a `T`.
#[derive(Debug)]
pub struct Opt<T> {
    /// How it is shown.
    pub row: Row,
    /// Reads the value, or says what is wrong with it.
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
    /// An option with a value, which help calls `name`.
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

    /// With a short name.
    #[must_use]
    pub const fn short(mut self, short: &'static str) -> Self {
        self.row.short = short;
        self
    }

    /// With a value where it is not given.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.row.default = default;
        self
    }

    /// With more on what it means.
    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.row.about = about;
        self
    }

    /// Its value may be left out.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        if let Value::Needed(name, complete) = self.row.value {
            self.row.value = Value::Optional(name, complete);
        }
        self
    }
}

impl Opt<PathBuf> {
    /// An option whose value is a path of this host, which help calls `name`.
    pub const fn path(long: &'static str, name: &'static str, help: &'static str) -> Self {
        Self::value(long, name, Complete::Files, file, help)
    }
}

/// `--help`; what its two names print differs.
pub(crate) static HELP: Opt<()> =
    Opt::switch("--help", "print help; -h prints the short form").short("-h");
/// `--version`
pub(crate) static VERSION: Opt<()> = Opt::switch("--version", "print the version").short("-V");

/// Any text.
///
/// # Errors
/// If it is not UTF-8.
pub fn text(word: &OsStr) -> Result<String, String> {
    word.to_str().map(str::to_owned).ok_or_else(|| format!("{word:?} is not UTF-8"))
}

/// A path.
///
/// # Errors
/// If it is empty.
pub fn file(word: &OsStr) -> Result<PathBuf, String> {
    if word.is_empty() { Err("is empty".to_owned()) } else { Ok(word.into()) }
}

/// A number: how many.
///
/// # Errors
/// If it is not one.
pub fn count(word: &OsStr) -> Result<usize, String> {
    let number = word.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{word:?} is not a number"))
}

/// A number above zero, for the types of `NonZero`.
///
/// # Errors
/// If it is not one.
pub fn positive<T: FromStr>(word: &OsStr) -> Result<T, String> {
    let number = word.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{word:?} is not a number above zero"))
}
