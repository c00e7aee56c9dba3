//! Signals forwarded from the launcher to the job, and the dispositions of a job.

use crate::sandbox::{setup::mount_calls, sys};
use nix::{errno::Errno, libc, unistd::Pid};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags, openat},
    io::read,
};
use std::{
    cell::Cell,
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

/// A signal number. Real-time signals have no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signal(pub libc::c_int);

impl Signal {
    pub(crate) const HUP: Self = Self(libc::SIGHUP);
    pub(crate) const KILL: Self = Self(libc::SIGKILL);
    pub(crate) const PIPE: Self = Self(libc::SIGPIPE);
    pub(crate) const TERM: Self = Self(libc::SIGTERM);
    pub(crate) const CHLD: Self = Self(libc::SIGCHLD);
    pub(crate) const URG: Self = Self(libc::SIGURG);
    pub(crate) const WINCH: Self = Self(libc::SIGWINCH);
    pub(crate) const CONT: Self = Self(libc::SIGCONT);
    pub(crate) const STOP: Self = Self(libc::SIGSTOP);
    pub(crate) const TSTP: Self = Self(libc::SIGTSTP);
    pub(crate) const TTIN: Self = Self(libc::SIGTTIN);
    pub(crate) const TTOU: Self = Self(libc::SIGTTOU);

    /// Its number, for an exit status and the report.
    pub(crate) fn number(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Its bit in a mask of signals.
    pub(crate) const fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Whether it is a real-time signal, of which every instance is queued.
    pub(crate) fn is_real_time(self) -> bool {
        self.0 >= FIRST_REAL_TIME
    }

    /// Whether its default action terminates a process.
    pub(crate) fn is_ending(self) -> bool {
        OTHERS & self.bit() == 0
    }
}

/// The first real-time signal for programs: C libraries reserve 32 and 33.
const FIRST_REAL_TIME: libc::c_int = 34;

/// The mask of `signals`.
const fn mask(signals: &[Signal]) -> u64 {
    let (mut mask, mut index) = (0, 0);
    while index < signals.len() {
        mask |= signals[index].bit();
        index += 1;
    }
    mask
}

/// Signals whose default action does not terminate a process.
const OTHERS: u64 = mask(&[
    Signal::URG,
    Signal::WINCH,
    Signal::CONT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::CHLD,
]);

/// Signals that are not forwarded: those that cannot be caught, those caused by this process itself, and
/// SIGCHLD.
const OWN: u64 = mask(&[
    Signal::KILL,
    Signal::STOP,
    Signal::PIPE,
    Signal::CHLD,
    Signal(libc::SIGILL),
    Signal(libc::SIGBUS),
    Signal(libc::SIGFPE),
    Signal(libc::SIGSEGV),
    Signal(libc::SIGXFSZ),
    Signal(32),
    Signal(33),
]);

/// Signals that are forwarded to the job: all others.
const FORWARDED: u64 = !OWN;

/// Signals that a caller may ignore on behalf of its child processes (`nohup`, `&` in a script).
const INHERITED: [Signal; 4] =
    [Signal::HUP, Signal(libc::SIGINT), Signal(libc::SIGQUIT), Signal::TERM];

/// Interval in which a repeated signal is ignored: workload managers send it to a launcher and to its children, so
/// that a launcher, or an init, gets it from both.
const ONE_SIGNAL: Duration = Duration::from_millis(100);

/// The blocked signals of this process, to be read.
#[derive(Debug)]
pub(crate) struct Forwarded {
    queue: OwnedFd,
    /// The last signal from another process, and its time.
    last: Cell<Option<(Signal, Instant)>>,
}

impl Forwarded {
    /// Opens a signalfd(2) for SIGCHLD and the forwarded signals, which are blocked.
    pub(crate) fn open() -> Result<Self, Errno> {
        let queue = sys::signal_queue(FORWARDED | Signal::CHLD.bit())?;
        Ok(Self { queue, last: Cell::new(None) })
    }

    /// The next signal, and whether the kernel sent it: then it comes from the terminal.
    pub(crate) fn read(&self) -> Result<Option<(Signal, bool)>, Errno> {
        loop {
            // `struct signalfd_siginfo`: the signal, an error number, where it comes from.
            let mut info = [0; 128];
            match read(&self.queue, &mut info) {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
                Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            }
            let field = |at| i32::from_ne_bytes(std::array::from_fn(|byte| info[at + byte]));
            let (signal, now) = (Signal(field(0)), Instant::now());
            let from_terminal = field(8) == libc::SI_KERNEL;
            let again = |(last, at)| last == signal && now.duration_since(at) < ONE_SIGNAL;
            let counts = signal != Signal::CHLD && !from_terminal && !signal.is_real_time();
            if counts && self.last.get().is_some_and(again) {
                continue;
            }
            if counts {
                self.last.set(Some((signal, now)));
            }
            return Ok(Some((signal, from_terminal)));
        }
    }

    /// Waits for the next signal.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        match poll(&mut [PollFd::new(self, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Errno::from_raw(errno.raw_os_error())),
        }
    }
}

impl AsFd for Forwarded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// The signal mask of this process while a job runs; restored when dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The pending signals.
    pub queue: Forwarded,
    before: u64,
    /// Signals that the caller ignores: they stay ignored, here and in the job.
    pub ignored: Vec<libc::c_int>,
}

impl Signals {
    /// Blocks all signals to be forwarded. Must be called before the clone, so that none is lost.
    pub(crate) fn block() -> Result<Self, Errno> {
        let ignored: Vec<_> =
            INHERITED.into_iter().filter(|signal| sys::is_ignored(signal.0)).collect();
        // If the caller ignores it, the kernel would reap the job, and its status would be lost.
        sys::default_signal(libc::SIGCHLD);
        // If a file of the caller reaches its size limit (ulimit -f), the write fails and is reported.
        sys::ignore_signal(libc::SIGXFSZ);
        let queue = Forwarded::open()?;
        let before = sys::block_signals((FORWARDED & !mask(&ignored)) | Signal::CHLD.bit())?;
        let ignored = ignored.into_iter().map(|signal| signal.0).collect();
        Ok(Self { queue, before, ignored })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Fails for an invalid address only.
        _ = sys::set_blocked_signals(self.before);
    }
}

/// Waits until `file` can be read: until `deadline`, or until a signal comes that would end this process, and
/// does not. Says what ended the wait, if it is not the file.
pub(crate) fn wait_for(file: &File, deadline: Option<Instant>) -> Result<(), &'static str> {
    let Ok(signals) = Signals::block() else { return Ok(()) };
    loop {
        let mut fds =
            [PollFd::new(file, PollFlags::IN), PollFd::new(&signals.queue, PollFlags::IN)];
        let ready = poll(&mut fds, left(deadline).as_ref());
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        if ready == Ok(0) {
            return Err("the time is over");
        }
        while let Ok(Some((signal, _))) = signals.queue.read() {
            if signal.is_ending() {
                return Err("it was stopped by a signal");
            }
        }
    }
}

/// The time until `deadline`, rounded up: a wait of nearly nothing would spin.
pub(super) fn left(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    let round = Duration::from_millis((!left.is_zero()).into());
    Some(Timespec::try_from(left + round).unwrap_or_default())
}

/// Disposition of a signal in a process, signal(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// A handler.
    Handled,
    /// Ignored.
    Ignored,
    /// The default action, which the kernel does not apply to PID 1.
    Default,
}

/// The disposition of `signal` in the process `pid`; default if it has ended.
pub(crate) fn disposition(pid: Pid, signal: Signal) -> Disposition {
    let path = format!("{pid}/status");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat(CWD, format!("/proc/{path}"), flags, Mode::empty()).or_else(|_| {
        // A host without /proc: root can use a detached mount.
        openat(mount_calls::filesystem("proc", &[], 0)?, &path, flags, Mode::empty())
    });
    let mut status = Vec::new();
    if let Ok(file) = opened {
        // A file that cannot be read is taken as empty.
        _ = File::from(file).read_to_end(&mut status);
    }
    // A program has any name.
    parse_status(&String::from_utf8_lossy(&status), signal)
}

/// Parses a disposition in `/proc/PID/status`, `proc_pid_status(5)`.
fn parse_status(status: &str, signal: Signal) -> Disposition {
    let mask = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        value.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
    };
    let bit = signal.bit();
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
    fn forwarded_and_terminating_signals() {
        for (number, forwarded, ends) in [
            (libc::SIGTERM, true, true),
            (libc::SIGABRT, true, true),
            (libc::SIGXCPU, true, true),
            (libc::SIGWINCH, true, false),
            (libc::SIGURG, true, false),
            (libc::SIGCONT, true, false),
            (34, true, true),
            (64, true, true),
            (33, false, true),
            (libc::SIGSEGV, false, true),
            (libc::SIGCHLD, false, false),
        ] {
            let signal = Signal(number);
            assert_eq!(FORWARDED & signal.bit() != 0, forwarded, "{number}");
            assert_eq!(signal.is_ending(), ends, "{number}");
        }
    }

    #[test]
    fn dispositions() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000004002\n";
        for (signal, want) in [
            (Signal::HUP, Disposition::Ignored),
            (Signal(libc::SIGINT), Disposition::Handled),
            (Signal::TERM, Disposition::Handled),
            (Signal(libc::SIGQUIT), Disposition::Default),
        ] {
            assert_eq!(parse_status(status, signal), want, "{signal:?}");
        }
        assert_eq!(parse_status("", Signal::TERM), Disposition::Default);
    }
}
