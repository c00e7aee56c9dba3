//! A pseudo-terminal for the job, and the relay between it and the caller's terminal.
//!
//! The job's controlling terminal is the subsidiary side of a new pty(7) of its own `/dev/pts`: job control works,
//! and the caller's terminal is not accessible. The launcher gets the manager side through a socket.

use crate::sandbox::setup::{fd_passing::receive, terminal::Settings};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, fcntl_setfl, open},
    io::{Errno, read, retry_on_intr, write},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::Pid,
    stdio::{stderr, stdout},
    termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetpgrp,
        tcgetsid, tcgetwinsize, tcsetattr, tcsetwinsize,
    },
};
use std::io::{Stdin, stdin};

/// The launcher's side. Restores the modes of the caller's terminal when dropped.
pub(crate) struct Terminal {
    caller: (Stdin, BorrowedFd<'static>),
    /// The caller's terminal opened again, non-blocking. `None` if it belongs to another user, as after su(1).
    output: Option<OwnedFd>,
    before: Termios,
    /// The socket that both sides are received from, then the manager side.
    manager: OwnedFd,
    /// The subsidiary side, kept open: otherwise a job that closes its own would look like a hangup.
    subsidiary: Option<OwnedFd>,
    /// Input that is not written to the job's terminal yet.
    input: Vec<u8>,
    /// Output that is not written to the caller's terminal yet.
    written: Vec<u8>,
    typing: bool,
    full: bool,
    /// The group to be stopped by the last key, see [`Terminal::take_stop`].
    stop: Option<Pid>,
}

/// The results of a poll: input at the caller's terminal, output at the manager side, the caller's terminal writable.
#[derive(Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) input: bool,
    pub(crate) manager: bool,
    pub(crate) writable: bool,
}

impl Terminal {
    /// Reads the modes of the caller's terminal and sets raw mode if the job's terminal is `full`; else that is
    /// for output only, and is raw itself.
    ///
    /// To be called before signals are blocked, so that a caller in the background is stopped.
    pub(crate) fn begin(full: bool) -> Result<(Self, Settings), Errno> {
        let screen = if isatty(stdout()) { stdout() } else { stderr() };
        let caller = (stdin(), screen);
        let before = tcgetattr(screen)?;
        let size = tcgetwinsize(screen)?;
        let flags = SocketFlags::CLOEXEC;
        let (manager, socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let mut modes = before.clone();
        if !full {
            modes.make_raw();
        }
        let reopened = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", screen.as_raw_fd());
        let terminal = Self {
            caller,
            output: open(path, reopened, Mode::empty()).ok(),
            before,
            manager,
            subsidiary: None,
            input: Vec::new(),
            written: Vec::new(),
            typing: full,
            full,
            stop: None,
        };
        terminal.raw()?;
        Ok((terminal, Settings { socket, modes, size, full }))
    }

    fn raw(&self) -> Result<(), Errno> {
        if !self.full {
            return Ok(());
        }
        let mut modes = self.before.clone();
        modes.make_raw();
        tcsetattr(&self.caller.0, OptionalActions::Now, &modes)
    }

    /// The job's process group, if its suspend character (Ctrl-Z) was typed.
    ///
    /// Only for the group of the job's first process: it is orphaned, so the kernel does not stop it. Others have
    /// a shell in the job.
    pub(crate) fn take_stop(&mut self) -> Option<Pid> {
        self.stop.take()
    }

    fn stopped_by(&self, typed: &[u8]) -> Option<Pid> {
        let modes = tcgetattr(&self.manager).ok()?;
        let key = modes.special_codes[SpecialCodeIndex::VSUSP];
        let acts = key != 0 && modes.local_modes.contains(LocalModes::ISIG);
        let group = tcgetpgrp(&self.manager).ok().filter(|_| acts && typed.contains(&key))?;
        (tcgetsid(&self.manager) == Ok(group)).then_some(group)
    }

    /// Restores the modes of the caller's terminal before a stop.
    pub(crate) fn rest(&self) {
        // As in `resume`.
        _ = tcsetattr(&self.caller.0, OptionalActions::Now, &self.before);
    }

    /// Whether this process is in the foreground of the caller's terminal.
    pub(crate) fn is_in_foreground(&self) -> bool {
        super::relay::is_in_foreground(&self.caller.0)
    }

    /// Sets the modes and the size again after a stop.
    pub(crate) fn resume(&self) {
        // Fails after a hangup, which is handled elsewhere.
        _ = self.raw();
        self.resize();
    }

    /// Sets the size of the job's terminal to that of the caller's. The kernel sends SIGWINCH.
    pub(crate) fn resize(&self) {
        if let (Some(_), Ok(size)) = (&self.subsidiary, tcgetwinsize(self.caller.1)) {
            _ = tcsetwinsize(&self.manager, size);
        }
    }

    /// The descriptors to poll: the caller's terminal for input if it is read, the manager side, and the caller's
    /// terminal for output if there is any.
    pub(crate) fn polled(&self) -> (Option<PollFd<'_>>, PollFd<'_>, Option<PollFd<'_>>) {
        let typing = self.subsidiary.is_some() && self.typing && self.input.is_empty();
        let keys = typing.then(|| PollFd::from_borrowed_fd(self.caller.0.as_fd(), PollFlags::IN));
        let mut manager = PollFlags::empty();
        manager.set(PollFlags::IN, self.is_idle());
        manager.set(PollFlags::OUT, !self.input.is_empty());
        let writable = PollFd::from_borrowed_fd(self.screen(), PollFlags::OUT);
        let manager = PollFd::from_borrowed_fd(self.manager.as_fd(), manager);
        (keys, manager, (!self.is_idle()).then_some(writable))
    }

    /// The descriptor that output is written to.
    fn screen(&self) -> BorrowedFd<'_> {
        self.output.as_ref().map_or(self.caller.1, OwnedFd::as_fd)
    }

    /// Whether all output that was read has been written.
    pub(crate) fn is_idle(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether the child has sent its terminal.
    pub(crate) fn is_received(&self) -> bool {
        self.subsidiary.is_some()
    }

    /// Stops reading input, after the end of the job.
    pub(crate) fn stop_typing(&mut self) {
        self.typing = false;
        self.input.clear();
    }

    /// Relays the available data after a poll. Returns whether the caller's terminal has just hung up.
    pub(crate) fn pump(&mut self, Arrived { input, manager, writable }: Arrived) -> bool {
        let mut hung_up = false;
        if self.subsidiary.is_none() {
            // A child that fails before it has a terminal reports that by its pipe.
            // Nothing is received before the poll reports it: `receive` would close descriptors that come late.
            let ends = if manager { receive(self.manager.as_fd()) } else { None };
            if let Some([manager, subsidiary]) = ends {
                // If it fails: reads follow a poll, so they do not block.
                _ = fcntl_setfl(&manager, OFlags::NONBLOCK);
                (self.manager, self.subsidiary) = (manager, Some(subsidiary));
                self.resize();
            }
            return false;
        }
        if input && self.typing && self.input.is_empty() {
            let mut buffer = [0; 4096];
            // In raw mode, end of file is a hangup; its signal may have come too early to be handled.
            match retry_on_intr(|| read(&self.caller.0, &mut buffer)) {
                Ok(0) | Err(Errno::IO) => {
                    (self.typing, hung_up) = (false, true);
                    self.subsidiary = None; // no output is possible
                }
                Ok(len) => {
                    self.stop = self.stopped_by(&buffer[..len]);
                    self.input.extend(&buffer[..len]);
                }
                Err(_) => {}
            }
        }
        if let Ok(len) = write(&self.manager, &self.input) {
            self.input.drain(..len);
        }
        if manager && self.is_idle() {
            let mut buffer = [0; 4096];
            let len = read(&self.manager, &mut buffer).unwrap_or(0);
            self.written.extend(&buffer[..len]);
            self.show();
        } else if writable {
            self.show();
        }
        hung_up
    }

    /// Writes output to the caller's terminal, as much as it accepts.
    fn show(&mut self) {
        while !self.written.is_empty() {
            match retry_on_intr(|| write(self.screen(), &self.written)) {
                Ok(len) => drop(self.written.drain(..len)),
                Err(Errno::AGAIN) => break,
                Err(_) => self.written.clear(), // it has hung up
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.full {
            // Fails after a hangup. `Now` does not wait for output.
            _ = tcsetattr(&self.caller.0, OptionalActions::Now, &self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::setup::fd_passing::send;
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    /// The child may send its terminal after a poll that returned for another descriptor.
    #[test]
    fn a_terminal_sent_after_the_poll_is_received_after_the_next() {
        let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let manager = openpt(open).unwrap();
        unlockpt(&manager).unwrap();
        let subsidiary = ioctl_tiocgptpeer(&manager, open).unwrap();
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (socket, child) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        let mut terminal = Terminal {
            caller: (stdin(), stdout()),
            output: None,
            before: tcgetattr(&subsidiary).unwrap(),
            manager: socket,
            subsidiary: None,
            input: Vec::new(),
            written: Vec::new(),
            typing: false,
            full: false,
            stop: None,
        };
        send(child.as_fd(), &[manager.as_fd(), subsidiary.as_fd()]).unwrap();
        let nothing = Arrived { input: false, manager: false, writable: false };
        terminal.pump(nothing);
        terminal.pump(Arrived { manager: true, ..nothing });
        assert!(terminal.is_received());
    }
}
