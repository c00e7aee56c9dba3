//! Escaping of untrusted text for display, redaction of addresses, human-readable sizes.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::RangeInclusive;

/// Escapes the invisible characters of `text`, and those that change how others are displayed.
///
/// Registries, archives and servers are untrusted, and terminals interpret control sequences. All
/// external text that is printed goes through this function.
pub fn visible(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            _ = write!(safe, "{}", letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Whether a character is invisible, or changes how others are displayed.
pub fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || UNSEEN.iter().any(|range| range.contains(&letter))
        || u32::from(letter) & 0xfffe == 0xfffe // not characters; XML refuses two of them
}

/// Equivalent JSON in which the invisible characters of strings are escaped.
pub fn visible_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for letter in json.chars() {
        // Outside strings only spaces and line breaks can occur.
        if is_hidden(letter) && letter != '\n' {
            let mut units = [0; 2];
            let units = letter.encode_utf16(&mut units).iter();
            safe.extend(units.map(|unit| format!("\\u{unit:04x}")));
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// The first `limit` characters of `text`, with an ellipsis if it is longer.
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
    }
}

/// Environment variables that name the locale; the first one that is not empty counts.
pub const LOCALE: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// Whether the locale of this name has UTF-8, as `de_DE.UTF-8` and `C.utf8`.
pub fn has_utf8(locale: &str) -> bool {
    let name = locale.to_ascii_lowercase();
    name.contains("utf-8") || name.contains("utf8")
}

/// `text` for a locale without UTF-8: an ellipsis is three points, another character beyond ASCII a `?`.
pub fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let letter = |letter: char| if letter.is_ascii() { letter } else { '?' };
    Cow::Owned(text.replace('…', "...").replace('→', "->").chars().map(letter).collect())
}

/// Most nested brackets in a YAML document. None needs ten; strings may contain more.
const MAX_DEPTH: u32 = 500;

/// The number of the line of `yaml` in which brackets nest too deeply, if there is one: a parser's time is quadratic in the
/// depth.
pub fn nests_too_deeply(yaml: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (line, number) in yaml.lines().zip(1..) {
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_DEPTH {
                return Some(number);
            }
        }
    }
    None
}

/// A number of bytes with a decimal unit and one decimal place: `129.4 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    // In tenths of the unit, rounded; 1000 of a unit become 1 of the next.
    let (mut tenths, mut unit) = ((u128::from(bytes) * 10 + 500) / 1000, 0);
    let mut one = 1000;
    while tenths >= 10_000 {
        one *= 1000;
        unit += 1;
        tenths = (u128::from(bytes) * 10 + one / 2) / one;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Invisible characters besides control characters: those with the Unicode property
/// `Default_Ignorable_Code_Point` or of the categories Cf, Zl and Zp.
const UNSEEN: [RangeInclusive<char>; 19] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// The replacement of a redacted query.
pub const HIDDEN: &str = "?…";

/// Redacts the possible secrets in `text`, which is a single address.
pub fn shown(text: &str) -> String {
    let scheme = text.find("://").filter(|end| {
        text[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let (scheme, rest) = text.split_at(scheme.map_or(0, |end| end + 3));
    format!("{scheme}{}", redact(rest))
}

/// Redacts the possible secrets in the addresses of a message.
pub fn shown_in(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(slashes) = rest.find("://") {
        let (before, after) = rest.split_at(slashes + 3);
        let end = after.find(|letter: char| letter.is_whitespace() || letter == '"');
        let (address, behind) = after.split_at(end.unwrap_or(after.len()));
        shown.push_str(before);
        shown.push_str(&redact(address));
        rest = behind;
    }
    shown + rest
}

/// Redacts user, password, query and fragment of an address without its scheme.
fn redact(address: &str) -> String {
    // URL parsers accept any number of slashes.
    let (slashes, address) =
        address.split_at(address.len() - address.trim_start_matches(['/', '\\']).len());
    let authority = address.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').filter(|_| !authority.ends_with(']'));
    let odd = port.is_some_and(|(_, port)| port.parse::<u16>().is_err());
    // A password with a slash would end the authority: anything before an @ may be part of it.
    let user = if odd { address.rfind('@') } else { authority.rfind('@') };
    let (user, rest) = user.map_or(("", address), |at| ("…", &address[at..]));
    match rest.find(['?', '#']) {
        Some(query) if rest.len() > query + 1 && !rest[query..].starts_with(HIDDEN) => {
            format!("{slashes}{user}{}{HIDDEN}", &rest[..query])
        }
        _ => format!("{slashes}{user}{rest}"),
    }
}

/// `line` without the `(os error N)` that the standard library adds to the description of an error.
pub fn without_error_numbers(line: &str) -> String {
    let mut parts = line.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        match rest.strip_prefix(')').filter(|_| rest.len() < part.len()) {
            Some(rest) => text.push_str(rest),
            None => text = text + " (os error " + part,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ends() {
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_049, "1.0 kB"),
            (1_050, "1.1 kB"),
            (129_400_000, "129.4 MB"),
            (999_949_999, "999.9 MB"),
            (999_950_000, "1.0 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), want);
        }
        assert_eq!(shortened("abcd", 4), "abcd");
        assert_eq!(shortened("ab cd", 3), "ab…");
    }

    #[test]
    fn locales_without_utf8_get_ascii() {
        for (name, want) in
            [("de_DE.UTF-8", true), ("C.utf8@x", true), ("C", false), ("de_DE", false)]
        {
            assert_eq!(has_utf8(name), want, "{name}");
        }
        assert_eq!(ascii("a… grün 1 → 2"), "a... gr?n 1 -> 2");
    }

    /// SEC-E16
    #[test]
    fn json_shows_every_character() {
        let value = ["a\u{9b}\u{202e}\u{200b}\u{e0001}ä\n\"", "\u{7f}"];
        let json = visible_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(json.contains(r"a\u009b\u202e\u200b\udb40\udc01ä\n"), "{json}");
        assert_eq!(serde_json::from_str::<[String; 2]>(&json).unwrap(), value);
    }

    /// SEC-E14
    #[test]
    fn credentials_and_queries_are_not_shown() {
        for (text, want) in [
            ("https://me:s%2bcret@example.org/simple", "https://…@example.org/simple"),
            ("https://token@example.org:8443/a?sig=b", "https://…@example.org:8443/a?…"),
            ("https://example.org/a@1.0.0/b.tar.gz#x@y", "https://example.org/a@1.0.0/b.tar.gz?…"),
            ("https://example.org?sig=x/y@z", "https://example.org?…"),
            ("https://me:p@ss@example.org/a", "https://…@example.org/a"),
            ("https://me:p/ss@example.org/a", "https://…@example.org/a"),
            ("https:/me:pass@example.org/", "…@example.org/"),
            ("me:pass@example.org", "…@example.org"),
            ("no address", "no address"),
        ] {
            assert_eq!(shown(text), want);
        }
        let message = "fatal: unable to access 'https://x:tok@h.example/a.git/': (see \
                    http://u@p:3128?k=v) x://";
        assert_eq!(
            shown_in(message),
            "fatal: unable to access 'https://…@h.example/a.git/': (see http://…@p:3128?… x://"
        );
        assert_eq!(shown_in("http://h/x?…: no answer"), "http://h/x?…: no answer");
    }

    /// SEC-C11
    #[test]
    fn untrusted_text_cannot_control_the_terminal() {
        let text = "ok é \x1b[31mred\x07 \u{202e}txt\u{2028}\n";
        assert_eq!(visible(text), "ok é \\u{1b}[31mred\\u{7} \\u{202e}txt\\u{2028}\\n");
    }

    /// SEC-E16
    #[test]
    fn invisible_characters_are_shown() {
        let unseen = ["\u{61c}", "\u{ad}", "\u{feff}", "\u{9b}", "\u{7f}", "\u{3164}", "\u{e0041}"];
        let ranges = [
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2060}'..='\u{206f}',
            '\u{fe00}'..='\u{fe0f}',
        ];
        let all = unseen.map(str::to_owned).into_iter();
        for letter in all.chain(ranges.into_iter().flatten().map(String::from)) {
            let letter = letter.chars().next().unwrap();
            let want = format!("a\\u{{{:x}}}b", u32::from(letter));
            assert_eq!(visible(&format!("a{letter}b")), want);
        }
        assert_eq!(visible("\u{85}\u{ffff}\u{1fffe}"), "\\u{85}\\u{ffff}\\u{1fffe}");
        let plain = "Größe · 数据 · данные · \u{a0}… ↑ ☃ 𝒳 العربية हिन्दी \\ \"'";
        assert_eq!(visible(plain), plain);
        assert!(UNSEEN.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    }
}
