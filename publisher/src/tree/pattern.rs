//! Glob patterns for paths: `*` and `?` within a component, `**` across components.

/// Whether `path` or one of its parents matches `pattern`.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_start_matches('/').trim_end_matches('/');
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().any(|end| matches_all(pattern.as_bytes(), &path.as_bytes()[..end]))
}

/// Whether the whole `text` matches. Backtracks to the last `**` and the last `*` only, so the time is at most the
/// product of the lengths.
fn matches_all(pattern: &[u8], text: &[u8]) -> bool {
    let mut fitting = vec![false; text.len() + 1];
    fitting[0] = true;
    let mut rest = pattern;
    while let Some((&first, tail)) = rest.split_first() {
        let mut next = vec![false; text.len() + 1];
        match (first, tail.first()) {
            (b'*', second) => {
                let across = second == Some(&b'*');
                let mut open = false;
                for at in 0..=text.len() {
                    open |= fitting[at];
                    next[at] = open;
                    if at < text.len() && !across && text[at] == b'/' {
                        open = false;
                    }
                }
                rest = if across { &tail[1..] } else { tail };
                // `a/**/b` matches `a/b` too.
                if across && rest.first() == Some(&b'/') {
                    for at in 0..=text.len() {
                        let begins = at == 0 || text[at - 1] == b'/';
                        if next[at] && begins && matches_all(&rest[1..], &text[at..]) {
                            return true;
                        }
                    }
                }
            }
            (byte, _) => {
                for at in 0..text.len() {
                    let any = byte == b'?' && text[at] != b'/';
                    next[at + 1] = fitting[at] && (any || text[at] == byte);
                }
                rest = tail;
            }
        }
        fitting = next;
    }
    fitting[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, want) in [
            ("usr/share/doc/**", "usr/share/doc/x/y", true),
            ("usr/share/doc", "usr/share/doc/x/y", true),
            ("usr/share/doc", "usr/share/docs", false),
            ("/usr/lib/*/x/", "usr/lib/a/x/b", true),
            ("usr/lib/*.a", "usr/lib/x.a", true),
            ("usr/lib/*.a", "usr/lib/x/y.a", false),
            ("usr/lib/**/*.a", "usr/lib/x.a", true),
            ("usr/lib/**/*.a", "usr/lib/x/y/z.a", true),
            ("**/tests", "usr/lib/tests/x", true),
            ("**/tests", "tests", true),
            ("usr/?in", "usr/bin/x", true),
            ("usr/?in", "usr//in", false),
            ("*", "usr", true),
            ("", "usr", false),
        ] {
            assert_eq!(matches(pattern, path), want, "{pattern} {path}");
        }
    }
}
