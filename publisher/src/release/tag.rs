//! Release tags.

use joblet_format::{RuntimeName, Version};
use std::{fmt, str::FromStr};

/// A tag that requests a release.
///
/// Written `NAME@X.Y.Z` for one runtime, `vX.Y.Z` for every runtime whose manifest has that version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    /// One version of one runtime.
    One(RuntimeName, Version),
    /// All runtimes of this version.
    All(Version),
}

impl Tag {
    /// Whether the release of this tag may contain that version.
    pub(crate) fn covers(&self, name: &RuntimeName, version: &Version) -> bool {
        match self {
            Self::One(its, of) => (its, of) == (name, version),
            Self::All(of) => of == version,
        }
    }
}

impl FromStr for Tag {
    type Err = String;

    /// Parses a tag, which is untrusted: it must match the format exactly.
    fn from_str(text: &str) -> Result<Self, String> {
        let tag = match text.split_once('@') {
            Some((name, version)) => match (name.parse(), version.parse()) {
                (Ok(name), Ok(version)) => Some(Self::One(name, version)),
                _ => None,
            },
            None => text.strip_prefix('v').and_then(|it| it.parse().ok()).map(Self::All),
        };
        tag.ok_or_else(|| {
            format!(
                "{text:?} is not a tag of a release; use NAME@X.Y.Z, or vX.Y.Z for every runtime of it"
            )
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name, version) => write!(to, "{name}@{version}"),
            Self::All(version) => write!(to, "v{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_exact() {
        for text in ["python-3.11-ml@1.4.0", "a@1.0.0-rc.1", "v1.3.2"] {
            assert_eq!(text.parse::<Tag>().unwrap().to_string(), text);
        }
        let hostile = ["", "a", "a@", "a@1.0", "a@v1.0.0", "1.0.0", "v1", "V1.0.0", "exec-v1.0.0"];
        // SEC-C12: shell commands in place of a name or version.
        let shell =
            ["$(id)@1.0.0", "a@1.0.0;id", "`id`@1.0.0", "a@1.0.0\nid", "a b@1.0.0", "v1.0.0 x"];
        for text in hostile.iter().chain(&shell) {
            let error = text.parse::<Tag>().unwrap_err();
            assert!(error.starts_with(&format!("{text:?} is not a tag")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_tag_selects_the_named_versions() {
        let one: Tag = "a@1.0.0".parse().unwrap();
        let all: Tag = "v1.0.0".parse().unwrap();
        let version = |text: &str| text.parse::<Version>().unwrap();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert!(one.covers(&a, &version("1.0.0")) && !one.covers(&b, &version("1.0.0")));
        assert!(all.covers(&b, &version("1.0.0")) && !all.covers(&b, &version("1.0.1")));
    }
}
