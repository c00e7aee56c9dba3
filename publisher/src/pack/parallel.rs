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

/// Members that may be in memory at once, for each thread: one that it makes, one that waits for
/// its turn.
const BUFFERS: usize = 2;

/// What the threads take their work from, one after the other.
struct WorkQueue<'s> {
    cuts: Cuts<'s>,
    /// Buffers that the writer is done with. There is a fixed number of them, so a writer that is
    /// slower than the threads holds them up.
    spare: Receiver<Vec<u8>>,
    /// To the writer, in order: where each member will come from.
    ordered: Sender<Receiver<io::Result<PackedMember>>>,
}

/// A member that a thread has to make, in this buffer, and where it goes.
type Job = (io::Result<Cut>, Vec<u8>, Sender<io::Result<PackedMember>>);

impl WorkQueue<'_> {
    /// None at the end of the stream, and after the writer gave up.
    fn take(&mut self) -> Option<Job> {
        let cut = self.cuts.next()?;
        let buffer = self.spare.recv().ok()?;
        let (reply, member) = mpsc::channel();
        self.ordered.send(member).ok()?;
        Some((cut, buffer, reply))
    }
}

/// Calls `write` with every member of `stream`, in order. `jobs` threads make them; what is made
/// does not depend on their number.
///
/// # Errors
/// The first, in the order of the file: of reading, as `reading` says it, or of `write`.
pub(super) fn make<E: Send>(
    stream: &Stream,
    jobs: NonZero<usize>,
    reading: impl Fn(io::Error) -> E + Send,
    mut write: impl FnMut(&PackedMember) -> Result<(), E> + Send,
) -> Result<(), E> {
    let (give_back, spare) = mpsc::channel();
    let (ordered, members) = mpsc::channel();
    let queue = Arc::new(Mutex::new(WorkQueue { cuts: Cuts::new(stream), spare, ordered }));
    // What the scope owns is dropped before it waits for its threads: that is how they learn that the
    // writer gave up, and it that they are done.
    thread::scope(move |scope| {
        for _ in 0..jobs.get() {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(&queue, MemberEncoder::new(stream)));
        }
        drop(queue);
        for _ in 0..BUFFERS * jobs.get() {
            _ = give_back.send(Vec::new()); // fails if the threads are done, as below
        }
        for member in members {
            let Ok(made) = member.recv() else { break }; // its thread panicked; the scope does, too
            let made = made.map_err(&reading)?;
            write(&made)?;
            _ = give_back.send(made.bytes); // fails when there is nothing left to do
        }
        Ok(())
    })
}

/// Makes one member after the other until there are none.
fn work(queue: &Mutex<WorkQueue>, mut encoder: MemberEncoder) {
    let take = || queue.lock().expect("nothing panics with the lock").take();
    while let Some((cut, buffer, reply)) = take() {
        _ = reply.send(cut.and_then(|cut| encoder.make(&cut, buffer))); // fails if the writer gave up
    }
}
