//! What a caller asks for: the job.

use serde::{Serialize, Serializer};
use std::{
    ffi::OsString,
    fmt,
    os::fd::RawFd,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is to be run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The command and its arguments; not empty.
    pub argv: Vec<OsString>,
    /// Variables beside those of the runtime, which they override.
    pub env: Vec<(OsString, OsString)>,
    /// The kind of the caller's terminal, if it has one: `TERM`, which the runtime may override.
    pub term: Option<OsString>,
    /// What of the network it sees.
    pub network: Network,
    /// Where in the job it starts; `/work` if not given.
    pub workdir: Option<PathBuf>,
    /// Whether the caller's current directory is the read-only lower layer of `/work`.
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
    /// Whether it shares memory with processes of the host: `/dev/shm`, and what shmget(2) makes.
    pub host_ipc: bool,
    /// Descriptors of the caller, above 2, that stay open.
    pub descriptors: Vec<RawFd>,
    /// Directories at the end of search paths: the variable, and the directory.
    pub search: Vec<(OsString, OsString)>,
    /// Whether what it leaves in its private directory is wanted afterwards.
    pub results: bool,
    /// What it may use.
    pub limits: Limits,
    /// Whether an init runs as PID 1, which forwards signals and reaps zombies.
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
            term: None,
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
            host_ipc: false,
            descriptors: Vec::new(),
            search: Vec::new(),
            results: false,
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
    /// Whether it is in the current directory itself, which a job sees anyway.
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

/// What a job may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Memory and what it writes to memory, in bytes. None of it is swapped out.
    pub memory: Option<u64>,
    /// Processor time, in thousandths of one processor.
    pub cpu: Option<u32>,
    /// Processes and threads at a time.
    pub pids: Option<u32>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.map(|bytes| match bytes % (1 << 20) {
            0 => format!("{} MiB of memory", bytes >> 20),
            _ => format!("{bytes} bytes of memory"),
        });
        let cpu = self.cpu.map(|cpu| format!("{} processors", f64::from(cpu) / 1000.0));
        let pids = self.pids.map(|pids| format!("{pids} processes"));
        let all: Vec<_> = [memory, cpu, pids].into_iter().flatten().collect();
        f.write_str(&all.join(", "))
    }
}

/// A device node of the host in the job's `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// On the host.
    #[serde(serialize_with = "lossy")]
    pub host: PathBuf,
    /// Below `/dev`.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
}

/// Bytes that are not UTF-8 are shown as U+FFFD: a plan is to be read, not to be run again.
pub(super) fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}
