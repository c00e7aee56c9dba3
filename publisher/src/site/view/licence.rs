//! SPDX licence expressions, for display.

use super::super::text::visible;
use serde::Serialize;
use std::collections::BTreeSet;

/// Maximum number of licences in a row of a table; the rest are counted.
const SHOWN: usize = 2;

/// Maximum length of a licence's name in a row, in characters.
const LONGEST: usize = 28;

/// A licence expression. Debian's copyright files name every licence of every file: a dozen is usual.
#[derive(Serialize)]
pub(super) struct Licence {
    /// The first licences, at most [`SHOWN`]; empty if none is declared.
    shown: Vec<Term>,
    /// Number of the others.
    more: usize,
    /// The whole expression, in operators and licences; empty if `more` is 0.
    whole: Vec<Term>,
}

/// A word of an expression.
#[derive(Serialize, Clone)]
struct Term {
    text: String,
    /// Address of the licence's text, for licences of SPDX's list.
    link: Option<String>,
}

impl Licence {
    /// Parses an expression of a bill of materials; empty for `NOASSERTION` and the empty text.
    pub(super) fn new(expression: &str) -> Self {
        let expression = visible(expression);
        let mut words: Vec<Term> = Vec::new();
        let mut exception = false;
        for word in expression.split(' ').filter(|word| !matches!(*word, "" | "NOASSERTION")) {
            match word {
                "AND" | "OR" => words.push(Term { text: word.to_lowercase(), link: None }),
                "WITH" => exception = true,
                // A licence with an exception is one term.
                _ if exception => {
                    exception = false;
                    if let Some(last) = words.last_mut() {
                        last.text = format!("{} with {}", last.text, word.trim_matches(['(', ')']));
                    }
                }
                _ => words.push(Term::licence(word)),
            }
        }
        let mut seen = BTreeSet::new();
        let licences = words.iter().filter(|term| !matches!(term.text.as_str(), "and" | "or"));
        let licences: Vec<_> =
            licences.filter(|term| seen.insert(term.text.clone())).cloned().collect();
        let more = licences.len().saturating_sub(SHOWN);
        Self {
            shown: licences.into_iter().take(SHOWN).collect(),
            more,
            whole: if more > 0 { words } else { Vec::new() },
        }
    }
}

impl Licence {
    /// The licences of SPDX's list that a row shows.
    pub(super) fn listed(&self) -> impl Iterator<Item = &str> {
        self.shown.iter().filter(|term| term.link.is_some()).map(|term| term.text.as_str())
    }
}

impl Term {
    fn licence(word: &str) -> Self {
        let id = word.trim_matches(['(', ')']);
        // A licence that is not in SPDX's list is named by the package, which contains its text.
        if let Some(own) = id.strip_prefix("LicenseRef-") {
            // The bill of materials names what is not machine-readable this way: of Debian and of Python.
            let own = match own.rsplit_once('-') {
                Some((_, "copyright")) => "see its copyright file",
                Some((_, "metadata")) => "see its metadata",
                _ => own,
            };
            return Self { text: joblet_format::text::shortened(own, LONGEST), link: None };
        }
        let listed = !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+".contains(&byte));
        let link = || format!("https://spdx.org/licenses/{}.html", id.trim_end_matches('+'));
        Self { text: id.to_owned(), link: listed.then(link) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(terms: &[Term]) -> Vec<&str> {
        terms.iter().map(|term| term.text.as_str()).collect()
    }

    #[test]
    fn a_row_shows_the_first_licences_and_how_many_more() {
        for (expression, shown, more) in [
            ("MIT", vec!["MIT"], 0),
            ("", vec![], 0),
            ("NOASSERTION", vec![], 0),
            ("MIT OR Apache-2.0", vec!["MIT", "Apache-2.0"], 0),
            ("(MIT OR Apache-2.0) AND BSD-3-Clause AND MIT", vec!["MIT", "Apache-2.0"], 1),
            (
                "GPL-3.0-or-later WITH GCC-exception-3.1",
                vec!["GPL-3.0-or-later with GCC-exception-3.1"],
                0,
            ),
            ("LicenseRef-public-domain", vec!["public-domain"], 0),
            ("LicenseRef-perl-base-copyright", vec!["see its copyright file"], 0),
            ("LicenseRef-numpy-metadata", vec!["see its metadata"], 0),
        ] {
            let licence = Licence::new(expression);
            assert_eq!((texts(&licence.shown), licence.more), (shown, more), "{expression}");
        }
        let whole = Licence::new("(MIT OR X11) AND BSD-3-Clause").whole;
        assert_eq!(texts(&whole), ["MIT", "or", "X11", "and", "BSD-3-Clause"]);
    }

    #[test]
    fn only_identifiers_of_the_list_are_links() {
        for (expression, want) in [
            ("MIT", Some("https://spdx.org/licenses/MIT.html")),
            ("GPL-2.0+", Some("https://spdx.org/licenses/GPL-2.0.html")),
            ("LicenseRef-own", None),
            ("\"><script>", None),
            ("a/../b", None),
        ] {
            assert_eq!(Licence::new(expression).shown[0].link.as_deref(), want, "{expression}");
        }
    }
}
