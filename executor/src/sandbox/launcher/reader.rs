//! SIGPIPE for jobs: detection of a standard output without a reader.
//!
//! The kernel does not apply the default action of SIGPIPE to PID 1: a job that writes to a pipe without a
//! reader gets an error for each write, and a shell's loop never ends. So the launcher, which has the
//! caller's pipe open too, performs that action: when the last reader has closed the pipe and the job, which
//! neither handles nor ignores the signal, has written since.

use super::signals::{Disposition, Signal, disposition};
use nix::unistd::Pid;
use rustix::{
    event::{PollFd, PollFlags},
    fd::BorrowedFd,
    stdio::stdout,
};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// First and longest interval between checks whether the job has written.
const SOON: Duration = Duration::from_micros(50);
const LATER: Duration = Duration::from_millis(200);

/// State of the job's standard output.
pub(crate) enum Reader {
    /// Not a pipe of the caller, or the job handles or ignores SIGPIPE.
    Unknown,
    /// A pipe with a reader.
    There(BorrowedFd<'static>),
    /// A pipe without a reader since the job had made this number of write calls.
    Gone { writes: u64, pause: Duration, next: Instant },
}

impl Reader {
    /// The initial state; `pipe` if the job's standard output is the caller's own pipe.
    pub(crate) fn new(pipe: bool) -> Self {
        if pipe { Self::There(stdout()) } else { Self::Unknown }
    }

    /// The descriptor to poll, if any: `POLLERR` is always reported.
    pub(crate) fn polled(&self) -> Option<PollFd<'static>> {
        match self {
            Self::There(fd) => Some(PollFd::from_borrowed_fd(*fd, PollFlags::empty())),
            _ => None,
        }
    }

    /// Time of the next check.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self {
            Self::Gone { next, .. } => Some(*next),
            _ => None,
        }
    }

    /// Called when the reader of the job `pid` has closed the pipe.
    pub(crate) fn is_gone(&mut self, pid: Pid) {
        *self = match writes(pid) {
            Some(writes) => Self::Gone { writes, pause: SOON, next: Instant::now() },
            None => Self::Unknown,
        };
    }

    /// Whether SIGPIPE would have killed the job `pid` by now if it were not PID 1.
    pub(crate) fn ends(&mut self, pid: Pid) -> bool {
        let Self::Gone { writes: before, pause, next } = self else { return false };
        // Checked at once a few times: a job that writes in a loop would fill standard error with messages.
        let tries = if *pause == SOON { 5 } else { 1 };
        let wrote = |_| {
            thread::sleep(if tries > 1 { SOON } else { Duration::ZERO });
            writes(pid).is_some_and(|now| now > *before)
        };
        if (0..tries).any(wrote) {
            let ends = disposition(pid, Signal::PIPE) == Disposition::Default;
            *self = Self::Unknown;
            return ends;
        }
        *pause = (*pause * 4).min(LATER);
        *next = Instant::now() + *pause;
        false
    }
}

/// Number of write calls of the process `pid` (`syscw`), `proc_pid_io(5)`.
fn writes(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscw:"))?.trim().parse().ok()
}
