//! Output: data on stdout, everything else on stderr.

use super::args::{Color, Global};
use super::escape::shown_in;
use super::escape::visible;
use super::progress;
use crate::env::Environment;
use crate::error::{Error, STANDARD_OUTPUT};
use joblet_format::Spec;
use joblet_format::text::{ascii, visible_json, without_error_numbers};
use std::borrow::Cow;
use std::io::{self, Write};

/// Maximum length of a message, in characters: a server's text may be of any length.
const LONGEST: usize = 8192;

/// The output streams of the program, and the verbosity of messages.
pub struct Ui<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    verbosity: Verbosity,
}

/// Which messages are printed, and whether in colour.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verbosity {
    quiet: bool,
    verbose: bool,
    colored: bool,
    /// Whether the terminal is `dumb`, without control sequences.
    dumb: bool,
    /// Whether what people read must be ASCII.
    ascii: bool,
    /// Whether data goes to a program.
    exact: bool,
    /// Whether failures are JSON.
    json: bool,
}

impl<'a> Ui<'a> {
    /// For a command line that is not parsed yet: prints errors.
    pub fn new(out: &'a mut (dyn Write + Send), err: &'a mut (dyn Write + Send)) -> Self {
        Self { out, err, verbosity: Verbosity::default() }
    }

    /// Its verbosity.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// A `Ui` with the verbosity of another one.
    pub fn with(verbosity: Verbosity, out: &'a mut Vec<u8>, err: &'a mut Vec<u8>) -> Self {
        Self { out, err, verbosity }
    }

    /// Prints messages that another `Ui` has collected.
    pub(crate) fn pass(&mut self, messages: &[u8]) {
        // As in `line`.
        progress::above(|| _ = self.err.write_all(messages));
    }

    /// Applies `--quiet`, `--verbose` and `--color`.
    pub fn set(&mut self, global: &Global, env: &Environment) {
        self.verbosity.quiet = global.quiet;
        self.verbosity.verbose = global.verbose;
        self.verbosity.dumb = env.dumb;
        self.verbosity.ascii = env.ascii;
        self.verbosity.json = global.json;
        self.verbosity.exact = global.json || !env.terminals.output;
        self.verbosity.colored = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !env.no_color && !env.dumb && env.terminals.error,
        };
    }

    /// Whether progress is shown, on a terminal.
    pub fn progress(&self) -> bool {
        !self.verbosity.quiet && !self.verbosity.dumb
    }

    /// Writes data to stdout.
    ///
    /// # Errors
    /// If stdout cannot be written to. A closed pipe is not an error.
    pub fn data(&mut self, text: &str) -> Result<(), Error> {
        self.raw(self.readable(text, self.verbosity.exact).as_bytes())
    }

    /// `text` in letters of the caller's locale, unless it is to be `exact`.
    fn readable<'t>(&self, text: &'t str, exact: bool) -> Cow<'t, str> {
        if exact || !self.verbosity.ascii { Cow::Borrowed(text) } else { ascii(text) }
    }

    /// Writes bytes to stdout.
    ///
    /// # Errors
    /// As [`Ui::data`].
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::file("write", STANDARD_OUTPUT)(error))
            }
            _ => Ok(()),
        }
    }

    /// Prints a message, unless `--quiet` is given.
    pub fn note(&mut self, text: &str) {
        if !self.verbosity.quiet {
            self.line("", text);
        }
    }

    /// Prints a question, without a newline.
    pub fn ask(&mut self, text: &str) {
        let text = visible(text);
        let text = self.readable(&text, false);
        // As in `line`.
        progress::above(|| _ = write!(self.err, "{text}").and_then(|()| self.err.flush()));
    }

    /// Whether `--verbose` is given.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbosity.verbose
    }

    /// Prints a message with `--verbose`.
    pub fn detail(&mut self, text: &str) {
        if self.verbosity.verbose {
            self.line("", text);
        }
    }

    /// Prints a warning.
    pub fn warning(&mut self, text: &str) {
        if !self.verbosity.quiet {
            let word = self.painted("33", "warning");
            self.line(&format!("{word}: "), text);
        }
    }

    /// Warns that the version `exact` is yanked.
    pub(crate) fn warn_of_yanked(&mut self, exact: &Spec, reason: &str) {
        self.warning(&format!("{exact} is yanked: {reason}"));
    }

    /// The one line of a failure: `error[CLASS]: what, which object; what to do`, or with `--json` an object.
    pub fn error(&mut self, error: &Error) {
        if self.verbosity.json {
            let message = serde_json::to_string(&plain(&error.to_string()));
            let (word, message) = (error.class().word(), message.unwrap_or_default());
            let line = format!("{{\"error\":{{\"class\":\"{word}\",\"message\":{message}}}}}");
            let line = visible_json(&line);
            return progress::above(|| _ = writeln!(self.err, "{line}"));
        }
        let word = self.painted("31", &format!("error[{}]", error.class().word()));
        self.line(&format!("{word}: "), &error.to_string());
    }

    fn painted(&self, color: &str, word: &str) -> String {
        if self.verbosity.colored {
            format!("\x1b[1;{color}m{word}\x1b[0m")
        } else {
            word.to_owned()
        }
    }

    fn line(&mut self, start: &str, text: &str) {
        // An error of stderr cannot be reported.
        let shown = visible(&plain(text));
        let end = shown.char_indices().nth(LONGEST).map_or(shown.len(), |(end, _)| end);
        let more = if end < shown.len() { "…" } else { "" };
        let text = format!("{start}{}{more}", &shown[..end]);
        let text = self.readable(&text, false);
        progress::above(|| _ = writeln!(self.err, "{text}"));
    }
}

/// `text` without secrets, and without the numbers of errors.
fn plain(text: &str) -> String {
    shown_in(&without_error_numbers(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-E14
    #[test]
    fn messages_are_cut_and_have_no_secrets() {
        let mut err = Vec::new();
        let mut out = Vec::new();
        let mut ui = Ui::new(&mut out, &mut err);
        ui.note(&format!("https://u:s3cret@h/?s3cret (os error 2) {}", "é".repeat(9000)));
        let messages = String::from_utf8(err).unwrap();
        assert!(
            messages.starts_with("https://…@h/?… éé") && messages.ends_with("é…\n"),
            "{messages}"
        );
        assert_eq!(messages.chars().count(), LONGEST + 2);
    }

    #[test]
    fn a_locale_without_utf8_gets_ascii_and_programs_get_json() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut ui = Ui::new(&mut out, &mut err);
        ui.verbosity.ascii = true;
        ui.note("a… grün");
        ui.data("b… ←\n").unwrap();
        (ui.verbosity.json, ui.verbosity.exact) = (true, true);
        ui.error(&Error::NotFound("no \"grün\"\u{9b}".into()));
        ui.data("\"ü\"\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "b... ?\n\"ü\"\n");
        let want = r#"a... gr?n
{"error":{"class":"NOTFOUND","message":"no \"grün\"\u009b"}}
"#;
        assert_eq!(String::from_utf8(err).unwrap(), want);
    }

    #[test]
    fn errors_carry_their_class_and_quiet_keeps_them() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut ui = Ui::new(&mut out, &mut err);
        ui.verbosity.quiet = true;
        ui.note("n");
        ui.detail("d");
        ui.warning("w");
        ui.error(&Error::NotFound("no demo".into()));
        ui.data("x\n").unwrap();
        assert_eq!(err, b"error[NOTFOUND]: no demo\n");
        assert_eq!(out, b"x\n");
    }
}
