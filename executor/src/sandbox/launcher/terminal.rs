//! A terminal of the job's own, and the launcher that is between it and the caller's.
//!
//! The job gets the far end of a new pair of its own `/dev/pts`, as its controlling terminal: it
//! can manage jobs, and nothing it does to its terminal reaches the caller's. The near end comes
//! to the launcher through a socket.

use crate::sandbox::setup::{descriptors::receive, terminal::Settings};
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

/// The launcher's side. The caller's terminal gets its modes back when this is dropped.
pub(crate) struct Terminal {
    caller: (Stdin, BorrowedFd<'static>),
    /// The caller's terminal opened anew, so as not to wait for who does not read it. None if it is
    /// another user's, as after su(1).
    shown: Option<OwnedFd>,
    before: Termios,
    /// The socket that both ends come from, then the near end.
    near: OwnedFd,
    /// The far end, held open: without it, a job that closes its own would look like a hangup.
    far: Option<OwnedFd>,
    /// What was typed and is not taken yet.
    typed: Vec<u8>,
    /// What the job wrote and the caller's terminal has not taken yet.
    written: Vec<u8>,
    typing: bool,
    full: bool,
    /// The group that the last key is to stop, see [`Terminal::take_stop`].
    stop: Option<Pid>,
}

/// What a wait has found: keys that were typed, output at the near end, room at the caller's terminal.
#[derive(Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) typed: bool,
    pub(crate) near: bool,
    pub(crate) room: bool,
}

impl Terminal {
    /// Looks at the caller's terminal and, if the job's is a `full` one, puts it into raw mode: every
    /// key is the job's. Else the job's is for output alone, which the caller's processes.
    ///
    /// Comes before signals are blocked, so that a caller in the background is stopped.
    pub(crate) fn begin(full: bool) -> Result<(Self, Settings), Errno> {
        let shown = if isatty(stdout()) { stdout() } else { stderr() };
        let caller = (stdin(), shown);
        let before = tcgetattr(shown)?;
        let size = tcgetwinsize(shown)?;
        let flags = SocketFlags::CLOEXEC;
        let (near, socket) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let mut modes = before.clone();
        if !full {
            modes.make_raw();
        }
        let anew = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", shown.as_raw_fd());
        let terminal = Self {
            caller,
            shown: open(path, anew, Mode::empty()).ok(),
            before,
            near,
            far: None,
            typed: Vec::new(),
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

    /// The job's process group, if the key that stops programs (Ctrl-Z) was typed for it.
    ///
    /// Only for the group of the job's first process: nobody in its session could continue that, so the kernel
    /// does not stop it. Others have a shell in the job that does.
    pub(crate) fn take_stop(&mut self) -> Option<Pid> {
        self.stop.take()
    }

    fn stopped_by(&self, typed: &[u8]) -> Option<Pid> {
        let modes = tcgetattr(&self.near).ok()?;
        let key = modes.special_codes[SpecialCodeIndex::VSUSP];
        let acts = key != 0 && modes.local_modes.contains(LocalModes::ISIG);
        let group = tcgetpgrp(&self.near).ok().filter(|_| acts && typed.contains(&key))?;
        (tcgetsid(&self.near) == Ok(group)).then_some(group)
    }

    /// Before a stop: the caller's shell gets the terminal as it was.
    pub(crate) fn rest(&self) {
        // As in `resume`.
        _ = tcsetattr(&self.caller.0, OptionalActions::Now, &self.before);
    }

    /// Whether keys are for this process.
    pub(crate) fn is_in_foreground(&self) -> bool {
        super::relay::is_in_foreground(&self.caller.0)
    }

    /// After a stop: what continued this process may have changed the terminal.
    pub(crate) fn resume(&self) {
        // A terminal that is gone hangs up, which ends all this.
        _ = self.raw();
        self.resize();
    }

    /// Gives the job's terminal the size of the caller's. The kernel tells the job.
    pub(crate) fn resize(&self) {
        if let (Some(_), Ok(size)) = (&self.far, tcgetwinsize(self.caller.1)) {
            _ = tcsetwinsize(&self.near, size);
        }
    }

    /// What is to be waited for: the caller's keys, where they are wanted, the near end, and the
    /// caller's terminal, where there is something for it.
    pub(crate) fn polled(&self) -> (Option<PollFd<'_>>, PollFd<'_>, Option<PollFd<'_>>) {
        let typing = self.far.is_some() && self.typing && self.typed.is_empty();
        let keys = typing.then(|| PollFd::from_borrowed_fd(self.caller.0.as_fd(), PollFlags::IN));
        let mut near = PollFlags::empty();
        near.set(PollFlags::IN, self.is_idle());
        near.set(PollFlags::OUT, !self.typed.is_empty());
        let room = PollFd::from_borrowed_fd(self.screen(), PollFlags::OUT);
        let near = PollFd::from_borrowed_fd(self.near.as_fd(), near);
        (keys, near, (!self.is_idle()).then_some(room))
    }

    /// Where what the job writes is shown.
    fn screen(&self) -> BorrowedFd<'_> {
        self.shown.as_ref().map_or(self.caller.1, OwnedFd::as_fd)
    }

    /// Whether the caller's terminal has taken all that was read from the job's.
    pub(crate) fn is_idle(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether the child has sent it.
    pub(crate) fn has_come(&self) -> bool {
        self.far.is_some()
    }

    /// After the end of the job: nobody reads keys any more.
    pub(crate) fn stop_typing(&mut self) {
        self.typing = false;
        self.typed.clear();
    }

    /// Moves what there is, after a wait. Returns whether the caller's terminal has just hung up.
    pub(crate) fn pump(&mut self, Arrived { typed, near, room }: Arrived) -> bool {
        let mut hung_up = false;
        if self.far.is_none() {
            // A child that fails before it has a terminal says so elsewhere.
            // Nothing is received before it is waited for: what was received would be closed.
            let ends = if near { receive(self.near.as_fd()) } else { None };
            if let Some([near, far]) = ends {
                // Where it cannot be set, reads block until there is something, which is waited for.
                _ = fcntl_setfl(&near, OFlags::NONBLOCK);
                (self.near, self.far) = (near, Some(far));
                self.resize();
            }
            return false;
        }
        if typed && self.typing && self.typed.is_empty() {
            let mut buffer = [0; 4096];
            // In raw mode there is no end of file but that of the terminal itself: the signal for it
            // may have come before anybody could act on it.
            match retry_on_intr(|| read(&self.caller.0, &mut buffer)) {
                Ok(0) | Err(Errno::IO) => {
                    (self.typing, hung_up) = (false, true);
                    self.far = None; // there is nobody to show anything to
                }
                Ok(len) => {
                    self.stop = self.stopped_by(&buffer[..len]);
                    self.typed.extend(&buffer[..len]);
                }
                Err(_) => {}
            }
        }
        if let Ok(len) = write(&self.near, &self.typed) {
            self.typed.drain(..len);
        }
        if near && self.is_idle() {
            let mut buffer = [0; 4096];
            let len = read(&self.near, &mut buffer).unwrap_or(0);
            self.written.extend(&buffer[..len]);
            self.show();
        } else if room {
            self.show();
        }
        hung_up
    }

    /// Shows what the job wrote, as much as the caller's terminal takes.
    fn show(&mut self) {
        while !self.written.is_empty() {
            match retry_on_intr(|| write(self.screen(), &self.written)) {
                Ok(len) => drop(self.written.drain(..len)),
                Err(Errno::AGAIN) => break,
                Err(_) => self.written.clear(), // it is gone
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.full {
            // A terminal that is gone has no modes to be given back, and one that nobody reads is not
            // waited for.
            _ = tcsetattr(&self.caller.0, OptionalActions::Now, &self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::setup::descriptors::send;
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    /// The child may send them between a wait, which something else has ended, and what follows.
    #[test]
    fn ends_that_come_after_the_wait_are_kept_for_the_next() {
        let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near = openpt(open).unwrap();
        unlockpt(&near).unwrap();
        let far = ioctl_tiocgptpeer(&near, open).unwrap();
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (socket, child) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        let mut terminal = Terminal {
            caller: (stdin(), stdout()),
            shown: None,
            before: tcgetattr(&far).unwrap(),
            near: socket,
            far: None,
            typed: Vec::new(),
            written: Vec::new(),
            typing: false,
            full: false,
            stop: None,
        };
        send(child.as_fd(), &[near.as_fd(), far.as_fd()]).unwrap();
        let nothing = Arrived { typed: false, near: false, room: false };
        terminal.pump(nothing);
        terminal.pump(Arrived { near: true, ..nothing });
        assert!(terminal.has_come());
    }
}
