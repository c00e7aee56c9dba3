//! The launcher's event loop while the job runs: signals, terminal, relays, timeout.

use super::{
    child::{Child, Ended, To, suspend},
    reader::Reader,
    relay::Relay,
    signals::{Signal, Signals, left},
    terminal::{Arrived, Terminal},
};
use crate::sandbox::sys;
use nix::{errno::Errno, unistd::Pid};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
};
use std::{
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

/// Time after which the launcher releases memory while it waits; a shorter job would need it again at once.
const SETTLED: Duration = Duration::from_millis(50);

/// How long output may block after a terminating signal or the timeout.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval of the checks whether the launcher may read from the caller's terminal.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits for the child `pid`, which reports a failure by `pipe`, and relays signals, input and output. `init`: whether
/// the child is an init.
pub(crate) fn supervise(
    signals: &Signals,
    pid: Pid,
    pipe: OwnedFd,
    (timeout, init): (Option<Duration>, bool),
    (terminal, relays, reader, memory): (Option<Terminal>, Vec<Relay>, Reader, Option<OwnedFd>),
) -> Result<Ended, Errno> {
    let mut launcher = Launcher {
        signals,
        child: Child {
            pid,
            init,
            executed: false,
            killed_for: None,
            termination_requested: false,
            timed_out: false,
            out_of_memory: false,
            continued: None,
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
        launcher.relay(&ready);
        launcher.read_report(&ready)?;
        launcher.keep_time();
        if ready.signal {
            launcher.handle_signals()?;
            if let Some(exit) = launcher.child.reap()? {
                break exit;
            }
        }
    };
    launcher.drain()?;
    launcher.terminal = None; // restores the modes of the caller's
    if let Some(mut file) = launcher.pipe.take() {
        file.read_to_end(&mut launcher.report).map_err(|_| Errno::EIO)?;
    }
    let refused = launcher.relays.iter().find_map(Relay::refused);
    Ok(launcher.child.ended(exit, launcher.report, refused))
}

/// The state of the event loop.
struct Launcher<'a> {
    signals: &'a Signals,
    child: Child,
    /// When the timeout, or the time after it, ends.
    deadline: Option<Instant>,
    /// When memory is released, see [`SETTLED`].
    settled: Option<Instant>,
    /// The report of the child, until the exec closes it.
    pipe: Option<File>,
    report: Vec<u8>,
    terminal: Option<Terminal>,
    relays: Vec<Relay>,
    /// The reader of the job's output.
    reader: Reader,
    /// Readable when the job has run out of memory.
    memory: Option<OwnedFd>,
}

impl Launcher<'_> {
    /// When to act even without an event.
    fn next(&self) -> Option<Instant> {
        let check = self.relays.iter().any(Relay::waits).then(|| Instant::now() + POLL_INTERVAL);
        let continued = self.child.continued.map(|(time, _)| time);
        self.deadline.into_iter().chain(check).chain(self.reader.next()).chain(continued).min()
    }

    /// Relays input and output.
    fn relay(&mut self, ready: &Ready) {
        let hung_up = self.terminal.as_mut().is_some_and(|it| it.pump(ready.terminal));
        if let Some(terminal) = &mut self.terminal
            && let Some(group) = terminal.take_stop()
        {
            suspend(group, terminal);
            self.child.was_continued();
        }
        if hung_up {
            self.child.forward(Signal::HUP, To::First);
            // The job's terminal hangs up, too: a job that ignores the signal reads end of file.
            self.terminal = None;
        }
        for (relay, _) in self.relays.iter_mut().zip(&ready.relays).filter(|(_, ready)| **ready) {
            let gone = relay.pump();
            if gone && !self.child.init {
                self.reader.is_gone(self.child.pid);
            }
        }
        if ready.memory {
            self.memory = None;
            self.child.out_of_memory = true;
            self.child.send(Signal::KILL, To::First);
        }
        if ready.reader {
            self.reader.is_gone(self.child.pid);
        }
    }

    /// Reads the report of the child, which writes once and exits, or closes the pipe by the exec.
    fn read_report(&mut self, ready: &Ready) -> Result<(), Errno> {
        let Some(file) = self.pipe.as_mut().filter(|_| ready.report) else { return Ok(()) };
        let mut buffer = [0; 4096];
        let len = file.read(&mut buffer).map_err(|_| Errno::EIO)?;
        self.report.extend(&buffer[..len]);
        if len == 0 {
            self.pipe = None;
            self.child.executed = self.report.is_empty();
            self.settled = Some(Instant::now() + SETTLED);
        }
        Ok(())
    }

    /// Acts on the deadlines.
    fn keep_time(&mut self) {
        self.child.continue_again();
        if self.reader.next().is_some_and(|time| Instant::now() >= time)
            && self.reader.ends(self.child.pid)
        {
            self.child.kill_instead_of(Signal::PIPE);
        }
        if self.deadline.is_some_and(|time| Instant::now() >= time) {
            self.deadline = self.child.time_out();
        }
    }

    fn handle_signals(&mut self) -> Result<(), Errno> {
        while let Some((signal, from_terminal)) = self.signals.queue.read()? {
            self.child.handle(signal, from_terminal, self.terminal.as_ref());
        }
        Ok(())
    }

    /// Relays the rest of the output after the end of the job: until it is written, or for [`DRAIN_TIMEOUT`] after a
    /// terminating signal or the timeout.
    fn drain(&mut self) -> Result<(), Errno> {
        self.relays.retain(Relay::is_output);
        if let Some(terminal) = &mut self.terminal {
            terminal.stop_typing();
        }
        loop {
            // If nothing is buffered, the rest can be read without waiting.
            let idle = self.relays.iter().all(Relay::is_idle)
                && self.terminal.as_ref().is_none_or(Terminal::is_idle);
            let limit = match (idle, self.child.termination_requested || self.child.timed_out) {
                (true, _) => Some(Duration::ZERO),
                (false, true) => Some(DRAIN_TIMEOUT),
                (false, false) => None,
            };
            let ready = self.wait(limit.map(|limit| Instant::now() + limit))?;
            let Arrived { manager, writable, .. } = ready.terminal;
            if limit.is_some() && !(manager || writable || ready.relays.contains(&true)) {
                return Ok(());
            }
            self.relay(&ready);
            // A child that failed early sends no terminal.
            if manager && self.terminal.as_ref().is_some_and(|terminal| !terminal.is_received()) {
                self.terminal = None;
            }
            while let Some((signal, _)) = self.signals.queue.read()? {
                if signal.is_ending() {
                    return Ok(());
                }
            }
        }
    }

    /// Polls until `deadline`: signals, the report, terminals, relays, the reader, the memory limit.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Ready, Errno> {
        let settled = self.settled.filter(|settled| deadline.is_none_or(|time| *settled < time));
        let queue = self.signals.queue.as_fd();
        let nothing = || PollFd::from_borrowed_fd(queue, PollFlags::empty());
        let terminal = self.terminal.as_ref();
        let (input, manager, writable) =
            terminal.map_or_else(|| (None, nothing(), None), Terminal::polled);
        let mut fds = vec![
            PollFd::from_borrowed_fd(queue, PollFlags::IN),
            self.pipe.as_ref().map_or_else(nothing, |pipe| PollFd::new(pipe, PollFlags::IN)),
            input.unwrap_or_else(nothing),
            manager,
            writable.unwrap_or_else(nothing),
        ];
        // Only after the exec: before, there is no output.
        let reader = self.child.executed.then(|| self.reader.polled()).flatten();
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
        let [signal, report, input, manager, writable, reader, memory] =
            std::array::from_fn(|index| ready[index]);
        if settled.is_some_and(|settled| Instant::now() >= settled) {
            self.settled = None;
        }
        let terminal = Arrived { input, manager, writable };
        Ok(Ready { signal, report, terminal, reader, memory, relays: ready[7..].to_vec() })
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
