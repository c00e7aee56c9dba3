//! The init of the job: PID 1, which forwards signals and reaps zombies.
//!
//! A program that is PID 1 gets no default action of a signal from inside its namespace, and
//! inherits orphans. Under this one it is a process like any other.

use super::signals::{Forwarded, Signal};
use crate::env::weaken;
use crate::sandbox::{
    setup::failure::Failure,
    sys::{self, Memory},
};
use nix::unistd::Pid;
use rustix::{
    fd::BorrowedFd,
    io::write,
    process::{DumpableBehavior, WaitOptions, WaitStatus, set_dumpable_behavior, wait},
};
use std::convert::Infallible;

/// Forks a child that does the `rest`. The parent, which has every privilege dropped already, ends
/// with the child, and with its status. That a signal ended it is written to `report`.
pub(crate) fn run_as_init(
    report: BorrowedFd<'_>,
    rest: &mut dyn FnMut() -> Infallible,
) -> Result<Infallible, Failure> {
    // No process of the job may look at this one or at its program, which is the host's file: not
    // through ptrace, not through /proc/1/exe. The child gets this back when it executes the job.
    let weak = weaken::without("not-dumpable");
    set_dumpable_behavior(if weak {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    })?;
    // The signals are blocked since before the clone.
    let signals = Forwarded::open()?;
    // What came too early for the job ends it before it begins.
    while let Some((signal, _)) = signals.read()? {
        if signal.is_ending() {
            end(report, signal);
        }
    }
    let main = sys::clone_alone(0, Memory::Copied, None, rest)?;
    loop {
        signals.wait()?;
        while let Some((signal, from_terminal)) = signals.read()? {
            // What comes from the terminal went to all of its foreground group, so to the job.
            if signal != Signal::CHLD && !from_terminal {
                // Fails only for a job that has ended, which is seen below.
                _ = sys::send_signal(main.as_raw(), signal.0);
            }
        }
        reap(main, report);
    }
}

/// Reaps all that ended; ends with the main process.
fn reap(main: Pid, report: BorrowedFd<'_>) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        let pid = pid.as_raw_nonzero().get();
        go_on(pid, status);
        if pid != main.as_raw() {
            continue;
        }
        if let Some(code) = status.exit_status() {
            sys::exit_now(code);
        }
        if let Some(signal) = status.terminating_signal() {
            end(report, Signal(signal));
        }
    }
}

/// A child that asked its parent to trace it (PTRACE_TRACEME) stops at each signal until that says how to go on: it
/// goes on as if it had not asked.
pub(super) fn go_on(pid: i32, status: WaitStatus) {
    let Some(number) = status.stopping_signal() else { return };
    // The trap is tracing's own. One that is stopped but not traced is left alone: the call fails.
    let signal = nix::sys::signal::Signal::try_from(number).ok();
    let signal = signal.filter(|signal| *signal != nix::sys::signal::Signal::SIGTRAP);
    _ = nix::sys::ptrace::detach(nix::unistd::Pid::from_raw(pid), signal);
}

/// The first byte of the report that a signal ended the job; the signal's number follows.
pub(crate) const SIGNALED: u8 = 3;

/// Ends as if `signal` had: PID 1 cannot really be ended by one.
fn end(report: BorrowedFd<'_>, signal: Signal) -> ! {
    let number = signal.number();
    // The launcher may be gone; then there is no one to report to.
    _ = write(report, &[SIGNALED, number]);
    sys::exit_now(128 + i32::from(number))
}
