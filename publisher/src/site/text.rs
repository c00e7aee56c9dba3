//! Escaping of untrusted text for display; human-readable numbers.

use joblet_format::{Repository, Timestamp, text};

/// `text` on one line, with invisible, reordering and control characters escaped.
///
/// An ESC becomes `\u{1b}`, a right-to-left override `\u{202e}`; runs of white space become one
/// space. The result is legal in XML. HTML is escaped by the templates.
pub(super) fn visible(text: &str) -> String {
    let words: Vec<_> = text.trim().split_ascii_whitespace().collect();
    text::visible(&words.join(" "))
}

/// Formats a number with separators: `129,400,000`.
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

/// The date of a timestamp such as `2025-10-20T23:56:08Z`; `None` for any other text.
pub(super) fn day(time: &str) -> Option<&str> {
    time.parse::<Timestamp>().is_ok().then(|| &time[..10])
}

/// Quotes `text` as one word of a POSIX shell.
pub(super) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A `download_url`, classified by whether it is safe to link to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address<'a> {
    /// An `https` address.
    Absolute(&'a str),
    /// A path below the directory of `registry.json`.
    Relative(&'a str),
    /// Anything else: displayed without a link.
    Text,
}

/// Classifies a `download_url`. Only printable ASCII without quotes, brackets, braces and backslashes is linked:
/// other characters are invalid in a URL, and curl expands braces and brackets.
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

/// `owner/repo` in the address of a GitHub release.
pub(super) fn repository(url: &str) -> Option<Repository> {
    Repository::of_page(url.split_once("/releases/download/")?.0)
}

/// The file name in `url`, if it has one.
pub(super) fn file_name(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?;
    path.rsplit_once('/').map_or(Some(path), |(_, name)| Some(name)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped() {
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
        for (number, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), want);
        }
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
        assert_eq!(repository(release).unwrap().as_str(), "o-w/re.po");
        for bad in ["http:", "https://github.com/o/../releases/download/a", "https://github.com/o"]
        {
            assert_eq!(repository(bad), None, "{bad}");
        }
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
