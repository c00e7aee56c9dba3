//! `NAME`, `NAME@VERSION`, `NAME@1.3`, `NAME@latest`, each also as `ORIGIN/…`.

use crate::{NameError, RuntimeName, Series, Version, VersionError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of a registry in the configuration, such as `company`.
///
/// Grammar: a letter or digit, then letters, digits, `.`, `_` and `-`; at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// A runtime on the command line: name, version and registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The registry that it must come from, if one was named.
    pub origin: Option<Origin>,
    /// The runtime.
    pub name: RuntimeName,
    /// Which of its versions.
    pub wanted: Wanted,
}

/// The version of a runtime in a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No version was given: the highest one installed, else the latest of the registry.
    Any,
    /// `@latest`: the latest of the registry.
    Latest,
    /// `@1.3` or `@1`: the highest of these that is installed, else the latest of the registry.
    Series(Series),
    /// `@VERSION`: exactly this one.
    Exact(Version),
}

/// A text that is not a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecError {
    /// The part before `/`.
    Origin(String),
    /// The part before `@`.
    Name(NameError),
    /// The part after `@`.
    Version(VersionError),
    /// The syntax of another tool, and the equivalent spec.
    Foreign {
        /// As it was typed.
        typed: String,
        /// The equivalent spec.
        meant: String,
    },
}

impl Spec {
    /// The same runtime in exactly this version.
    #[must_use]
    pub fn exactly(&self, version: &Version) -> Self {
        Self { wanted: Wanted::Exact(version.clone()), ..self.clone() }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let typed = text;
        if text.starts_with(['/', '.', '~']) {
            return Err(SpecError::Origin(format!(
                "{text:?} is a path, not the name of a runtime; joblet-exec import DIR installs a bundle"
            )));
        }
        if text.contains("://") {
            let why = "is an address; an image that was copied to this host is run with --image";
            return Err(SpecError::Origin(format!("{text:?} {why}")));
        }
        let (origin, text) = match text.split_once('/') {
            None => (None, text),
            Some((origin, rest)) => (Some(origin.parse().map_err(SpecError::Origin)?), rest),
        };
        let (name, wanted) = match text.split_once('@') {
            None => (text, Wanted::Any),
            Some((name, "latest")) => (name, Wanted::Latest),
            Some((name, version)) => match version.parse() {
                Ok(series) => (name, Wanted::Series(series)),
                Err(_) => (name, Wanted::Exact(version.parse().map_err(SpecError::Version)?)),
            },
        };
        let name = name.parse().map_err(|error| match translated(typed) {
            Some(meant) => SpecError::Foreign { typed: typed.to_owned(), meant },
            None => SpecError::Name(error),
        })?;
        Ok(Self { origin, name, wanted })
    }
}

/// Translates `python:3.11`, `python==1.3.2` and `Python-3.11` to a valid [`Spec`].
fn translated(typed: &str) -> Option<String> {
    let small = typed.to_lowercase();
    let meant = if let Some(at) = small.find([':', '=', '>', '<', '~', '^']) {
        let (name, version) = small.split_at(at);
        let tag = version.trim_start_matches(|first: char| !first.is_ascii_alphanumeric());
        // `3.11` after `python` is a part of the name here; after `python-3.11`, `1.3` is a version.
        let name = name.trim_end();
        let is_version = tag == "latest"
            || tag.parse::<Version>().is_ok()
            || name.ends_with(|last: char| last.is_ascii_digit());
        let sign = if is_version { '@' } else { '-' };
        format!("{name}{sign}{tag}")
    } else {
        small
    };
    // Only if the result parses without a further translation.
    let known = meant != typed && !meant.contains([':', '=', '>', '<', '~', '^']);
    (known && meant.parse::<Spec>().is_ok()).then_some(meant)
}

impl Origin {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !first || text.len() > 64 || !text.bytes().all(rest) {
            return Err(format!("{text:?} is not a registry's name like `company`"));
        }
        Ok(Self(text.to_owned()))
    }
}

crate::as_text!(Origin, String);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}/")?;
        }
        match &self.wanted {
            Wanted::Any => write!(f, "{}", self.name),
            Wanted::Latest => write!(f, "{}@latest", self.name),
            Wanted::Series(series) => write!(f, "{}@{series}", self.name),
            Wanted::Exact(version) => write!(f, "{}@{version}", self.name),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(error) => f.write_str(error),
            Self::Name(error) => error.fmt(f),
            Self::Version(error) => error.fmt(f),
            Self::Foreign { typed, meant } => {
                let image = if typed.contains(':') { " (images: --image FILE)" } else { "" };
                write!(
                    f,
                    "{typed:?} is not how a runtime is named; did you mean {meant}, if joblet-exec search lists it?{image}"
                )
            }
        }
    }
}

impl std::error::Error for SpecError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        for (text, wanted) in [
            ("python-3.11-ml", Wanted::Any),
            ("python-3.11-ml@latest", Wanted::Latest),
            ("python-3.11-ml@1.4.0-beta", Wanted::Exact("1.4.0-beta".parse().unwrap())),
            ("python-3.11-ml@1.4", Wanted::Series("1.4".parse().unwrap())),
            ("python-3.11-ml@2", Wanted::Series("2".parse().unwrap())),
        ] {
            let spec: Spec = text.parse().unwrap();
            assert_eq!((spec.name.as_str(), &spec.wanted), ("python-3.11-ml", &wanted));
            assert_eq!((spec.to_string().as_str(), spec.origin), (text, None));
        }
        let spec: Spec = "My_registry.2/demo@latest".parse().unwrap();
        assert_eq!(spec.origin.as_ref().map(Origin::as_str), Some("My_registry.2"));
        assert_eq!(spec.exactly(&"1.0.0".parse().unwrap()).to_string(), "My_registry.2/demo@1.0.0");
        for bad in [
            "", "@1.0.0", "a@", "a@1.", "a@1.x", "a@1.0.0@2.0.0", "A@1.0.0", "a@LATEST", "../a",
            "/a", "x/", "x/y/a", ".x/a",
        ] {
            assert!(bad.parse::<Spec>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_other_tools_are_translated() {
        for (typed, meant) in [
            ("python:3.11", Some("python-3.11")),
            ("python:1.3.2", Some("python@1.3.2")),
            ("python-3.11:latest", Some("python-3.11@latest")),
            ("python==1.3.2", Some("python@1.3.2")),
            ("python-3.11>=1.3", Some("python-3.11@1.3")),
            ("python-3.11:1.3", Some("python-3.11@1.3")),
            ("python==3.11", Some("python-3.11")),
            ("python>=3.11", Some("python-3.11")),
            ("ubuntu:22.04", Some("ubuntu-22.04")),
            ("python=3.11", Some("python-3.11")),
            ("python=1.3.2", Some("python@1.3.2")),
            ("Python-3.11", Some("python-3.11")),
            ("a:b:c", None),
            ("_", None),
        ] {
            let error = typed.parse::<Spec>().unwrap_err();
            let found = match &error {
                SpecError::Foreign { meant, .. } => Some(meant.as_str()),
                _ => None,
            };
            assert_eq!(found, meant, "{typed}: {error}");
        }
    }
}
