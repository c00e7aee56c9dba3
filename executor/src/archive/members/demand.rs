//! An archive on demand: requested content is fetched first, the rest in the background.
//!
//! In: an index, the units of an archive, and an open directory. Out: files in it, each readable as soon as its
//! units are verified and written, and at the end the tree of an installation.
//!
//! Each unit is fetched once, in this order: requested units, those that the index lists as read first, those that
//! follow a requested one, since they are of the same file or directory, then the others.

use super::pipeline::Packed;
use super::progress_file::{Phase, ProgressFile};
use super::source::ArchiveReader;
use super::unit::Units;
use super::worker::{Worker, resized};
use super::{Extraction, MemberMap, pipeline, tree};
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::net::parts::Parts;
use joblet_format::index::{Body, Index};
use rustix::fd::OwnedFd;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes per request while a read waits: about the bandwidth-delay product of 50 ms and 200 Mbit/s, so that it delays
/// the next read by less than a round trip.
const AT_ONCE: u64 = 1 << 20;
/// The same if no read has waited for [`QUIET`]: fewer round trips.
const AT_ONCE_QUIET: u64 = 16 << 20;
const QUIET: Duration = Duration::from_millis(150);
/// The time without a waiting read after which the thread for reads fetches other units, too.
const QUIET_ASKED: Duration = Duration::from_secs(1);
/// Bytes per request of the units that are read first: by one thread more than the bandwidth-delay product of most
/// connections, by the other less, so that it soon serves the next read.
const EARLY: u64 = 4 << 20;
const EARLY_ASKED: u64 = 1 << 20;
/// Interval of looking for requests of other processes.
const LISTEN: Duration = Duration::from_millis(5);
/// How long reads wait while the network is down before they fail.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of the retries, before reads fail and after.
const PAUSE: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(2);

/// An archive that is being unpacked in the order of reads.
#[derive(Debug)]
pub(crate) struct OnDemand<'a> {
    extraction: Extraction<'a>,
    /// The archive.
    parts: &'a Parts,
    /// Offset of each unit in the archive, in bytes.
    starts: Vec<u64>,
    /// The unit of each member of the index.
    unit_of: Vec<usize>,
    /// Where other processes see what is written, and request more.
    progress: Option<&'a ProgressFile>,
    /// Whether another process began the installation.
    resumed: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The state of each unit.
    units: Vec<Stage>,
    /// Number of units that are not written.
    left: usize,
    /// Missing units that reads wait for, in the order of the reads.
    asked: VecDeque<usize>,
    /// All units that reads wait for.
    awaited: Vec<usize>,
    /// Units that the index lists as read first, in that order; after the reads, all of them.
    early: VecDeque<usize>,
    /// The unit after the last requested one.
    next: usize,
    /// When a read has last waited; `None` if none is to be expected.
    last: Option<Instant>,
    /// All units, in reverse order of fetching.
    background: Vec<usize>,
    /// Since when the network is down.
    away: Option<Instant>,
    /// Whether it has been down for [`READ_TIMEOUT`], so that reads fail.
    given_up: bool,
    /// Whether there will be no more reads.
    closed: bool,
    /// Whether fetching has failed, and the error until [`OnDemand::finish`] takes it.
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
    /// When the requested units have been fetched.
    Awaited,
    /// Not at all, or not while the network is down.
    Lost,
}

/// The task of a fetching thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Requested units, and others if there are no requests.
    Asked,
    /// All units, requested ones first.
    All,
}

impl<'a> OnDemand<'a> {
    /// Makes the directories of the archive in `parts` below the empty directory `into`. `first` are the members
    /// that are read first, in runs. It is shared by `progress`, and may be `resumed`: then another process has made
    /// the directories, and all that its progress says.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::File`].
    pub(crate) fn new(
        parts: &'a Parts,
        units: Units,
        (index, first): (&'a Index, Vec<Range<usize>>),
        into: OwnedFd,
        (progress, resumed): (Option<&'a ProgressFile>, bool),
    ) -> Result<Self, Error> {
        let (plan, starts) = (MemberMap::new(index), units.starts());
        let mut unit_of = vec![0; index.members().len()];
        for (number, unit) in units.list.iter().enumerate() {
            unit_of[unit.members.clone()].fill(number);
        }
        let background = background(index, &plan, &unit_of, units.list.len());
        let early = first.into_iter().flatten().filter_map(|it| unit_of.get(it)).copied().collect();
        let mut stages = vec![Stage::Missing; units.list.len()];
        if let Some(progress) = progress.filter(|_| resumed) {
            progress.take_over();
            let written = progress.written();
            for (stage, unit) in stages.iter_mut().zip(&units.list) {
                if written[unit.members.clone()].iter().all(|byte| *byte != 0) {
                    *stage = Stage::Written;
                }
            }
        }
        let left = stages.iter().filter(|stage| **stage == Stage::Missing).count();
        let archive = parts.to_string();
        // Of a unit that was being written, some files may be there.
        let wanted = resumed.then(|| vec![true; index.entries().len()]);
        let extraction = Extraction { archive, index, plan, units, root: into, wanted };
        if !resumed {
            tree::directories(&extraction)?;
        }
        let state = State {
            units: stages,
            left,
            asked: VecDeque::new(),
            awaited: Vec::new(),
            early,
            next: 0,
            last: Some(Instant::now()),
            background,
            away: None,
            given_up: false,
            closed: false,
            failed: false,
            failure: None,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Self { extraction, parts, starts, unit_of, progress, resumed, state, changed })
    }

    /// Whether `length` bytes at `offset` of the file `entry` can be read; if not, requests them.
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
        units.clone().for_each(|unit| state.ask(unit));
        state.next = units.end;
        self.changed.notify_all();
        Availability::Awaited
    }

    /// Fetches until everything is fetched, or fetching has failed. Calls `progressed` whenever waiting reads may be
    /// answered.
    pub(crate) fn work(&self, duty: Duty, progressed: &(dyn Fn() + Sync)) {
        let mut worker = match Worker::new(&self.extraction) {
            Ok(worker) => worker,
            Err(error) => return self.fail(error, &[], progressed),
        };
        let mut buffer = Vec::new();
        while let Some(batch) = self.take(duty) {
            let done = match duty {
                Duty::Asked => self.fetch(&batch, &mut worker, &mut buffer, progressed),
                Duty::All => pipeline::run(
                    &mut self.reader(&batch),
                    &batch,
                    &self.extraction,
                    (&Progress::none(), &|unit| self.written(unit, progressed)),
                ),
            };
            if let Err(error) = done {
                let away = matches!(error, Error::Net { .. });
                self.fail(error, &batch, progressed);
                if away {
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Fetches the file `entry` before the threads start, and in the same round trip some units that are read first.
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

    /// Declares that there will be no more reads.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asked.clear();
        state.awaited.clear();
        state.last = None;
        // In as few requests as other readers, which may request more, allow.
        state.early = (0..state.units.len()).collect();
        drop(state);
        self.changed.notify_all();
    }

    /// If the network is down, whether reads fail already.
    pub(crate) fn away(&self) -> Option<bool> {
        let state = self.lock();
        state.away.map(|_| state.given_up)
    }

    /// Completes the tree.
    ///
    /// # Errors
    /// The error of fetching, or [`Error::File`].
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let failure = self.lock().failure.take();
        failure.map_or(Ok(()), Err)?;
        let Extraction { index, plan, .. } = &self.extraction;
        if !self.resumed {
            return tree::finish(&self.extraction, &mut plan.shared(), false);
        }
        let entries = index.entries().iter().enumerate();
        let files = entries.filter(|(_, entry)| matches!(entry.body, Body::File { .. }));
        tree::finish(&self.extraction, &mut files.map(|(number, _)| number), true)
    }

    /// Takes units to fetch, in ascending order; `None` if there are no more.
    fn take(&self, duty: Duty) -> Option<Vec<usize>> {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            if state.failed || state.left == 0 {
                return None;
            }
            self.listen(&mut state);
            if let Some(unit) = state.pop_asked() {
                return Some(self.extend(&mut state, unit, AT_ONCE));
            }
            let since = if duty == Duty::All { QUIET } else { QUIET_ASKED };
            let quiet =
                state.awaited.is_empty() && state.last.is_none_or(|last| last.elapsed() >= since);
            let most = match duty {
                Duty::All if state.closed && quiet => AT_ONCE_QUIET,
                Duty::All => EARLY,
                Duty::Asked => EARLY_ASKED,
            };
            let early = state.closed || !state.given_up;
            let early = if early { self.early(&mut state, most) } else { Vec::new() };
            if !early.is_empty() {
                return Some(early);
            }
            let may = match duty {
                // Only one thread retries while the network is down.
                Duty::All => !state.given_up || waited,
                Duty::Asked => quiet && !state.given_up,
            };
            let most = if quiet && duty == Duty::All { AT_ONCE_QUIET } else { AT_ONCE };
            if let Some(unit) = may.then(|| state.pop_background()).flatten() {
                return Some(self.extend(&mut state, unit, most));
            }
            waited = state.given_up;
            let pause = match duty {
                _ if waited => AGAIN,
                Duty::Asked if self.progress.is_some() => LISTEN,
                _ => QUIET,
            };
            let woken = self.changed.wait_timeout(state, pause);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes over the requests of other processes.
    fn listen(&self, state: &mut State) {
        let Some(progress) = self.progress.filter(|_| !state.given_up) else { return };
        for (member, _) in progress.asked().iter().enumerate().filter(|(_, byte)| **byte != 0) {
            state.ask(self.unit_of[member]);
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

    /// Takes the next units that are read first, up to `most` bytes.
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

    /// Takes `unit` and the missing units that follow it, up to `most` bytes.
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

    /// A reader of the units `batch`.
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
        progressed: &dyn Fn(),
    ) -> Result<(), Error> {
        let (units, mut source) = (&self.extraction.units.list, self.reader(batch));
        for &unit in batch {
            source.read(unit, resized(buffer, units[unit].length), &Progress::none())?;
            worker.unit(unit, buffer)?;
            self.written(unit, progressed);
        }
        Ok(())
    }

    /// Records that a unit is written.
    fn written(&self, unit: usize, progressed: &dyn Fn()) {
        if let Some(progress) = self.progress {
            progress.set_written(self.extraction.units.list[unit].members.clone());
        }
        let mut state = self.lock();
        state.units[unit] = Stage::Written;
        state.left -= 1;
        if let Some(at) = state.awaited.iter().position(|awaited| *awaited == unit) {
            state.awaited.swap_remove(at);
            state.last = Some(Instant::now());
        }
        let was_away = state.away.take().is_some();
        state.given_up = false;
        if let Some(progress) = self.progress.filter(|_| was_away && !state.failed) {
            progress.set_phase(Phase::Fetching);
        }
        drop(state);
        self.changed.notify_all();
        progressed();
    }

    /// Returns the units of `batch` to the queue after a network error; any other error ends fetching.
    fn fail(&self, error: Error, batch: &[usize], progressed: &dyn Fn()) {
        let mut state = self.lock();
        if matches!(error, Error::Net { .. }) && !state.closed {
            let since = *state.away.get_or_insert_with(Instant::now);
            for &unit in batch.iter().rev() {
                if state.units[unit] == Stage::Taken {
                    state.units[unit] = Stage::Missing;
                    state.background.push(unit);
                }
            }
            if since.elapsed() >= READ_TIMEOUT {
                state.given_up = true;
                state.asked.clear();
                state.awaited.clear();
            }
        } else {
            state.failed = true;
            state.failure.get_or_insert(error);
        }
        if let Some(progress) = self.progress {
            progress.set_phase(match (state.failed, state.given_up) {
                (true, _) => Phase::Failed,
                (false, true) => Phase::GivenUp,
                (false, false) => Phase::Away,
            });
        }
        drop(state);
        self.changed.notify_all();
        progressed();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Requests a unit, unless it is written.
    fn ask(&mut self, unit: usize) {
        if self.units[unit] == Stage::Missing && !self.asked.contains(&unit) {
            self.asked.push_back(unit);
        }
        if self.units[unit] != Stage::Written && !self.awaited.contains(&unit) {
            self.awaited.push(unit);
        }
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

/// All units in ascending order of the number of their files: a program reads many small files at its start, and
/// parts of large ones.
fn background(index: &Index, plan: &MemberMap, unit_of: &[usize], count: usize) -> Vec<usize> {
    let mut files = vec![0_u32; count];
    for (entry, _) in index.entries().iter().enumerate() {
        let members = plan.members(entry, 0, 1);
        if let Some(unit) = unit_of.get(members.start).filter(|_| !members.is_empty()) {
            files[*unit] += 1;
        }
    }
    // Taken from the end: among equals the first unit is fetched first.
    let mut order: Vec<_> =
        files.iter().zip(0..count).map(|(files, unit)| (*files, Reverse(unit))).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, Reverse(unit))| unit).collect()
}
