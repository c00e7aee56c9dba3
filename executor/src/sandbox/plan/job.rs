//! A job, as specified by the command line.

use serde::{Serialize, Serializer};
use std::{
    ffi::OsString,
    fmt,
    os::fd::RawFd,
    path::{Path, PathBuf},
    time::Duration,
};

/// A command and the options of its sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The command and its arguments; not empty.
    pub argv: Vec<OsString>,
    /// Environment variables, which override the runtime's.
    pub env: Vec<(OsString, OsString)>,
    /// `TERM` of the caller's terminal, if it has one. The runtime may override it.
    pub term: Option<OsString>,
    /// Its network.
    pub network: Network,
    /// Directory in which it starts; default `/work`.
    pub workdir: Option<PathBuf>,
    /// Whether the caller's current directory is the read-only lower layer of `/work`.
    pub share_cwd: bool,
    /// Files and directories copied to `/work`.
    pub uploads: Vec<Upload>,
    /// Files and directories of the host that are mounted.
    pub binds: Vec<Bind>,
    /// Empty writable directories.
    pub tmpfs: Vec<Tmpfs>,
    /// Directory of the host that is mounted as `/tmp`.
    pub tmp: Option<CreatedDir>,
    /// Host name; default `joblet`.
    pub hostname: Option<String>,
    /// User and group; default the caller's.
    pub user: Option<Ids>,
    /// Time after which it gets SIGTERM, and ten seconds later SIGKILL.
    pub timeout: Option<Duration>,
    /// Devices of the host in its `/dev`.
    pub devices: Vec<Device>,
    /// Whether it is in the host's IPC namespace and has its `/dev/shm`.
    pub host_ipc: bool,
    /// Inherited descriptors above 2.
    pub descriptors: Vec<RawFd>,
    /// Directories appended to search paths: variable and directory.
    pub search: Vec<(OsString, OsString)>,
    /// Whether the content of its private `/work` is read afterwards.
    pub results: bool,
    /// Limits of its resources.
    pub limits: Limits,
    /// Whether PID 1 is an init, which forwards signals and reaps zombies.
    pub init: bool,
    /// Its own terminal, relayed to the caller's.
    pub terminal: Terminal,
}

impl Job {
    /// A job that runs `argv`, without any option.
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
            tmp: None,
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

/// A job's own terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// None: its standard files are pipes.
    None,
    /// For standard output and error, where the caller's are a terminal.
    Output,
    /// For input and output: the controlling terminal of its session. The caller's is in raw mode.
    Full,
}

/// The network of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own, with a loopback interface only.
    None,
    /// The host's.
    Host,
}

/// A file or directory of the host of which a job gets a private copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Path on the host, relative to the current directory.
    pub source: PathBuf,
    /// Name in `/work`.
    pub name: OsString,
    /// Whether it is a directory.
    pub directory: bool,
    /// Permission bits of a file.
    pub mode: u32,
    /// Whether it is an entry of the current directory, and so in the lower layer of `/work` already.
    pub in_cwd: bool,
}

/// A file or directory of the host that is mounted in a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Path on the host, relative to the current directory.
    pub source: PathBuf,
    /// Absolute path in the job.
    pub target: PathBuf,
    /// Whether it is writable.
    pub writable: bool,
}

/// A directory of the host that was made for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedDir {
    /// Path on the host, relative to the current directory.
    pub path: PathBuf,
    /// Device and inode number: it is not mounted if another directory is there.
    pub identity: (u64, u64),
}

/// An empty writable directory of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path in the job.
    pub target: PathBuf,
    /// Maximum size in bytes; default half of the memory.
    pub size: Option<u64>,
}

/// User and group ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ids {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// Limits of a job's resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Memory, with files on tmpfs, in bytes. With cgroup v2 none of it is swapped out; with cgroup v1 the limit includes swap.
    pub memory: Option<u64>,
    /// Processor time, in thousandths of one processor.
    pub cpu: Option<u32>,
    /// Processes and threads at a time.
    pub pids: Option<u32>,
}

impl Limits {
    /// Whether no resource is limited.
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
    /// Path on the host.
    #[serde(serialize_with = "lossy")]
    pub host: PathBuf,
    /// Path below the job's `/dev`.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
}

/// Serializes a path with U+FFFD for bytes that are not UTF-8: a plan is for display only.
pub(super) fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}
