//! The version of a runtime.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A Semantic Versioning 2.0.0 version without build metadata, in its order (1.10.0 > 1.9.0).
///
/// Build metadata is refused because the order ignores it: two versions that differ only there would have
/// equal precedence but different names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

/// The versions that begin with the same numbers: `1` or `1.3`, as in `NAME@1.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    major: u64,
    minor: Option<u64>,
}

impl Series {
    /// Whether `version` is in the series.
    pub fn has(self, version: &Version) -> bool {
        version.0.major == self.major && self.minor.is_none_or(|minor| version.0.minor == minor)
    }
}

impl FromStr for Series {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (major, minor) = match text.split_once('.') {
            None => (text, None),
            Some((major, minor)) => (major, Some(minor)),
        };
        let refuse = || VersionError { text: text.to_owned(), reason: "two numbers at most" };
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(refuse());
        }
        // Parsed as a full version, for the same grammar of numbers.
        let whole: Version = format!("{major}.{}.0", minor.unwrap_or("0")).parse()?;
        Ok(Self { major: whole.0.major, minor: minor.map(|_| whole.0.minor) })
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.major)?;
        self.minor.map_or(Ok(()), |minor| write!(f, ".{minor}"))
    }
}

/// A text that is not a [`Version`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionError {
    text: String,
    reason: &'static str,
}

/// Longest accepted version, in bytes: with a name of 64 bytes it fits into one path component.
const MAX_BYTES: usize = 128;

impl Version {
    /// Whether this is a pre-release such as `1.4.0-beta`.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// The highest of `versions`. Pre-releases count only if there are no others.
    pub fn latest<'v>(versions: impl Iterator<Item = &'v Self>) -> Option<&'v Self> {
        versions.max_by_key(|version| (!version.is_prerelease(), *version))
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let refuse = |reason| VersionError { text: text.to_owned(), reason };
        if text.len() > MAX_BYTES {
            return Err(refuse("longer than 128 bytes"));
        }
        // Its error speaks of the parser.
        let version = semver::Version::parse(text);
        let version = version.map_err(|_| refuse("three numbers, and -TEXT for a pre-release"))?;
        if !version.build.is_empty() {
            return Err(refuse("build metadata after `+` is not allowed"));
        }
        Ok(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

crate::as_text!(Version, VersionError);

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a version like 1.4.0: {}", self.text, self.reason)
    }
}

impl std::error::Error for VersionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_ordered_by_number_not_by_text() {
        assert!(version("1.10.0") > version("1.9.0"));
        assert!(version("2.0.0") > version("1.99.99"));
        assert!(version("1.4.0") > version("1.4.0-beta"));
    }

    #[test]
    fn latest_prefers_releases() {
        let all = ["1.9.0", "1.10.0", "2.0.0-rc.1"].map(version);
        assert_eq!(Version::latest(all.iter()), Some(&version("1.10.0")));
        let only_pre = ["2.0.0-rc.1", "2.0.0-rc.2"].map(version);
        assert_eq!(Version::latest(only_pre.iter()), Some(&version("2.0.0-rc.2")));
        assert_eq!(Version::latest([].iter()), None);
    }

    #[test]
    fn series_begin_alike() {
        let of = |series: &str| {
            let series: Series = series.parse().unwrap();
            let all = ["1.3.0", "1.3.10", "1.30.0", "2.3.0"].map(version);
            all.into_iter().filter(|it| series.has(it)).map(|it| it.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("1.3"), ["1.3.0", "1.3.10"]);
        assert_eq!(of("1"), ["1.3.0", "1.3.10", "1.30.0"]);
        assert_eq!("1.3".parse::<Series>().unwrap().to_string(), "1.3");
        for bad in
            ["", "1.", ".1", "1.2.3", "01", "1.x", "v1", "1-0", "1.0-rc", "1.0+1", "1.4.0-beta"]
        {
            assert!(bad.parse::<Series>().is_err(), "{bad}");
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in
            ["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0+b1", "../1", "18446744073709551616.0.0"]
        {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        assert!(format!("1.0.0-{}", "a".repeat(123)).parse::<Version>().is_err());
    }
}
