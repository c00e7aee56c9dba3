//! A pseudoterminal of the job's own, opened in the child.

use super::{failure::Failure, fd_passing::send, mounts::RootFs, standard_files::StandardFiles};
use crate::env::weaken;
use crate::sandbox::plan::job::Ids;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Gid, Mode, OFlags, Uid, fchown, openat},
    io::Errno,
    process::ioctl_tiocsctty,
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
    termios::{OptionalActions, Termios, Winsize, tcsetattr, tcsetwinsize},
};

/// Settings of the job's terminal.
pub(crate) struct Settings {
    /// Socket to send both ends over.
    pub socket: OwnedFd,
    /// Initial modes, termios(3).
    pub modes: Termios,
    /// Initial size, in characters.
    pub size: Winsize,
    /// Whether it is for input too: then it is the controlling terminal of the job's session.
    pub full: bool,
}

/// Opens a terminal in the job's `/dev/pts` and replaces the caller's by it.
pub(crate) fn open(
    rootfs: &RootFs,
    settings: &Settings,
    files: &StandardFiles,
    owner: Ids,
) -> Result<(), Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Not by its path: a mount of the runtime may cover it.
    let pts = rootfs.pts.get().ok_or(Errno::NOENT)?;
    let manager = if weaken::without("own-terminals") {
        openat(&rootfs.root, "dev/pts/ptmx", flags, Mode::empty())
    } else {
        openat(pts, "ptmx", flags | OFlags::NOFOLLOW, Mode::empty())
    }?;
    unlockpt(&manager)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let subsidiary = ioctl_tiocgptpeer(&manager, flags)?;
    fchown(&subsidiary, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    tcsetattr(&subsidiary, OptionalActions::Now, &settings.modes)?;
    tcsetwinsize(&subsidiary, settings.size)?;
    send(settings.socket.as_fd(), &[manager.as_fd(), subsidiary.as_fd()])?;
    if settings.full {
        ioctl_tiocsctty(&subsidiary)?;
    }
    Ok(files.install_terminal(subsidiary.as_fd())?)
}
