//! Suggestions for misspelled names: "did you mean …?"

/// The candidate nearest to `typed`, if it is near enough to be a misspelling.
///
/// The distance is Damerau-Levenshtein with adjacent transpositions: at most a third of the word's length
/// and at most three edits. A candidate that begins with `typed` also counts.
pub fn nearest<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    nearest_of(typed, &mut candidates.into_iter())
}

/// The same, compiled once for all callers.
fn nearest_of<'c>(typed: &str, candidates: &mut dyn Iterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (typed.chars().count() / 3).clamp(1, 3);
    // Without a version: "python3" is nearest to "python-3.11".
    let stem = typed.trim_end_matches(|end: char| !end.is_ascii_alphabetic());
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let mut edits = distance(typed, candidate);
        if stem.len() >= 3 && candidate.starts_with(stem) {
            edits = edits.min(limit);
        }
        if edits <= limit && best.is_none_or(|(fewest, _)| edits < fewest) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The edit distance between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// Rewords serde's message for an unknown key, `a: unknown field `x`, expected one of `b`, `c``, with a
/// suggestion. `None` for any other message.
pub fn unknown_key(message: &str) -> Option<String> {
    let (place, rest) = message.split_once("unknown field `")?;
    let mut quoted = rest.split('`');
    let key = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let hint = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    Some(format!("{place}unknown key `{key}`; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_words_are_recognised_and_others_are_not() {
        let names = ["python-3.11", "python-3.11-ml", "openjdk-21", "node-20"];
        for (typed, want) in [
            ("pyhton-3.11", Some("python-3.11")),
            ("python-3.11-lm", Some("python-3.11-ml")),
            ("python", Some("python-3.11")),
            ("openjdk21", Some("openjdk-21")),
            ("python3", Some("python-3.11")),
            ("node18", Some("node-20")),
            ("node-18.04", Some("node-20")),
            ("ruby", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), want, "{typed:?}");
        }
    }

    #[test]
    fn unknown_keys_are_explained() {
        let known = "expected one of `suite`, `packages`";
        for (message, want) in [
            (
                format!("debian: unknown field `siute`, {known}"),
                Some("debian: unknown key `siute`; did you mean `suite`?"),
            ),
            (
                format!("unknown field `x`, {known}"),
                Some("unknown key `x`; known here: suite, packages"),
            ),
            ("missing field `suite`".to_owned(), None),
        ] {
            assert_eq!(unknown_key(&message).as_deref(), want);
        }
    }
}
