//! A progress bar on a terminal, nothing in a pipe.
//!
//! Drawn here: the usual library for it would take 40 KB of the 2 MiB that the program may have.

use std::cell::Cell;
use std::fmt::{self, Display};
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Cells of the bar.
const WIDTH: u64 = 30;
/// Least time between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// How far something that takes a while has come.
///
/// Draws from the calling thread only: a job is forked from a process with one thread.
#[derive(Debug)]
pub struct Progress(Option<Bar>);

#[derive(Debug)]
struct Bar {
    what: String,
    /// In bytes.
    total: u64,
    /// In bytes.
    done: Cell<u64>,
    begin: Instant,
    drawn: Cell<Instant>,
}

impl Progress {
    /// A bar for `total` bytes of `what`, if stderr is a terminal and `wanted`.
    pub fn bytes(what: String, total: u64, wanted: bool) -> Self {
        if !wanted || !stderr().is_terminal() {
            return Self(None);
        }
        let begin = Instant::now();
        let bar = Bar { what, total, done: Cell::new(0), begin, drawn: Cell::new(begin) };
        bar.draw();
        Self(Some(bar))
    }

    /// No bar at all.
    pub fn none() -> Self {
        Self(None)
    }

    /// Counts `bytes` more.
    pub fn advance(&self, bytes: u64) {
        let Some(bar) = &self.0 else { return };
        bar.done.set(bar.done.get().saturating_add(bytes));
        if bar.drawn.get().elapsed() >= PAUSE {
            bar.drawn.set(Instant::now());
            bar.draw();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0.is_some() {
            _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Bar {
    fn draw(&self) {
        // A terminal that went away is no reason to stop.
        _ = write!(stderr(), "\r{}\x1b[K", self.line(self.begin.elapsed()));
    }

    fn line(&self, elapsed: Duration) -> String {
        let (done, total) = (self.done.get().min(self.total), self.total.max(1));
        let full = usize::try_from(done.saturating_mul(WIDTH) / total).unwrap_or_default();
        let empty = usize::try_from(WIDTH).unwrap_or_default().saturating_sub(full);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = (done.saturating_mul(1000) / millis).max(1);
        format!(
            "{} [{}{}] {} of {}, {}/s, {} s left",
            self.what,
            "#".repeat(full),
            " ".repeat(empty),
            Megabytes(done),
            Megabytes(total),
            Megabytes(rate),
            (total - done) / rate,
        )
    }
}

/// Bytes as megabytes, with one digit after the point.
struct Megabytes(u64);

impl Display for Megabytes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / 100_000;
        write!(to, "{}.{} MB", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let now = Instant::now();
        let bar = |done, total| Bar {
            what: "fetching a".to_owned(),
            total,
            done: Cell::new(done),
            begin: now,
            drawn: Cell::new(now),
        };
        assert_eq!(
            bar(30_000_000, 90_000_000).line(Duration::from_secs(3)),
            "fetching a [##########                    ] 30.0 MB of 90.0 MB, 10.0 MB/s, 6 s left"
        );
        let odd = bar(5, 0).line(Duration::ZERO);
        assert!(odd.contains("0.0 MB of 0.0 MB"), "{odd}");
        let more = bar(9, 8).line(Duration::from_secs(1));
        assert!(more.contains("[##############################]"), "{more}");
    }
}
