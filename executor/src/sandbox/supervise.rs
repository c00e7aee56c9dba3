//! What the launcher does while the job runs: passes signals on, and waits for the end.

use super::{
    Exit,
    init::SIGNALED,
    relay::Relay,
    signals::{Disposition, ENDING, Signals, disposition},
    sys,
    terminal::Terminal,
};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg, raise},
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

/// How soon to ask again whether it is the launcher's turn to read from the caller's terminal.
const TURN: Duration = Duration::from_millis(200);

/// How the child came to its end.
pub(super) struct Ended {
    /// Its end.
    pub exit: Exit,
    /// What it reported before it could become the job; empty if it became the job.
    pub report: Vec<u8>,
    /// Which of the caller's files did not take what the job wrote, and why.
    pub refused: Option<(&'static str, rustix::io::Errno)>,
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// The first process of the job.
    First,
    /// Its process group, as a terminal's signals are.
    Group,
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
/// what is typed, read and written. `init` if it stays the parent of the job.
pub(super) fn supervise(
    signals: &Signals,
    pid: Pid,
    pipe: OwnedFd,
    (timeout, init): (Option<Duration>, bool),
    (mut terminal, mut relays): (Option<Terminal>, Vec<Relay>),
) -> Result<Ended, Errno> {
    let mut job = Job { pid, init, begun: false, killed_for: None, timed_out: false };
    let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut pipe = Some(File::from(pipe));
    let mut report = Vec::new();
    let mut rest = None;
    let mut exit = None;
    loop {
        // After the end of the job: until all that it wrote is passed on.
        let drained = exit.is_some() && relays.iter().all(Relay::is_idle);
        let now = drained.then(Instant::now);
        let again = relays.iter().any(Relay::waits).then(|| Instant::now() + TURN);
        let next = deadline.into_iter().chain(rest).chain(now).chain(again).min();
        let ready = wait(signals.queue.as_fd(), pipe.as_ref(), terminal.as_ref(), &relays, next)?;
        let Ready { signal, report: readable, typed, near, relays: moved } = ready;
        if terminal.as_mut().is_some_and(|terminal| terminal.pump(typed, near)) {
            job.pass_on(Signal::SIGHUP, To::First);
            // So does the job's: who ignores the signal finds nothing more to read.
            terminal = None;
        }
        for (relay, _) in relays.iter_mut().zip(&moved).filter(|(_, moved)| **moved) {
            relay.pump();
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
        if exit.is_none() && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            deadline = job.time_out();
        }
        let mut gives_up = false;
        // Only if it is ready: what came since the wait would be lost on this round's `signal`.
        let next = || if signal { signals.queue.read() } else { Ok(None) };
        while let Some((signal, from_terminal)) = next()? {
            // A reader that takes nothing is not waited for against the caller's will.
            gives_up |= ENDING.contains(&signal);
            if exit.is_none() {
                job.handle(signal, from_terminal, terminal.as_ref());
            }
        }
        if exit.is_none() && signal {
            exit = job.reap()?;
            if exit.is_some() {
                // What comes now is not for the job any more.
                relays.retain(Relay::is_output);
                deadline = None;
                continue;
            }
        }
        if let Some(exit) = exit.filter(|_| gives_up || (drained && !moved.contains(&true))) {
            if let Some(mut file) = pipe.take() {
                file.read_to_end(&mut report).map_err(|_| Errno::EIO)?;
            }
            let refused = relays.iter().find_map(Relay::refused);
            return Ok(job.ended(exit, report, refused));
        }
    }
}

/// What is ready after a wait.
struct Ready {
    signal: bool,
    report: bool,
    typed: bool,
    near: bool,
    relays: Vec<bool>,
}

/// Waits until `deadline`, or until one of these is ready: a signal, the pipe, the caller's
/// terminal, the job's, a relay.
fn wait(
    signals: BorrowedFd<'_>,
    pipe: Option<&File>,
    terminal: Option<&Terminal>,
    relays: &[Relay],
    deadline: Option<Instant>,
) -> Result<Ready, Errno> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // Rounded up: a wait of nearly nothing would spin.
    let left = left.map(|left| if left.is_zero() { left } else { left + Duration::from_millis(1) });
    let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
    let nothing = || PollFd::from_borrowed_fd(signals, PollFlags::empty());
    let (typed, near) = terminal.map_or_else(|| (None, nothing()), Terminal::polled);
    let mut fds = vec![
        PollFd::from_borrowed_fd(signals, PollFlags::IN),
        pipe.map_or_else(nothing, |pipe| PollFd::new(pipe, PollFlags::IN)),
        typed.unwrap_or_else(nothing),
        near,
    ];
    fds.extend(relays.iter().map(|relay| relay.polled().unwrap_or_else(nothing)));
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
    }
    let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
    let [signal, report, typed, near] = [0, 1, 2, 3].map(|index| ready[index]);
    Ok(Ready { signal, report, typed, near, relays: ready[4..].to_vec() })
}

impl Job {
    /// Does what is to be done when `signal` has come, perhaps from the caller's terminal.
    fn handle(&mut self, signal: Signal, from_terminal: bool, terminal: Option<&Terminal>) {
        match (signal, terminal) {
            (Signal::SIGCHLD, _) => {}
            (Signal::SIGWINCH, Some(terminal)) => terminal.resize(),
            (signal, terminal) => {
                self.pass_on(signal, if from_terminal { To::Group } else { To::First });
                if let (Signal::SIGCONT, Some(terminal)) = (signal, terminal) {
                    terminal.resume();
                }
            }
        }
    }

    /// Passes `signal` on, so that it does to the job what it does to any program.
    ///
    /// The kernel spares PID 1 of a namespace the default actions; the launcher performs them.
    fn pass_on(&mut self, signal: Signal, to: To) {
        match (self.disposition(signal), signal) {
            (_, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) if self.init => {
                self.send(signal, to);
                _ = raise(Signal::SIGSTOP);
                self.send(Signal::SIGCONT, to);
            }
            (Disposition::Handled, _) | (_, Signal::SIGCONT) => self.send(signal, to),
            (_, Signal::SIGWINCH) => {}
            // What the first process ignores, others of its group may not.
            (Disposition::Ignored, _) if to == To::Group => self.send(signal, to),
            (Disposition::Ignored, _) => {}
            (Disposition::Default, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) => {
                self.send(Signal::SIGSTOP, to);
                // Stops here until someone continues this process, and then the job.
                _ = raise(Signal::SIGSTOP);
                self.send(Signal::SIGCONT, to);
            }
            (Disposition::Default, _) => {
                self.killed_for = self.killed_for.or(u8::try_from(signal as i32).ok());
                self.send(Signal::SIGKILL, To::First);
            }
        }
    }

    /// The time is over: asks the job to end, or ends it. Returns the next deadline.
    fn time_out(&mut self) -> Option<Instant> {
        let ask = !self.timed_out && self.disposition(Signal::SIGTERM) == Disposition::Handled;
        self.timed_out = true;
        self.send(if ask { Signal::SIGTERM } else { Signal::SIGKILL }, To::First);
        ask.then(|| Instant::now() + GRACE)
    }

    fn disposition(&self, signal: Signal) -> Disposition {
        match (self.init, self.begun) {
            (true, _) => Disposition::Handled,
            (false, true) => disposition(self.pid, signal),
            (false, false) => Disposition::Default,
        }
    }

    fn send(&self, signal: Signal, to: To) {
        // It can only fail because the job has ended, which the next wait tells; its process id
        // is not used again before that. An init passes on what it gets itself; before the job
        // has begun there is no group.
        _ = match to {
            To::Group if self.begun && !self.init => killpg(self.pid, signal),
            _ => kill(self.pid, signal),
        };
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
    fn ended(
        &self,
        exit: Exit,
        report: Vec<u8>,
        refused: Option<(&'static str, rustix::io::Errno)>,
    ) -> Ended {
        let killed = exit == Exit::Signal(9);
        let exit = match (self.killed_for, report.as_slice()) {
            _ if self.timed_out => Exit::TimedOut,
            (Some(signal), _) if killed => Exit::Signal(signal),
            (_, [SIGNALED, signal]) => Exit::Signal(*signal),
            _ => exit,
        };
        Ended { exit, report, refused }
    }
}
