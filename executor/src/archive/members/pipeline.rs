//! Pipeline of one thread that reads members and several threads that unpack them.
//!
//! They exchange a fixed number of buffers, which bounds memory for archives of any size.

use super::Extraction;
use super::unit::{Coding, Unit, Units};
use super::worker::{Worker, resized};
use crate::cli::progress::Progress;
use crate::error::Error;
use crate::thread;
use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Maximum number of unpacking threads.
const MAX_WORKERS: usize = 8;
/// Number of members read ahead.
const AHEAD: usize = 2;
/// Maximum memory for members, packed and unpacked, in bytes.
const MEMORY: usize = 10 << 20;
/// Maximum memory for the content of frames, and for frames, in bytes.
const FRAMES_UNPACKED: usize = 16 << 20;
const FRAMES_PACKED: usize = 11 << 20;

/// Source of units, in ascending order.
pub(super) trait Packed {
    /// Reads unit `number` into `buffer`, and reports it to `progress`.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&mut self, number: usize, buffer: &mut [u8], progress: &Progress) -> Result<(), Error>;
}

/// The number of a member, and the buffer that starts with it.
type Job = (usize, Vec<u8>);

/// Reads the members `numbers` and unpacks them into the extraction's tree; `done` is called with each.
///
/// Its threads have ended when this returns: a process with one thread forks jobs.
///
/// # Errors
/// The first error of any thread, which stops the others.
pub(super) fn run(
    archive: &mut impl Packed,
    numbers: &[usize],
    extraction: &Extraction<'_>,
    (progress, done): (&Progress, &(dyn Fn(usize) + Sync)),
) -> Result<(), Error> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let count = worker_count(&extraction.units, cores);
    let workers: Vec<_> = (0..count).map(|_| Worker::new(extraction)).collect::<Result<_, _>>()?;
    let queue = WorkQueue::new(count + AHEAD);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for worker in workers {
            let queue = &queue;
            match thread::spawn(scope, Box::new(move || work(worker, queue, done))) {
                Ok(thread) => threads.push(thread),
                // Fewer threads suffice if their number is limited.
                Err(_) if !threads.is_empty() => break,
                Err(error) => queue.fail(error),
            }
        }
        match feed(archive, numbers, &extraction.units, &queue, progress) {
            Ok(()) => queue.close(),
            Err(error) => queue.fail(error),
        }
        threads.into_iter().for_each(thread::join);
    });
    queue.into_result()
}

/// Number of unpacking threads: one per core, fewer for large members, to bound memory use.
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

/// Reads members into free buffers, until the last one or a failure.
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

/// Unpacks members until the last one or a failure.
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

/// Members to unpack and free buffers, shared by the threads.
#[derive(Debug)]
struct WorkQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Members that were read.
    jobs: VecDeque<Job>,
    /// Free buffers.
    free: Vec<Vec<u8>>,
    /// Total length of the buffers in use, in bytes.
    used: usize,
    /// Whether the last member was read.
    closed: bool,
    /// The first error, which stops all threads.
    failure: Option<Error>,
}

impl WorkQueue {
    fn new(buffers: usize) -> Self {
        let state = State { free: vec![Vec::new(); buffers], ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Changes the state, and wakes all waiting threads.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn put_job(&self, job: Job) {
        self.change(|state| state.jobs.push_back(job));
    }

    /// Returns a buffer. A large one is freed: the next frame may be small.
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

    /// Waits for the next member; `None` after the last one.
    fn take_job(&self) -> Option<Job> {
        self.take(|state| state.jobs.pop_front())
    }

    /// Waits for a buffer and memory for `length` bytes; `None` after a failure.
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

/// Locks `mutex`. After a panic of another thread this one panics too, since the data may be inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
