//! One thread that reads members, some that unpack them.
//!
//! Buffers go round between them: how many there are bounds memory, whatever the archive's size.

use super::Site;
use super::worker::Worker;
use crate::error::Error;
use crate::progress::Progress;
use joblet_format::index::Index;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Most threads that unpack.
const MAX_WORKERS: usize = 8;
/// Members that are read while others are unpacked.
const AHEAD: usize = 2;
/// Most memory for members, packed and unpacked, in bytes.
const MEMORY: usize = 10 << 20;

/// Where members come from, in ascending order.
pub trait Members {
    /// Fills `buffer` with the bytes of member `number`.
    ///
    /// # Errors
    /// When they cannot be had.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<(), Error>;
}

/// A member and its number.
type Job = (usize, Vec<u8>);

/// Reads the members `numbers` and unpacks them into the site's tree.
///
/// This process has one thread again when this returns: jobs are forked from it.
///
/// # Errors
/// The first one, of whichever thread; the others stop then.
pub fn run(
    archive: &mut impl Members,
    numbers: &[usize],
    site: &Site<'_>,
    progress: &Progress,
) -> Result<(), Error> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let count = workers(site.index, cores);
    let crew: Vec<_> = (0..count).map(|_| Worker::new(site)).collect::<Result<_, _>>()?;
    let failure = Failure::default();
    let (jobs_in, jobs) = mpsc::channel();
    let (free_in, free) = mpsc::channel();
    for _ in 0..count + AHEAD {
        free_in.send(Vec::new()).expect("the receiver is here");
    }
    let jobs = Mutex::new(jobs);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for worker in crew {
            let (jobs, failure, free_in) = (&jobs, &failure, free_in.clone());
            let work = move || work(worker, jobs, &free_in, failure);
            match thread::Builder::new().spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                // Fewer do, where the number of threads is limited.
                Err(_) if !threads.is_empty() => break,
                Err(error) => failure.set(Error::file("start", "a thread")(error)),
            }
        }
        drop(free_in);
        if let Err(error) = feed(archive, numbers, site.index, jobs_in, &free, &failure, progress) {
            failure.set(error);
        }
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    wait_until_alone();
    failure.into_result()
}

/// How many threads unpack: one per core, fewer where members are so large that memory would not do.
fn workers(index: &Index, cores: usize) -> usize {
    let largest = |length: fn(&joblet_format::index::Member) -> u32| {
        index.members().iter().map(length).max().unwrap_or_default() as usize
    };
    let (packed, unpacked) = (largest(|member| member.length), largest(|member| member.unpacked));
    let fitting = MEMORY.saturating_sub(AHEAD * packed) / (packed + unpacked).max(1);
    cores.min(MAX_WORKERS).min(fitting).max(1)
}

/// Reads members into free buffers, until there are no more or somebody has failed.
fn feed(
    archive: &mut impl Members,
    numbers: &[usize],
    index: &Index,
    jobs: Sender<Job>,
    free: &Receiver<Vec<u8>>,
    failure: &Failure,
    progress: &Progress,
) -> Result<(), Error> {
    for &number in numbers {
        let member = index.members()[number];
        let Ok(mut buffer) = free.recv() else { break };
        if failure.happened() {
            break;
        }
        buffer.resize(member.length as usize, 0);
        archive.read(number, &mut buffer)?;
        progress.advance(member.length.into());
        jobs.send((number, buffer)).expect("the receiver outlives all threads");
    }
    drop(jobs); // tells the workers that nothing more comes
    Ok(())
}

/// Unpacks members until there are no more or somebody has failed.
fn work(
    mut worker: Worker<'_>,
    jobs: &Mutex<Receiver<Job>>,
    free: &Sender<Vec<u8>>,
    failure: &Failure,
) {
    loop {
        let job = lock(jobs).recv();
        let Ok((number, member)) = job else { return };
        if failure.happened() {
            return;
        }
        if let Err(error) = worker.member(number, &member) {
            return failure.set(error);
        }
        // Nobody wants it any more once the last member was read.
        _ = free.send(member);
    }
}

/// What went wrong first.
#[derive(Debug, Default)]
struct Failure {
    happened: AtomicBool,
    first: Mutex<Option<Error>>,
}

impl Failure {
    fn happened(&self) -> bool {
        self.happened.load(Ordering::Relaxed)
    }

    fn set(&self, error: Error) {
        lock(&self.first).get_or_insert(error);
        self.happened.store(true, Ordering::Relaxed);
    }

    fn into_result(self) -> Result<(), Error> {
        let first = self.first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), Err)
    }
}

/// A thread that panics ends this program: no one sees what it left behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the kernel counts one thread: one that was joined may still be about to go.
pub(super) fn wait_until_alone() {
    for _ in 0..1000 {
        // Changes nothing: EINVAL while there are other threads.
        match nix::sched::unshare(CloneFlags::CLONE_THREAD) {
            Err(Errno::EINVAL) => thread::sleep(Duration::from_millis(1)),
            _ => return,
        }
    }
}
