//! A command line as a table.
//!
//! In: a [`Program`], which lists commands and options, and argv. Out: a [`Call`], whose values are typed;
//! or the text of a help page, the manual page or a shell's completions, which follow from the same table.
//!
//! The compiler finds what was forgotten: a row is a struct whose fields all have to be given, a command
//! has the function that reads it, an option the function that reads its value, and a row that no list
//! names is dead code. What the compiler cannot see, [`Program::faults`] tells a test.
//!
//! There is no I/O here, and no environment is read.
#![forbid(unsafe_code)]

mod call;
mod check;
mod class;
mod completions;
mod habit;
mod help;
mod man;
mod option;
mod words;

pub use call::{Call, Usage};
pub use class::Class;
pub use habit::{Habit, Meaning};
pub use option::{Complete, Opt, Row, Value, count, file, positive, text};

use std::ffi::OsString;

/// A program: `C` is what its commands are parsed into.
pub struct Program<C: 'static> {
    /// What it is called.
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
    /// What users of other tools type instead.
    pub habits: &'static [Habit],
    /// Its main uses.
    pub examples: &'static [Example],
    /// Files that it reads or writes unless it is told otherwise, and what they are.
    pub files: &'static [(&'static str, &'static str)],
    /// Variables that it reads, and what they mean.
    pub environment: &'static [(&'static str, &'static str)],
    /// The classes of its failures.
    pub classes: &'static [Class],
    /// What else there is to say on exit statuses: whole sentences, or nothing.
    pub status: &'static str,
}

/// A command line that can be typed, and what it does.
pub type Example = (&'static str, &'static str);

/// A command.
pub struct Command<C: 'static> {
    /// The word that names it.
    pub name: &'static str,
    /// Other words, or pairs of words, that mean the same.
    pub also: &'static [&'static str],
    /// What follows the name.
    pub operands: Operands,
    /// What it does: one line, without a full stop.
    pub help: &'static str,
    /// More on it: whole sentences.
    pub about: &'static str,
    /// Its own options.
    pub options: &'static [&'static Row],
    /// How it is used.
    pub examples: &'static [Example],
    /// What a low exit status means.
    pub status: Status,
    /// What is done.
    pub action: Action<C>,
}

/// What follows the name of a command.
pub struct Operands {
    /// As help shows it: `SPEC…`.
    pub usage: &'static str,
    /// What an operand can be.
    pub complete: Complete,
    /// Whether options end at the first operand, and all that follows is operands.
    pub end_options: bool,
}

impl Operands {
    /// The command takes none.
    pub const NONE: Self = Self::new("", Complete::Nothing);

    /// Operands between which options may stand.
    pub const fn new(usage: &'static str, complete: Complete) -> Self {
        Self { usage, complete, end_options: false }
    }
}

/// What a low exit status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The [`Class`] of the program's failure.
    OfProgram,
    /// That of the job which the command has run; the program's own failures are 125 and above.
    OfJob,
}

/// What a command does.
pub enum Action<C: 'static> {
    /// What the program makes of its values.
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

/// What was asked for.
pub enum Parsed<C: 'static> {
    /// Print this.
    Text(String),
    /// Do this; the function makes it of the values.
    Call(fn(&mut Call) -> Result<C, Usage>, Call),
}

impl<C> Program<C> {
    /// Parses the arguments after the program's name.
    ///
    /// The caller reads the options of every command, calls the function, and then [`Call::finish`].
    ///
    /// # Errors
    /// The word that is wrong, with the nearest right one where one is near.
    pub fn parse(&'static self, args: Vec<OsString>) -> Result<Parsed<C>, Usage> {
        let words::Words { command, mut call } = words::sort(self, args)?;
        if let Some(length) = call.help() {
            return Ok(Parsed::Text(match command {
                Some(command) => help::command(self, command, length),
                None => help::program(self, length),
            }));
        }
        let version = || format!("{} {}\n", self.name, self.version);
        if call.switch(&option::VERSION) {
            return Ok(Parsed::Text(version()));
        }
        let text = match command.map(|command| &command.action) {
            None => {
                return Err(Usage(format!("no command given; {} --help lists them", self.name)));
            }
            Some(Action::Call(read)) => return Ok(Parsed::Call(*read, call)),
            Some(Action::Help) => match call.operands().as_slice() {
                [] => help::program(self, help::Length::Long),
                words => help::command(self, words::command(self, words)?, help::Length::Long),
            },
            Some(Action::Version) => version(),
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

    /// Whether the command line is one whose low exit statuses are those of a job.
    pub fn runs_job(&'static self, args: &[OsString]) -> bool {
        // Of a broken line the command is recognised by the first words that are not options.
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
        help: "print a script with which a shell completes command lines",
        about: "Bash and fish read it with source, in a start-up file; for zsh, write it to a file in a \
                directory of fpath.",
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
        about: "Its format is man(7): pipe it into man -l -, or write it to a file in share/man/man1.",
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
