//! The texts of `-h` and `--help`.

use crate::option::{HELP, Row, VERSION, Value};
use crate::{Command, Example, Program};
use std::fmt::Write;

/// How much help is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// `-h`: a line for each row.
    Short,
    /// `--help`: paragraphs and examples, too.
    Long,
}

/// Longest line, in characters.
pub(crate) const WIDTH: usize = 80;
/// Column in which the description of an option begins.
const COLUMN: usize = 30;

/// The help of the program.
pub(crate) fn program<C>(program: &Program<C>, length: Length) -> String {
    let name = program.name;
    let help = wrapped(&format!("{}.", sentence(program.help)), 0);
    let mut text = format!("{help}\n\nUsage: {name} [OPTION…] COMMAND …\n");
    if length == Length::Long {
        paragraph(&mut text, program.about);
    }
    text.push_str("\nCommands:\n");
    for command in program.commands {
        // Writing to a String does not fail.
        _ = writeln!(text, "  {:<12} {}", command.name, wrapped(command.help, 15));
    }
    text.push_str("\nOptions of every command:\n");
    options(&mut text, program.options.iter().copied().chain([&HELP.row, &VERSION.row]), length);
    if length == Length::Long {
        examples(&mut text, program.examples);
        text.push_str("\nExit status:\n    0  done\n");
        for class in program.classes.iter().filter(|class| class.exit_code() < 125) {
            let word = class.word();
            let meaning = wrapped(class.meaning(), 17);
            _ = writeln!(text, "  {:>3}  {word:<9} {meaning}", class.exit_code());
        }
        paragraph(&mut text, program.status);
    }
    _ = writeln!(text, "\n{name} COMMAND -h lists a command's options, --help has details.");
    text
}

/// The help of a command.
pub(crate) fn command<C>(program: &Program<C>, command: &Command<C>, length: Length) -> String {
    let name = program.name;
    let usage = format!("{name} {} {}", command.name, command.operands.usage);
    let help = wrapped(&format!("{}.", sentence(command.help)), 0);
    let mut text = format!("{help}\n\nUsage: {}\n", wrapped(usage.trim_end(), 7));
    if length == Length::Long {
        if !command.also.is_empty() {
            _ = writeln!(text, "Also:  {}", wrapped(&command.also.join(", "), 7));
        }
        paragraph(&mut text, command.about);
    }
    if !command.options.is_empty() {
        text.push_str("\nOptions:\n");
        options(&mut text, command.options.iter().copied(), length);
    }
    if length == Length::Long {
        examples(&mut text, command.examples);
    }
    let more = match length {
        Length::Short => format!("{name} {} --help has details", command.name),
        Length::Long => format!("{name} -h lists the options of every command"),
    };
    _ = writeln!(text, "\n{more}.");
    text
}

fn options(text: &mut String, rows: impl Iterator<Item = &'static Row>, length: Length) {
    for row in rows {
        let short = if row.short.is_empty() { "    " } else { &format!("{}, ", row.short) };
        let names = format!("  {short}{}", row.synopsis());
        // A name that is too long is on a line of its own.
        let end = if names.len() < COLUMN - 1 { format!("{names:<COLUMN$}") } else { names + "\n" };
        text.push_str(&end);
        let begin = if end.ends_with('\n') { COLUMN } else { 0 };
        let default = match row.default {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        let help = format!("{}{default}", row.help);
        let first = format!("{:begin$}{}", "", wrapped(&help, COLUMN));
        _ = writeln!(text, "{first}");
        if length == Length::Long && !row.about.is_empty() {
            _ = writeln!(text, "{:COLUMN$}{}", "", wrapped(row.about, COLUMN));
        }
    }
}

fn examples(text: &mut String, examples: &[Example]) {
    if !examples.is_empty() {
        text.push_str("\nExamples:\n");
    }
    for (line, meaning) in examples {
        // Not wrapped: it is copied into a shell.
        _ = writeln!(text, "  {line}\n      {}", wrapped(meaning, 6));
    }
}

/// An empty line and `content`; nothing if that is empty.
fn paragraph(text: &mut String, content: &str) {
    if !content.is_empty() {
        _ = writeln!(text, "\n{}", wrapped(content, 0));
    }
}

/// `text` in lines that begin in the column `indent` and end before [`WIDTH`]; the first is not indented.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut lines, mut column) = (String::new(), indent);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            _ = write!(lines, "\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl Row {
    /// The name of its value; empty for a switch.
    pub(crate) fn value_name(&self) -> &'static str {
        match self.value {
            Value::None => "",
            Value::Needed(name, _) | Value::Optional(name, _) => name,
        }
    }

    /// Its long name and its value: `--store DIR`.
    pub(crate) fn synopsis(&self) -> String {
        match self.value {
            Value::None => self.long.to_owned(),
            Value::Needed(name, _) => format!("{} {name}", self.long),
            Value::Optional(name, _) => format!("{}[={name}]", self.long),
        }
    }
}
