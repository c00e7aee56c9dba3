//! Scoped threads. The closure is boxed, so that the code is instantiated once.

use crate::error::Error;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Starts a thread that does `work`.
///
/// # Errors
/// [`Error::File`] if the number of threads is limited.
pub(crate) fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: Box<dyn FnOnce() + Send + 'scope>,
) -> Result<ScopedJoinHandle<'scope, ()>, Error> {
    Builder::new().spawn_scoped(scope, work).map_err(Error::file("start", "a thread"))
}

/// Waits for the end of a thread, not only of its work as a scope does: a process forks jobs when it has one.
pub(crate) fn join(thread: ScopedJoinHandle<'_, ()>) {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Does `work` on this thread and on up to `count - 1` others, fewer if their number is limited.
pub(crate) fn parallel(count: usize, work: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        let others = (1..count).map_while(|_| spawn(scope, Box::new(work)).ok());
        let others: Vec<_> = others.collect();
        work();
        others.into_iter().for_each(join);
    });
}
