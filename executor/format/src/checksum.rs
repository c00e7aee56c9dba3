//! `sha256:…`

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// SHA-256 of a whole file, as published.
///
/// Wire format (JSON string): `sha256:` and exactly 64 lower-case hex digits. Any other algorithm,
/// length or case is refused, so equal checksums are equal strings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum([u8; 32]);

/// Value of each byte as a digit: large registries have hundreds of thousands of checksums.
const VALUES: [u8; 256] = {
    let (mut values, mut digit) = ([u8::MAX; 256], 0);
    while digit < 16 {
        values[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

/// A text that is not a [`Checksum`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksumError(String);

impl Checksum {
    /// Wraps a finished SHA-256 digest.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The checksum of `bytes`.
    pub fn of_bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hex digits without the algorithm, for file names.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads 64 lower-case hex digits without the algorithm, as lock files and `SHA256SUMS` have them.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, ChecksumError> {
        let (mut digest, mut all) = ([0; 32], 0);
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (high, low) = (VALUES[usize::from(digits[0])], VALUES[usize::from(digits[1])]);
            all |= high | low;
            *byte = high << 4 | low & 15;
        }
        if text.len() != 64 || all > 15 {
            return Err(ChecksumError(text.to_owned()));
        }
        Ok(Self(digest))
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let digits = text.strip_prefix("sha256:").ok_or_else(|| ChecksumError(text.to_owned()))?;
        Self::from_hex(digits).map_err(|_| ChecksumError(text.to_owned()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

crate::as_text!(Checksum, ChecksumError);

impl fmt::Display for ChecksumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checksum {:?} is not `sha256:` and 64 lower-case hex digits", self.0)
    }
}

impl std::error::Error for ChecksumError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_has_one_spelling() {
        let digits = "a2b4c6d8e9f0a1b2a2b4c6d8e9f0a1b2a2b4c6d8e9f0a1b2a2b4c6d8e9f0a1b2";
        let good = format!("sha256:{digits}");
        assert_eq!(good.parse::<Checksum>().unwrap().to_string(), good);
        for bad in [
            String::new(),
            digits.to_owned(),
            format!("md5:{digits}"),
            format!("SHA256:{digits}"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{}", &digits[1..]),
            format!("sha256:{digits}0"),
            format!("sha256: {}", &digits[1..]),
            format!("sha256:{}g", &digits[1..]),
        ] {
            assert_eq!(bad.parse::<Checksum>(), Err(ChecksumError(bad.clone())), "{bad:?}");
        }
    }
}
