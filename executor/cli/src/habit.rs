//! What users of other tools type, and what it means here.

use crate::Program;
use crate::option::Row;
use std::ffi::OsStr;

/// A word of another tool's command line.
pub struct Habit {
    /// The word: an option with its dashes, a command, or a pair of words that names one.
    pub word: &'static str,
    /// The commands whose option it is; none if it is a command itself.
    pub commands: &'static [&'static str],
    /// What it means.
    pub meaning: Meaning,
}

/// What a word of another tool means here.
pub enum Meaning {
    /// The same as this option.
    Same(&'static Row),
    /// The same as this option where the next word is such a value; elsewhere what the table says.
    SameBefore(&'static Row, fn(&OsStr) -> bool),
    /// What is so anyway: the option changes nothing.
    Implied,
    /// Nothing; this is what to do instead: a clause, without a full stop.
    Advice(&'static str),
}

impl Habit {
    /// An option of these commands.
    pub const fn option(
        commands: &'static [&'static str],
        word: &'static str,
        meaning: Meaning,
    ) -> Self {
        Self { word, commands, meaning }
    }

    /// A command that does not exist, and what to do instead.
    pub const fn command(word: &'static str, advice: &'static str) -> Self {
        Self { word, commands: &[], meaning: Meaning::Advice(advice) }
    }
}

/// What the option `word` of `command` means to users of other tools.
pub(crate) fn of_option<C>(
    program: &Program<C>,
    command: &str,
    word: &str,
) -> Option<&'static Meaning> {
    let mut habits = program.habits.iter();
    habits
        .find(|habit| habit.word == word && habit.commands.contains(&command))
        .map(|habit| &habit.meaning)
}

/// What to do instead of the command that these words would be: all of them, or else the first.
pub(crate) fn of_command<C>(program: &Program<C>, typed: &str) -> Option<&'static str> {
    let find = |word: &str| {
        let mut habits = program.habits.iter().filter(|habit| habit.commands.is_empty());
        habits.find(|habit| habit.word == word)
    };
    let first = typed.split(' ').next().unwrap_or_default();
    match find(typed).or_else(|| find(first))?.meaning {
        Meaning::Advice(advice) => Some(advice),
        _ => None,
    }
}
