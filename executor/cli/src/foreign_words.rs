//! Options and commands of other tools that are accepted or explained.

use crate::Program;
use crate::option::Row;
use std::ffi::OsStr;

/// Options or commands of other tools.
pub struct ForeignWords {
    /// Options with their dashes, or commands of one or two words.
    pub words: &'static [&'static str],
    /// The commands of options; empty for commands.
    pub commands: &'static [&'static str],
    /// How they are handled.
    pub meaning: Meaning,
}

/// How an option or command of another tool is handled.
pub enum Meaning {
    /// An alias of this option.
    Same(&'static Row),
    /// An alias of this option if the function accepts the next word; otherwise as in the table.
    SameBefore(&'static Row, fn(&OsStr) -> bool),
    /// Ignored: it requests the default behaviour.
    Implied,
    /// A usage error with this hint: a clause, without a full stop.
    Advice(&'static str),
}

impl ForeignWords {
    /// Options of these commands.
    pub const fn option(
        commands: &'static [&'static str],
        words: &'static [&'static str],
        meaning: Meaning,
    ) -> Self {
        Self { words, commands, meaning }
    }

    /// Commands that do not exist, and what to do instead.
    pub const fn command(words: &'static [&'static str], advice: &'static str) -> Self {
        Self { words, commands: &[], meaning: Meaning::Advice(advice) }
    }
}

/// The meaning of the option `word` of `command`.
pub(crate) fn of_option<C>(
    program: &Program<C>,
    command: &str,
    word: &str,
) -> Option<&'static Meaning> {
    let mut known = program.foreign_words.iter();
    known
        .find(|words| words.words.contains(&word) && words.commands.contains(&command))
        .map(|words| &words.meaning)
}

/// The hint for an unknown command, by all of its words or else by the first.
pub(crate) fn of_command<C>(program: &Program<C>, typed: &str) -> Option<&'static str> {
    let find = |word: &str| {
        let mut known = program.foreign_words.iter().filter(|words| words.commands.is_empty());
        known.find(|words| words.words.contains(&word))
    };
    let first = typed.split(' ').next().unwrap_or_default();
    match find(typed).or_else(|| find(first))?.meaning {
        Meaning::Advice(advice) => Some(advice),
        _ => None,
    }
}
