//! The process that a launcher started: signals to it, and how it ended.

use super::{
    init::{SIGNALED, resume_traced},
    signals::{Disposition, Signal, disposition},
    terminal::Terminal,
};
use crate::sandbox::sys;
use nix::{errno::Errno, unistd::Pid};
use rustix::process::{WaitOptions, getpid, wait};
use std::time::{Duration, Instant};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(u8),
    /// A signal terminated it.
    Signal(u8),
    /// It reached its timeout.
    TimedOut,
    /// It reached its memory limit.
    OutOfMemory,
}

impl Exit {
    /// The exit status to pass on: the job's own, 128+n for signal n, 124 after the timeout.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::TimedOut => 124,
            Self::OutOfMemory => 128 + 9,
        }
    }
}

/// Time from SIGTERM to SIGKILL after the timeout.
const GRACE: Duration = Duration::from_secs(10);

/// Delays after which SIGCONT is sent to a job again, see [`Child::continue_again`].
const AGAIN: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(2)];

/// Maximum number of stops of a job that is continued in the background.
const BACKGROUND: usize = 50;

/// How the child ended.
pub(crate) struct Ended {
    /// Its exit.
    pub exit: Exit,
    /// Its failure report; empty if it became the job.
    pub report: Vec<u8>,
    /// The name of the caller's file that output could not be written to, and the error.
    pub refused: Option<(&'static str, rustix::io::Errno)>,
}

/// The recipient of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The first process of the job.
    First,
    /// Its process group, for signals of a terminal.
    Group,
}

/// The child, which becomes the job or its init.
pub(super) struct Child {
    pub pid: Pid,
    /// Whether it is an init, which forwards signals to the job.
    pub init: bool,
    /// Whether the job was executed.
    pub executed: bool,
    /// The signal that was replaced by SIGKILL.
    pub killed_for: Option<u8>,
    /// Whether a terminating signal was forwarded.
    pub termination_requested: bool,
    pub timed_out: bool,
    pub out_of_memory: bool,
    /// When SIGCONT is sent again, and how often it was.
    pub continued: Option<(Instant, usize)>,
}

impl Child {
    /// Handles a signal to the launcher, which may be from its terminal.
    pub(super) fn handle(
        &mut self,
        signal: Signal,
        from_terminal: bool,
        terminal: Option<&Terminal>,
    ) {
        match (signal, terminal) {
            (Signal::CHLD, _) => {}
            (Signal::WINCH, Some(terminal)) => terminal.resize(),
            (signal, terminal) => {
                self.termination_requested |= signal.is_ending();
                self.forward(signal, if from_terminal { To::Group } else { To::First });
                if let (Signal::CONT, Some(terminal)) = (signal, terminal) {
                    terminal.resume();
                }
            }
        }
    }

    /// Sends SIGKILL in place of `signal`, whose default action is termination: PID 1 has no default actions.
    pub(super) fn kill_instead_of(&mut self, signal: Signal) {
        self.killed_for = self.killed_for.or(Some(signal.number()));
        self.send(Signal::KILL, To::First);
    }

    /// Forwards `signal` so that it has its usual effect.
    ///
    /// PID 1 of a namespace has no default actions; the launcher performs them.
    pub(super) fn forward(&mut self, signal: Signal, to: To) {
        match (self.disposition(signal), signal) {
            (_, Signal::TSTP | Signal::TTIN | Signal::TTOU) if self.init => {
                self.send(signal, to);
                stop();
                self.send(Signal::CONT, to);
                self.was_continued();
            }
            (Disposition::Handled, _) | (_, Signal::CONT) => self.send(signal, to),
            (_, Signal::WINCH | Signal::URG) => {}
            // Other processes of the group may not ignore it.
            (Disposition::Ignored, _) if to == To::Group => self.send(signal, to),
            (Disposition::Ignored, _) => {}
            (Disposition::Default, Signal::TSTP | Signal::TTIN | Signal::TTOU) => {
                self.send(Signal::STOP, to);
                // Stopped until SIGCONT.
                stop();
                self.send(Signal::CONT, to);
                self.was_continued();
            }
            (Disposition::Default, _) => self.kill_instead_of(signal),
        }
    }

    /// Sends SIGTERM at the timeout, or SIGKILL if the job does not handle that or it was sent before. Returns the
    /// next deadline.
    pub(super) fn time_out(&mut self) -> Option<Instant> {
        let ask = !self.timed_out && self.disposition(Signal::TERM) == Disposition::Handled;
        self.timed_out = true;
        self.send(if ask { Signal::TERM } else { Signal::KILL }, To::First);
        ask.then(|| Instant::now() + GRACE)
    }

    /// Sends SIGCONT again when a delay of [`AGAIN`] has passed.
    ///
    /// If a process forks while its group is stopped and continued, its child may stay stopped: Linux delays the SIGSTOP
    /// until after the fork, but not a SIGCONT that the parent ignores, as it does by default.
    pub(super) fn continue_again(&mut self) {
        let Some((_, count)) = self.continued.filter(|(time, _)| Instant::now() >= *time) else {
            return;
        };
        // Its group has this ID, with an init, too. Fails only if the job has ended.
        _ = sys::send_signal(-self.pid.as_raw(), Signal::CONT.0);
        self.continued = AGAIN.get(count + 1).map(|delay| (Instant::now() + *delay, count + 1));
    }

    /// Starts the delays of [`AGAIN`].
    pub(super) fn was_continued(&mut self) {
        self.continued = Some((Instant::now() + AGAIN[0], 0));
    }

    fn disposition(&self, signal: Signal) -> Disposition {
        match (self.init, self.executed) {
            (true, _) => Disposition::Handled,
            (false, true) => disposition(self.pid, signal),
            (false, false) => Disposition::Default,
        }
    }

    pub(super) fn send(&self, signal: Signal, to: To) {
        // Fails only if the job has ended; its process ID is not reused before the wait. An init forwards
        // signals itself; before the exec there is no group.
        _ = match to {
            To::Group if self.executed && !self.init => {
                sys::send_signal(-self.pid.as_raw(), signal.0)
            }
            _ => sys::send_signal(self.pid.as_raw(), signal.0),
        };
    }

    /// Reaps all ended children. Returns how the job ended, if it did.
    pub(super) fn reap(&self) -> Result<Option<Exit>, Errno> {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some(ended)) => ended,
                Ok(None) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            };
            let pid = pid.as_raw_nonzero().get();
            if pid != self.pid.as_raw() {
                if status.stopped() {
                    // The server of the runtime: a job that waits for it could not be killed.
                    _ = sys::send_signal(pid, Signal::CONT.0);
                }
                continue;
            }
            resume_traced(pid, status);
            let byte = |number: i32| number.to_le_bytes()[0];
            if let Some(code) = status.exit_status() {
                return Ok(Some(Exit::Code(byte(code))));
            }
            if let Some(signal) = status.terminating_signal() {
                return Ok(Some(Exit::Signal(byte(signal))));
            }
        }
    }

    /// How the job ended, by the `exit` of the child.
    pub(super) fn ended(
        &self,
        exit: Exit,
        report: Vec<u8>,
        refused: Option<(&'static str, rustix::io::Errno)>,
    ) -> Ended {
        let killed = exit == Exit::Signal(9);
        let exit = match (self.killed_for, report.as_slice()) {
            _ if self.timed_out => Exit::TimedOut,
            _ if self.out_of_memory && killed => Exit::OutOfMemory,
            (Some(signal), _) if killed => Exit::Signal(signal),
            (_, [SIGNALED, signal]) => Exit::Signal(*signal),
            _ => exit,
        };
        Ended { exit, report, refused }
    }
}

/// Stops this process until SIGCONT.
fn stop() {
    // A process may always stop itself.
    _ = sys::send_signal(getpid().as_raw_nonzero().get(), Signal::STOP.0);
}

/// Stops the process group of the job's first process and this process, as for Ctrl-Z, until SIGCONT. Does nothing
/// if the job handles SIGTSTP.
pub(super) fn suspend(group: rustix::process::Pid, terminal: &Terminal) {
    let group = Pid::from_raw(group.as_raw_nonzero().get());
    if disposition(group, Signal::TSTP) != Disposition::Default {
        return;
    }
    // Fails only if the job has ended.
    _ = sys::send_signal(-group.as_raw(), Signal::STOP.0);
    terminal.rest();
    stop_group(Signal::TSTP);
    // Continued in the background (bg), it stops again, as for a read of the terminal. The kernel does not stop an
    // orphaned process group, hence the limit.
    for _ in 0..BACKGROUND {
        if terminal.is_in_foreground() {
            break;
        }
        stop_group(Signal::TTIN);
    }
    terminal.resume();
    _ = sys::send_signal(-group.as_raw(), Signal::CONT.0);
}

/// Stops this process group by `signal`, one of a terminal, unless the group is orphaned.
fn stop_group(signal: Signal) {
    // Unblocked while it is delivered. None of these can fail.
    if let Ok(blocked) = sys::block_signals(0) {
        _ = sys::set_blocked_signals(blocked & !signal.bit());
        _ = sys::send_signal(0, signal.0);
        _ = sys::set_blocked_signals(blocked);
    }
}
