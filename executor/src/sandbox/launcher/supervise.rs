//! What the launcher does while the job runs: forwards signals, and waits for the end.

use super::{
    init::{SIGNALED, go_on},
    reader::Reader,
    relay::Relay,
    signals::{Disposition, Signal, Signals, disposition, left},
    terminal::{Arrived, Terminal},
};
use crate::sandbox::sys;
use nix::{errno::Errno, unistd::Pid};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
    process::{WaitOptions, getpid, wait},
};
use std::{
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
    /// It ran longer than it may.
    TimedOut,
    /// It needed more memory than it may have.
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

/// How long a job may go on after TERM at its timeout.
const GRACE: Duration = Duration::from_secs(10);
/// A job that runs for longer is waited for with little memory. Sooner, what is given back would be
/// needed again at once, to end.
const SETTLED: Duration = Duration::from_millis(50);

/// How long a reader may take nothing of a job that was asked to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a job that is continued in the background is stopped again.
const BACKGROUND: usize = 50;

/// How soon to ask again whether it is the launcher's turn to read from the caller's terminal.
const TURN: Duration = Duration::from_millis(200);

/// How the child came to its end.
pub(crate) struct Ended {
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
    /// Whether a signal that is meant to end it was passed on.
    asked: bool,
    timed_out: bool,
    out_of_memory: bool,
}

/// Waits for the child `pid`, whose report comes from `pipe`, and forwards signals meanwhile, and
/// what is typed, read and written. `init` if it stays the parent of the job.
pub(crate) fn supervise(
    signals: &Signals,
    pid: Pid,
    pipe: OwnedFd,
    (timeout, init): (Option<Duration>, bool),
    (terminal, relays, reader, memory): (Option<Terminal>, Vec<Relay>, Reader, Option<OwnedFd>),
) -> Result<Ended, Errno> {
    let mut launcher = Launcher {
        signals,
        job: Job {
            pid,
            init,
            begun: false,
            killed_for: None,
            asked: false,
            timed_out: false,
            out_of_memory: false,
        },
        deadline: timeout.map(|timeout| Instant::now() + timeout),
        settled: None,
        pipe: Some(File::from(pipe)),
        report: Vec::new(),
        terminal,
        relays,
        reader,
        memory,
    };
    let exit = loop {
        let ready = launcher.wait(launcher.next())?;
        launcher.pass_on(&ready);
        launcher.read_report(&ready)?;
        launcher.keep_time();
        if ready.signal {
            launcher.handle_signals()?;
            if let Some(exit) = launcher.job.reap()? {
                break exit;
            }
        }
    };
    launcher.drain()?;
    launcher.terminal = None; // gives the caller's its modes back
    if let Some(mut file) = launcher.pipe.take() {
        file.read_to_end(&mut launcher.report).map_err(|_| Errno::EIO)?;
    }
    let refused = launcher.relays.iter().find_map(Relay::refused);
    Ok(launcher.job.ended(exit, launcher.report, refused))
}

/// What the launcher has to do with a job.
struct Launcher<'a> {
    signals: &'a Signals,
    job: Job,
    /// When the time of the job is over.
    deadline: Option<Instant>,
    /// When the job counts as one that runs for long.
    settled: Option<Instant>,
    /// Where the child reports, until it becomes the job.
    pipe: Option<File>,
    report: Vec<u8>,
    terminal: Option<Terminal>,
    relays: Vec<Relay>,
    /// Who reads what the job writes.
    reader: Reader,
    /// What can be read when the job has run out of memory.
    memory: Option<OwnedFd>,
}

impl Launcher<'_> {
    /// When there is something to do even if nothing happens.
    fn next(&self) -> Option<Instant> {
        let turn = self.relays.iter().any(Relay::waits).then(|| Instant::now() + TURN);
        self.deadline.into_iter().chain(turn).chain(self.reader.next()).min()
    }

    /// Passes on what was typed, read and written.
    fn pass_on(&mut self, ready: &Ready) {
        let hung_up = self.terminal.as_mut().is_some_and(|it| it.pump(ready.terminal));
        if let Some(terminal) = &mut self.terminal
            && let Some(group) = terminal.take_stop()
        {
            suspend(group, terminal);
        }
        if hung_up {
            self.job.pass_on(Signal::HUP, To::First);
            // The job's hangs up, too: who ignores the signal finds nothing more to read.
            self.terminal = None;
        }
        for (relay, _) in self.relays.iter_mut().zip(&ready.relays).filter(|(_, ready)| **ready) {
            let gone = relay.pump();
            if gone && !self.job.init {
                self.reader.is_gone(self.job.pid);
            }
        }
        if ready.memory {
            self.memory = None;
            self.job.out_of_memory = true;
            self.job.send(Signal::KILL, To::First);
        }
        if ready.reader {
            self.reader.is_gone(self.job.pid);
        }
    }

    /// Reads what the child reports: it writes once and exits, or becomes the job, which closes it.
    fn read_report(&mut self, ready: &Ready) -> Result<(), Errno> {
        let Some(file) = self.pipe.as_mut().filter(|_| ready.report) else { return Ok(()) };
        let mut buffer = [0; 4096];
        let len = file.read(&mut buffer).map_err(|_| Errno::EIO)?;
        self.report.extend(&buffer[..len]);
        if len == 0 {
            self.pipe = None;
            self.job.begun = self.report.is_empty();
            self.settled = Some(Instant::now() + SETTLED);
        }
        Ok(())
    }

    /// Does what it is time for.
    fn keep_time(&mut self) {
        if self.reader.next().is_some_and(|time| Instant::now() >= time)
            && self.reader.ends(self.job.pid)
        {
            self.job.end_as_by(Signal::PIPE);
        }
        if self.deadline.is_some_and(|time| Instant::now() >= time) {
            self.deadline = self.job.time_out();
        }
    }

    fn handle_signals(&mut self) -> Result<(), Errno> {
        while let Some((signal, from_terminal)) = self.signals.queue.read()? {
            self.job.handle(signal, from_terminal, self.terminal.as_ref());
        }
        Ok(())
    }

    /// After the end of the job: passes on what it has written. A reader that takes nothing is not
    /// waited for against the caller's will: not for long after a signal that ends or the timeout.
    fn drain(&mut self) -> Result<(), Errno> {
        self.relays.retain(Relay::is_output);
        if let Some(terminal) = &mut self.terminal {
            terminal.stop_typing();
        }
        loop {
            // Where nothing is held, all that there is can be read at once.
            let idle = self.relays.iter().all(Relay::is_idle)
                && self.terminal.as_ref().is_none_or(Terminal::is_idle);
            let patience = match (idle, self.job.asked || self.job.timed_out) {
                (true, _) => Some(Duration::ZERO),
                (false, true) => Some(PATIENCE),
                (false, false) => None,
            };
            let ready = self.wait(patience.map(|patience| Instant::now() + patience))?;
            let Arrived { near, room, .. } = ready.terminal;
            if patience.is_some() && !(near || room || ready.relays.contains(&true)) {
                return Ok(());
            }
            self.pass_on(&ready);
            // A child that failed before it had a terminal has sent none, and never will.
            if near && self.terminal.as_ref().is_some_and(|terminal| !terminal.has_come()) {
                self.terminal = None;
            }
            while let Some((signal, _)) = self.signals.queue.read()? {
                if signal.is_ending() {
                    return Ok(());
                }
            }
        }
    }

    /// Waits until `deadline`, or until one of these is ready: a signal, the pipe, the caller's
    /// terminal, the job's, a relay.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Ready, Errno> {
        let settled = self.settled.filter(|settled| deadline.is_none_or(|time| *settled < time));
        let queue = self.signals.queue.as_fd();
        let nothing = || PollFd::from_borrowed_fd(queue, PollFlags::empty());
        let terminal = self.terminal.as_ref();
        let (typed, near, room) =
            terminal.map_or_else(|| (None, nothing(), None), Terminal::polled);
        let mut fds = vec![
            PollFd::from_borrowed_fd(queue, PollFlags::IN),
            self.pipe.as_ref().map_or_else(nothing, |pipe| PollFd::new(pipe, PollFlags::IN)),
            typed.unwrap_or_else(nothing),
            near,
            room.unwrap_or_else(nothing),
        ];
        // Before the job has begun, the child writes nothing there.
        let reader = self.job.begun.then(|| self.reader.polled()).flatten();
        fds.push(reader.unwrap_or_else(nothing));
        fds.push(self.memory.as_ref().map_or_else(nothing, |fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(self.relays.iter().map(|relay| relay.polled().unwrap_or_else(nothing)));
        let mut waited = poll(&mut fds, left(settled.or(deadline)).as_ref());
        if let (Ok(0), Some(_)) = (waited, settled) {
            waited = sys::poll_with_little_memory(&mut fds, left(deadline).as_ref());
        }
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
        }
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let [signal, report, typed, near, room, reader, memory] =
            std::array::from_fn(|index| ready[index]);
        if settled.is_some_and(|settled| Instant::now() >= settled) {
            self.settled = None;
        }
        let terminal = Arrived { typed, near, room };
        Ok(Ready { signal, report, terminal, reader, memory, relays: ready[7..].to_vec() })
    }
}

/// Stops this process until someone continues it.
fn stop() {
    // Nobody forbids a process to stop itself.
    _ = sys::send_signal(getpid().as_raw_nonzero().get(), Signal::STOP.0);
}

/// Stops the job's first process `group` and this one, as Ctrl-Z does to any program, until the caller's shell
/// continues them. A job that handles the signal has had the key.
fn suspend(group: rustix::process::Pid, terminal: &Terminal) {
    let group = Pid::from_raw(group.as_raw_nonzero().get());
    if disposition(group, Signal::TSTP) != Disposition::Default {
        return;
    }
    // Fails only for a job that has ended.
    _ = sys::send_signal(-group.as_raw(), Signal::STOP.0);
    terminal.rest();
    stop_group(Signal::TSTP);
    // In the background it would need the terminal at once: a shell that sees it stop says so. The kernel
    // stops nobody whom no shell could continue, hence the limit.
    for _ in 0..BACKGROUND {
        if terminal.is_in_foreground() {
            break;
        }
        stop_group(Signal::TTIN);
    }
    terminal.resume();
    _ = sys::send_signal(-group.as_raw(), Signal::CONT.0);
}

/// Stops the process group of this process as `signal`, one of a terminal, does: unless no shell could continue it.
fn stop_group(signal: Signal) {
    // Not blocked while it comes. None of these can fail.
    if let Ok(blocked) = sys::block_signals(0) {
        _ = sys::set_blocked_signals(blocked & !signal.bit());
        _ = sys::send_signal(0, signal.0);
        _ = sys::set_blocked_signals(blocked);
    }
}

/// What is ready after a wait.
struct Ready {
    signal: bool,
    report: bool,
    terminal: Arrived,
    reader: bool,
    memory: bool,
    relays: Vec<bool>,
}

impl Job {
    /// Does what is to be done when `signal` has come, perhaps from the caller's terminal.
    fn handle(&mut self, signal: Signal, from_terminal: bool, terminal: Option<&Terminal>) {
        match (signal, terminal) {
            (Signal::CHLD, _) => {}
            (Signal::WINCH, Some(terminal)) => terminal.resize(),
            (signal, terminal) => {
                self.asked |= signal.is_ending();
                self.pass_on(signal, if from_terminal { To::Group } else { To::First });
                if let (Signal::CONT, Some(terminal)) = (signal, terminal) {
                    terminal.resume();
                }
            }
        }
    }

    /// Ends it as if `signal` had, whose default action the kernel spares it.
    fn end_as_by(&mut self, signal: Signal) {
        self.killed_for = self.killed_for.or(Some(signal.number()));
        self.send(Signal::KILL, To::First);
    }

    /// Passes `signal` on, so that it does to the job what it does to any program.
    ///
    /// The kernel spares PID 1 of a namespace the default actions; the launcher performs them.
    fn pass_on(&mut self, signal: Signal, to: To) {
        match (self.disposition(signal), signal) {
            (_, Signal::TSTP | Signal::TTIN | Signal::TTOU) if self.init => {
                self.send(signal, to);
                stop();
                self.send(Signal::CONT, to);
            }
            (Disposition::Handled, _) | (_, Signal::CONT) => self.send(signal, to),
            (_, Signal::WINCH | Signal::URG) => {}
            // What the first process ignores, others of its group may not.
            (Disposition::Ignored, _) if to == To::Group => self.send(signal, to),
            (Disposition::Ignored, _) => {}
            (Disposition::Default, Signal::TSTP | Signal::TTIN | Signal::TTOU) => {
                self.send(Signal::STOP, to);
                // Stops here until someone continues this process, and then the job.
                stop();
                self.send(Signal::CONT, to);
            }
            (Disposition::Default, _) => self.end_as_by(signal),
        }
    }

    /// The time is over: asks the job to end, or ends it. Returns the next deadline.
    fn time_out(&mut self) -> Option<Instant> {
        let ask = !self.timed_out && self.disposition(Signal::TERM) == Disposition::Handled;
        self.timed_out = true;
        self.send(if ask { Signal::TERM } else { Signal::KILL }, To::First);
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
            To::Group if self.begun && !self.init => sys::send_signal(-self.pid.as_raw(), signal.0),
            _ => sys::send_signal(self.pid.as_raw(), signal.0),
        };
    }

    /// Reaps all ended children; how the job ended, if it did.
    fn reap(&self) -> Result<Option<Exit>, Errno> {
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
                    // What serves the job: it could not even be killed while it waits for an answer.
                    _ = sys::send_signal(pid, Signal::CONT.0);
                }
                continue;
            }
            go_on(pid, status);
            let byte = |number: i32| number.to_le_bytes()[0];
            if let Some(code) = status.exit_status() {
                return Ok(Some(Exit::Code(byte(code))));
            }
            if let Some(signal) = status.terminating_signal() {
                return Ok(Some(Exit::Signal(byte(signal))));
            }
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
            _ if self.out_of_memory && killed => Exit::OutOfMemory,
            (Some(signal), _) if killed => Exit::Signal(signal),
            (_, [SIGNALED, signal]) => Exit::Signal(*signal),
            _ => exit,
        };
        Ended { exit, report, refused }
    }
}
