//! `NAME`, `NAME@VERSION`, `NAME@latest`.

use crate::{NameError, RuntimeName, Version, VersionError};
use std::{fmt, str::FromStr};

/// What a user asks for on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
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

/// A text that is no [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecError {
    /// The part before `@`.
    Name(NameError),
    /// The part after `@`.
    Version(VersionError),
}

impl Spec {
    /// The same runtime in exactly this version.
    #[must_use]
    pub fn exactly(&self, version: &Version) -> Self {
        Self { name: self.name.clone(), wanted: Wanted::Exact(version.clone()) }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (name, wanted) = match text.split_once('@') {
            None => (text, Wanted::Any),
            Some((name, "latest")) => (name, Wanted::Latest),
            Some((name, version)) => {
                (name, Wanted::Exact(version.parse().map_err(SpecError::Version)?))
            }
        };
        Ok(Self { name: name.parse().map_err(SpecError::Name)?, wanted })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            assert_eq!(spec.to_string(), text);
        }
        for bad in ["", "@1.0.0", "a@", "a@1.0", "a@1.0.0@2.0.0", "A@1.0.0", "a@LATEST", "../a"] {
            assert!(bad.parse::<Spec>().is_err(), "{bad:?}");
        }
    }
}
