//! The terminal that progress is drawn on.

use joblet_format::text::{LOCALE, ascii, has_utf8};
use std::borrow::Cow;
use std::io::{IsTerminal, stderr, stdout};

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Whether stderr is a terminal on which a line can be written over.
pub fn is_drawn_on() -> bool {
    stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether stdout is a terminal.
pub fn is_read() -> bool {
    stdout().is_terminal()
}

/// Its columns, as it is now.
pub fn columns() -> usize {
    match rustix::termios::tcgetwinsize(stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    }
}

/// `text` as a terminal shows it, the output `to`: in ASCII where the locale has no UTF-8. Programs get it as it is.
pub fn readable<'t>(text: &'t str, to: &impl IsTerminal) -> Cow<'t, str> {
    let locale = LOCALE.into_iter().filter_map(std::env::var_os).find(|name| !name.is_empty());
    let plain = locale.is_some_and(|name| !has_utf8(&name.to_string_lossy()));
    if plain && to.is_terminal() { ascii(text) } else { Cow::Borrowed(text) }
}

/// The beginning of a line that fits: one that does not would leave a line at each redraw.
pub fn fitting(line: &str, columns: usize) -> String {
    // In the last column some terminals begin a new line.
    let width = columns.saturating_sub(1);
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut text: String = line.chars().take(width.saturating_sub(1)).collect();
    text.extend((width > 0).then_some('…'));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_or_ends_where_the_terminal_does() {
        for (columns, want) in [
            (0, ""),
            (1, ""),
            (2, "…"),
            (5, "pac…"),
            (7, "packi…"),
            (8, "packing"),
            (80, "packing"),
        ] {
            assert_eq!(fitting("packing", columns), want, "{columns}");
        }
    }
}
