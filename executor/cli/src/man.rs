//! The manual page, from the same table as `--help`.

use crate::help::sentence;
use crate::option::{HELP, Row, VERSION};
use crate::{Example, Program};
use std::fmt::Write;

/// The manual page, in man(7) format.
pub(crate) fn page<C>(program: &Program<C>) -> String {
    let Program { name, version, help, .. } = program;
    let mut page = format!(
        ".TH {} 1 \"\" \"{name} {version}\"\n.SH NAME\n{name} \\- {}\n.SH SYNOPSIS\n",
        escaped(&name.to_uppercase()),
        escaped(help)
    );
    for command in program.commands {
        // Writing to a String cannot fail.
        _ = writeln!(page, ".B {} {}", escaped(name), command.name);
        lines(&mut page, command.operands.usage);
        page.push_str(".br\n");
    }
    page.push_str(".SH DESCRIPTION\n");
    lines(&mut page, program.about);
    page.push_str(".SH COMMANDS\n");
    for command in program.commands {
        _ = writeln!(page, ".SS {} {}", command.name, escaped(command.operands.usage));
        lines(&mut page, &format!("{}. {}", sentence(command.help), command.about));
        if !command.also.is_empty() {
            lines(&mut page, &format!("Also: {}.", command.also.join(", ")));
        }
        options(&mut page, command.options.iter().copied());
        examples(&mut page, command.examples);
    }
    page.push_str(".SH OPTIONS\nEvery command takes these.\n");
    options(&mut page, program.options.iter().copied().chain([&HELP.row, &VERSION.row]));
    page.push_str(".SH EXAMPLES\n");
    examples(&mut page, program.examples);
    for (title, rows) in [("FILES", program.files), ("ENVIRONMENT", program.environment)] {
        _ = writeln!(page, ".SH {title}");
        for (name, meaning) in rows {
            _ = writeln!(page, ".TP\n.B {}\n{}", escaped(name), escaped(meaning));
        }
    }
    page.push_str(".SH EXIT STATUS\n.TP\n.B 0\ndone\n");
    for class in program.classes {
        let (code, word) = (class.exit_code(), class.word());
        _ = writeln!(page, ".TP\n.B {code}\n{word}: {}", escaped(class.meaning()));
    }
    if !program.status.is_empty() {
        page.push_str(".PP\n");
        lines(&mut page, program.status);
    }
    page
}

fn options(page: &mut String, rows: impl Iterator<Item = &'static Row>) {
    for row in rows {
        let short = if row.short.is_empty() { "" } else { &format!("{}, ", row.short) };
        let names = escaped(&format!("{short}{}", row.synopsis()));
        let default = match row.default {
            "" => String::new(),
            default => format!(" (default: {default})"),
        };
        _ = writeln!(page, ".TP\n.B {names}");
        lines(page, &format!("{}{default}. {}", sentence(row.help), row.about));
    }
    page.push_str(".PP\n");
}

fn examples(page: &mut String, examples: &[Example]) {
    for (line, meaning) in examples {
        _ = writeln!(page, ".TP\n.B {}\n{}", escaped(line), escaped(meaning));
    }
}

/// A line of text, if there is any.
fn lines(page: &mut String, text: &str) {
    if !text.trim().is_empty() {
        _ = writeln!(page, "{}", escaped(text.trim()));
    }
}

/// Escapes a text for roff: minus signs, non-ASCII characters, and a leading `.` or `'`. Devices without an
/// ellipsis would leave it out, and they put nothing else in its place.
fn escaped(text: &str) -> String {
    let mut safe = String::from(if text.starts_with(['.', '\'']) { "\\&" } else { "" });
    for letter in text.chars() {
        match letter {
            '\\' => safe.push_str("\\e"),
            '-' => safe.push_str("\\-"),
            '…' => safe.push_str("..."),
            _ if letter.is_ascii() => safe.push(letter),
            _ => _ = write!(safe, "\\[u{:04X}]", u32::from(letter)),
        }
    }
    safe
}
