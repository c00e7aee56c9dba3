//! Which of two documents is the later one.

use joblet_format::Timestamp;
use std::time::{Duration, SystemTime};

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
    let parse = |text: &str| text.parse::<Timestamp>().ok().map(SystemTime::from);
    let seen = seen.and_then(parse).filter(|seen| *seen <= latest);
    match (parse(updated_at), seen) {
        (Some(updated_at), _) if updated_at > latest => Order::Future,
        (Some(updated_at), Some(seen)) if updated_at < seen => Order::Earlier,
        _ => Order::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-C04, SEC-D08
    #[test]
    fn rollback_is_refused() {
        let parse = |text: &str| SystemTime::from(text.parse::<Timestamp>().unwrap());
        let now = parse("2026-01-10T00:00:00Z");
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
        let wrong = parse("2016-01-10T00:00:00Z");
        assert_eq!(order(new, Some(new), wrong), Order::Future);
    }
}
