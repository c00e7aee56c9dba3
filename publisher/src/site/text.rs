//! Text from outside, made fit to be shown; and numbers as people read them.

use crate::error::shown::is_hidden;
use std::fmt::Write as _;

/// `text` on one line, with every character that hides, reorders or controls spelled out.
///
/// An ESC becomes `\u{1b}`, a right-to-left override `\u{202e}`; runs of white space become one
/// space. What is left is legal in XML. HTML is escaped by the templates.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.trim().chars() {
        if char.is_ascii_whitespace() {
            if !shown.ends_with(' ') {
                shown.push(' ');
            }
        } else if is_hidden(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// The first `limit` characters of `text`, with an ellipsis where more were cut.
pub(super) fn shortened(text: String, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text,
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
    }
}

/// `129.4 MB`: three or four digits, decimal units.
#[expect(clippy::cast_precision_loss)] // one decimal is shown
pub(super) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `129,400,000`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The day of a time such as `2025-10-20T23:56:08Z`; nothing of any other text.
pub(super) fn day(time: &str) -> Option<&str> {
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let shape: Vec<u8> = time.bytes().map(shape).collect();
    (shape == b"0000-00-00T00:00:00Z").then(|| &time[..10])
}

/// `text` as one word of a POSIX shell.
pub(super) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Where an archive is, as far as a link to it can be trusted to be one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address<'a> {
    /// An `https` address.
    Absolute(&'a str),
    /// A path below the directory of `registry.json`.
    Relative(&'a str),
    /// Anything else: shown, never linked.
    Text,
}

/// Sorts a `download_url`. Only printable ASCII without quotes, brackets, braces and backslashes is
/// linked: that is what a URL may hold, and curl would expand the braces and brackets.
pub(super) fn address(url: &str) -> Address<'_> {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}[]".contains(&byte);
    if url.is_empty() || !url.bytes().all(legal) {
        return Address::Text;
    }
    let scheme = url.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("https:") {
        let rest = url[scheme.len()..].strip_prefix("//").unwrap_or_default();
        let has_host = rest.starts_with(|char: char| char.is_ascii_alphanumeric());
        return if has_host { Address::Absolute(url) } else { Address::Text };
    }
    let above = url.split('/').any(|part| part == "..");
    if url.contains(':') || url.starts_with(['/', '?', '#', '-']) || above {
        return Address::Text;
    }
    Address::Relative(url.strip_prefix("./").unwrap_or(url))
}

/// `owner/repo` of an address of a GitHub release.
pub(super) fn repository(url: &str) -> Option<&str> {
    let path = url.strip_prefix("https://github.com/")?;
    let (repository, _) = path.split_once("/releases/download/")?;
    let (owner, name) = repository.split_once('/')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let word = |part: &str| part.bytes().all(legal) && part.bytes().any(|byte| byte != b'.');
    (word(owner) && word(name)).then_some(repository)
}

/// The file name in `url`, if it has one.
pub(super) fn file_name(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?;
    path.rsplit_once('/').map_or(Some(path), |(_, name)| Some(name)).filter(|name| !name.is_empty())
}

/// The hex digits of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}"); // writing to a string does not fail
        text
    })
}

/// `bytes` in base 64 with padding, as a content security policy spells a digest.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |group, &byte| group << 8 | usize::from(byte));
        let group = group << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let legible = digit <= chunk.len();
            let index = group >> (18 - 6 * digit) & 63;
            text.push(if legible { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_spelled_out() {
        for (text, want) in [
            ("Python 3.11 – café ☕", "Python 3.11 – café ☕"),
            ("  two\r\n\tlines ", "two lines"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("a\u{61c}\u{200c}\u{200d}", "a\\u{61c}\\u{200c}\\u{200d}"), // SEC-E16
            ("a\u{2028}b\u{2066}c\u{200b}d\u{feff}", "a\\u{2028}b\\u{2066}c\\u{200b}d\\u{feff}"),
            ("\u{0}\u{85}\u{ffff}\u{1fffe}", "\\u{0}\\u{85}\\u{ffff}\\u{1fffe}"),
            ("<b>\"&'", "<b>\"&'"),
        ] {
            assert_eq!(visible(text), want, "{text:?}");
        }
    }

    #[test]
    fn numbers() {
        for (bytes, want) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (129_400_000, "129.4 MB"),
            (999_949_999, "999.9 MB"),
            (999_950_000, "1.0 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(human_size(bytes), want);
        }
        for (number, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), want);
        }
        assert_eq!(shortened("abcd".into(), 4), "abcd");
        assert_eq!(shortened("ab cd".into(), 3), "ab…");
    }

    #[test]
    fn only_addresses_of_the_web_are_links() {
        for (url, want) in [
            ("https://example.org/a.tar.gz?x=1&y", Some(false)),
            ("HTTPS://example.org/", Some(false)),
            ("demo/a.tar.gz", Some(true)),
            ("./a.tar.gz", Some(true)),
            ("", None),
            ("http://example.org/", None),
            ("https:/example.org", None),
            ("https:javascript", None),
            ("javascript:alert(1)", None),
            ("JavaScript:alert(1)", None),
            ("java\nscript:alert(1)", None),
            ("data:text/html,x", None),
            ("file:///etc/passwd", None),
            ("//example.org/a", None),
            ("\\\\example.org\\a", None),
            ("/etc/passwd", None),
            ("a/../../b", None),
            ("https://example.org/\"onclick=", None),
            ("https://example.org/'; rm -rf", None),
            ("https://example.org/\u{202e}", None),
            ("https://example.org/[1-9]{a,b}", None),
        ] {
            let relative = match address(url) {
                Address::Absolute(_) => Some(false),
                Address::Relative(_) => Some(true),
                Address::Text => None,
            };
            assert_eq!(relative, want, "{url:?}");
        }
    }

    #[test]
    fn parts_of_text() {
        assert_eq!(day("2025-10-20T23:56:08Z"), Some("2025-10-20"));
        for bad in ["", "2025-10-20", "2025-10-20T23:56:08+02:00", "2025-1O-20T23:56:08Z"] {
            assert_eq!(day(bad), None, "{bad}");
        }
        for (url, want) in [
            ("https://example.org/a/b.tar.gz?x=/y", Some("b.tar.gz")),
            ("b.tar.gz", Some("b.tar.gz")),
            ("https://example.org/", None),
        ] {
            assert_eq!(file_name(url), want, "{url}");
        }
        let release = "https://github.com/o-w/re.po/releases/download/a%401.0.0/a.tar.gz";
        assert_eq!(repository(release), Some("o-w/re.po"));
        for bad in ["http:", "https://github.com/o/../releases/download/a", "https://github.com/o"]
        {
            assert_eq!(repository(bad), None, "{bad}");
        }
        for (bytes, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(bytes.as_bytes()), want);
        }
        assert_eq!(hex(&[0, 0xab]), "00ab");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
