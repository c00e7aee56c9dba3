//! Standard input, output and error of a job.
//!
//! With the caller's own descriptors a job could do more than read and write: change mode and owner of
//! the open file, truncate a log opened for appending, reopen its input for writing, leave a pipe
//! non-blocking. So each is replaced:
//!
//! | the caller's | the job's |
//! |---|---|
//! | `/dev/null`, `/dev/zero` … | the same device in its own `/dev` |
//! | an anonymous pipe | the same pipe, reopened, with status flags of its own |
//! | a regular file opened for reading | the file, reopened on a read-only mount |
//! | a terminal | its own terminal, or a pipe for input alone ([`super::terminal`]) |
//! | anything else | a pipe, relayed by the launcher (`launcher/relay.rs`) |

use super::{
    failure::Failure,
    fd_passing,
    mount_calls::{self, here, identity},
    mounts::{self, RootFs},
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

/// Their names, by descriptor.
pub(crate) const NAMES: [&str; 3] = ["standard input", "standard output", "standard error"];

/// `statfs.f_type` of pipe(2), linux/magic.h.
const PIPEFS: u32 = 0x5049_5045;

/// Flags of the mounts on which input files are reopened.
const SEALED: u64 = RDONLY | NOSUID | NODEV | NOEXEC;
/// Temporary mount point for them in the job's root.
const POINT: &str = ".read-only";

/// Devices in every job's `/dev`, by major and minor number.
const DEVICES: [(u32, u32, &str); 5] = [
    (1, 3, "dev/null"),
    (1, 5, "dev/zero"),
    (1, 7, "dev/full"),
    (1, 8, "dev/random"),
    (1, 9, "dev/urandom"),
];

/// Replacement for one of the caller's descriptors.
enum Replacement {
    /// The caller's own descriptor: a pipe that cannot be reopened. Its flags are restored at the end.
    Same,
    /// A device in the job's root.
    Device(&'static str, OFlags),
    /// A descriptor opened by the launcher, in [`StandardFiles::prepared`].
    Prepared,
    /// The job's standard output: the caller's standard error and output are one file.
    AsOutput,
    /// An input file: path, identity (device and inode), and offset.
    ReadOnly(PathBuf, (u64, u64), u64),
    /// The job's terminal.
    Terminal,
}

/// The standard files of a job, as its launcher prepares them.
pub(crate) struct StandardFiles {
    replacements: [Replacement; 3],
    /// Descriptors for the child, until the launcher closes its copies.
    prepared: [Option<OwnedFd>; 3],
    /// Socket pair to send the reopened input file from the child to the launcher, which reads its offset in the
    /// end.
    opened: Option<(OwnedFd, OwnedFd)>,
    /// Pipes relayed by the launcher.
    pub piped: Vec<Piped>,
    flags: [Option<OFlags>; 3],
    /// Original permissions of pipes, which all processes share that have them open.
    modes: [Option<Mode>; 3],
}

/// Direction of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the caller to the job.
    In,
    /// From the job to the caller.
    Out,
}

/// A file of the caller and the pipe that replaces it in the job.
pub(crate) struct Piped {
    /// Name of the file, for messages.
    pub name: &'static str,
    /// The caller's file.
    pub caller: BorrowedFd<'static>,
    /// The launcher's end of the pipe, non-blocking.
    pub own: OwnedFd,
    /// Direction of the data.
    pub direction: Direction,
    /// Whether the caller's file is a regular file, for which poll(2) always returns at once.
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
    /// Inspects the caller's standard files and prepares those of a job with this `terminal`.
    ///
    /// # Errors
    /// [`Error::Launch`] for a directory, from which `..` leads to every file of the host.
    pub(crate) fn prepare(terminal: Terminal) -> Result<Self, Error> {
        let mut files = Self {
            replacements: [Replacement::Same, Replacement::Same, Replacement::Same],
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
            files.replacements[number] =
                files.choose(number, fd, (&stat, flags), &known, terminal).map_err(plain)?;
            known.push((stat, flags));
        }
        Ok(files)
    }

    fn choose(
        &mut self,
        number: usize,
        fd: BorrowedFd<'static>,
        (stat, flags): (&Stat, OFlags),
        known: &[(Stat, OFlags)],
        terminal: Terminal,
    ) -> Result<Replacement, Errno> {
        let mode = flags & OFlags::ACCMODE;
        let input = mode == OFlags::RDONLY || (number == 0 && mode == OFlags::RDWR);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if flags.contains(OFlags::PATH) {
            return Ok(Replacement::Device(DEVICES[0].2, OFlags::RDWR)); // neither readable nor writable
        }
        if kind == FileType::CharacterDevice {
            let found = DEVICES
                .into_iter()
                .find(|(a, b, _)| (*a, *b) == (major(stat.st_rdev), minor(stat.st_rdev)));
            if let Some((.., path)) = found {
                return Ok(Replacement::Device(path, mode));
            }
            let shown = match terminal {
                Terminal::None => false,
                Terminal::Output => number > 0,
                Terminal::Full => true,
            };
            if shown && isatty(fd) {
                return Ok(Replacement::Terminal);
            }
        }
        let flags_of_new = mode | OFlags::NOCTTY | OFlags::CLOEXEC;
        if kind == FileType::Fifo && i128::from(fstatfs(fd)?.f_type) == i128::from(PIPEFS) {
            let reopened = open(format!("/proc/self/fd/{number}"), flags_of_new, Mode::empty());
            // Fails for another user's pipe, and without /proc.
            self.prepared[number] = reopened.ok();
            let opened = self.prepared[number].is_some();
            return Ok(if opened { Replacement::Prepared } else { Replacement::Same });
        }
        if kind == FileType::RegularFile && input {
            if let Some((path, offset)) = readable(number, fd, stat) {
                if self.opened.is_none() {
                    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
                    self.opened = Some(socketpair(AddressFamily::UNIX, kind, flags, None)?);
                }
                return Ok(Replacement::ReadOnly(path, (stat.st_dev, stat.st_ino), offset));
            }
        }
        // Standard output and error are one file: one pipe for both keeps the order of what is written.
        let same = |(other, others): &(Stat, OFlags)| {
            (other.st_dev, other.st_ino, *others) == (stat.st_dev, stat.st_ino, flags)
        };
        if number == 2 && !input && known.get(1).is_some_and(same) {
            return Ok(Replacement::AsOutput);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (own, given, direction) =
            if input { (writer, reader, Direction::In) } else { (reader, writer, Direction::Out) };
        self.piped.push(Piped::new(NAMES[number], fd, own, direction)?);
        self.prepared[number] = Some(given);
        Ok(Replacement::Prepared)
    }

    /// Replaces the caller's files by the job's, except for a terminal, which is opened later. Called in the
    /// child, when `rootfs` has `/dev` and `/proc` and `/` is still the host's.
    pub(crate) fn install(&self, rootfs: &RootFs) -> Result<(), Failure> {
        for (number, replacement) in self.replacements.iter().enumerate() {
            let refuse = |errno: Errno| Failure::launch(format!("{}: {errno}", NAMES[number]));
            let opened;
            let fd = match replacement {
                Replacement::Same | Replacement::Terminal => continue,
                Replacement::AsOutput => stdout(),
                Replacement::Prepared => match &self.prepared[number] {
                    Some(fd) => fd.as_fd(),
                    None => continue,
                },
                Replacement::Device(path, mode) => {
                    let flags = *mode | OFlags::NOCTTY | OFlags::CLOEXEC;
                    opened = openat(&rootfs.root, *path, flags, Mode::empty()).map_err(refuse)?;
                    opened.as_fd()
                }
                Replacement::ReadOnly(path, identity, offset) => {
                    opened = read_only(rootfs, path, *identity)?;
                    seek(&opened, SeekFrom::Start(*offset)).map_err(refuse)?;
                    if let (0, Some((_, socket))) = (number, &self.opened) {
                        fd_passing::send(socket.as_fd(), &[opened.as_fd()]).map_err(refuse)?;
                    }
                    opened.as_fd()
                }
            };
            replace(number, fd).map_err(refuse)?;
        }
        Ok(())
    }

    /// Replaces the caller's terminal by the job's. Called in the child.
    pub(crate) fn install_terminal(&self, far: BorrowedFd<'_>) -> Result<(), Errno> {
        let here = self.replacements.iter().enumerate();
        here.filter(|(_, replacement)| matches!(replacement, Replacement::Terminal))
            .try_for_each(|(number, _)| replace(number, far))
    }

    /// Whether the job's standard output is the caller's own pipe.
    pub(crate) fn shares_output(&self) -> bool {
        let pipe = self.modes[1].is_some();
        pipe && self.piped.iter().all(|piped| piped.name != NAMES[1])
    }

    /// Closes the launcher's copies of the child's descriptors, after the clone.
    pub(crate) fn close_prepared(&mut self) {
        self.prepared = [None, None, None];
    }

    /// Restores the caller's files at the end of the job: the offset of its input is the job's, and pipes have
    /// their original permissions, and status flags if the job had the same descriptor.
    pub(crate) fn restore(self) {
        if let (Replacement::ReadOnly(.., offset), Some((socket, _))) =
            (&self.replacements[0], &self.opened)
        {
            let position = fd_passing::receive::<1>(socket.as_fd()).and_then(|[fd]| tell(fd).ok());
            if let Some(position) = position.filter(|position| position != offset) {
                _ = seek(stdin(), SeekFrom::Start(position)); // a regular file is seekable
            }
        }
        for (number, fd) in caller().into_iter().enumerate() {
            // If the job could change them, this process can change them back.
            let same = matches!(self.replacements[number], Replacement::Same);
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

/// The path of the file `fd` and its offset, if the child can reopen it by that path.
fn readable(number: usize, fd: BorrowedFd<'_>, this: &Stat) -> Option<(PathBuf, u64)> {
    let path = readlink(format!("/proc/self/fd/{number}"), Vec::new()).ok()?;
    let found = stat(&path).ok()?;
    let same = (found.st_dev, found.st_ino) == (this.st_dev, this.st_ino);
    let able = access(&path, Access::READ_OK).is_ok();
    let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
    Some((path, tell(fd).ok()?)).filter(|_| same && able)
}

/// Reopens the host's file `path` on a new read-only mount: reopened through /proc it is read-only too, and
/// neither mode nor owner can be changed.
fn read_only(rootfs: &RootFs, path: &PathBuf, this: (u64, u64)) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty())?;
    if identity(file.as_fd())? != this {
        return Err(Errno::STALE.into());
    }
    let mount = mount_calls::clone_tree(file.as_fd(), false)?;
    let open = || mounts::open_again(rootfs, mount.as_fd(), OFlags::RDONLY | OFlags::NOCTTY);
    match sys::set_mount_flags(mount.as_fd(), c"", SEALED, false) {
        Ok(()) => Ok(open()?),
        Err(NixErrno::ENOSYS) => {
            // Before Linux 5.12 only attached mounts can be made read-only. The open file keeps the mount afterwards.
            let point = rootfs.target(Path::new(POINT), true)?;
            mount_calls::attach(&mount, here(&point))?;
            seal::seal(&rootfs.proc, mount.as_fd(), SEALED, false)?;
            let opened = open()?;
            fchdir(&rootfs.root)?;
            unmount(POINT, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
            unlinkat(&rootfs.root, POINT, AtFlags::empty())?;
            fchdir(&rootfs.cwd)?;
            Ok(opened)
        }
        Err(errno) => Err(errno.into()),
    }
}
