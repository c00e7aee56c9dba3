//! A process beside the job, for the job: it begins before there is a job, in none of its namespaces and not
//! in its control group, and ends with the launcher.

use crate::sandbox::sys;
use nix::unistd::{getpid, getppid, setsid};
use rustix::{
    fd::AsFd,
    fs::{Mode, OFlags, open},
    process::{Signal, set_parent_process_death_signal},
};
use std::io;

/// Starts a process that does `work` and then ends.
///
/// Signals of the caller's terminal do not reach it, and it holds neither the caller's input nor its output.
///
/// # Errors
/// As fork(2). Panics if this process has more than one thread.
pub(crate) fn start(work: &mut dyn FnMut()) -> io::Result<()> {
    let launcher = getpid();
    let mut child = || {
        // The first one fails for a leader of a group only, which a new process is not.
        let apart = setsid().is_ok()
            && set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
            && getppid() == launcher
            && no_files().is_ok();
        if apart {
            work();
        }
    };
    Ok(sys::fork_alone(&mut child).map(drop)?)
}

/// Puts `/dev/null` in the place of standard input and output.
fn no_files() -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    sys::duplicate_to(null.as_fd(), 0)?;
    Ok(sys::duplicate_to(null.as_fd(), 1)?)
}
