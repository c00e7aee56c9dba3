//! Names that are two here and one on other file systems.

use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;

/// Checks that no two of the paths are the same where case does not count, or where composed and
/// decomposed letters are equal: unpacked there, one file would silently be the other.
///
/// # Errors
/// Names both.
pub(super) fn distinct<'p>(paths: impl Iterator<Item = &'p str>) -> Result<(), String> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for path in paths {
        if let Some(other) = seen.insert(folded(path), path) {
            let (other, path) = (other.escape_default(), path.escape_default());
            return Err(format!(
                "`{other}` and `{path}` are one file where case or the composition of letters does \
                 not count; leave one of them out"
            ));
        }
    }
    Ok(())
}

/// What is the same for names that such file systems take for the same.
fn folded(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    path.nfd().flat_map(char::to_lowercase).nfd().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-A12
    #[test]
    fn names_that_are_one_elsewhere_are_refused_with_both() {
        for (a, b, shown) in [
            ("usr/A", "usr/a", "`usr/A` and `usr/a` are one file"),
            ("usr/e\u{301}", "usr/\u{e9}", "`usr/e\\u{301}` and `usr/\\u{e9}` are one file"),
            ("usr/\u{c9}", "usr/e\u{301}", "are one file where case or the composition"),
            ("Lib/x", "lib/x", "`Lib/x` and `lib/x`"),
        ] {
            let error = distinct(["usr", a, "usr/b", b].into_iter()).unwrap_err();
            assert!(error.contains(shown), "{error}");
        }
        assert_eq!(distinct(["a", "b", "a.b", "e", "\u{e9}", "\u{e8}"].into_iter()), Ok(()));
    }
}
