//! `NAME`, `NAME@VERSION`, `NAME@latest`, each also as `ORIGIN/…`.

use crate::{NameError, RuntimeName, Version, VersionError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What a configuration calls one of its registries, such as `company`.
///
/// Grammar: a letter or digit, then letters, digits, `.`, `_` and `-`; at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// What a user asks for on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The registry that it must come from, if one was named.
    pub origin: Option<Origin>,
    /// The runtime.
    pub name: RuntimeName,
    /// Which of its versions.
    pub wanted: Wanted,
}

/// Which version of a runtime is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No version was given: the highest one installed, else the latest of the registry.
    Any,
    /// `@latest`: the latest of the registry.
    Latest,
    /// `@VERSION`: this one and no other.
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
        let (origin, text) = match text.split_once('/') {
            None => (None, text),
            Some((origin, rest)) => (Some(origin.parse().map_err(SpecError::Origin)?), rest),
        };
        let (name, wanted) = match text.split_once('@') {
            None => (text, Wanted::Any),
            Some((name, "latest")) => (name, Wanted::Latest),
            Some((name, version)) => {
                (name, Wanted::Exact(version.parse().map_err(SpecError::Version)?))
            }
        };
        Ok(Self { origin, name: name.parse().map_err(SpecError::Name)?, wanted })
    }
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
        ] {
            let spec: Spec = text.parse().unwrap();
            assert_eq!((spec.name.as_str(), &spec.wanted), ("python-3.11-ml", &wanted));
            assert_eq!((spec.to_string().as_str(), spec.origin), (text, None));
        }
        let spec: Spec = "My_registry.2/demo@latest".parse().unwrap();
        assert_eq!(spec.origin.as_ref().map(Origin::as_str), Some("My_registry.2"));
        assert_eq!(spec.exactly(&"1.0.0".parse().unwrap()).to_string(), "My_registry.2/demo@1.0.0");
        for bad in [
            "",
            "@1.0.0",
            "a@",
            "a@1.0",
            "a@1.0.0@2.0.0",
            "A@1.0.0",
            "a@LATEST",
            "../a",
            "/a",
            "x/",
            "x/y/a",
            ".x/a",
        ] {
            assert!(bad.parse::<Spec>().is_err(), "{bad:?}");
        }
    }
}
