//! Texts from outside and addresses, made fit to be shown: nothing in them hides, steers a terminal or
//! gives a secret away.

use std::{borrow::Cow, fmt::Write as _};
use url::Url;

/// Longest line of a message, and longest quotation in one, in characters.
const MAX_LINE: usize = 1000;
const MAX_QUOTED: usize = 120;

/// Stands in the place of a query.
const CUT: &str = "?…";

/// Parts of a query's names that say that the value is a secret.
const SECRETS: [&str; 13] = [
    "apikey",
    "auth",
    "authorization",
    "credential",
    "credentials",
    "key",
    "passwd",
    "password",
    "pwd",
    "secret",
    "sig",
    "signature",
    "token",
];

/// Whether `char` has no glyph of its own, or changes how others are shown.
pub fn is_hidden(char: char) -> bool {
    char.is_control()
        || reorders(char)
        || matches!(char,
            '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{feff}'
            | '\u{2028}' | '\u{2029}'                 // line and paragraph separators
            | '\u{2060}'..='\u{206f}'                 // invisible operators
            | '\u{fff9}'..='\u{fffb}'                 // interlinear annotation
            | '\u{e0000}'..='\u{e007f}')              // tags
        || u32::from(char) & 0xfffe == 0xfffe // not characters; XML refuses two of them
}

/// Whether `char` is a mark of direction or has no width: with it, a text reads as another one.
pub fn reorders(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with every character that hides, reorders or controls spelled out: an ESC becomes `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if is_hidden(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown.into()
}

/// A message of one line or more, as `main` prints it: lines are visible and not endless, and addresses
/// in them hold no secret.
pub fn message(text: &str) -> String {
    let line = |line: &str| {
        // A tab in what a tool said is white space, not a control.
        let line = visible(&addresses(&line.replace('\t', " "))).into_owned();
        shortened(&line, MAX_LINE)
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The beginning of a line out of a file, in quotes.
pub fn quoted(line: &str) -> String {
    format!("{:?}", shortened(line, MAX_QUOTED))
}

/// The first `limit` characters of `text`, with an ellipsis where there are more.
fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// The address without name and password, and with `?…` in the place of a query.
pub fn address(text: &str) -> String {
    let (path, query) = match text.find(['?', '#']) {
        Some(at) => (&text[..at], if text[at..].starts_with('?') { CUT } else { "" }),
        None => (text, ""),
    };
    let (scheme, rest) = match path.find("://") {
        Some(at) => path.split_at(at + 3),
        None => ("", path),
    };
    // In what is not an address, a password may hold a slash.
    let whole = Url::parse(text).is_err_and(|_| rest.contains('@')) || scheme.is_empty();
    let end = if whole { rest.rfind('@') } else { rest[..host_end(rest)].rfind('@') };
    format!("{scheme}{}{query}", &rest[end.map_or(0, |at| at + 1)..])
}

fn host_end(rest: &str) -> usize {
    rest.find(['/', '\\']).unwrap_or(rest.len())
}

/// `text` with each address in it as [`address`] shows it.
pub fn addresses(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let scheme = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '-' | '.');
        let begin = rest[..at].trim_end_matches(scheme).len();
        let ends =
            |char: char| char.is_whitespace() || matches!(char, '\'' | '"' | '`' | '<' | '>');
        let end = rest[at..].find(ends).map_or(rest.len(), |length| at + length);
        // One that is shown so already ends there.
        let end = rest[at..end].find(CUT).map_or(end, |length| at + length + CUT.len());
        shown.push_str(&rest[..begin]);
        shown.push_str(&address(&rest[begin..end]));
        rest = &rest[end..];
    }
    shown + rest
}

/// What of `address` is a secret, which no file that is published may hold.
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

/// The first character of `text` that [`reorders`]: its line, counted from 1, and its code point.
pub fn first_reordering(text: &str) -> Option<(usize, String)> {
    let (at, char) = text.char_indices().find(|(_, char)| reorders(*char))?;
    let mut code = String::new();
    _ = write!(code, "U+{:04X}", u32::from(char)); // a String never fails
    Some((text[..at].matches('\n').count() + 1, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-E14
    #[test]
    fn credentials_and_queries_are_not_shown() {
        for (text, want) in [
            ("https://me:s%2bcret@example.org/simple", "https://example.org/simple"),
            ("https://token@example.org:8443/a?sig=b", "https://example.org:8443/a?…"),
            ("https://example.org/a@1.0.0/b.tar.gz#x@y", "https://example.org/a@1.0.0/b.tar.gz"),
            ("https://example.org?sig=x/y@z", "https://example.org?…"),
            ("https://me:p@ss@example.org/a", "https://example.org/a"),
            ("https://me:p/ss@example.org/a", "https://example.org/a"),
            ("https:/me:pass@example.org/", "example.org/"),
            ("me:pass@example.org", "example.org"),
            ("ssh://git@example.org/x.git", "ssh://example.org/x.git"),
            ("no address", "no address"),
        ] {
            assert_eq!(address(text), want);
        }
        let said = "fatal: unable to access 'https://x:tok@h.example/a.git/': (see http://u@p:3128?k=v) \
                    x://";
        assert_eq!(
            message(said),
            "fatal: unable to access 'https://h.example/a.git/': (see http://p:3128?… x://"
        );
        assert_eq!(message("http://h/x?…: no answer"), "http://h/x?…: no answer");
    }

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

    /// SEC-E16, SEC-E12
    #[test]
    fn messages_hide_nothing_and_end() {
        for code in [0x61c, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x202a, 0x202e, 0x2066, 0x2069]
        {
            let char = char::from_u32(code).unwrap();
            assert_eq!(visible(&format!("a{char}b")), format!("a\\u{{{code:x}}}b"));
            assert_eq!(first_reordering(&format!("a\n{char}")), Some((2, format!("U+{code:04X}"))));
        }
        assert_eq!(message("a\x1b[31m\tb\r\nc"), "a\\u{1b}[31m b\\u{d}\nc");
        assert_eq!(message(&"x".repeat(5000)).chars().count(), MAX_LINE + 1);
        assert_eq!(quoted(&"x".repeat(5000)).chars().count(), MAX_QUOTED + 3);
        assert!(matches!(visible("café ☕"), Cow::Borrowed(_)));
    }
}
