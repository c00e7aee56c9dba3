//! Architectures and platforms.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A processor architecture, by Debian's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// `x86_64` for the kernel and for Rust.
    Amd64,
    /// `aarch64` for the kernel and for Rust.
    Arm64,
}

/// A kind of host that a version is declared for: `OS-ARCH`, such as `ubuntu-amd64`.
///
/// A runtime contains its own libc: only the architecture decides which artifact is fetched. The name of
/// the system states where its maintainers support it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    os: String,
    arch: Arch,
}

/// A text that is not an [`Arch`] or [`Platform`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformError(String);

impl Default for Arch {
    /// The architecture this program was compiled for.
    fn default() -> Self {
        Self::NATIVE
    }
}

impl Arch {
    /// All architectures, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The architecture this program was compiled for.
    pub const NATIVE: Self = if cfg!(target_arch = "x86_64") {
        Self::Amd64
    } else if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else {
        panic!("joblet runs on x86_64 and aarch64")
    };

    /// `amd64` or `arm64`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl Platform {
    /// The distribution, such as `ubuntu`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        self.arch
    }
}

impl FromStr for Arch {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.as_str() == text)
            .ok_or_else(|| PlatformError(text.to_owned()))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refused = || PlatformError(text.to_owned());
        let (os, arch) = text.rsplit_once('-').ok_or_else(refused)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if os.is_empty() || os.len() > 32 || !os.bytes().all(plain) {
            return Err(refused());
        }
        Ok(Self { os: os.to_owned(), arch: arch.parse().map_err(|_| refused())? })
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.os, self.arch)
    }
}

crate::as_text!(Platform, PlatformError);

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a platform like ubuntu-amd64 (amd64 and arm64 are known)", self.0)
    }
}

impl std::error::Error for PlatformError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        let platform: Platform = "ubuntu-arm64".parse().unwrap();
        assert_eq!((platform.os(), platform.arch()), ("ubuntu", Arch::Arm64));
        assert_eq!(platform.to_string(), "ubuntu-arm64");
        for bad in ["", "ubuntu", "amd64", "-amd64", "ubuntu-x86_64", "Ubuntu-amd64", "a-b-amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }
}
