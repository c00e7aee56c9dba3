//! Progress of downloads: per cent, speed, time left, and the current input.

use crate::lock::Input;
use joblet_format::text;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Minimum interval of reports.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);
/// Time after the first byte from which on speed and time left are estimated.
const ESTIMATED_AFTER: Duration = Duration::from_secs(1);

/// Adds the speed to a line, and the time for `left` bytes; nothing before both can be estimated.
pub(crate) fn add_speed(line: &mut String, done: u64, left: Option<u64>, elapsed: Duration) {
    if elapsed < ESTIMATED_AFTER {
        return;
    }
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let rate = (done.saturating_mul(1000) / millis).max(1);
    _ = write!(line, ", {}/s", text::size(rate)); // never fails
    if let Some(seconds) = left.map(|left| left / rate) {
        _ = write!(line, ", {}:{:02} left", seconds / 60, seconds % 60);
    }
}

/// The progress of all inputs of one tree, reported to the user in one line.
pub(super) struct Progress<'n> {
    note: &'n (dyn Fn(&str) + Sync),
    /// Name and length in bytes of each.
    inputs: Vec<(String, Option<u64>)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Number of complete inputs.
    done: usize,
    /// Their length, in bytes.
    present: u64,
    /// Bytes received of the inputs that are being fetched, by index.
    open: BTreeMap<usize, u64>,
    /// Total bytes received.
    fetched: u64,
    /// Time of the first byte.
    begin: Option<Instant>,
    reported: Option<Instant>,
}

impl<'n> Progress<'n> {
    pub(super) fn new(inputs: &[Input], note: &'n (dyn Fn(&str) + Sync)) -> Self {
        let inputs = inputs.iter().map(|input| (input.file_name().to_owned(), input.size));
        Self { note, inputs: inputs.collect(), state: Mutex::default() }
    }

    /// Counts `bytes` received of the input at `index`.
    pub(super) fn received(&self, index: usize, bytes: u64) {
        let mut state = self.lock();
        *state.open.entry(index).or_default() += bytes;
        state.fetched += bytes;
        state.begin.get_or_insert_with(Instant::now);
        if state.reported.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.report(&mut state);
        }
    }

    /// Counts the input at `index` as complete.
    pub(super) fn done(&self, index: usize) {
        let mut state = self.lock();
        state.open.remove(&index);
        state.done += 1;
        state.present += self.inputs.get(index).and_then(|(_, size)| *size).unwrap_or_default();
        self.report(&mut state);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, state: &mut State) {
        state.reported = Some(Instant::now());
        let elapsed = state.begin.map_or(Duration::ZERO, |begin| begin.elapsed());
        (self.note)(&self.line(state, elapsed));
    }

    /// The line, `elapsed` after the first byte; its end may be cut off.
    fn line(&self, state: &State, elapsed: Duration) -> String {
        let count = self.inputs.len();
        if state.fetched == 0 {
            return format!("inputs: {} of {count}", state.done);
        }
        let name = |index: &usize| self.inputs.get(*index);
        // A restarted transfer may have counted bytes twice.
        let arrived = state.open.iter().map(|(index, bytes)| {
            name(index).and_then(|(_, size)| *size).map_or(*bytes, |size| size.min(*bytes))
        });
        let here = state.present + arrived.sum::<u64>();
        let total = self.inputs.iter().map(|(_, size)| *size).sum::<Option<u64>>();
        let mut line = match total.filter(|total| *total > 0) {
            Some(total) => {
                let percent = here.min(total) * 100 / total;
                format!("fetching {percent} % of {}", text::size(total))
            }
            None => format!("fetching {} of {count} inputs", state.done),
        };
        let left = total.map(|total| total.saturating_sub(here));
        add_speed(&mut line, state.fetched, left, elapsed);
        if let Some((name, _)) = state.open.keys().next().and_then(name) {
            _ = write!(line, ", waiting for {name}");
            if state.open.len() > 1 {
                _ = write!(line, " and {} more", state.open.len() - 1);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Kind;
    use joblet_format::Checksum;

    fn input(name: &str, size: Option<u64>) -> Input {
        let sha256 = Checksum::from_digest([0; 32]);
        Input { kind: Kind::Deb, name: format!("debian/pool/{name}"), size, sha256 }
    }

    #[test]
    fn per_cent_speed_and_pending_inputs_are_reported() {
        let note = |_: &str| {};
        let inputs =
            [input("a", Some(1_000_000)), input("b", Some(3_000_000)), input("c", Some(0))];
        let progress = Progress::new(&inputs, &note);
        let line = |seconds| progress.line(&progress.lock(), Duration::from_secs(seconds));
        progress.done(0);
        assert_eq!(line(0), "inputs: 1 of 3");
        progress.received(1, 1_000_000);
        assert_eq!(line(0), "fetching 50 % of 4.0 MB, waiting for b");
        progress.received(2, 0);
        assert_eq!(
            line(2),
            "fetching 50 % of 4.0 MB, 500.0 kB/s, 0:04 left, waiting for b and 1 more"
        );
        progress.received(1, 9_000_000);
        assert!(line(1).starts_with("fetching 100 % of 4.0 MB, "), "{}", line(1));
        progress.done(1);
        progress.done(2);
        assert_eq!(line(2), "fetching 100 % of 4.0 MB, 5.0 MB/s, 0:00 left");
    }

    #[test]
    fn unknown_sizes_are_not_estimated() {
        let notes = Mutex::new(Vec::new());
        let note = |text: &str| notes.lock().unwrap().push(text.to_owned());
        let progress = Progress::new(&[input("a", None), input("b", Some(1))], &note);
        progress.received(0, 5);
        progress.received(0, 5); // at once after the first: not reported
        progress.done(0);
        let want = ["fetching 0 of 2 inputs, waiting for a", "fetching 1 of 2 inputs"];
        assert_eq!(*notes.lock().unwrap(), want);
    }
}
