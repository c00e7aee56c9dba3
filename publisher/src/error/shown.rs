//! Escaping and redaction for display: no invisible characters, terminal controls or secrets.

pub use joblet_format::text::{is_hidden, shown as address, shown_in as addresses};
use joblet_format::text::{shortened, visible, without_error_numbers};
use std::fmt::Write as _;
use url::Url;

/// Longest line of a message, and longest quotation in one, in characters.
const MAX_LINE: usize = 1000;
const MAX_QUOTED: usize = 120;

/// Words in the name of a query parameter that indicate a secret value.
const SECRETS: [&str; 13] = [
    "apikey", "auth", "authorization", "credential", "credentials", "key", "passwd", "password",
    "pwd", "secret", "sig", "signature", "token",
];

/// Whether `char` changes the direction of text or has no width, and so can make a text look like another.
fn reorders(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Prepares a message of one or more lines for printing: escaped, shortened, with secrets in addresses
/// redacted.
pub fn message(text: &str) -> String {
    let line = |line: &str| {
        let line = without_error_numbers(line);
        // Tabs in the output of tools count as white space.
        let line = visible(&addresses(&line.replace('\t', " ")));
        shortened(&line, MAX_LINE)
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The beginning of a line of a file, quoted.
pub fn quoted(line: &str) -> String {
    format!("{:?}", shortened(line, MAX_QUOTED))
}

/// The kind of secret in `address`, if any: published files must not contain one.
pub fn secret(address: &str) -> Option<&'static str> {
    let url = Url::parse(address).ok()?;
    if !url.username().is_empty() || url.password().is_some() {
        return Some("a user name or password");
    }
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.split(['-', '_', '.']).any(|word| SECRETS.contains(&word))
    };
    let signed = url.query_pairs().any(|(name, _)| is_secret(&name));
    signed.then_some("a signature or token in its query")
}

/// Line (from 1) and code point of the first character of `text` for which [`reorders`] is true.
pub(crate) fn first_reordering(text: &str) -> Option<(usize, String)> {
    let (at, char) = text.char_indices().find(|(_, char)| reorders(*char))?;
    let mut code = String::new();
    _ = write!(code, "U+{:04X}", u32::from(char)); // writing to a String cannot fail
    Some((text[..at].matches('\n').count() + 1, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-E14
    #[test]
    fn secrets_in_addresses_are_known() {
        for (address, want) in [
            ("https://u@h/a.tar.gz", true),
            ("https://:p@h/a.tar.gz", true),
            ("https://h/a.tar.gz?sv=1&sig=x", true),
            ("https://h/a.tar.gz?X-Amz-Signature=x", true),
            ("https://h/a.tar.gz?private_token=x", true),
            ("https://h/a.tar.gz?sha=abc&raw=true", false),
            ("https://h/a@1.0.0/a.tar.gz", false),
            ("a.tar.gz", false),
        ] {
            assert_eq!(secret(address).is_some(), want, "{address}");
        }
    }

    #[test]
    fn numbers_of_errors_are_not_shown() {
        for (text, want) in [
            ("a: No such file or directory (os error 2)", "a: No such file or directory"),
            ("x (os error 13); y (os error 2)\nz", "x; y\nz"),
            ("x (os error )", "x (os error )"),
            ("x (os error 1", "x (os error 1"),
        ] {
            assert_eq!(message(text), want);
        }
    }

    /// SEC-E16, SEC-E12
    #[test]
    fn messages_are_escaped_and_limited() {
        for code in [0x61c, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x202a, 0x202e, 0x2066, 0x2069]
        {
            let char = char::from_u32(code).unwrap();
            assert_eq!(visible(&format!("a{char}b")), format!("a\\u{{{code:x}}}b"));
            assert_eq!(first_reordering(&format!("a\n{char}")), Some((2, format!("U+{code:04X}"))));
        }
        assert_eq!(message("a\x1b[31m\tb\r\nc"), "a\\u{1b}[31m b\\r\nc");
        assert_eq!(message(&"x".repeat(5000)).chars().count(), MAX_LINE + 1);
        assert_eq!(quoted(&"x".repeat(5000)).chars().count(), MAX_QUOTED + 3);
    }
}
