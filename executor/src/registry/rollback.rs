//! Times as registries write them, and which of two documents is the later one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far clocks may differ.
const TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a document must not follow the one that was seen last, if so.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It may, and is remembered.
    Later,
    /// It may, but is from a time to come: it is not remembered, or it would shut out all others.
    Future,
    /// It is older than the other one.
    Earlier,
}

/// Whether a document of the time `updated_at` may follow one of the time `seen`.
///
/// Text that is not a timestamp decides nothing.
pub(super) fn order(updated_at: &str, seen: Option<&str>, now: SystemTime) -> Order {
    let latest = now.checked_add(TOLERANCE).unwrap_or(now);
    // What was seen by a clock that was wrong is forgotten.
    let seen = seen.and_then(parse).filter(|seen| *seen <= latest);
    match (parse(updated_at), seen) {
        (Some(updated_at), _) if updated_at > latest => Order::Future,
        (Some(updated_at), Some(seen)) if updated_at < seen => Order::Earlier,
        _ => Order::Later,
    }
}

/// A time in the form `2025-10-20T23:56:08Z`.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let form = "dddd-dd-ddTdd:dd:ddZ".bytes();
    let fits =
        |(byte, form): (&u8, u8)| if form == b'd' { byte.is_ascii_digit() } else { *byte == form };
    if bytes.len() != form.len() || !bytes.iter().zip(form).all(fits) {
        return None;
    }
    let number = |at: usize, length: usize| text[at..at + length].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Howard Hinnant's days_from_civil: years begin in March, eras are 400 years of 146,097 days.
    let year = year - u64::from(month < 3);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_are_read_in_one_form() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1980-01-01T00:00:00Z", 315_532_800),
            ("2000-02-28T23:59:59Z", 951_782_399),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2025-10-20T23:56:08Z", 1_761_004_568),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Some(at(seconds)), "{text}");
        }
        for bad in [
            "",
            "2025-10-20",
            "2025-10-20T23:56:08+01:00",
            "2025-13-20T23:56:08Z",
            "1969-12-31T23:59:59Z",
            "2025-10-20T23:56:08z",
            "+025-10-20T23:56:08Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    /// SEC-C04, SEC-D08
    #[test]
    fn rollback_is_refused() {
        let now = parse("2026-01-10T00:00:00Z").unwrap();
        let (old, new, far) =
            ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2099-01-01T00:00:00Z");
        for (updated_at, seen, want) in [
            (new, None, Order::Later),
            (new, Some(old), Order::Later),
            (new, Some(new), Order::Later),
            (old, Some(new), Order::Earlier),
            (far, Some(new), Order::Future),
            (new, Some(far), Order::Later),
            ("2026-01-10T20:00:00Z", None, Order::Later),
            ("yesterday", Some(new), Order::Later),
            (old, Some("yesterday"), Order::Later),
        ] {
            assert_eq!(order(updated_at, seen, now), want, "{updated_at} after {seen:?}");
        }
        let wrong = parse("2016-01-10T00:00:00Z").unwrap();
        assert_eq!(order(new, Some(new), wrong), Order::Future);
    }
}
