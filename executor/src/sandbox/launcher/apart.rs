//! A process beside the job, for the job: it begins before there is a job, in none of its namespaces and not
//! in its control group, and ends with the launcher.

use crate::sandbox::sys;
use nix::{
    sys::signal::kill,
    unistd::{Pid, getpid, getppid, setsid},
};
use rustix::{
    fd::AsFd,
    fs::{Mode, OFlags, open},
    process::{Signal, set_parent_process_death_signal},
};
use std::io;

/// Such a process. Whoever waits for children of the launcher may have waited for it already.
#[derive(Debug)]
pub(crate) struct Apart(Pid);

impl Apart {
    /// Lets it go on, if it was stopped; to be called as long as it is known not to have ended.
    pub(crate) fn go_on(&self) {
        // It may end just now.
        _ = kill(self.0, nix::sys::signal::Signal::SIGCONT);
    }
}

/// Starts a process that does `work` and then ends.
///
/// Signals of the caller's terminal do not reach it, and it holds neither the caller's input nor its output.
///
/// # Errors
/// As fork(2). Panics if this process has more than one thread.
pub(crate) fn start(work: &mut dyn FnMut()) -> io::Result<Apart> {
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
    Ok(Apart(sys::fork_alone(&mut child)?))
}

/// Puts `/dev/null` in the place of standard input and output.
fn no_files() -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    sys::duplicate_to(null.as_fd(), 0)?;
    Ok(sys::duplicate_to(null.as_fd(), 1)?)
}
