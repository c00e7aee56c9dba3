//! Bytes that the launcher passes on between a standard file of the caller and a pipe of the job.

use crate::sandbox::setup::standard_files::{Direction, NAMES, Piped};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::{Errno, read, write},
    pipe::{SpliceFlags, splice},
    process,
    termios::{self, LocalModes, Termios, isatty, tcgetattr},
};

/// What is read at once, in bytes.
const CHUNK: usize = 1 << 16;
/// What anything but a file takes without blocking when it is ready to be written to, in bytes:
/// `PIPE_BUF` of pipe(7).
const SMALL: usize = 4096;

/// One of them.
pub(crate) struct Relay {
    /// What the caller calls its file.
    name: &'static str,
    caller: BorrowedFd<'static>,
    /// The end of the pipe that the job does not have, while anything may still be passed on.
    own: Option<OwnedFd>,
    direction: Direction,
    /// What was read and is not written yet.
    held: Vec<u8>,
    /// Whether the caller's file is an ordinary one, which is always ready.
    file: bool,
    terminal: bool,
    /// Whether the kernel can move the bytes itself.
    splices: bool,
    /// Why the caller's file does not take what the job wrote.
    refused: Option<Errno>,
}

impl Relay {
    /// A relay between the file and the pipe of `piped`.
    pub(crate) fn new(piped: Piped) -> Self {
        let Piped { name, caller, own, direction, file } = piped;
        let splices = file && direction == Direction::Out;
        let (held, terminal) = (Vec::new(), isatty(caller));
        let (own, refused) = (Some(own), None);
        Self { name, caller, own, direction, held, file, terminal, splices, refused }
    }

    /// What is to be waited for, if anything.
    pub(crate) fn polled(&self) -> Option<PollFd<'_>> {
        let own = self.own.as_ref()?.as_fd();
        let reading = self.held.is_empty();
        let (fd, flags) = match (self.direction, reading) {
            (Direction::In, true) if !self.may_read() => return None,
            (Direction::In, true) => (self.caller, PollFlags::IN),
            (Direction::In, false) => (own, PollFlags::OUT),
            (Direction::Out, true) => (own, PollFlags::IN),
            (Direction::Out, false) => (self.caller, PollFlags::OUT),
        };
        Some(PollFd::from_borrowed_fd(fd, flags))
    }

    /// Whether it waits for its turn at the caller's terminal, and is to be asked again soon.
    pub(crate) fn waits(&self) -> bool {
        self.own.is_some() && self.held.is_empty() && !self.may_read()
    }

    /// Whether what is typed is for the job: not while the caller is in the background, nor while
    /// another program of the same pipeline (a pager) takes single keys.
    fn may_read(&self) -> bool {
        if self.direction == Direction::Out || !self.terminal {
            return true;
        }
        let lines = |modes: Termios| modes.local_modes.contains(LocalModes::ICANON);
        is_in_foreground(&self.caller) && tcgetattr(self.caller).is_ok_and(lines)
    }

    /// Passes on what there is. Call it when [`Relay::polled`] is ready. Whether the reader of the job's
    /// standard output turns out to have gone.
    pub(crate) fn pump(&mut self) -> bool {
        let done = match self.direction {
            Direction::In => self.pump_in(),
            Direction::Out => self.pump_out(),
        };
        match done {
            Ok(true) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(false) => self.own = None,
            Err(Errno::PIPE) if self.direction == Direction::Out => {
                self.own = None;
                return self.name == NAMES[1];
            }
            Err(errno) => {
                self.own = None;
                let report = self.direction == Direction::Out;
                self.refused = self.refused.or(report.then_some(errno));
            }
        }
        false
    }

    /// Whether there may be more.
    fn pump_in(&mut self) -> Result<bool, Errno> {
        if self.held.is_empty() {
            self.held.resize(CHUNK, 0);
            let len = read(self.caller, &mut self.held).inspect_err(|_| self.held.clear())?;
            self.held.truncate(len);
            if len == 0 {
                return Ok(false);
            }
        }
        let Some(own) = &self.own else { return Ok(false) };
        let len = write(own, &self.held)?;
        self.held.drain(..len);
        Ok(true)
    }

    /// Whether there may be more.
    fn pump_out(&mut self) -> Result<bool, Errno> {
        let Some(own) = &self.own else { return Ok(false) };
        if self.splices {
            match splice(own, None, self.caller, None, 16 * CHUNK, SpliceFlags::NONBLOCK) {
                Ok(len) => return Ok(len > 0),
                // A file that is appended to, or a file system without it.
                Err(Errno::INVAL) => self.splices = false,
                Err(errno) => return Err(errno),
            }
        }
        if self.held.is_empty() {
            self.held.resize(CHUNK, 0);
            let len = read(own, &mut self.held).inspect_err(|_| self.held.clear())?;
            self.held.truncate(len);
            if len == 0 {
                return Ok(false);
            }
            if !self.file {
                return Ok(true); // until the caller's file is ready
            }
        }
        let most = if self.file { CHUNK } else { SMALL };
        let len = write(self.caller, &self.held[..self.held.len().min(most)])?;
        self.held.drain(..len);
        Ok(true)
    }

    /// Whether it goes from the job to the caller.
    pub(crate) fn is_output(&self) -> bool {
        self.direction == Direction::Out
    }

    /// Whether nothing that was read is still to be written for the caller.
    pub(crate) fn is_idle(&self) -> bool {
        self.direction == Direction::In || self.own.is_none() || self.held.is_empty()
    }

    /// What the caller's file refused, and why.
    pub(crate) fn refused(&self) -> Option<(&'static str, Errno)> {
        self.refused.map(|errno| (self.name, errno))
    }
}

/// Whether this process is in the foreground of the terminal `file`.
pub fn is_in_foreground(file: &impl AsFd) -> bool {
    termios::tcgetpgrp(file).is_ok_and(|group| group == process::getpgrp())
}
