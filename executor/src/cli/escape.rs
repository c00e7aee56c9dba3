//! What is shown of texts that come from outside.

use std::fmt::Write;
use std::ops::RangeInclusive;

/// `text` with everything in it made visible that is not seen, or changes how the rest is.
///
/// Registries, archives and servers are untrusted, and terminals obey what they print. All
/// that comes from outside and is printed for people goes through this.
pub fn visible(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || UNSEEN.iter().any(|range| range.contains(&letter)) {
            _ = write!(safe, "{}", letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Beside control characters: those of Unicode that `Default_Ignorable_Code_Point` or the categories
/// Cf, Zl and Zp say are shown as nothing or as a change of direction or line.
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

/// What stands for a query that is not shown.
pub(crate) const HIDDEN: &str = "?…";

/// `text`, which is meant to be one address, without what may be secret in it.
pub fn shown(text: &str) -> String {
    let scheme = text.find("://").filter(|end| {
        text[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let (scheme, rest) = text.split_at(scheme.map_or(0, |end| end + 3));
    format!("{scheme}{}", hide(rest))
}

/// A message without what may be secret in the addresses in it, whoever wrote them.
pub fn shown_in(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(slashes) = rest.find("://") {
        let (before, after) = rest.split_at(slashes + 3);
        let end = after.find(|letter: char| letter.is_whitespace() || letter == '"');
        let (address, behind) = after.split_at(end.unwrap_or(after.len()));
        shown.push_str(before);
        shown.push_str(&hide(address));
        rest = behind;
    }
    shown + rest
}

/// Leaves user, password, query and fragment out of an address without its scheme.
fn hide(address: &str) -> String {
    // Parsers of addresses take any number of slashes for two.
    let (slashes, address) =
        address.split_at(address.len() - address.trim_start_matches(['/', '\\']).len());
    let authority = address.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').filter(|_| !authority.ends_with(']'));
    let odd = port.is_some_and(|(_, port)| port.parse::<u16>().is_err());
    // A password with a slash in it ends the host's name: then anything before an @ may be one.
    let user = if odd { address.rfind('@') } else { authority.rfind('@') };
    let (user, rest) = user.map_or(("", address), |at| ("…", &address[at..]));
    match rest.find(['?', '#']) {
        Some(query) if rest.len() > query + 1 && !rest[query..].starts_with(HIDDEN) => {
            format!("{slashes}{user}{}{HIDDEN}", &rest[..query])
        }
        _ => format!("{slashes}{user}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-C11
    #[test]
    fn untrusted_text_cannot_steer_the_terminal() {
        let text = "ok é \x1b[31mred\x07 \u{202e}txt\u{2028}\n";
        assert_eq!(visible(text), "ok é \\u{1b}[31mred\\u{7} \\u{202e}txt\\u{2028}\\n");
    }

    /// SEC-E16
    #[test]
    fn what_is_not_seen_is_shown() {
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
        let plain = "Größe · 数据 · данные · \u{a0}… ↑ ☃ 𝒳 العربية हिन्दी \\ \"'";
        assert_eq!(visible(plain), plain);
        assert!(UNSEEN.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    }
}
