//! What the launcher does while the job runs: passes signals on, and waits for the end.

use super::{Exit, mounts, sys};
use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{SigSet, Signal, kill, raise},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags, openat},
};
use std::{
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

/// Signals that go on to the job.
const FORWARDED: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Signals that a caller ignores on behalf of what it starts (`nohup`, `&` in a script).
const INHERITED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// How long a job may go on after TERM at its timeout.
const GRACE: Duration = Duration::from_secs(10);

/// The signals of this process while a job runs. Dropping it gives them back.
pub(super) struct Signals {
    fd: SignalFd,
    before: SigSet,
    /// Those that the caller ignores: they stay ignored, here and in the job.
    pub ignored: Vec<libc::c_int>,
}

impl Signals {
    /// Blocks all that is to be passed on. Must come before the clone, so that none is lost.
    pub(super) fn block() -> Result<Self, Errno> {
        let ignored: Vec<_> =
            INHERITED.into_iter().filter(|signal| sys::is_ignored(*signal as i32)).collect();
        let mut set: SigSet =
            FORWARDED.into_iter().filter(|signal| !ignored.contains(signal)).collect();
        set.add(Signal::SIGCHLD);
        // A caller that ignores it would let the kernel reap the job, and its status be lost.
        sys::default_signal(libc::SIGCHLD);
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = SigSet::thread_get_mask()?;
        set.thread_block()?;
        Ok(Self { fd, before, ignored: ignored.into_iter().map(|signal| signal as i32).collect() })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Fails for a set that is no set only.
        _ = self.before.thread_set_mask();
    }
}

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
    /// Whether it is the job already, and no longer its preparation.
    begun: bool,
    /// The signal that it was killed for, because nothing else would have ended it.
    killed_for: Option<u8>,
    timed_out: bool,
}

/// Waits for the child `pid`, whose report comes from `pipe`, and passes signals on meanwhile.
pub(super) fn supervise(
    signals: &Signals,
    pid: Pid,
    pipe: OwnedFd,
    timeout: Option<Duration>,
) -> Result<Ended, Errno> {
    let mut job = Job { pid, begun: false, killed_for: None, timed_out: false };
    let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut pipe = Some(File::from(pipe));
    let mut report = Vec::new();
    loop {
        let (signal, readable) =
            wait(signals.fd.as_fd(), pipe.as_ref().map(AsFd::as_fd), deadline)?;
        if let Some(mut file) = pipe.take_if(|_| readable) {
            // To its end: the child writes once and exits, or becomes the job, which closes it.
            file.read_to_end(&mut report).map_err(|_| Errno::EIO)?;
            job.begun = report.is_empty();
            sys::release_code();
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            deadline = job.time_out();
        }
        if !signal {
            continue;
        }
        while let Some(info) = signals.fd.read_signal()? {
            let number = i32::try_from(info.ssi_signo).map_err(|_| Errno::EINVAL)?;
            match Signal::try_from(number)? {
                Signal::SIGCHLD => {}
                signal => job.pass_on(signal, info.ssi_code == libc::SI_KERNEL),
            }
        }
        if let Some(exit) = job.reap()? {
            if let Some(mut file) = pipe.take() {
                file.read_to_end(&mut report).map_err(|_| Errno::EIO)?;
            }
            return Ok(Ended { exit, report });
        }
    }
}

/// Waits until a signal has come, the pipe can be read, or `deadline` is over.
fn wait(
    signals: BorrowedFd<'_>,
    pipe: Option<BorrowedFd<'_>>,
    deadline: Option<Instant>,
) -> Result<(bool, bool), Errno> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // Rounded up: a wait of nearly nothing would spin.
    let left = left.map(|left| left + Duration::from_millis(1));
    let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
    let mut fds: Vec<_> = [Some(signals), pipe]
        .into_iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
    }
    let ready = |at: usize| fds.get(at).is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty());
    Ok((ready(0), ready(1)))
}

impl Job {
    /// Passes `signal` on, so that it does to the job what it does to any program.
    ///
    /// The kernel spares PID 1 of a namespace the default actions; the launcher performs them.
    /// What comes from the terminal went to all of its foreground group, so to the job as well.
    fn pass_on(&mut self, signal: Signal, from_terminal: bool) {
        let disposition =
            if self.begun { disposition(self.pid, signal) } else { Disposition::Default };
        match (disposition, signal) {
            (_, Signal::SIGCONT) => self.send(signal),
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
        let ask = !self.timed_out
            && self.begun
            && disposition(self.pid, Signal::SIGTERM) == Disposition::Handled;
        self.timed_out = true;
        self.send(if ask { Signal::SIGTERM } else { Signal::SIGKILL });
        ask.then(|| Instant::now() + GRACE)
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
            let killed = exit == Exit::Signal(9);
            return Ok(Some(match self.killed_for {
                _ if self.timed_out => Exit::TimedOut,
                Some(signal) if killed => Exit::Signal(signal),
                _ => exit,
            }));
        }
    }
}

/// What a process does about a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disposition {
    Handled,
    Ignored,
    Default,
}

/// What `pid` does about `signal`. A process that cannot be looked at has ended.
fn disposition(pid: Pid, signal: Signal) -> Disposition {
    let path = format!("{pid}/status");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat(CWD, format!("/proc/{path}"), flags, Mode::empty()).or_else(|_| {
        // A host without /proc: root can look at one that is mounted nowhere.
        openat(mounts::filesystem("proc", &[], 0)?, &path, flags, Mode::empty())
    });
    let mut status = String::new();
    if let Ok(file) = opened {
        // What could not be read is as if it were not there.
        _ = File::from(file).read_to_string(&mut status);
    }
    parse_status(&status, signal)
}

/// Reads a disposition out of `/proc/PID/status`, `proc_pid_status(5)`.
fn parse_status(status: &str, signal: Signal) -> Disposition {
    let mask = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        value.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
    };
    let bit = 1_u64 << (signal as i32 - 1);
    if mask("SigCgt:") & bit != 0 {
        Disposition::Handled
    } else if mask("SigIgn:") & bit != 0 {
        Disposition::Ignored
    } else {
        Disposition::Default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispositions() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000004002\n";
        for (signal, want) in [
            (Signal::SIGHUP, Disposition::Ignored),
            (Signal::SIGINT, Disposition::Handled),
            (Signal::SIGTERM, Disposition::Handled),
            (Signal::SIGQUIT, Disposition::Default),
        ] {
            assert_eq!(parse_status(status, signal), want, "{signal}");
        }
        assert_eq!(parse_status("", Signal::SIGTERM), Disposition::Default);
    }
}
