//! A helper process beside the job: it is started before the job, outside of its namespaces and control
//! group, and ends with the launcher.

use crate::sandbox::sys;
use nix::unistd::{getpid, getppid, setsid};
use rustix::{
    fd::AsFd,
    fs::{Mode, OFlags, open},
    process::{Signal, set_parent_process_death_signal},
};
use std::io;

/// Starts a process that calls `work` and then exits.
///
/// It gets no signals of the caller's terminal, and keeps neither the caller's input nor its output open.
///
/// # Errors
/// As fork(2). Panics if this process has more than one thread.
pub(crate) fn start(work: &mut dyn FnMut()) -> io::Result<()> {
    let launcher = getpid();
    let mut child = || {
        // setsid fails only for a process group leader, which a new process is not.
        let detached = setsid().is_ok()
            && set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
            && getppid() == launcher
            && no_files().is_ok();
        if detached {
            work();
        }
    };
    Ok(sys::fork_alone(&mut child).map(drop)?)
}

/// Replaces standard input and output by `/dev/null`.
fn no_files() -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    sys::duplicate_to(null.as_fd(), 0)?;
    Ok(sys::duplicate_to(null.as_fd(), 1)?)
}
