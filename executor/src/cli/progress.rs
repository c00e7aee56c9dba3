//! A progress bar on a terminal, nothing in a pipe.
//!
//! Drawn here: the usual library for it would take 40 KB of the 2 MiB that the program may have.

use super::escape::visible;
use std::fmt::{self, Display};
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cells of the bar.
const WIDTH: u64 = 30;
/// Least time between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// The terminal has room for one bar: what goes on at once is drawn as its sum.
static BAR: Mutex<Option<Bar>> = Mutex::new(None);

/// How far something that takes a while has come: it, where it is drawn.
#[derive(Debug)]
pub struct Progress(Option<String>);

#[derive(Debug)]
struct Bar {
    /// What goes on.
    what: Vec<String>,
    /// Of all that went on since there was nothing to draw, in bytes.
    total: u64,
    /// Of that, in bytes.
    done: u64,
    begin: Instant,
    drawn: Instant,
}

impl Progress {
    /// A bar for `total` bytes of `what`, if stderr is a terminal and `wanted`.
    pub fn bytes(what: String, total: u64, wanted: bool) -> Self {
        if !wanted || !stderr().is_terminal() {
            return Self(None);
        }
        let mut bar = lock();
        let bar = bar.get_or_insert_with(Bar::new);
        bar.what.push(what.clone());
        bar.total = bar.total.saturating_add(total);
        bar.draw();
        Self(Some(what))
    }

    /// No bar at all.
    pub fn none() -> Self {
        Self(None)
    }

    /// Counts `bytes` more.
    pub fn advance(&self, bytes: u64) {
        if self.0.is_none() {
            return;
        }
        let Some(bar) = &mut *lock() else { return };
        bar.done = bar.done.saturating_add(bytes);
        if bar.drawn.elapsed() >= PAUSE {
            bar.draw();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(what) = &self.0 else { return };
        let mut bar = lock();
        let left = bar.as_mut().map_or(0, |bar| {
            let at = bar.what.iter().position(|it| it == what);
            at.map(|at| bar.what.remove(at));
            bar.what.len()
        });
        if left == 0 {
            *bar = None;
            clear();
        }
    }
}

/// Writes lines where the bar is; it goes on below them.
pub fn above(write: impl FnOnce()) {
    let mut bar = lock();
    if bar.is_some() {
        clear();
    }
    write();
    if let Some(bar) = &mut *bar {
        bar.draw();
    }
}

/// A bar is as good as it was when whoever drew it panicked.
fn lock() -> MutexGuard<'static, Option<Bar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clear() {
    // A terminal that went away is not a reason to stop.
    _ = write!(stderr(), "\r\x1b[K");
}

impl Bar {
    fn new() -> Self {
        let begin = Instant::now();
        Self { what: Vec::new(), total: 0, done: 0, begin, drawn: begin }
    }

    fn draw(&mut self) {
        self.drawn = Instant::now();
        // As above.
        _ = write!(stderr(), "\r{}\x1b[K", self.line(self.begin.elapsed()));
    }

    fn line(&self, elapsed: Duration) -> String {
        let (done, total) = (self.done.min(self.total), self.total.max(1));
        let more = match self.what.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let full = usize::try_from(done.saturating_mul(WIDTH) / total).unwrap_or_default();
        let empty = usize::try_from(WIDTH).unwrap_or_default().saturating_sub(full);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = (done.saturating_mul(1000) / millis).max(1);
        format!(
            "{}{more} [{}{}] {} of {}, {}/s, {} s left",
            self.what.first().map(|what| visible(what)).unwrap_or_default(),
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
        let bar =
            |done, total| Bar { what: vec!["fetching a".to_owned()], total, done, ..Bar::new() };
        assert_eq!(
            bar(30_000_000, 90_000_000).line(Duration::from_secs(3)),
            "fetching a [##########                    ] 30.0 MB of 90.0 MB, 10.0 MB/s, 6 s left"
        );
        let mut several = bar(30_000_000, 90_000_000);
        several.what.extend(["b".to_owned(), "c".to_owned()]);
        let line = several.line(Duration::from_secs(3));
        assert!(line.starts_with("fetching a and 2 more [####"), "{line}");
        let odd = bar(5, 0).line(Duration::ZERO);
        assert!(odd.contains("0.0 MB of 0.0 MB"), "{odd}");
        let more = bar(9, 8).line(Duration::from_secs(1));
        assert!(more.contains("[##############################]"), "{more}");
    }
}
