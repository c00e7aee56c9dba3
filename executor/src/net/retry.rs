//! Retries with exponential backoff and jitter.

use crate::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Delays before the second, third and fourth attempt.
const WAITS: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// Longest `Retry-After` that is honoured.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Counts the attempts of an operation that may fail transiently.
#[derive(Debug)]
pub(crate) struct Tries(usize);

impl Tries {
    /// Four attempts, with three growing delays between them.
    pub(crate) fn new() -> Self {
        Self(0)
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// `error`, when no attempt is left.
    pub(crate) fn again(&mut self, error: Error) -> Result<(), Error> {
        self.again_after(None, error)
    }

    /// As [`Tries::again`], with the server's `Retry-After`.
    ///
    /// # Errors
    /// As [`Tries::again`]; also when `Retry-After` exceeds [`MAX_RETRY_AFTER`].
    pub(crate) fn again_after(
        &mut self,
        retry_after: Option<Duration>,
        error: Error,
    ) -> Result<(), Error> {
        let wait = wait(self.0, RandomState::new().hash_one(0), retry_after).ok_or(error)?;
        self.0 += 1;
        std::thread::sleep(wait);
        Ok(())
    }
}

/// The delay after attempt `number`; none when it was the last, or `Retry-After` is too long.
///
/// `random` adds jitter of up to a quarter, so that many clients do not retry at the same moment.
fn wait(number: usize, random: u64, retry_after: Option<Duration>) -> Option<Duration> {
    let permille = u32::try_from(750 + random % 500).unwrap_or_default();
    let own = *WAITS.get(number)? * permille / 1000;
    let wait = retry_after.map_or(own, |retry_after| retry_after.max(own));
    (wait <= MAX_RETRY_AFTER).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-D06
    #[test]
    fn delays_grow_are_jittered_and_limited() {
        let quick = |number, random| wait(number, random, None).map(|wait| wait.as_millis());
        assert_eq!([0, 1, 2].map(|number| quick(number, 0)), [Some(225), Some(750), Some(2250)]);
        assert_eq!([0, 1, 2].map(|n| quick(n, 999)), [Some(374), Some(1249), Some(3747)]);
        assert_eq!(quick(3, 0), None);
        let retry_after = |seconds| wait(0, 0, Some(Duration::from_secs(seconds)));
        assert_eq!(retry_after(0), Some(Duration::from_millis(225)));
        assert_eq!(retry_after(1), Some(Duration::from_secs(1)));
        assert_eq!(retry_after(60), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after(86_400), None);
    }
}
