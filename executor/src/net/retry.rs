//! Trying again, with waits in between.

use crate::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Waits before the second, third and fourth try.
const WAITS: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// Longest wait that a server may ask for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often something is tried that may succeed a moment later.
#[derive(Debug)]
pub(crate) struct Tries(usize);

impl Tries {
    /// Four tries: three waits between them, each longer than the one before.
    pub(crate) fn new() -> Self {
        Self(0)
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `error`, when that was the last one.
    pub(crate) fn again(&mut self, error: Error) -> Result<(), Error> {
        self.again_after(None, error)
    }

    /// The same, where the server said how long to wait.
    ///
    /// # Errors
    /// As [`Tries::again`]; also when that is longer than is reasonable.
    pub(crate) fn again_after(
        &mut self,
        asked: Option<Duration>,
        error: Error,
    ) -> Result<(), Error> {
        let wait = wait(self.0, RandomState::new().hash_one(0), asked).ok_or(error)?;
        self.0 += 1;
        std::thread::sleep(wait);
        Ok(())
    }
}

/// How long to wait after the try `number`; none when it was the last, or when the server asks for
/// more than is reasonable.
///
/// `random` moves it by up to a quarter, so that many clients do not come back all at once.
fn wait(number: usize, random: u64, asked: Option<Duration>) -> Option<Duration> {
    let permille = u32::try_from(750 + random % 500).unwrap_or_default();
    let own = *WAITS.get(number)? * permille / 1000;
    let wait = asked.map_or(own, |asked| asked.max(own));
    (wait <= LONGEST_WAIT).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-D06
    #[test]
    fn waits_grow_are_jittered_and_end() {
        let quick = |number, random| wait(number, random, None).map(|wait| wait.as_millis());
        assert_eq!([0, 1, 2].map(|number| quick(number, 0)), [Some(225), Some(750), Some(2250)]);
        assert_eq!([0, 1, 2].map(|n| quick(n, 999)), [Some(374), Some(1249), Some(3747)]);
        assert_eq!(quick(3, 0), None);
        let asked = |seconds| wait(0, 0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0), Some(Duration::from_millis(225)));
        assert_eq!(asked(1), Some(Duration::from_secs(1)));
        assert_eq!(asked(60), Some(LONGEST_WAIT));
        assert_eq!(asked(86_400), None);
    }
}
