//! An archive on demand: what somebody waits for is fetched first, all the rest in the background.
//!
//! In: an index, the units of an archive, and an open directory. Out: files in it, each readable as soon as
//! the units that it lies in are verified and written, and at the end the tree of an installation.
//!
//! The units are those that an installation fetches, and each is fetched once: what is asked for only
//! moves to the front. After that comes what the index says is read first, then what lies behind what was asked
//! for: it is of the same file or directory.

use super::pipeline::Packed;
use super::source::ArchiveReader;
use super::unit::Units;
use super::worker::{Worker, resized};
use super::{Extraction, MemberMap, pipeline, tree};
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::net::parts::Parts;
use joblet_format::index::Index;
use rustix::fd::OwnedFd;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of the archive that are fetched at once while somebody waits for some of them: about what is on its
/// way on a line of 50 ms and 200 Mbit/s, so that it delays the next one who waits by less than a round trip.
const AT_ONCE: u64 = 1 << 20;
/// The same while nobody waits, and has not for [`QUIET`]: a round trip less for each of them.
const AT_ONCE_QUIET: u64 = 16 << 20;
const QUIET: Duration = Duration::from_millis(150);
/// For how long nobody has to have waited before the thread that is for those who do fetches something else.
const QUIET_ASKED: Duration = Duration::from_secs(1);
/// Bytes of what is read first that are requested at once: by one thread more than is on its way on most lines, by
/// the other less, so that it has an ear for what is asked for.
const EARLY: u64 = 4 << 20;
const EARLY_ASKED: u64 = 1 << 20;
/// How long the network may be away before those who wait are told.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before it is tried again; and after that, once they were told.
const PAUSE: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(2);

/// An archive that is being unpacked in the order in which it is asked for.
#[derive(Debug)]
pub(crate) struct OnDemand<'a> {
    extraction: Extraction<'a>,
    /// The file that has the units.
    parts: &'a Parts,
    /// Where each unit begins, in bytes of the file.
    starts: Vec<u64>,
    /// The unit that each member of the index is in.
    unit_of: Vec<usize>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How far each unit is.
    units: Vec<Stage>,
    /// How many are not written.
    left: usize,
    /// Those that nobody fetches yet and somebody waits for, in the order in which they were asked for.
    asked: VecDeque<usize>,
    /// All that somebody waits for.
    awaited: Vec<usize>,
    /// Those that the index says are read first, in that order.
    early: VecDeque<usize>,
    /// The one behind the last that was asked for, and when somebody has last waited.
    next: usize,
    last: Instant,
    /// All, those last that are fetched first.
    background: Vec<usize>,
    /// Since when the network is away.
    away: Option<Instant>,
    /// Whether it is away for so long that those who wait were told.
    given_up: bool,
    /// Whether nobody reads any more.
    closed: bool,
    /// Whether it ended before everything was here, and why, until that is asked for.
    failed: bool,
    failure: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Missing,
    Taken,
    Written,
}

/// Whether content can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Now.
    Here,
    /// When what was asked for has arrived.
    Awaited,
    /// Not at all, or not while the network is away.
    Lost,
}

/// What one of the threads that fetch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// What is asked for, and a little of the rest while nothing is.
    Asked,
    /// All the rest, and first what is asked for.
    All,
}

impl<'a> OnDemand<'a> {
    /// Makes the directories of the archive in `parts` below the empty directory `into`. `first` are the members
    /// that are read first, in runs.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::File`].
    pub(crate) fn new(
        parts: &'a Parts,
        units: Units,
        (index, first): (&'a Index, Vec<Range<usize>>),
        into: OwnedFd,
    ) -> Result<Self, Error> {
        let (plan, starts) = (MemberMap::new(index), units.starts());
        let mut unit_of = vec![0; index.members().len()];
        for (number, unit) in units.list.iter().enumerate() {
            unit_of[unit.members.clone()].fill(number);
        }
        let background = background(index, &plan, &unit_of, units.list.len());
        let early = first.into_iter().flatten().filter_map(|it| unit_of.get(it)).copied().collect();
        let left = units.list.len();
        let archive = parts.to_string();
        let extraction = Extraction { archive, index, plan, units, root: into, wanted: None };
        tree::directories(&extraction)?;
        let state = State {
            units: vec![Stage::Missing; left],
            left,
            asked: VecDeque::new(),
            awaited: Vec::new(),
            early,
            next: 0,
            last: Instant::now(),
            background,
            away: None,
            given_up: false,
            closed: false,
            failed: false,
            failure: None,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Self { extraction, parts, starts, unit_of, state, changed })
    }

    /// Whether `length` bytes at `offset` of the file `entry` can be read; if not, asks for them.
    pub(crate) fn ask(&self, entry: usize, offset: u64, length: u64) -> Availability {
        let members = self.extraction.plan.members(entry, offset, length);
        let Some(last) = members.clone().last() else { return Availability::Here };
        let units = self.unit_of[members.start]..self.unit_of[last] + 1;
        let mut state = self.lock();
        if units.clone().all(|unit| state.units[unit] == Stage::Written) {
            return Availability::Here;
        }
        if state.failed || state.given_up {
            return Availability::Lost;
        }
        for unit in units.clone() {
            if state.units[unit] == Stage::Missing && !state.asked.contains(&unit) {
                state.asked.push_back(unit);
            }
            if state.units[unit] != Stage::Written && !state.awaited.contains(&unit) {
                state.awaited.push(unit);
            }
        }
        state.next = units.end;
        self.changed.notify_all();
        Availability::Awaited
    }

    /// Fetches, until there is nothing more to fetch or that has failed. `turn` is called whenever that may
    /// be news for somebody who waits.
    pub(crate) fn work(&self, duty: Duty, turn: &(dyn Fn() + Sync)) {
        let mut worker = match Worker::new(&self.extraction) {
            Ok(worker) => worker,
            Err(error) => return self.fail(error, &[], turn),
        };
        let mut buffer = Vec::new();
        while let Some(batch) = self.take(duty) {
            let done = match duty {
                Duty::Asked => self.fetch(&batch, &mut worker, &mut buffer, turn),
                Duty::All => pipeline::run(
                    &mut self.reader(&batch),
                    &batch,
                    &self.extraction,
                    (&Progress::none(), &|unit| self.written(unit, turn)),
                ),
            };
            if let Err(error) = done {
                let away = matches!(error, Error::Net { .. });
                self.fail(error, &batch, turn);
                if away {
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Fetches what the file `entry` is made of, before there are threads that do; and with it, in one round trip,
    /// some of what is read first.
    ///
    /// # Errors
    /// As [`super::unpack`].
    pub(crate) fn fetch_now(&self, entry: usize) -> Result<(), Error> {
        let mut worker = Worker::new(&self.extraction)?;
        while self.ask(entry, 0, u64::MAX) == Availability::Awaited {
            let Some(batch) = self.take_now() else { break };
            self.fetch(&batch, &mut worker, &mut Vec::new(), &|| ())?;
        }
        Ok(())
    }

    /// Says that nobody reads any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether those who wait were told that the network is away; nothing if it is not.
    pub(crate) fn away(&self) -> Option<bool> {
        let state = self.lock();
        state.away.map(|_| state.given_up)
    }

    /// Completes the tree, all of which was fetched.
    ///
    /// # Errors
    /// What ended it, or [`Error::File`].
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let failure = self.lock().failure.take();
        failure.map_or(Ok(()), Err)?;
        tree::finish(&self.extraction, self.extraction.plan.shared())
    }

    /// Units to fetch, in ascending order; none if there are no more.
    fn take(&self, duty: Duty) -> Option<Vec<usize>> {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            if state.failed || state.left == 0 || state.closed && duty == Duty::Asked {
                return None;
            }
            if state.closed {
                let rest = state.take_rest();
                if !rest.is_empty() {
                    return Some(rest);
                }
            }
            if let Some(unit) = state.pop_asked() {
                return Some(self.extend(&mut state, unit, AT_ONCE));
            }
            let most = if duty == Duty::All { EARLY } else { EARLY_ASKED };
            let early = if state.given_up { Vec::new() } else { self.early(&mut state, most) };
            if !early.is_empty() {
                return Some(early);
            }
            let since = if duty == Duty::All { QUIET } else { QUIET_ASKED };
            let quiet = state.closed || state.awaited.is_empty() && state.last.elapsed() >= since;
            let may = match duty {
                // One alone tries whether the network is back.
                Duty::All => !state.given_up || waited,
                Duty::Asked => quiet && !state.given_up,
            };
            let most = if quiet && duty == Duty::All { AT_ONCE_QUIET } else { AT_ONCE };
            if let Some(unit) = may.then(|| state.pop_background()).flatten() {
                return Some(self.extend(&mut state, unit, most));
            }
            waited = state.given_up;
            let pause = if waited { AGAIN } else { QUIET };
            let woken = self.changed.wait_timeout(state, pause);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn take_now(&self) -> Option<Vec<usize>> {
        let mut state = self.lock();
        let unit = state.pop_asked()?;
        state.units[unit] = Stage::Taken;
        let mut batch = self.early(&mut state, AT_ONCE);
        batch.push(unit);
        batch.sort_unstable();
        Some(batch)
    }

    /// Takes the next ones of those that are read first, up to `most` bytes.
    fn early(&self, state: &mut State, most: u64) -> Vec<usize> {
        let (mut batch, mut length) = (Vec::new(), 0);
        while let Some(unit) = state.early.pop_front() {
            if state.units[unit] != Stage::Missing {
                continue;
            }
            length += u64::from(self.extraction.units.list[unit].length);
            if length > most && !batch.is_empty() {
                state.early.push_front(unit);
                break;
            }
            state.units[unit] = Stage::Taken;
            batch.push(unit);
        }
        batch.sort_unstable();
        batch
    }

    /// Takes `unit` and what follows it, as far as that is missing, up to `most` bytes.
    fn extend(&self, state: &mut State, unit: usize, most: u64) -> Vec<usize> {
        let list = &self.extraction.units.list;
        let (mut end, mut length) = (unit, 0);
        while end < list.len()
            && state.units[end] == Stage::Missing
            && (end == unit || length + u64::from(list[end].length) <= most)
        {
            state.units[end] = Stage::Taken;
            length += u64::from(list[end].length);
            end += 1;
        }
        (unit..end).collect()
    }

    /// Reads the units `batch`.
    fn reader(&self, batch: &[usize]) -> ArchiveReader<'a> {
        let units = &self.extraction.units.list;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for &unit in batch {
            let start = self.starts[unit];
            let end = start + u64::from(units[unit].length);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ArchiveReader::some(self.parts, ranges).at(self.starts.clone())
    }

    fn fetch(
        &self,
        batch: &[usize],
        worker: &mut Worker<'_>,
        buffer: &mut Vec<u8>,
        turn: &dyn Fn(),
    ) -> Result<(), Error> {
        let (units, mut source) = (&self.extraction.units.list, self.reader(batch));
        for &unit in batch {
            source.read(unit, resized(buffer, units[unit].length), &Progress::none())?;
            worker.unit(unit, buffer)?;
            self.written(unit, turn);
        }
        Ok(())
    }

    /// Records that a unit is here.
    fn written(&self, unit: usize, turn: &dyn Fn()) {
        let mut state = self.lock();
        state.units[unit] = Stage::Written;
        state.left -= 1;
        if let Some(at) = state.awaited.iter().position(|awaited| *awaited == unit) {
            state.awaited.swap_remove(at);
            state.last = Instant::now();
        }
        (state.away, state.given_up) = (None, false);
        drop(state);
        self.changed.notify_all();
        turn();
    }

    /// Gives back what was taken, if the network may come back; else this is the end.
    fn fail(&self, error: Error, batch: &[usize], turn: &dyn Fn()) {
        let mut state = self.lock();
        if matches!(error, Error::Net { .. }) && !state.closed {
            let since = *state.away.get_or_insert_with(Instant::now);
            for &unit in batch.iter().rev() {
                if state.units[unit] == Stage::Taken {
                    state.units[unit] = Stage::Missing;
                    state.background.push(unit);
                }
            }
            if since.elapsed() >= PATIENCE {
                state.given_up = true;
                state.asked.clear();
                state.awaited.clear();
            }
        } else {
            state.failed = true;
            state.failure.get_or_insert(error);
        }
        drop(state);
        self.changed.notify_all();
        turn();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes all that nobody fetches.
    fn take_rest(&mut self) -> Vec<usize> {
        let missing = |unit: &usize| self.units[*unit] == Stage::Missing;
        let rest: Vec<_> = (0..self.units.len()).filter(missing).collect();
        for unit in &rest {
            self.units[*unit] = Stage::Taken;
        }
        rest
    }

    fn pop_asked(&mut self) -> Option<usize> {
        while let Some(unit) = self.asked.pop_front() {
            if self.units[unit] == Stage::Missing {
                return Some(unit);
            }
        }
        None
    }

    fn pop_background(&mut self) -> Option<usize> {
        if self.units.get(self.next) == Some(&Stage::Missing) {
            return Some(self.next);
        }
        while let Some(unit) = self.background.pop() {
            if self.units[unit] == Stage::Missing {
                return Some(unit);
            }
        }
        None
    }
}

/// All units, those last in which most files are: a program that starts reads many small ones, and of large
/// ones a part.
fn background(index: &Index, plan: &MemberMap, unit_of: &[usize], count: usize) -> Vec<usize> {
    let mut files = vec![0_u32; count];
    for (entry, _) in index.entries().iter().enumerate() {
        let members = plan.members(entry, 0, 1);
        if let Some(unit) = unit_of.get(members.start).filter(|_| !members.is_empty()) {
            files[*unit] += 1;
        }
    }
    let mut order: Vec<_> = (0..count).collect();
    // Of equal ones the first is fetched first, and with it what follows.
    order.sort_by_key(|unit| (files[*unit], Reverse(*unit)));
    order
}
