//! One thread that reads members, some that unpack them.
//!
//! Buffers go round between them: how many there are bounds memory, whatever the archive's size.

use super::Extraction;
use super::unit::{Coding, Unit, Units};
use super::worker::{Worker, resized};
use crate::cli::progress::Progress;
use crate::error::Error;
use std::collections::VecDeque;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Most threads that unpack.
const MAX_WORKERS: usize = 8;
/// Members that are read while others are unpacked.
const AHEAD: usize = 2;
/// Most memory for members, packed and unpacked, in bytes.
const MEMORY: usize = 10 << 20;
/// Most memory for the content of frames, in bytes, and for frames.
const FRAMES_UNPACKED: usize = 16 << 20;
const FRAMES_PACKED: usize = 11 << 20;

/// Where units come from, in ascending order.
pub(super) trait Packed {
    /// Fills `buffer` with the bytes of unit `number`, and counts them.
    ///
    /// # Errors
    /// When they cannot be had.
    fn read(&mut self, number: usize, buffer: &mut [u8], progress: &Progress) -> Result<(), Error>;
}

/// The number of a member, and the buffer that begins with it.
type Job = (usize, Vec<u8>);

/// Reads the members `numbers` and unpacks them into the extraction's tree; `done` is called with each.
///
/// Its threads have ended when this returns: jobs are forked from a process with one.
///
/// # Errors
/// The first one, of whichever thread; the others stop then.
pub(super) fn run(
    archive: &mut impl Packed,
    numbers: &[usize],
    extraction: &Extraction<'_>,
    (progress, done): (&Progress, &(dyn Fn(usize) + Sync)),
) -> Result<(), Error> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let count = worker_count(&extraction.units, cores);
    let workers: Vec<_> = (0..count).map(|_| Worker::new(extraction)).collect::<Result<_, _>>()?;
    let queue = WorkQueue::new(count + AHEAD);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for worker in workers {
            let queue = &queue;
            match thread::Builder::new().spawn_scoped(scope, move || work(worker, queue, done)) {
                Ok(thread) => threads.push(thread),
                // Fewer do, where the number of threads is limited.
                Err(_) if !threads.is_empty() => break,
                Err(error) => queue.fail(Error::file("start", "a thread")(error)),
            }
        }
        match feed(archive, numbers, &extraction.units, &queue, progress) {
            Ok(()) => queue.close(),
            Err(error) => queue.fail(error),
        }
        // Not left to the scope: it waits for what threads do, not for their end.
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    queue.into_result()
}

/// How many threads unpack: one per core, fewer where members are so large that memory would not do.
fn worker_count(units: &Units, cores: usize) -> usize {
    let largest =
        |length: fn(&Unit) -> u32| units.list.iter().map(length).max().unwrap_or_default() as usize;
    let (packed, unpacked) = (largest(|unit| unit.length), largest(|unit| unit.unpacked));
    let fitting = match units.coding {
        Coding::Gzip => MEMORY.saturating_sub(AHEAD * packed) / (packed + unpacked).max(1),
        Coding::Zstd => FRAMES_UNPACKED / unpacked.max(1),
    };
    cores.min(MAX_WORKERS).min(fitting).max(1)
}

/// Reads members into free buffers, until there are no more or somebody has failed.
fn feed(
    archive: &mut impl Packed,
    numbers: &[usize],
    units: &Units,
    queue: &WorkQueue,
    progress: &Progress,
) -> Result<(), Error> {
    for &number in numbers {
        let length = units.list[number].length;
        let Some(mut buffer) = queue.take_free(length as usize) else { break };
        archive.read(number, resized(&mut buffer, length), progress)?;
        queue.put_job((number, buffer));
    }
    Ok(())
}

/// Unpacks members until there are no more or somebody has failed.
fn work(mut worker: Worker<'_>, queue: &WorkQueue, done: &dyn Fn(usize)) {
    while let Some((number, member)) = queue.take_job() {
        match worker.unit(number, &member) {
            Ok(()) => {
                queue.put_free(member);
                done(number);
            }
            Err(error) => queue.fail(error),
        }
    }
}

/// The members that were read and the buffers that are free, shared by the threads.
#[derive(Debug)]
struct WorkQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Members that were read and wait to be unpacked.
    jobs: VecDeque<Job>,
    /// Buffers that wait for a member.
    free: Vec<Vec<u8>>,
    /// Length of the buffers that do not, in bytes.
    used: usize,
    /// Whether no more members come.
    closed: bool,
    /// What went wrong first: everybody stops then.
    failure: Option<Error>,
}

impl WorkQueue {
    fn new(buffers: usize) -> Self {
        let state = State { free: vec![Vec::new(); buffers], ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Changes the state, and wakes whoever waits for a change.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn put_job(&self, job: Job) {
        self.change(|state| state.jobs.push_back(job));
    }

    /// A large one is not kept: the next frame may be a small one.
    fn put_free(&self, mut buffer: Vec<u8>) {
        self.change(|state| {
            state.used = state.used.saturating_sub(buffer.len());
            if buffer.len() > MEMORY / 4 {
                buffer = Vec::new();
            }
            state.free.push(buffer);
        });
    }

    fn close(&self) {
        self.change(|state| state.closed = true);
    }

    fn fail(&self, error: Error) {
        self.change(|state| {
            state.failure.get_or_insert(error);
        });
    }

    /// The next member, once there is one; none when no more come.
    fn take_job(&self) -> Option<Job> {
        self.take(|state| state.jobs.pop_front())
    }

    /// A buffer, once there is one and the memory for `length` bytes; none when somebody has failed.
    fn take_free(&self, length: usize) -> Option<Vec<u8>> {
        self.take(|state| {
            if state.used > 0 && state.used + length > FRAMES_PACKED {
                return None;
            }
            let buffer = state.free.pop()?;
            state.used += length.max(buffer.len());
            Some(buffer)
        })
    }

    fn take<T>(&self, mut from: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = lock(&self.state);
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(taken) = from(&mut state) {
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn into_result(self) -> Result<(), Error> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.failure.map_or(Ok(()), Err)
    }
}

/// A thread that panics ends this program: no one sees what it left behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
