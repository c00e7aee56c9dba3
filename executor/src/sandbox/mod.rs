//! Runs one job in a runtime, in namespaces of its own.
//!
//! A sandbox is first a value: [`plan`] turns a [`Runtime`], a [`Job`] and what is known of the
//! host into [`Step`]s, without touching anything. [`run`] then applies them in order, in a child
//! that begins in new namespaces and ends as the job, while this process waits for it.

mod launcher;
mod plan;
mod setup;
mod sys;

use crate::error::Error;
use crate::runtime::Runtime;
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs,
    io::Errno,
    process, termios, thread,
};
use serde::Serialize;
use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

pub use launcher::cgroup::Limits;
pub use plan::{
    plan,
    step::{Device, Origin, Step},
};
pub use setup::seccomp;

/// What is to be run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The command and its arguments; not empty.
    pub argv: Vec<OsString>,
    /// Variables beside those of the runtime, which they override.
    pub env: Vec<(OsString, OsString)>,
    /// What of the network it sees.
    pub network: Network,
    /// Where in the job it starts; `/work` if not given.
    pub workdir: Option<PathBuf>,
    /// Whether the caller's current directory shines through `/work`.
    pub share_cwd: bool,
    /// What is put into its directory beside that.
    pub uploads: Vec<Upload>,
    /// Host files and directories that it sees beside the runtime.
    pub binds: Vec<Bind>,
    /// Empty writable directories.
    pub tmpfs: Vec<Tmpfs>,
    /// Its host name; `joblet` if not given.
    pub hostname: Option<String>,
    /// Whom it runs as; the caller if not given.
    pub user: Option<Ids>,
    /// How long it may run: then TERM, ten seconds later KILL.
    pub timeout: Option<Duration>,
    /// Devices of the host that it sees.
    pub devices: Vec<Device>,
    /// Directories at the end of search paths: the variable, and the directory.
    pub search: Vec<(OsString, OsString)>,
    /// What it may use.
    pub limits: Limits,
    /// Whether a process stands before it that passes signals on and reaps.
    pub init: bool,
    /// What of a terminal of its own it has, behind the caller's.
    pub terminal: Terminal,
}

impl Job {
    /// A job that runs `argv` and sees nothing that it was not given.
    pub fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            env: Vec::new(),
            network: Network::None,
            workdir: None,
            share_cwd: true,
            uploads: Vec::new(),
            binds: Vec::new(),
            tmpfs: Vec::new(),
            hostname: None,
            user: None,
            timeout: None,
            devices: Vec::new(),
            search: Vec::new(),
            limits: Limits::default(),
            init: false,
            terminal: Terminal::None,
        }
    }
}

/// What of a terminal of its own a job has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// None: it reads and writes pipes.
    None,
    /// One that it writes to, where the caller's output or error is a terminal.
    Output,
    /// One for input and output that controls its session. The caller's takes every key.
    Full,
}

/// What of the network a job sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A loopback interface of its own, nothing else.
    None,
    /// All that the host sees.
    Host,
}

/// A file or directory of the host that a job gets a private copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// On the host; relative to the current directory.
    pub source: PathBuf,
    /// What it is called in `/work`.
    pub name: OsString,
    /// Whether it is a directory.
    pub directory: bool,
    /// Permission bits of a file.
    pub mode: u32,
    /// Whether it lies in the current directory itself, which a job sees anyway.
    pub here: bool,
}

/// A file or directory of the host that a job sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host; relative to the current directory.
    pub source: PathBuf,
    /// In the job; absolute.
    pub target: PathBuf,
    /// Whether the job may change it.
    pub writable: bool,
}

/// An empty writable directory of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// In the job; absolute.
    pub target: PathBuf,
    /// How much it may hold, in bytes; half of the memory if not given.
    pub size: Option<u64>,
}

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What a plan must know of the host and of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The caller.
    pub ids: Ids,
    /// Whether the caller may make namespaces without a user namespace around them.
    pub privileged: bool,
    /// Whether the caller's current directory may be shown to a job.
    pub cwd: Cwd,
    /// `TERM`, if the caller has it and talks to a terminal.
    pub term: Option<OsString>,
}

/// Whether a current directory may shine through `/work`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cwd {
    /// It holds files.
    Files,
    /// It is `/`, or a view of the kernel such as `/proc` and `/sys`.
    Private,
}

impl Host {
    /// Looks at this process and its current directory.
    pub fn observe() -> Self {
        let ids = Ids { uid: process::geteuid().as_raw(), gid: process::getegid().as_raw() };
        let admin = thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(thread::CapabilitySet::SYS_ADMIN));
        let terminal = std::io::stdin().is_terminal()
            || std::io::stdout().is_terminal()
            || std::io::stderr().is_terminal();
        Self {
            ids,
            privileged: ids.uid == 0 && admin,
            cwd: if cwd_is_private().unwrap_or(true) { Cwd::Private } else { Cwd::Files },
            term: env::var_os("TERM").filter(|_| terminal),
        }
    }
}

/// File systems that show the kernel, not files, by their magic number (statfs(2)): proc, sysfs,
/// cgroup, cgroup2, debugfs, tracefs, securityfs, devpts, bpf, configfs, efivarfs, pstore,
/// selinux, smack, binfmt_misc, mqueue, rpc_pipefs, nfsd, fusectl, nsfs.
const KERNEL_VIEWS: [u32; 20] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x1cd1,
    0xcafe_4a11,
    0x6265_6570,
    0xde5e_81e4,
    0x6165_676c,
    0xf97c_ff8c,
    0x4341_5d53,
    0x4249_4e4d,
    0x1980_0202,
    0x6759_6969,
    0x6e66_7364,
    0x6573_5543,
    0x6e73_6673,
];

/// Whether `file` is on a file system that shows the kernel.
fn is_kernel_view(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let magic = fs::fstatfs(file)?.f_type;
    Ok(KERNEL_VIEWS.iter().any(|view| i128::from(*view) == i128::from(magic)))
}

fn cwd_is_private() -> Result<bool, Errno> {
    let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
    let (root, dir) = (fs::stat("/")?, fs::open(".", flags, fs::Mode::empty())?);
    let here = fs::fstat(&dir)?;
    Ok(is_kernel_view(dir.as_fd())? || (root.st_dev, root.st_ino) == (here.st_dev, here.st_ino))
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
    /// It ran longer than it may.
    TimedOut,
    /// It needed more memory than it may have.
    OutOfMemory,
}

impl Exit {
    /// The exit status to pass on: the job's own, 128+n for signal n, 124 after the timeout.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::TimedOut => 124,
            Self::OutOfMemory => 128 + 9,
        }
    }
}

/// Whether this process is in the foreground of the terminal `file`.
pub fn is_in_foreground(file: &impl AsFd) -> bool {
    termios::tcgetpgrp(file).is_ok_and(|group| group == process::getpgrp())
}

/// Whether this process, and so its job, may use only so much CPU time (`ulimit -t`).
pub fn has_cpu_limit() -> bool {
    process::getrlimit(process::Resource::Cpu).current.is_some()
}

/// A second descriptor for what the caller left open as number `fd`, which no job inherits.
///
/// # Errors
/// `EBADF` if there is none.
pub fn descriptor(fd: i32) -> io::Result<File> {
    Ok(sys::duplicate(fd)?.into())
}

/// A job whose command does not exist: it fails with [`Error::NoCommand`] where all else works.
pub fn nothing() -> Job {
    Job { share_cwd: false, ..Job::new(vec!["/nothing".into()]) }
}

/// Whether a job can have these limits.
///
/// # Errors
/// Why not, and what cures it.
pub fn can_limit(limits: Limits) -> Result<(), String> {
    launcher::cgroup::Cgroup::make(limits).map(drop)
}

/// Runs `job` in `runtime` and waits for its end.
///
/// While the job runs, signals to this process go on to it. Panics if this process has more than
/// one thread.
///
/// # Errors
/// [`Error::Launch`] and [`Error::Config`] if the sandbox cannot be set up, [`Error::NoCommand`]
/// and [`Error::NotExecutable`]; in none of these cases has the job begun.
pub fn run(runtime: &Runtime, job: &Job) -> Result<Exit, Error> {
    let host = Host::observe();
    let steps = plan(runtime, job, &host)?;
    launcher::launch::run(runtime, &steps, job, &host)
}
