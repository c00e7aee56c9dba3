//! Timestamps in files.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time in UTC, in whole seconds since 1970.
///
/// Text form: `2025-10-20T23:56:08Z`, a form of RFC 3339 whose lexical order is that of time. Other forms are
/// refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// A text that is not in this form, or is not a time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampError;

impl Timestamp {
    /// The time `seconds` after the beginning of 1970.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

/// 1970 for a time before it.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}

impl From<Timestamp> for SystemTime {
    fn from(Timestamp(seconds): Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let is_one = text.len() == "2025-10-20T23:56:08Z".len() && text.ends_with('Z');
        let time = is_one.then(|| humantime::parse_rfc3339(text).ok()).flatten();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map(|since| Self(since.as_secs())).ok_or(TimestampError)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds((*self).into()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_form() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (315_532_800, "1980-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_761_004_568, "2025-10-20T23:56:08Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp::from_seconds(seconds)), "{text}");
            assert_eq!(Timestamp::from_seconds(seconds).to_string(), text);
        }
        for bad in [
            "", "2025-10-20", "2025-10-20T23:56:08+01:00", "2025-10-20T23:56:08.5Z",
            "2025-10-20 23:56:08Z", "2025-10-2OT23:56:08Z", "2025-13-20T23:56:08Z",
            "2025-02-30T23:56:08Z", "2025-10-20T24:56:08Z", "1969-10-20T23:56:08Z",
            "2025-10-20T23:56:0\u{e9}",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(TimestampError), "{bad}");
        }
    }
}
