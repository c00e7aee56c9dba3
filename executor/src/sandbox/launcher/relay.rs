//! Relay of data between a standard file of the caller and a pipe of the job, in the launcher.

use crate::sandbox::setup::standard_files::{Direction, NAMES, Piped};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::{Errno, read, write},
    pipe::{SpliceFlags, splice},
    process,
    termios::{self, LocalModes, Termios, isatty, tcgetattr},
};

/// Size of a read, in bytes.
const CHUNK: usize = 1 << 16;
/// Size of a write to anything but a regular file, in bytes: `PIPE_BUF` of pipe(7), which does not block if
/// poll(2) reports the file as writable.
const SMALL: usize = 4096;

/// Relay of one standard file.
pub(crate) struct Relay {
    /// Name of the file, for messages.
    name: &'static str,
    caller: BorrowedFd<'static>,
    /// The launcher's end of the pipe, until the end of the data.
    own: Option<OwnedFd>,
    direction: Direction,
    /// Data that was read and is not written yet.
    held: Vec<u8>,
    /// Whether the caller's file is a regular file, for which poll(2) always returns at once.
    file: bool,
    terminal: bool,
    /// Whether splice(2) works between the two.
    splices: bool,
    /// The error of the last write to the caller's file.
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

    /// The event to poll for, if any.
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

    /// Whether it waits to become the foreground process of the caller's terminal, and has to be polled by time.
    pub(crate) fn waits(&self) -> bool {
        self.own.is_some() && self.held.is_empty() && !self.may_read()
    }

    /// Whether input of the terminal is for the job: not while the caller is in the background, nor while
    /// another program of the pipeline (a pager) has disabled canonical mode.
    fn may_read(&self) -> bool {
        if self.direction == Direction::Out || !self.terminal {
            return true;
        }
        let lines = |modes: Termios| modes.local_modes.contains(LocalModes::ICANON);
        is_in_foreground(&self.caller) && tcgetattr(self.caller).is_ok_and(lines)
    }

    /// Relays the available data; to be called when [`Relay::polled`] is ready. Returns whether the job's
    /// standard output has lost its reader.
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
                // A file opened for appending, or a file system without splice(2).
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
                return Ok(true); // the caller's file is not ready
            }
        }
        let most = if self.file { CHUNK } else { SMALL };
        let len = write(self.caller, &self.held[..self.held.len().min(most)])?;
        self.held.drain(..len);
        Ok(true)
    }

    /// Whether its direction is from the job to the caller.
    pub(crate) fn is_output(&self) -> bool {
        self.direction == Direction::Out
    }

    /// Whether everything that was read has been written to the caller's file.
    pub(crate) fn is_idle(&self) -> bool {
        self.direction == Direction::In || self.own.is_none() || self.held.is_empty()
    }

    /// The name of the caller's file and the error of writing to it, if that failed.
    pub(crate) fn refused(&self) -> Option<(&'static str, Errno)> {
        self.refused.map(|errno| (self.name, errno))
    }
}

/// Whether this process is in the foreground of the terminal `file`.
pub fn is_in_foreground(file: &impl AsFd) -> bool {
    termios::tcgetpgrp(file).is_ok_and(|group| group == process::getpgrp())
}
