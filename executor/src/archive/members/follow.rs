//! Content that another process fetches.
//!
//! Reads ask for members in the [`ProgressFile`], and wait there until they are written.

use super::demand::Availability;
use super::member_map::MemberMap;
use super::progress_file::{Phase, ProgressFile};
use joblet_format::index::Index;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Interval of looking for progress while a read waits, and otherwise.
const PAUSE: Duration = Duration::from_millis(3);
const IDLE: Duration = Duration::from_millis(100);
/// How long a process may make no progress, nor report that the network is down, before reads fail: it was stopped.
const STALLED: Duration = Duration::from_secs(60);

/// An archive that another process unpacks.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    plan: MemberMap,
    progress: &'a ProgressFile,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Whether a read waits.
    waiting: bool,
    /// Whether there will be no more reads.
    closed: bool,
    /// Whether everything is written.
    complete: bool,
    /// Whether reads fail.
    failed: bool,
    /// The number of written members, and since when.
    written: usize,
    since: Instant,
}

impl<'a> Follow<'a> {
    /// The archive of `index`, whose members are in `progress`.
    pub(crate) fn new(index: &Index, progress: &'a ProgressFile) -> Self {
        let (waiting, closed, complete, failed) = (false, false, false, false);
        let (written, since) = (0, Instant::now());
        let state = Mutex::new(State { waiting, closed, complete, failed, written, since });
        Self { plan: MemberMap::new(index), progress, state, changed: Condvar::new() }
    }

    /// Whether `length` bytes at `offset` of the file `entry` can be read; if not, requests them.
    pub(crate) fn ask(&self, entry: usize, offset: u64, length: u64) -> Availability {
        let members = self.plan.members(entry, offset, length);
        let mut state = self.lock();
        if state.complete || self.progress.are_written(members.clone()) {
            return Availability::Here;
        }
        if state.failed || matches!(self.progress.phase(), Phase::GivenUp | Phase::Failed) {
            return Availability::Lost;
        }
        self.progress.ask(members);
        if !std::mem::replace(&mut state.waiting, true) {
            self.changed.notify_all();
        }
        Availability::Awaited
    }

    /// Waits until it is time to look for progress; whether there may be more reads.
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.lock();
        let pause = if std::mem::take(&mut state.waiting) { PAUSE } else { IDLE };
        if !state.closed {
            let woken = self.changed.wait_timeout(state, pause);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.closed
    }

    /// Lets reads fail if there was no progress for long, until there is some.
    pub(crate) fn watch(&self) {
        let written = self.progress.written().iter().filter(|byte| **byte != 0).count();
        self.lock().watch(written, Instant::now());
    }

    /// If the network is down, whether reads fail already.
    pub(crate) fn away(&self) -> Option<bool> {
        match self.progress.phase() {
            Phase::Away => Some(false),
            Phase::GivenUp => Some(true),
            Phase::Fetching | Phase::Failed => None,
        }
    }

    /// Declares that everything is written.
    pub(crate) fn complete(&self) {
        self.lock().complete = true;
    }

    /// Declares that nothing more will be written.
    pub(crate) fn fail(&self) {
        self.lock().failed = true;
    }

    /// Declares that there will be no more reads.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether there will be no more reads.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn watch(&mut self, written: usize, now: Instant) {
        if written != self.written {
            (self.written, self.since, self.failed) = (written, now, false);
        } else if now.duration_since(self.since) >= STALLED {
            self.failed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-F11
    #[test]
    fn reads_fail_after_a_time_without_progress_until_there_is_some() {
        let since = Instant::now();
        let (waiting, closed, complete, failed) = (true, false, false, false);
        let mut state = State { waiting, closed, complete, failed, written: 0, since };
        for (written, seconds, failed) in
            [(0, 59, false), (1, 59, false), (1, 118, false), (1, 119, true), (2, 120, false)]
        {
            state.watch(written, since + Duration::from_secs(seconds));
            assert_eq!(state.failed, failed, "{written} {seconds}");
        }
    }
}
