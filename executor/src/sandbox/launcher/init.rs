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

/// Forks a child that applies the `rest` of the steps. The parent, whose privileges are dropped already,
/// exits when the child does, with its status. If a signal killed the child, that is written to `report`.
pub(crate) fn run_as_init(
    report: BorrowedFd<'_>,
    rest: &mut dyn FnMut() -> Infallible,
) -> Result<Infallible, Failure> {
    // The job must not access this process or its program, a file of the host, by ptrace(2) or /proc/1/exe.
    // The child becomes dumpable again when it executes the job.
    let weak = weaken::without("not-dumpable");
    set_dumpable_behavior(if weak {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    })?;
    // The signals are blocked since before the clone.
    let signals = Forwarded::open()?;
    // A signal that arrived before the fork kills the child before its exec.
    while let Some((signal, _)) = signals.read()? {
        if signal.is_ending() {
            exit_as_killed(report, signal);
        }
    }
    let main = sys::clone_alone(0, Memory::Copied, None, rest)?;
    loop {
        signals.wait()?;
        while let Some((signal, from_terminal)) = signals.read()? {
            // The terminal's signals go to its whole foreground process group, and so to the job.
            if signal != Signal::CHLD && !from_terminal {
                // Fails only if the job has ended, which is handled below.
                _ = sys::send_signal(main.as_raw(), signal.0);
            }
        }
        reap(main, report);
    }
}

/// Reaps children; exits when the main process has ended.
fn reap(main: Pid, report: BorrowedFd<'_>) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        let pid = pid.as_raw_nonzero().get();
        resume_traced(pid, status);
        if pid != main.as_raw() {
            continue;
        }
        if let Some(code) = status.exit_status() {
            sys::exit_now(code);
        }
        if let Some(signal) = status.terminating_signal() {
            exit_as_killed(report, Signal(signal));
        }
    }
}

/// Continues a child that requested to be traced by its parent (`PTRACE_TRACEME`) and has stopped at a signal:
/// the signal is delivered as without tracing.
pub(super) fn resume_traced(pid: i32, status: WaitStatus) {
    let Some(number) = status.stopping_signal() else { return };
    // SIGTRAP is ptrace's own. For a child that is stopped but not traced, the call fails.
    let signal = nix::sys::signal::Signal::try_from(number).ok();
    let signal = signal.filter(|signal| *signal != nix::sys::signal::Signal::SIGTRAP);
    _ = nix::sys::ptrace::detach(nix::unistd::Pid::from_raw(pid), signal);
}

/// The first byte of the report that a signal killed the job; the signal's number follows.
pub(crate) const SIGNALED: u8 = 3;

/// Exits as if killed by `signal`, which has no effect on PID 1.
fn exit_as_killed(report: BorrowedFd<'_>, signal: Signal) -> ! {
    let number = signal.number();
    // Fails only if the launcher has ended.
    _ = write(report, &[SIGNALED, number]);
    sys::exit_now(128 + i32::from(number))
}
