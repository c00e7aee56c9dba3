//! Protection against rollback: the order of two documents by their dates.

use joblet_format::Timestamp;
use std::time::{Duration, SystemTime};

/// Tolerated clock difference.
const TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The result of comparing a document's date with the one seen last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Accepted, and its date is recorded.
    Later,
    /// Accepted, but dated in the future: not recorded, or it would block all later documents.
    Future,
    /// Older than the one seen last: refused.
    Earlier,
}

/// Compares the date `updated_at` of a document with the date `seen` before.
///
/// A text that is not a timestamp is accepted and not compared.
pub(super) fn order(updated_at: &str, seen: Option<&str>, now: SystemTime) -> Order {
    let latest = now.checked_add(TOLERANCE).unwrap_or(now);
    // A recorded date in the future comes from a wrong clock: ignored.
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
