//! The progress of packing.

use crate::inputs::progress::{PAUSE, add_speed};
use joblet_format::text;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The progress of one archive.
pub(super) struct Packing<'s> {
    step: &'s (dyn Fn(&str) + Sync),
    begin: Instant,
    reported: Mutex<Instant>,
}

impl<'s> Packing<'s> {
    pub(super) fn new(step: &'s (dyn Fn(&str) + Sync)) -> Self {
        let begin = Instant::now();
        Self { step, begin, reported: Mutex::new(begin) }
    }

    /// So many bytes of `total` are packed.
    pub(super) fn report(&self, done: u64, total: u64) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.elapsed() >= PAUSE {
            *reported = Instant::now();
            (self.step)(&line(done, total, self.begin.elapsed()));
        }
    }
}

fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(1);
    let mut line = format!("packing {} % of {}", done.min(total) * 100 / total, text::size(total));
    add_speed(&mut line, done, Some(total.saturating_sub(done)), elapsed);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cent_and_speed_are_reported() {
        for (done, millis, want) in [
            (0, 0, "packing 0 % of 90.0 MB"),
            (30_000_000, 900, "packing 33 % of 90.0 MB"),
            (30_000_000, 3000, "packing 33 % of 90.0 MB, 10.0 MB/s, 0:06 left"),
            (91_000_000, 1000, "packing 100 % of 90.0 MB, 91.0 MB/s, 0:00 left"),
        ] {
            assert_eq!(line(done, 90_000_000, Duration::from_millis(millis)), want);
        }
    }
}
