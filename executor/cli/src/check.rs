//! Consistency checks of a table that the compiler cannot make, for a test.

use crate::help::WIDTH;
use crate::option::{HELP, Row, VERSION};
use crate::{Command, Example, ForeignWords, Meaning, Parsed, Program};
use std::collections::BTreeSet;
use std::ffi::OsString;

impl<C> Program<C> {
    /// The faults of the table, for a test: duplicate names, texts in the wrong form for help and manual
    /// page, examples that do not parse.
    pub fn faults(&'static self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names = BTreeSet::new();
        self.examples(self.name, self.examples, &mut faults);
        for command in self.commands {
            for name in [command.name].iter().chain(command.also) {
                if !names.insert(*name) {
                    faults.push(format!("{name} names two commands"));
                }
            }
            line(command.name, command.help, &mut faults);
            self.examples(command.name, command.examples, &mut faults);
            self.options(command, &mut faults);
        }
        self.foreign_words(&names, &mut faults);
        faults
    }

    /// Finds words of other tools that can never match: hidden by the table, or of an unknown command.
    fn foreign_words(&'static self, names: &BTreeSet<&str>, faults: &mut Vec<String>) {
        let all =
            self.foreign_words.iter().flat_map(|all| all.words.iter().map(move |word| (word, all)));
        for (word, ForeignWords { commands, meaning, .. }) in all {
            let hidden = |command: &&&Command<C>| {
                let mut rows = command.options.iter().chain(self.options);
                commands.contains(&command.name)
                    && !matches!(meaning, Meaning::SameBefore(..))
                    && rows.any(|row| row.long == *word || row.short == *word)
            };
            let is_command = commands.is_empty() && names.contains(word);
            if is_command || self.commands.iter().find(hidden).is_some() {
                faults.push(format!("{word} is a word of other tools and of the table"));
            }
            if let Some(command) = commands.iter().find(|command| !names.contains(*command)) {
                faults.push(format!(
                    "{word} is a word of other tools in {command}, which is not a command"
                ));
            }
        }
    }

    fn options(&'static self, command: &Command<C>, faults: &mut Vec<String>) {
        let mut names = BTreeSet::new();
        let all: Vec<&Row> = command.options.iter().chain(self.options).copied().collect();
        for row in all.into_iter().chain([&HELP.row, &VERSION.row]) {
            for name in [row.long, row.short].into_iter().filter(|name| !name.is_empty()) {
                if !names.insert(name) {
                    faults.push(format!("{}: {name} is defined twice", command.name));
                }
            }
            line(row.long, row.help, faults);
        }
    }

    fn examples(&'static self, whose: &str, examples: &[Example], faults: &mut Vec<String>) {
        for (line, _) in examples {
            // The rest of the line is shell syntax.
            let words = line.split(['|', '>', ')']).next().unwrap_or_default().split_whitespace();
            let mut words = words.skip_while(|word| word.trim_start_matches("<(") != self.name);
            if words.next().is_none() {
                faults.push(format!("{whose}: {line} does not call {}", self.name));
            }
            if line.len() + 2 > WIDTH {
                faults.push(format!("{whose}: {line} is too long for a line of help"));
            }
            let words = words.map(|word| OsString::from(word.trim_matches('\''))).collect();
            // The caller takes the global options, so `finish` is not called here.
            let read = |parsed| match parsed {
                Parsed::Text(_) => Ok(()),
                Parsed::Call(read, mut call) => read(&mut call).map(drop),
            };
            if let Err(error) = self.parse(words).and_then(read) {
                faults.push(format!("{whose}: {line}: {error}"));
            }
        }
    }
}

/// Checks that a line of help begins in lower case, has no full stop and is short.
fn line(whose: &str, text: &str, faults: &mut Vec<String>) {
    if text.is_empty() || text.ends_with('.') || text.len() > 100 || text.contains('\n') {
        faults.push(format!("{whose}: {text:?} is not one line without a full stop"));
    }
}
