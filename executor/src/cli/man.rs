//! The manual page, from the tables that `--help` prints.

use super::table::{COMMANDS, GLOBAL, Opt};
use crate::env;
use crate::error::Class;
use std::fmt::Write;

/// What `joblet-exec man` prints: man(7).
pub fn page() -> String {
    let version = concat!("joblet-exec ", env!("CARGO_PKG_VERSION"));
    let mut page = format!(
        ".TH JOBLET-EXEC 1 \"\" \"{version}\"\n.SH NAME\njoblet-exec \\- install Joblet runtimes and \
         run jobs in them\n.SH SYNOPSIS\n"
    );
    for command in COMMANDS {
        // Writing to a String does not fail.
        _ = writeln!(page, ".B joblet-exec {}", command.name);
        if !command.usage.is_empty() {
            _ = writeln!(page, "{}", escaped(command.usage));
        }
        page.push_str(".br\n");
    }
    page.push_str(".SH COMMANDS\n");
    for command in COMMANDS {
        _ = writeln!(page, ".SS {} {}", command.name, escaped(command.usage));
        _ = writeln!(page, "{}.", escaped(&crate::cli::table::sentence(command.help)));
        if !command.also.is_empty() {
            _ = writeln!(page, "Also: {}.", command.also);
        }
        options(&mut page, command.options);
    }
    page.push_str(".SH OPTIONS OF EVERY COMMAND\n");
    options(&mut page, GLOBAL);
    page.push_str(".SH ENVIRONMENT\n");
    for (name, meaning) in env::VARIABLES {
        _ = writeln!(page, ".TP\n.B {name}\n{}", escaped(meaning));
    }
    page.push_str(".SH EXIT STATUS\n.TP\n.B 0\ndone\n");
    for (_, word, plain, _, meaning) in Class::TABLE {
        _ = writeln!(page, ".TP\n.B {plain}\n{word}: {}", escaped(meaning));
    }
    page.push_str(
        ".PP\nA job's own status is passed on: 128+n if signal n killed it, 124 after its timeout, \
         125 if joblet-exec failed.\n",
    );
    page
}

fn options(page: &mut String, options: &[Opt]) {
    for option in options {
        let short = if option.short.is_empty() {
            String::new()
        } else {
            format!("{}, ", escaped(option.short))
        };
        let (long, value) = (escaped(option.long), escaped(option.value));
        let gap = if option.needs_value() { " " } else { "" };
        _ = writeln!(page, ".TP\n.B {short}{long}{gap}{value}\n{}", escaped(option.help));
    }
}

/// A minus is a minus, other letters than ASCII are named, and no line begins with a request.
fn escaped(text: &str) -> String {
    let mut safe = String::from(if text.starts_with(['.', '\'']) { "\\&" } else { "" });
    for letter in text.chars() {
        match letter {
            '\\' => safe.push_str("\\e"),
            '-' => safe.push_str("\\-"),
            _ if letter.is_ascii() => safe.push(letter),
            _ => _ = write!(safe, "\\[u{:04X}]", u32::from(letter)),
        }
    }
    safe
}
