//! A terminal of the job's own, and the launcher that stands between it and the caller's.
//!
//! The job gets the far end of a new pair of its own `/dev/pts`, as its controlling terminal: it
//! can manage jobs, and nothing it does to its terminal reaches the caller's. The near end comes
//! to the launcher through a socket.

use crate::env::weaken;
use crate::sandbox::{
    Ids, setup::apply::Failure, setup::mounts::Places, setup::standard_files::StandardFiles,
};
use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Gid, Mode, OFlags, Uid, fchown, fcntl_setfl, openat},
    io::{Errno, IoSlice, IoSliceMut, read, retry_on_intr, write},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    process::ioctl_tiocsctty,
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
    stdio::{stderr, stdout},
    termios::{
        OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
    },
};
use std::{
    io::{Stdin, stdin},
    mem::MaybeUninit,
};

/// What the child needs to open its terminal.
pub(crate) struct Wanted {
    socket: OwnedFd,
    modes: Termios,
    size: Winsize,
    /// Whether it is for input as well: then it controls the job's session.
    full: bool,
}

/// Opens a terminal in the job's `/dev/pts` and puts it in place of the caller's.
pub(crate) fn open(
    places: &Places,
    wanted: &Wanted,
    files: &StandardFiles,
    owner: Ids,
) -> Result<(), Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Not by its path: a mount of the runtime may lie there.
    let pts = places.pts.get().ok_or(Errno::NOENT)?;
    let near = if weaken::without("own-terminals") {
        openat(&places.root, "dev/pts/ptmx", flags, Mode::empty())
    } else {
        openat(pts, "ptmx", flags | OFlags::NOFOLLOW, Mode::empty())
    }?;
    unlockpt(&near)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let far = ioctl_tiocgptpeer(&near, flags)?;
    fchown(&far, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    tcsetattr(&far, OptionalActions::Now, &wanted.modes)?;
    tcsetwinsize(&far, wanted.size)?;
    send(wanted.socket.as_fd(), &[near.as_fd(), far.as_fd()])?;
    if wanted.full {
        ioctl_tiocsctty(&far)?;
    }
    Ok(files.install_terminal(far.as_fd())?)
}

/// The launcher's side. The caller's terminal gets its modes back when this is dropped.
pub(crate) struct Terminal {
    caller: (Stdin, BorrowedFd<'static>),
    before: Termios,
    /// The socket that both ends come from, then the near end.
    near: OwnedFd,
    /// The far end, held open: without it, a job that closes its own would look like a hangup.
    far: Option<OwnedFd>,
    /// What was typed and is not taken yet.
    typed: Vec<u8>,
    typing: bool,
    full: bool,
}

impl Terminal {
    /// Looks at the caller's terminal and, if the job's is a `full` one, puts it into raw mode: every
    /// key is the job's. Else the job's is for output alone, which the caller's processes.
    ///
    /// Comes before signals are blocked, so that a caller in the background is stopped.
    pub(crate) fn begin(full: bool) -> Result<(Self, Wanted), Errno> {
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
        let (far, typed) = (None, Vec::new());
        let terminal = Self { caller, before, near, far, typed, typing: full, full };
        terminal.raw()?;
        Ok((terminal, Wanted { socket, modes, size, full }))
    }

    fn raw(&self) -> Result<(), Errno> {
        if !self.full {
            return Ok(());
        }
        let mut modes = self.before.clone();
        modes.make_raw();
        tcsetattr(&self.caller.0, OptionalActions::Now, &modes)
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

    /// What is to be waited for: the caller's keys, where they are wanted, and the near end.
    pub(crate) fn polled(&self) -> (Option<PollFd<'_>>, PollFd<'_>) {
        let typing = self.far.is_some() && self.typing && self.typed.is_empty();
        let keys = typing.then(|| PollFd::from_borrowed_fd(self.caller.0.as_fd(), PollFlags::IN));
        let typed = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        (keys, PollFd::from_borrowed_fd(self.near.as_fd(), PollFlags::IN | typed))
    }

    /// Moves what there is, after a wait: whether keys were typed, whether the near end is ready.
    /// Returns whether the caller's terminal has just hung up.
    pub(crate) fn pump(&mut self, typed: bool, near: bool) -> bool {
        let mut hung_up = false;
        if self.far.is_none() {
            // A child that fails before it has a terminal says so elsewhere.
            if let (true, Some([near, far])) = (near, receive(self.near.as_fd())) {
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
                Ok(len) => self.typed.extend(&buffer[..len]),
                Err(_) => {}
            }
        }
        if let Ok(len) = write(&self.near, &self.typed) {
            self.typed.drain(..len);
        }
        if near {
            self.show();
        }
        hung_up
    }

    /// Shows what the job wrote, at most one buffer. Whether there was anything.
    fn show(&self) -> bool {
        let mut buffer = [0; 4096];
        let len = read(&self.near, &mut buffer).unwrap_or(0);
        let mut rest = &buffer[..len];
        while let (false, Ok(len)) = (rest.is_empty(), retry_on_intr(|| write(self.caller.1, rest)))
        {
            rest = &rest[len..];
        }
        len > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        while self.far.is_some() && self.show() {}
        if self.full {
            // A terminal that is gone has no modes to be given back.
            _ = tcsetattr(&self.caller.0, OptionalActions::Drain, &self.before);
        }
    }
}

/// Sends descriptors to the launcher.
pub(crate) fn send(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(socket, &[IoSlice::new(b"t")], &mut message, SendFlags::NOSIGNAL).map(drop)
}

/// Takes descriptors out of the socket, if that many have come.
pub(crate) fn receive<const N: usize>(socket: BorrowedFd<'_>) -> Option<[OwnedFd; N]> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut message, flags).ok()?;
    let fds = message.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.flatten().collect::<Vec<_>>().try_into().ok()
}
