//! The name of a runtime, and the directory it is installed in.

use crate::{Arch, Version};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest accepted name, in bytes.
const MAX_BYTES: usize = 64;

/// A runtime's name, such as `python-3.11-ml`.
///
/// Grammar: `[a-z0-9]`, then `[a-z0-9.-]*`, ending in `[a-z0-9]`; no `..`; at most 64 bytes; and no
/// `-` followed by a full version, because `foo-1.0.0`@`2.0.0` and `foo`@`1.0.0-2.0.0` would share
/// a directory. A valid name is a safe path component and needs no quoting in a URL or a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuntimeName(String);

/// A text that is not a [`RuntimeName`], and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    text: String,
    rule: &'static str,
}

impl RuntimeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory of one version of this runtime: `NAME-VERSION`.
    pub fn directory(&self, version: &Version) -> String {
        format!("{}-{version}", self.0)
    }

    /// File name of the archive of one version for one architecture: `NAME-VERSION-ARCH.tar.gz`.
    pub fn archive(&self, version: &Version, arch: Arch) -> String {
        format!("{}-{arch}.tar.gz", self.directory(version))
    }
}

/// Reads a directory name back: the inverse of [`RuntimeName::directory`].
///
/// Unambiguous, since a name contains no `-` followed by a full version.
pub fn split_directory(directory: &str) -> Option<(RuntimeName, Version)> {
    directory.match_indices('-').find_map(|(at, _)| {
        let name = directory[..at].parse().ok()?;
        let version = directory[at + 1..].parse().ok()?;
        Some((name, version))
    })
}

impl FromStr for RuntimeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |rule| Err(NameError { text: text.to_owned(), rule });
        let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if bytes.len() > MAX_BYTES {
            return refuse("it is longer than 64 bytes");
        }
        if !bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) {
            return refuse("only a-z, 0-9, `.` and `-` are allowed");
        }
        if !plain(bytes.first()) || !plain(bytes.last()) {
            return refuse("it must begin and end with a letter or a digit");
        }
        if text.contains("..") {
            return refuse("`..` is not allowed");
        }
        // Exactly the names that would make a directory name ambiguous.
        let holds_a_version = |(at, _): (usize, &str)| {
            semver::Version::parse(&format!("{}-0.0.0", &text[at + 1..])).is_ok()
        };
        if text.match_indices('-').any(holds_a_version) {
            return refuse("`-` followed by a full version would be ambiguous");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

crate::as_text!(RuntimeName, NameError);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a runtime name: {}", self.text, self.rule)
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names() {
        for text in ["a", "python-3.11", "python-3.11-ml", "openjdk-21", "7zip", "a-1.2", "con"] {
            assert_eq!(text.parse::<RuntimeName>().unwrap().as_str(), text);
        }
        assert!("a".repeat(64).parse::<RuntimeName>().is_ok());
    }

    #[test]
    fn bad_names() {
        for text in [
            "", ".", "..", "-rf", "a-", "a.", ".a", "a/b", "a\\b", "a%2fb", "A", "a..b", "a b",
            "a_b", "a\n", "a\0", "é", "foo-1.0.0", "foo-1.0.0-bar", "foo-1.0.0-01",
            "x-foo-10.20.30",
        ] {
            assert!(text.parse::<RuntimeName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(65).parse::<RuntimeName>().is_err());
    }

    #[test]
    fn a_directory_names_one_runtime() {
        for (name, version) in
            [("python-3.11", "1.0.0"), ("foo", "1.0.0-2.0.0"), ("a-1.2", "1.10.0-rc.1")]
        {
            let (name, version) = (name.parse::<RuntimeName>().unwrap(), version.parse().unwrap());
            assert_eq!(split_directory(&name.directory(&version)), Some((name, version)));
        }
        for text in ["python-3.11", "foo", ".joblet", "foo-1.0", "-1.0.0", "foo-1.0.0+b"] {
            assert_eq!(split_directory(text), None, "{text:?}");
        }
    }
}
