//! Command-line parser, driven by a table.
//!
//! In: a [`Program`], which lists commands and options, and argv. Out: a [`Call`] with typed values, or the
//! text of a help page, the manual page or shell completions, all from the same table.
//!
//! The compiler checks that the table is complete: a row is a struct whose fields all have to be given, a
//! command has the function that reads it, an option the function that parses its value, and a row that no
//! list contains is dead code. [`Program::faults`] checks the rest, in a test.
//!
//! There is no I/O here, and no environment is read.
#![forbid(unsafe_code)]

mod call;
mod check;
mod class;
mod completions;
mod foreign_words;
mod help;
mod man;
mod option;
mod words;

pub use call::{Call, Usage};
pub use class::Class;
pub use foreign_words::{ForeignWords, Meaning};
pub use option::{Complete, Opt, Row, Value, count, path, positive, utf8};

use std::ffi::OsString;

/// A program; its commands are parsed into a `C`.
pub struct Program<C: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it does: one line, without a full stop.
    pub help: &'static str,
    /// More on it: whole sentences.
    pub about: &'static str,
    /// Options that every command takes, beside `--help` and `--version`.
    pub options: &'static [&'static Row],
    /// Its commands, in the order of `--help`.
    pub commands: &'static [&'static Command<C>],
    /// Options and commands of other tools that are accepted or explained.
    pub foreign_words: &'static [ForeignWords],
    /// Its main uses.
    pub examples: &'static [Example],
    /// Default paths of files that it reads or writes, with descriptions.
    pub files: &'static [(&'static str, &'static str)],
    /// Environment variables that it reads, with descriptions.
    pub environment: &'static [(&'static str, &'static str)],
    /// The classes of its failures.
    pub classes: &'static [Class],
    /// More on exit statuses: whole sentences, or empty.
    pub status: &'static str,
}

/// A complete command line, and what it does.
pub type Example = (&'static str, &'static str);

/// A command.
pub struct Command<C: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Aliases: words or pairs of words.
    pub also: &'static [&'static str],
    /// Its operands.
    pub operands: Operands,
    /// What it does: one line, without a full stop.
    pub help: &'static str,
    /// More on it: whole sentences.
    pub about: &'static str,
    /// Its own options.
    pub options: &'static [&'static Row],
    /// How it is used.
    pub examples: &'static [Example],
    /// Meaning of exit statuses below 125.
    pub status: Status,
    /// How it is executed.
    pub action: Action<C>,
}

/// The operands of a command.
pub struct Operands {
    /// As help shows it: `SPEC…`.
    pub usage: &'static str,
    /// How shells complete an operand.
    pub complete: Complete,
    /// Whether options end at the first operand; further operands are files, for completion.
    pub end_options: bool,
    /// Options that replace the first operand, as a pattern of shells.
    pub instead: &'static str,
}

impl Operands {
    /// The command takes none.
    pub const NONE: Self = Self::new("", Complete::Nothing);

    /// Operands that may be mixed with options.
    pub const fn new(usage: &'static str, complete: Complete) -> Self {
        Self { usage, complete, end_options: false, instead: "" }
    }
}

/// Meaning of exit statuses below 125.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The program's: the [`Class`] of its failure.
    OfProgram,
    /// The job's, which the command runs; the program's own failures are 125 and above.
    OfJob,
}

/// How a command is executed.
pub enum Action<C: 'static> {
    /// By the program, with the `C` that this function builds.
    Call(fn(&mut Call) -> Result<C, Usage>),
    /// Prints the help of the program, or of the command that is named.
    Help,
    /// Prints the version.
    Version,
    /// Prints the manual page.
    Man,
    /// Prints a shell's completions.
    Completions,
}

/// The result of parsing.
pub enum Parsed<C: 'static> {
    /// Print this text.
    Text(String),
    /// Execute the `C` that the function builds from the call.
    Call(fn(&mut Call) -> Result<C, Usage>, Call),
}

impl<C> Program<C> {
    /// Parses the arguments after the program's name.
    ///
    /// The caller reads the options of every command, calls the function, and then [`Call::finish`].
    ///
    /// # Errors
    /// The wrong word, with a similar valid one if there is one.
    pub fn parse(&'static self, args: Vec<OsString>) -> Result<Parsed<C>, Usage> {
        let words::Words { command, mut call } = words::sort(self, args)?;
        if let Some(length) = call.help() {
            return Ok(Parsed::Text(match command {
                Some(command) => help::command(self, command, length),
                None => help::program(self, length),
            }));
        }
        let version = |call: &Call| {
            if call.options.iter().any(|(row, ..)| row.long == "--json") {
                format!("{{\"version\":\"{}\"}}\n", self.version)
            } else {
                format!("{} {}\n", self.name, self.version)
            }
        };
        if call.switch(&option::VERSION) {
            return Ok(Parsed::Text(version(&call)));
        }
        let text = match command.map(|command| &command.action) {
            None => {
                return Err(Usage(format!(
                    "no command given; {} --help lists the commands",
                    self.name
                )));
            }
            Some(Action::Call(read)) => return Ok(Parsed::Call(*read, call)),
            Some(Action::Help) => match call.operands().as_slice() {
                [] => help::program(self, help::Length::Long),
                words => help::command(self, words::command(self, words)?, help::Length::Long),
            },
            Some(Action::Version) => version(&call),
            Some(Action::Man) => man::page(self),
            Some(Action::Completions) => match call.operands().as_slice() {
                [shell] => completions::script(self, shell),
                _ => None,
            }
            .ok_or_else(|| Usage("completions takes one of bash, zsh and fish".to_owned()))?,
        };
        if let Some(extra) = call.operands().first() {
            return Err(Usage(format!("unexpected argument {extra:?}")));
        }
        Ok(Parsed::Text(text))
    }

    /// Whether exit statuses below 125 of this command line are a job's.
    pub fn runs_job(&'static self, args: &[OsString]) -> bool {
        // In a command line that does not parse, the command is the first words that are not options.
        let recognise = |_| {
            let mut words = args.iter().filter(|word| !words::is_option(word)).cloned();
            let first = words.next()?;
            let more = words.take(words::length(self, &first) - 1);
            words::command(self, &[first].into_iter().chain(more).collect::<Vec<_>>()).ok()
        };
        let command = words::sort(self, args.to_vec()).map_or_else(recognise, |it| it.command);
        command.is_some_and(|command| command.status == Status::OfJob)
    }
}

/// Commands that every program has.
impl<C> Command<C> {
    /// `completions SHELL`
    pub const COMPLETIONS: Self = Self {
        name: "completions",
        also: &[],
        operands: Operands::new("bash|zsh|fish", Complete::Words("bash|zsh|fish")),
        help: "print the completion script for a shell",
        about: "For bash and fish, source it in a start-up file; for zsh, write it to a file in a directory of \
        fpath.",
        options: &[],
        examples: &[],
        status: Status::OfProgram,
        action: Action::Completions,
    };
    /// `man`
    pub const MAN: Self = Self {
        name: "man",
        also: &[],
        operands: Operands::NONE,
        help: "print the manual page",
        about: "In the format of man(7): pipe it into man -l -, or write it to a file in share/man/man1.",
        options: &[],
        examples: &[],
        status: Status::OfProgram,
        action: Action::Man,
    };
    /// `help [COMMAND]`
    pub const HELP: Self = Self {
        name: "help",
        also: &[],
        operands: Operands::new("[COMMAND]", Complete::Nothing),
        help: "print the help of the program or of a command, as --help does",
        about: "",
        options: &[],
        examples: &[],
        status: Status::OfProgram,
        action: Action::Help,
    };
    /// `version`
    pub const VERSION: Self = Self {
        name: "version",
        also: &[],
        operands: Operands::NONE,
        help: "print the version",
        about: "",
        options: &[],
        examples: &[],
        status: Status::OfProgram,
        action: Action::Version,
    };
}
