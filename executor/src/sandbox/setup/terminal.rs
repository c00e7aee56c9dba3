//! A terminal of the job's own, as the child opens it.

use super::{descriptors::send, failure::Failure, mounts::Places, standard_files::StandardFiles};
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

/// What the child needs to open its terminal.
pub(crate) struct Wanted {
    /// Where it sends both ends to.
    pub socket: OwnedFd,
    /// The modes that it begins with.
    pub modes: Termios,
    /// Its size in characters.
    pub size: Winsize,
    /// Whether it is for input as well: then it controls the job's session.
    pub full: bool,
}

/// Opens a terminal in the job's `/dev/pts` and puts it in place of the caller's.
pub(crate) fn open(
    places: &Places,
    wanted: &Wanted,
    files: &StandardFiles,
    owner: Ids,
) -> Result<(), Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Not by its path: a mount of the runtime may be there.
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
