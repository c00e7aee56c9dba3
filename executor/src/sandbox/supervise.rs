//! What the launcher does while the job runs: passes signals on, and waits for the end.

use super::{
    Exit,
    init::SIGNALED,
    signals::{Disposition, Signals, disposition},
    sys,
    terminal::Relay,
};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, raise},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
};
use std::{
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

/// How long a job may go on after TERM at its timeout.
const GRACE: Duration = Duration::from_secs(10);
/// A job that runs for longer is waited for with little memory. Sooner, what is given back would be
/// needed again at once, to end.
const SETTLED: Duration = Duration::from_millis(50);

/// How the child came to its end.
pub(super) struct Ended {
    /// Its end.
    pub exit: Exit,
    /// What it reported before it could become the job; empty if it became the job.
    pub report: Vec<u8>,
}

/// The job as its launcher sees it.
struct Job {
    pid: Pid,
    /// Whether it stays the parent of the job: then it passes on what it gets.
    init: bool,
    /// Whether it is the job already, and no longer its preparation.
    begun: bool,
    /// The signal that it was killed for, because nothing else would have ended it.
    killed_for: Option<u8>,
    timed_out: bool,
}

/// Waits for the child `pid`, whose report comes from `pipe`, and passes signals on meanwhile, and
/// what is typed and shown. `init` if it stays the parent of the job.
pub(super) fn supervise(
    signals: &Signals,
    pid: Pid,
    pipe: OwnedFd,
    (timeout, init): (Option<Duration>, bool),
    mut relay: Option<Relay>,
) -> Result<Ended, Errno> {
    let mut job = Job { pid, init, begun: false, killed_for: None, timed_out: false };
    let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut pipe = Some(File::from(pipe));
    let mut report = Vec::new();
    let mut rest = None;
    loop {
        let next = deadline.into_iter().chain(rest).min();
        let [signal, readable, typed, near] =
            wait(signals.queue.as_fd(), pipe.as_ref(), relay.as_ref(), next)?;
        if let Some(relay) = &mut relay {
            relay.pump(typed, near);
        }
        if let Some(file) = pipe.as_mut().filter(|_| readable) {
            // The child writes once and exits, or becomes the job, which closes it.
            let mut buffer = [0; 4096];
            let len = file.read(&mut buffer).map_err(|_| Errno::EIO)?;
            report.extend(&buffer[..len]);
            if len == 0 {
                pipe = None;
                job.begun = report.is_empty();
                rest = Some(Instant::now() + SETTLED);
            }
        }
        if rest.is_some_and(|rest| Instant::now() >= rest) {
            rest = None;
            sys::release_code();
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            deadline = job.time_out();
        }
        if !signal {
            continue;
        }
        while let Some((signal, from_terminal)) = signals.queue.read()? {
            job.tell(signal, from_terminal, relay.as_ref());
        }
        if let Some(exit) = job.reap()? {
            if let Some(mut file) = pipe.take() {
                file.read_to_end(&mut report).map_err(|_| Errno::EIO)?;
            }
            return Ok(job.ended(exit, report));
        }
    }
}

/// Waits until `deadline`, or until one of these is ready: a signal, the pipe, the caller's
/// terminal, the job's.
fn wait(
    signals: BorrowedFd<'_>,
    pipe: Option<&File>,
    relay: Option<&Relay>,
    deadline: Option<Instant>,
) -> Result<[bool; 4], Errno> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // Rounded up: a wait of nearly nothing would spin.
    let left = left.map(|left| left + Duration::from_millis(1));
    let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
    let nothing = || PollFd::from_borrowed_fd(signals, PollFlags::empty());
    let (typed, near) = relay.map_or_else(|| (None, nothing()), Relay::polled);
    let mut fds = [
        PollFd::from_borrowed_fd(signals, PollFlags::IN),
        pipe.map_or_else(nothing, |pipe| PollFd::new(pipe, PollFlags::IN)),
        typed.unwrap_or_else(nothing),
        near,
    ];
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
    }
    Ok(fds.map(|fd| !fd.revents().is_empty()))
}

impl Job {
    /// Does what is to be done when `signal` has come.
    fn tell(&mut self, signal: Signal, from_terminal: bool, relay: Option<&Relay>) {
        match (signal, relay) {
            (Signal::SIGCHLD, _) => {}
            (Signal::SIGWINCH, Some(relay)) => relay.resize(),
            (signal, relay) => {
                // What the caller's terminal sends does not reach a job with its own.
                self.pass_on(signal, from_terminal && relay.is_none());
                if let (Signal::SIGCONT, Some(relay)) = (signal, relay) {
                    relay.resume();
                }
            }
        }
    }

    /// Passes `signal` on, so that it does to the job what it does to any program.
    ///
    /// The kernel spares PID 1 of a namespace the default actions; the launcher performs them.
    /// What comes from the terminal went to all of its foreground group, so to the job as well.
    fn pass_on(&mut self, signal: Signal, from_terminal: bool) {
        let disposition = self.disposition(signal);
        match (disposition, signal) {
            (_, Signal::SIGCONT) => self.send(signal),
            (_, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) if self.init => {
                if !from_terminal {
                    self.send(signal);
                }
                _ = raise(Signal::SIGSTOP);
                self.send(Signal::SIGCONT);
            }
            (Disposition::Handled, _) => {
                if !from_terminal {
                    self.send(signal);
                }
            }
            (Disposition::Ignored, _) | (_, Signal::SIGWINCH) => {}
            (Disposition::Default, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) => {
                self.send(Signal::SIGSTOP);
                // Stops here until someone continues this process, and then the job.
                _ = raise(Signal::SIGSTOP);
                self.send(Signal::SIGCONT);
            }
            (Disposition::Default, _) => {
                self.killed_for = self.killed_for.or(u8::try_from(signal as i32).ok());
                self.send(Signal::SIGKILL);
            }
        }
    }

    /// The time is over: asks the job to end, or ends it. Returns the next deadline.
    fn time_out(&mut self) -> Option<Instant> {
        let ask = !self.timed_out && self.disposition(Signal::SIGTERM) == Disposition::Handled;
        self.timed_out = true;
        self.send(if ask { Signal::SIGTERM } else { Signal::SIGKILL });
        ask.then(|| Instant::now() + GRACE)
    }

    fn disposition(&self, signal: Signal) -> Disposition {
        match (self.init, self.begun) {
            (true, _) => Disposition::Handled,
            (false, true) => disposition(self.pid, signal),
            (false, false) => Disposition::Default,
        }
    }

    fn send(&self, signal: Signal) {
        // It can only fail because the job has ended, which the next wait tells; its process id
        // is not used again before that.
        _ = kill(self.pid, signal);
    }

    /// Reaps all ended children; how the job ended, if it did.
    fn reap(&self) -> Result<Option<Exit>, Errno> {
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code.to_le_bytes()[0])),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, Exit::Signal((signal as i32).to_le_bytes()[0]))
                }
                Ok(WaitStatus::StillAlive) => return Ok(None),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            };
            if pid != self.pid {
                continue;
            }
            return Ok(Some(exit));
        }
    }

    /// How it ended, where `exit` is how the child did.
    fn ended(&self, exit: Exit, report: Vec<u8>) -> Ended {
        let killed = exit == Exit::Signal(9);
        let exit = match (self.killed_for, report.as_slice()) {
            _ if self.timed_out => Exit::TimedOut,
            (Some(signal), _) if killed => Exit::Signal(signal),
            (_, [SIGNALED, signal]) => Exit::Signal(*signal),
            _ => exit,
        };
        Ended { exit, report }
    }
}
