//! A progress bar on a terminal, as wide as the terminal; none in a pipe, or if `TERM` is `dumb`.
//!
//! Own code, since the usual library would add 40 KB to the program, whose limit is 2.25 MiB.

use super::escape::visible;
use rustix::fd::AsFd;
use std::fmt::{self, Display};
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum width of the bar, in cells.
const WIDEST: usize = 30;
/// Width of a space and the brackets.
const BRACKETS: usize = 3;
/// Minimum width for a bar, in columns.
const NARROWEST: usize = BRACKETS + 8;
/// Width of a terminal of unknown size.
const COLUMNS: usize = 80;
/// Time before speed and remaining time are estimated.
const ESTIMATED_AFTER: Duration = Duration::from_secs(1);
/// Minimum time between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// The bar of the terminal, which shows the sum of parallel operations.
static BAR: Mutex<Option<Bar>> = Mutex::new(None);

/// Progress of one operation; its name, if it is drawn.
#[derive(Debug)]
pub(crate) struct Progress(Option<String>);

#[derive(Debug)]
struct Bar {
    /// Names of current operations.
    what: Vec<String>,
    /// Total of all operations since the bar was empty, in bytes.
    total: u64,
    /// Completed part of it, in bytes.
    done: u64,
    begin: Instant,
    drawn: Instant,
}

impl Progress {
    /// Progress of `total` bytes of `what`, drawn if stderr is a terminal and `wanted`.
    pub(crate) fn bytes(what: String, total: u64, wanted: bool) -> Self {
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

    /// Progress that is not drawn.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Adds `bytes` to the completed part.
    pub(crate) fn advance(&self, bytes: u64) {
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

/// Writes lines above the bar.
pub(crate) fn above(write: impl FnOnce()) {
    let mut bar = lock();
    if bar.is_some() {
        clear();
    }
    write();
    if let Some(bar) = &mut *bar {
        bar.draw();
    }
}

/// Locks the bar. The panic of another thread does not make it invalid.
fn lock() -> MutexGuard<'static, Option<Bar>> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The current width of a terminal, in columns.
pub(crate) fn columns(terminal: impl AsFd) -> usize {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    }
}

fn clear() {
    // An error of the terminal is ignored.
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
        _ = write!(stderr(), "\r{}\x1b[K", self.line(self.begin.elapsed(), columns(stderr())));
    }

    /// The line for a terminal of this width; parts that do not fit are omitted.
    fn line(&self, elapsed: Duration, columns: usize) -> String {
        let (done, total) = (self.done.min(self.total), self.total.max(1));
        let more = match self.what.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let what = self.what.first().map(|what| visible(what)).unwrap_or_default() + &more;
        let amount = format!(" {} of {}", Megabytes(done), Megabytes(total));
        let (mut speed, mut left) = (String::new(), String::new());
        // Before that, the rate is dominated by the time to connect.
        if elapsed >= ESTIMATED_AFTER && done > 0 {
            let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            let rate = (done.saturating_mul(1000) / millis).max(1);
            speed = format!(", {}/s", Megabytes(rate));
            left = format!(", {} left", Clock((total - done) / rate));
        }
        // Some terminals wrap after the last column.
        let columns = columns.saturating_sub(1);
        let remaining = |texts: &[&String]| {
            columns.checked_sub(texts.iter().map(|text| text.chars().count()).sum())
        };
        if let Some(cells) =
            remaining(&[&what, &amount, &speed, &left]).filter(|cells| *cells >= NARROWEST)
        {
            let cells = (cells - BRACKETS).min(WIDEST);
            let full = done.saturating_mul(cells as u64) / total;
            let full = usize::try_from(full).unwrap_or_default();
            let (full, empty) = ("#".repeat(full), " ".repeat(cells.saturating_sub(full)));
            return format!("{what} [{full}{empty}]{amount}{speed}{left}");
        }
        for texts in
            [&[&what, &amount, &speed, &left][..], &[&what, &amount, &left], &[&what, &amount]]
        {
            if remaining(texts).is_some() {
                return texts.iter().map(|text| text.as_str()).collect();
            }
        }
        what.chars().take(columns).collect()
    }
}

/// Displays bytes as megabytes with one decimal.
struct Megabytes(u64);

impl Display for Megabytes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / 100_000;
        write!(to, "{}.{} MB", tenths / 10, tenths % 10)
    }
}

/// Displays seconds as `M:SS` or `H:MM:SS`.
struct Clock(u64);

impl Display for Clock {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.0 / 60, self.0 % 60);
        match minutes / 60 {
            0 => write!(to, "{minutes}:{seconds:02}"),
            hours => write!(to, "{hours}:{:02}:{seconds:02}", minutes % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(done: u64, total: u64) -> Bar {
        Bar { what: vec!["fetching a".to_owned()], total, done, ..Bar::new() }
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let line = |bar: &Bar, seconds| bar.line(Duration::from_secs(seconds), 120);
        assert_eq!(
            line(&bar(30_000_000, 90_000_000), 3),
            "fetching a [##########                    ] 30.0 MB of 90.0 MB, 10.0 MB/s, 0:06 left"
        );
        let mut several = bar(30_000_000, 90_000_000);
        several.what.extend(["b".to_owned(), "c".to_owned()]);
        let text = line(&several, 3);
        assert!(text.starts_with("fetching a and 2 more [####"), "{text}");
        let odd = line(&bar(5, 0), 0);
        assert!(odd.contains("0.0 MB of 0.0 MB"), "{odd}");
        let more = line(&bar(9, 8), 1);
        assert!(more.contains("[##############################]"), "{more}");
        // No estimate without data, or within the first second.
        for (done, seconds) in [(0, 9), (5_000_000, 0)] {
            let text = line(&bar(done, 90_000_000), seconds);
            assert!(text.ends_with(" of 90.0 MB"), "{text}");
        }
        let times = [0, 59, 60, 83, 3599, 3600, 36_061].map(|seconds| Clock(seconds).to_string());
        assert_eq!(times, ["0:00", "0:59", "1:00", "1:23", "59:59", "1:00:00", "10:01:01"]);
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let bar = bar(30_000_000, 90_000_000);
        for (columns, want) in [
            (79, "fetching a [########                ] 30.0 MB of 90.0 MB, 10.0 MB/s, 0:06 left"),
            (70, "fetching a [#####          ] 30.0 MB of 90.0 MB, 10.0 MB/s, 0:06 left"),
            (60, "fetching a 30.0 MB of 90.0 MB, 10.0 MB/s, 0:06 left"),
            (45, "fetching a 30.0 MB of 90.0 MB, 0:06 left"),
            (32, "fetching a 30.0 MB of 90.0 MB"),
            (20, "fetching a"),
            (5, "fetc"),
        ] {
            assert_eq!(bar.line(Duration::from_secs(3), columns), want, "{columns}");
        }
        for columns in 0..150 {
            let length = bar.line(Duration::from_secs(3), columns).len();
            assert!(length < columns.max(1), "{length} of {columns}");
        }
    }
}
