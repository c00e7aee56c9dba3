//! Compresses members in parallel, on all cores, and writes them in the order of the file.

use super::{
    cut::{Cut, Cuts},
    member::{MemberEncoder, PackedMember},
    stream::Stream,
};
use std::{
    io,
    num::NonZero,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// Members in memory per thread: one being compressed, one waiting to be written.
const BUFFERS: usize = 2;

/// The source of work for the threads, behind a mutex.
struct WorkQueue<'s> {
    cuts: Cuts<'s>,
    /// Buffers that the writer has returned. Their number is fixed, so a slow writer blocks the threads.
    spare: Receiver<Vec<u8>>,
    /// To the writer: the channel of each member, in order.
    ordered: Sender<Receiver<io::Result<PackedMember>>>,
}

/// A member to compress, a buffer for it, and the channel for the result.
type Job = (io::Result<Cut>, Vec<u8>, Sender<io::Result<PackedMember>>);

impl WorkQueue<'_> {
    /// The next job; `None` at the end of the stream, or after the writer has failed.
    fn take(&mut self) -> Option<Job> {
        let cut = self.cuts.next()?;
        let buffer = self.spare.recv().ok()?;
        let (reply, member) = mpsc::channel();
        self.ordered.send(member).ok()?;
        Some((cut, buffer, reply))
    }
}

/// Calls `write` with every member of `stream`, in order. `jobs` threads compress them; the result does
/// not depend on their number.
///
/// # Errors
/// The first in the order of the file: a read error, converted by `reading`, or that of `write`.
pub(super) fn make<E: Send>(
    stream: &Stream,
    jobs: NonZero<usize>,
    reading: impl Fn(io::Error) -> E + Send,
    mut write: impl FnMut(&PackedMember) -> Result<(), E> + Send,
) -> Result<(), E> {
    let (give_back, spare) = mpsc::channel();
    let (ordered, members) = mpsc::channel();
    let queue = Arc::new(Mutex::new(WorkQueue { cuts: Cuts::new(stream), spare, ordered }));
    // The closure's values are dropped before the scope joins its threads: closed channels end the threads
    // after the writer has failed, and the writer after the threads have.
    thread::scope(move |scope| {
        for _ in 0..jobs.get() {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(&queue, MemberEncoder::new(stream)));
        }
        drop(queue);
        for _ in 0..BUFFERS * jobs.get() {
            _ = give_back.send(Vec::new()); // fails if the threads have ended, as below
        }
        for member in members {
            let Ok(made) = member.recv() else { break }; // its thread panicked; the scope does, too
            let made = made.map_err(&reading)?;
            write(&made)?;
            _ = give_back.send(made.bytes); // fails if the threads have ended
        }
        Ok(())
    })
}

/// Compresses members until there are no more.
fn work(queue: &Mutex<WorkQueue>, mut encoder: MemberEncoder) {
    let take = || queue.lock().expect("no code panics under the lock").take();
    while let Some((cut, buffer, reply)) = take() {
        _ = reply.send(cut.and_then(|cut| encoder.make(&cut, buffer))); // fails if the writer has failed
    }
}
