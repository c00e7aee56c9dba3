//! Whether anybody reads what a job writes.
//!
//! The kernel spares PID 1 the default action of SIGPIPE: a job that writes to a pipe without a reader
//! gets an error for each write, and a shell's loop goes on for ever. So the launcher, which has the
//! caller's pipe as well, performs that action: when the last reader has gone, and the job, which does
//! nothing about the signal, has written since.

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

/// How soon to look whether the job has written: at first, and at last.
const SOON: Duration = Duration::from_micros(50);
const LATER: Duration = Duration::from_millis(200);

/// Who reads the job's standard output.
pub(crate) enum Reader {
    /// It is no pipe of the caller's, or the job does something about SIGPIPE.
    Unknown,
    /// A pipe that somebody may read.
    There(BorrowedFd<'static>),
    /// Nobody, since the job had made so many calls to write.
    Gone { writes: u64, pause: Duration, next: Instant },
}

impl Reader {
    /// Of a job whose standard output is the caller's pipe itself, if `pipe`.
    pub(crate) fn new(pipe: bool) -> Self {
        if pipe { Self::There(stdout()) } else { Self::Unknown }
    }

    /// What is to be waited for, if anything: the kernel always tells an error.
    pub(crate) fn polled(&self) -> Option<PollFd<'static>> {
        match self {
            Self::There(fd) => Some(PollFd::from_borrowed_fd(*fd, PollFlags::empty())),
            _ => None,
        }
    }

    /// When to look again even if nothing happens.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self {
            Self::Gone { next, .. } => Some(*next),
            _ => None,
        }
    }

    /// Nobody reads what `pid` writes any more.
    pub(crate) fn is_gone(&mut self, pid: Pid) {
        *self = match writes(pid) {
            Some(writes) => Self::Gone { writes, pause: SOON, next: Instant::now() },
            None => Self::Unknown,
        };
    }

    /// Whether SIGPIPE would have ended the job `pid` by now, if it were not PID 1.
    pub(crate) fn ends(&mut self, pid: Pid) -> bool {
        let Self::Gone { writes: before, pause, next } = self else { return false };
        // One that writes as fast as it can is not to fill standard error with complaints meanwhile.
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

/// How many calls the process `pid` has made to write, `proc_pid_io(5)`.
fn writes(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscw:"))?.trim().parse().ok()
}
