//! The signals that go on from the launcher to the job, and what a job does about one.

use crate::sandbox::{setup::mount_calls, sys};
use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, BorrowedFd},
    fs::{CWD, Mode, OFlags, openat},
};
use std::{
    cell::Cell,
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

/// Signals that go on to the job. The first end what does nothing about them, see [`ENDING`].
pub(crate) const FORWARDED: [Signal; 17] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    // A timer and a limit of the caller's hold for what it executes.
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXCPU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Those that are meant to end a program.
pub(crate) const ENDING: &[Signal] = FORWARDED.split_at(8).0;

/// Signals that a caller ignores on behalf of what it starts (`nohup`, `&` in a script).
const INHERITED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Within how long a signal that comes again is one: engines send it to a launcher and to its children, so
/// that a launcher, or an init, has it from both.
const ONE_SIGNAL: Duration = Duration::from_millis(100);

/// The blocked signals of this process, to be read.
pub(crate) struct Forwarded {
    queue: SignalFd,
    /// The last one of another process, and when it came.
    last: Cell<Option<(Signal, Instant)>>,
}

impl Forwarded {
    /// Of those that are blocked, all that go on to the job, and SIGCHLD.
    pub(crate) fn open() -> Result<Self, Errno> {
        let mut set: SigSet = FORWARDED.into_iter().collect();
        set.add(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(|queue| Self { queue, last: Cell::new(None) })
    }

    /// The next one, and whether the kernel sent it: then it comes from the terminal.
    pub(crate) fn read(&self) -> Result<Option<(Signal, bool)>, Errno> {
        while let Some(info) = self.queue.read_signal()? {
            let number = i32::try_from(info.ssi_signo).map_err(|_| Errno::EINVAL)?;
            let (signal, now) = (Signal::try_from(number)?, Instant::now());
            let from_terminal = info.ssi_code == libc::SI_KERNEL;
            let again = |(last, at)| last == signal && now.duration_since(at) < ONE_SIGNAL;
            let counts = signal != Signal::SIGCHLD && !from_terminal;
            if counts && self.last.get().is_some_and(again) {
                continue;
            }
            if counts {
                self.last.set(Some((signal, now)));
            }
            return Ok(Some((signal, from_terminal)));
        }
        Ok(None)
    }

    /// Waits until there is one.
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

/// The signals of this process while a job runs. Dropping it gives them back.
pub(crate) struct Signals {
    /// Those that came.
    pub queue: Forwarded,
    before: SigSet,
    /// Those that the caller ignores: they stay ignored, here and in the job.
    pub ignored: Vec<libc::c_int>,
}

impl Signals {
    /// Blocks all that is to be passed on. Must come before the clone, so that none is lost.
    pub(crate) fn block() -> Result<Self, Errno> {
        let ignored: Vec<_> =
            INHERITED.into_iter().filter(|signal| sys::is_ignored(*signal as i32)).collect();
        let mut set: SigSet =
            FORWARDED.into_iter().filter(|signal| !ignored.contains(signal)).collect();
        set.add(Signal::SIGCHLD);
        // A caller that ignores it would let the kernel reap the job, and its status be lost.
        sys::default_signal(libc::SIGCHLD);
        // A file of the caller's that may not grow is an error of the write, to be told.
        sys::ignore_signal(libc::SIGXFSZ);
        let queue = Forwarded::open()?;
        let before = SigSet::thread_get_mask()?;
        set.thread_block()?;
        let ignored = ignored.into_iter().map(|signal| signal as i32).collect();
        Ok(Self { queue, before, ignored })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Fails for an invalid set only.
        _ = self.before.thread_set_mask();
    }
}

/// What a process does about a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It has a handler.
    Handled,
    /// Nothing.
    Ignored,
    /// What the kernel does by itself, which spares PID 1.
    Default,
}

/// What `pid` does about `signal`. A process that cannot be looked at has ended.
pub(crate) fn disposition(pid: Pid, signal: Signal) -> Disposition {
    let path = format!("{pid}/status");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat(CWD, format!("/proc/{path}"), flags, Mode::empty()).or_else(|_| {
        // A host without /proc: root can look at one that is mounted nowhere.
        openat(mount_calls::filesystem("proc", &[], 0)?, &path, flags, Mode::empty())
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
