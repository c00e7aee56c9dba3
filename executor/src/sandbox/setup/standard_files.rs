//! What a job gets as standard input, output and error.
//!
//! The caller's own descriptors would let a job do more than read and write: change the mode and the
//! owner of what is open, empty a log that is appended to, open its input again for writing, leave a
//! pipe non-blocking. None of them reaches the job:
//!
//! | the caller's | the job's |
//! |---|---|
//! | `/dev/null` and its like | the same device of its own `/dev` |
//! | a pipe without a name | the same pipe, opened anew: flags are its own |
//! | a file to be read | the file, opened anew on a mount that is read-only |
//! | a terminal | its own terminal, or a pipe for input alone ([`super::terminal`]) |
//! | anything else | a pipe, which the launcher fills or empties (`launcher/relay.rs`) |

use super::{
    descriptors,
    failure::Failure,
    mount_calls::{self, here, identity},
    mounts::{self, Places},
    seal,
};
use crate::env::weaken;
use crate::error::Error;
use crate::sandbox::{
    plan::job::Terminal,
    sys::{self, NODEV, NOEXEC, NOSUID, RDONLY},
};
use nix::errno::Errno as NixErrno;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        Access, AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, Stat, access, fchmod, fcntl_getfl,
        fcntl_setfl, fstat, fstatfs, major, minor, open, openat, readlink, seek, stat, tell,
        unlinkat,
    },
    io::Errno,
    mount::{UnmountFlags, unmount},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
    process::fchdir,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout},
    termios::isatty,
};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Their names, by number.
pub(crate) const NAMES: [&str; 3] = ["standard input", "standard output", "standard error"];

/// `statfs.f_type` of pipes without a name, linux/magic.h.
const PIPEFS: u32 = 0x5049_5045;

/// Of the mounts on which files are read.
const SEALED: u64 = RDONLY | NOSUID | NODEV | NOEXEC;
/// Where such a mount is attached for a moment, in the job's root.
const POINT: &str = ".read-only";

/// Devices that every job has of its own, by major and minor number.
const DEVICES: [(u32, u32, &str); 5] = [
    (1, 3, "dev/null"),
    (1, 5, "dev/zero"),
    (1, 7, "dev/full"),
    (1, 8, "dev/random"),
    (1, 9, "dev/urandom"),
];

/// What a job gets for one of them.
enum Given {
    /// The caller's own: a pipe that cannot be opened anew. Its flags are restored at the end.
    Same,
    /// A device of the job's root.
    Device(&'static str, OFlags),
    /// What the launcher has opened for it, [`StandardFiles::prepared`].
    Prepared,
    /// What the one before it gets: both are one file of the caller's.
    AsOutput,
    /// A file to be read, by its path and what makes it itself, from this offset on.
    ReadOnly(PathBuf, (u64, u64), u64),
    /// The job's terminal.
    Terminal,
}

/// The standard files of a job, as its launcher prepares them.
pub(crate) struct StandardFiles {
    given: [Given; 3],
    /// The child's, until the launcher gives them up.
    prepared: [Option<OwnedFd>; 3],
    /// Over which the child sends back what it opened on a read-only mount.
    opened: Option<(OwnedFd, OwnedFd)>,
    /// What the launcher passes on.
    pub piped: Vec<Piped>,
    flags: [Option<OFlags>; 3],
    /// The permissions of those that are pipes, which belong to all that have them open.
    modes: [Option<Mode>; 3],
}

/// Which way bytes are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the caller to the job.
    In,
    /// From the job to the caller.
    Out,
}

/// A file of the caller, and the pipe whose other end the job gets for it.
pub(crate) struct Piped {
    /// What the caller calls its file.
    pub name: &'static str,
    /// The file.
    pub caller: BorrowedFd<'static>,
    /// The launcher's end of the pipe; it does not block.
    pub own: OwnedFd,
    /// Which way bytes go.
    pub direction: Direction,
    /// Whether the caller's file is an ordinary one, which is always ready.
    pub file: bool,
}

impl Piped {
    fn new(
        name: &'static str,
        caller: BorrowedFd<'static>,
        own: OwnedFd,
        direction: Direction,
    ) -> Result<Self, Errno> {
        fcntl_setfl(&own, OFlags::NONBLOCK)?;
        let file = FileType::from_raw_mode(fstat(caller)?.st_mode) == FileType::RegularFile;
        Ok(Self { name, caller, own, direction, file })
    }
}

fn caller() -> [BorrowedFd<'static>; 3] {
    [stdin(), stdout(), stderr()]
}

impl StandardFiles {
    /// Looks at the caller's files and prepares the job's, which has this `terminal`.
    ///
    /// # Errors
    /// [`Error::Launch`] for a directory: `..` leads from it to all of the host.
    pub(crate) fn prepare(terminal: Terminal) -> Result<Self, Error> {
        let mut files = Self {
            given: [Given::Same, Given::Same, Given::Same],
            prepared: [None, None, None],
            opened: None,
            piped: Vec::new(),
            flags: [None; 3],
            modes: [None; 3],
        };
        if weaken::without("standard-files") {
            return Ok(files);
        }
        let mut known: Vec<(Stat, OFlags)> = Vec::new();
        for (number, fd) in caller().into_iter().enumerate() {
            let failed = |reason: String| Error::Launch {
                step: "pass on the standard files".to_owned(),
                reason: format!("{} {reason}", NAMES[number]),
            };
            let plain = |errno: Errno| failed(errno.to_string());
            let (stat, flags) = (fstat(fd).map_err(plain)?, fcntl_getfl(fd).map_err(plain)?);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let reason = "is a directory, through which a job could leave its root; use --bind";
                return Err(failed(reason.to_owned()));
            }
            files.flags[number] = Some(flags);
            let pipe = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
            files.modes[number] = pipe.then(|| Mode::from_raw_mode(stat.st_mode));
            files.given[number] =
                files.give(number, fd, (&stat, flags), &known, terminal).map_err(plain)?;
            known.push((stat, flags));
        }
        Ok(files)
    }

    fn give(
        &mut self,
        number: usize,
        fd: BorrowedFd<'static>,
        (stat, flags): (&Stat, OFlags),
        known: &[(Stat, OFlags)],
        terminal: Terminal,
    ) -> Result<Given, Errno> {
        let mode = flags & OFlags::ACCMODE;
        let input = mode == OFlags::RDONLY || (number == 0 && mode == OFlags::RDWR);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if flags.contains(OFlags::PATH) {
            return Ok(Given::Device(DEVICES[0].2, OFlags::RDWR)); // it cannot be read or written
        }
        if kind == FileType::CharacterDevice {
            let found = DEVICES
                .into_iter()
                .find(|(a, b, _)| (*a, *b) == (major(stat.st_rdev), minor(stat.st_rdev)));
            if let Some((.., path)) = found {
                return Ok(Given::Device(path, mode));
            }
            let shown = match terminal {
                Terminal::None => false,
                Terminal::Output => number > 0,
                Terminal::Full => true,
            };
            if shown && isatty(fd) {
                return Ok(Given::Terminal);
            }
        }
        let flags_of_new = mode | OFlags::NOCTTY | OFlags::CLOEXEC;
        if kind == FileType::Fifo && i128::from(fstatfs(fd)?.f_type) == i128::from(PIPEFS) {
            let anew = open(format!("/proc/self/fd/{number}"), flags_of_new, Mode::empty());
            // Not if it is another user's pipe, or without /proc.
            self.prepared[number] = anew.ok();
            let opened = self.prepared[number].is_some();
            return Ok(if opened { Given::Prepared } else { Given::Same });
        }
        if kind == FileType::RegularFile && input {
            if let Some((path, offset)) = readable(number, fd, stat) {
                if self.opened.is_none() {
                    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
                    self.opened = Some(socketpair(AddressFamily::UNIX, kind, flags, None)?);
                }
                return Ok(Given::ReadOnly(path, (stat.st_dev, stat.st_ino), offset));
            }
        }
        // Standard error that is standard output once more: what is written stays in order.
        let same = |(other, others): &(Stat, OFlags)| {
            (other.st_dev, other.st_ino, *others) == (stat.st_dev, stat.st_ino, flags)
        };
        if number == 2 && !input && known.get(1).is_some_and(same) {
            return Ok(Given::AsOutput);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (own, given, direction) =
            if input { (writer, reader, Direction::In) } else { (reader, writer, Direction::Out) };
        self.piped.push(Piped::new(NAMES[number], fd, own, direction)?);
        self.prepared[number] = Some(given);
        Ok(Given::Prepared)
    }

    /// In the child: puts the job's files in place of the caller's, but for a terminal, which comes
    /// later. `places` has the job's `/dev` and `/proc`; `/` is still the host's.
    pub(crate) fn install(&self, places: &Places) -> Result<(), Failure> {
        for (number, given) in self.given.iter().enumerate() {
            let refuse = |errno: Errno| Failure::launch(format!("{}: {errno}", NAMES[number]));
            let opened;
            let fd = match given {
                Given::Same | Given::Terminal => continue,
                Given::AsOutput => stdout(),
                Given::Prepared => match &self.prepared[number] {
                    Some(fd) => fd.as_fd(),
                    None => continue,
                },
                Given::Device(path, mode) => {
                    let flags = *mode | OFlags::NOCTTY | OFlags::CLOEXEC;
                    opened = openat(&places.root, *path, flags, Mode::empty()).map_err(refuse)?;
                    opened.as_fd()
                }
                Given::ReadOnly(path, identity, offset) => {
                    opened = read_only(places, path, *identity)?;
                    seek(&opened, SeekFrom::Start(*offset)).map_err(refuse)?;
                    if let (0, Some((_, socket))) = (number, &self.opened) {
                        descriptors::send(socket.as_fd(), &[opened.as_fd()]).map_err(refuse)?;
                    }
                    opened.as_fd()
                }
            };
            replace(number, fd).map_err(refuse)?;
        }
        Ok(())
    }

    /// In the child: puts the job's terminal in place of the caller's.
    pub(crate) fn install_terminal(&self, far: BorrowedFd<'_>) -> Result<(), Errno> {
        let here = self.given.iter().enumerate();
        here.filter(|(_, given)| matches!(given, Given::Terminal))
            .try_for_each(|(number, _)| replace(number, far))
    }

    /// Whether the job's standard output is the caller's pipe itself.
    pub(crate) fn shares_output(&self) -> bool {
        let pipe = self.modes[1].is_some();
        pipe && self.piped.iter().all(|piped| piped.name != NAMES[1])
    }

    /// In the launcher, after the clone: gives up what is the child's.
    pub(crate) fn let_go(&mut self) {
        self.prepared = [None, None, None];
    }

    /// At the end of the job: the caller's input is where the job has stopped reading, a pipe
    /// that was given as it is has the flags that it had, and every pipe its permissions.
    pub(crate) fn settle(self) {
        if let (Given::ReadOnly(.., offset), Some((socket, _))) = (&self.given[0], &self.opened) {
            let position = descriptors::receive::<1>(socket.as_fd()).and_then(|[fd]| tell(fd).ok());
            if let Some(position) = position.filter(|position| position != offset) {
                _ = seek(stdin(), SeekFrom::Start(position)); // a file that was read can be sought in
            }
        }
        for (number, fd) in caller().into_iter().enumerate() {
            // What could be changed can be changed back.
            let same = matches!(self.given[number], Given::Same);
            if let Some(flags) = self.flags[number].filter(|_| same) {
                if fcntl_getfl(fd).is_ok_and(|now| now != flags) {
                    _ = fcntl_setfl(fd, flags);
                }
            }
            let changed =
                |mode: &Mode| fstat(fd).is_ok_and(|now| Mode::from_raw_mode(now.st_mode) != *mode);
            if let Some(mode) = self.modes[number].filter(changed) {
                _ = fchmod(fd, mode);
            }
        }
    }
}

fn replace(number: usize, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match number {
        0 => dup2_stdin(fd),
        1 => dup2_stdout(fd),
        _ => dup2_stderr(fd),
    }
}

/// The path of the file `fd` and its offset, if the child can open it by that path, on a mount of
/// its own.
fn readable(number: usize, fd: BorrowedFd<'_>, this: &Stat) -> Option<(PathBuf, u64)> {
    let path = readlink(format!("/proc/self/fd/{number}"), Vec::new()).ok()?;
    let found = stat(&path).ok()?;
    let same = (found.st_dev, found.st_ino) == (this.st_dev, this.st_ino);
    let able = access(&path, Access::READ_OK).is_ok();
    let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
    Some((path, tell(fd).ok()?)).filter(|_| same && able)
}

/// Opens the host's file `path` on a mount of its own that is read-only: opened once more through
/// /proc it is read-only as well, and neither mode nor owner can be changed.
fn read_only(places: &Places, path: &PathBuf, this: (u64, u64)) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty())?;
    if identity(file.as_fd())? != this {
        return Err(Errno::STALE.into());
    }
    let mount = mount_calls::clone_tree(file.as_fd(), false)?;
    let open = || mounts::open_again(places, mount.as_fd(), OFlags::RDONLY | OFlags::NOCTTY);
    match sys::set_mount_flags(mount.as_fd(), c"", SEALED, false) {
        Ok(()) => Ok(open()?),
        Err(NixErrno::ENOSYS) => {
            // Before Linux 5.12 a mount must be attached for it. What is open keeps it afterwards.
            let point = places.target(Path::new(POINT), true)?;
            mount_calls::attach(&mount, here(&point))?;
            seal::seal(&places.proc, mount.as_fd(), SEALED, false)?;
            let opened = open()?;
            fchdir(&places.root)?;
            unmount(POINT, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
            unlinkat(&places.root, POINT, AtFlags::empty())?;
            fchdir(&places.cwd)?;
            Ok(opened)
        }
        Err(errno) => Err(errno.into()),
    }
}
