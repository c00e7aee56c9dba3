//! One step of a sandbox: plain data, comparable and printable.

use super::host::Groups;
use super::job::{Device, Ids, Limits, lossy};
use serde::{Serialize, Serializer};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    os::fd::RawFd,
    path::PathBuf,
};

/// Where something that is mounted comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "from", content = "path")]
pub enum Origin {
    /// A path inside the runtime's directory, never out of it.
    Runtime(PathBuf),
    /// A path of the host.
    Host(#[serde(serialize_with = "lossy")] PathBuf),
    /// The caller's current directory.
    Cwd,
}

/// One thing to do on the way from the launcher to the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// A control group of its own, with these limits.
    Limit(Limits),
    /// New namespaces: mount, PID, UTS and cgroup, and these.
    Namespaces {
        /// A user namespace, for a caller without privileges.
        user: bool,
        /// A network namespace.
        network: bool,
        /// An IPC namespace.
        ipc: bool,
    },
    /// Users of the new user namespace: one, and no way to set groups.
    MapIds {
        /// In the namespace.
        inside: Ids,
        /// The caller.
        outside: Ids,
    },
    /// From here no mount is seen outside, and none from outside is seen.
    PrivateMounts,
    /// The host name.
    Hostname {
        /// The name.
        name: String,
    },
    /// An empty tmpfs over `/`, which becomes the job's root.
    Root {
        /// How much it may hold, in bytes; half of the memory if not given.
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// A fresh `/proc`, without what leaks.
    Proc {
        /// Whether the job's user owns the settings of the kernel: then they become read-only.
        protect: bool,
    },
    /// A fresh `/dev`.
    Dev {
        /// Whether nodes are made, or those of the host mounted.
        make_nodes: bool,
        /// Devices of the host that a job sees beside those.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        more: Vec<Device>,
        /// Whether `/dev/shm` is the host's.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        shm: bool,
    },
    /// A read-only `/sys` with processors, memory and the job's own control groups.
    Sys {
        /// Which control groups it has.
        groups: Groups,
        /// Whether it shows the host's network interfaces.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        network: bool,
    },
    /// The runtime's files by FUSE, from a process that fetches them.
    Serve {
        /// Whose they are.
        owner: Ids,
    },
    /// An empty writable directory.
    Tmpfs {
        /// Where.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Permission bits.
        mode: u32,
        /// How much it may hold, in bytes.
        size: Option<u64>,
        /// Whose it is.
        owner: Ids,
    },
    /// A file or directory of elsewhere.
    Bind {
        /// What.
        source: Origin,
        /// Where.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Whether the job may change it.
        writable: bool,
    },
    /// A directory of elsewhere, with changes that only this job sees.
    Overlay {
        /// The read-only lower layer.
        source: Origin,
        /// Where.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Whose it is.
        owner: Ids,
    },
    /// A copy of a file of the host.
    Copy {
        /// Which.
        #[serde(serialize_with = "lossy")]
        source: PathBuf,
        /// Where.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Whose it is.
        owner: Ids,
    },
    /// Directories that every program may expect, where the runtime has none.
    Directories {
        /// Whose those are that can be written to.
        owner: Ids,
    },
    /// The names of the job's user and group, for programs that look them up.
    Account {
        /// Whose.
        ids: Ids,
        /// Name of the user.
        user: String,
        /// Name of the group.
        group: String,
        /// The user's home directory.
        #[serde(serialize_with = "lossy")]
        home: PathBuf,
    },
    /// The address of the job's host name: its own.
    Hosts {
        /// The name.
        name: String,
    },
    /// A file by which the host finds others.
    Names {
        /// The file, here and there.
        path: &'static str,
    },
    /// Nothing more can be made in the root.
    SealRoot,
    /// The root becomes `/`; the host's is gone.
    EnterRoot,
    /// The directory that the job starts in.
    Workdir {
        /// The directory.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Standard input, output and error that are not the caller's.
    StandardFiles,
    /// A session and a process group of its own, without a terminal.
    Session,
    /// A terminal of the job's own, for what is the caller's terminal.
    Terminal {
        /// Whose it is.
        owner: Ids,
    },
    /// The network namespace, with its loopback interface up.
    Network,
    /// Only standard input, output and error stay open, and what the caller leaves to the job.
    CloseFiles {
        /// That.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        kept: Vec<RawFd>,
    },
    /// No capability, no way to any, no keyring.
    DropPrivileges {
        /// Whom the job runs as, where that is not settled by the user namespace.
        user: Option<Ids>,
    },
    /// The filter of system calls.
    Seccomp,
    /// A child goes on from here; this process is its init: it forwards signals and reaps zombies.
    Init,
    /// The job itself.
    Exec {
        /// Command and arguments.
        #[serde(serialize_with = "lossy_list")]
        argv: Vec<OsString>,
        /// All of its environment.
        #[serde(serialize_with = "lossy_map")]
        env: BTreeMap<OsString, OsString>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(path) => write!(f, "{} of the runtime", path.display()),
            Self::Host(path) => write!(f, "{}", path.display()),
            Self::Cwd => f.write_str("the current directory"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limits) => write!(f, "limit to {limits}"),
            Self::Namespaces { user, network, ipc } => {
                let ipc = if *ipc { " ipc" } else { "" };
                let user = if *user { " user" } else { "" };
                let network = if *network { " network" } else { "" };
                write!(f, "make namespaces: mount pid{ipc} uts cgroup{network}{user}")
            }
            Self::MapIds { inside, outside } => write!(
                f,
                "map user {}:{} to {}:{}",
                outside.uid, outside.gid, inside.uid, inside.gid
            ),
            Self::PrivateMounts => f.write_str("make all mounts private"),
            Self::Hostname { name } => write!(f, "set the host name {name}"),
            Self::Root { size } => {
                f.write_str("mount an empty root")?;
                size.map_or(Ok(()), |size| write!(f, " of {size} bytes"))
            }
            Self::Proc { protect: true } => f.write_str("mount /proc, kernel settings read-only"),
            Self::Proc { protect: false } => f.write_str("mount /proc"),
            Self::Dev { make_nodes, more, shm } => {
                let nodes = if *make_nodes { "new nodes" } else { "the host's nodes" };
                write!(f, "mount /dev with {nodes}")?;
                more.iter().try_for_each(|device| write!(f, ", {}", device.path.display()))?;
                f.write_str(if *shm { ", the host's shm" } else { "" })
            }
            Self::Sys { network, .. } => {
                let more = if *network { ", the host's network interfaces" } else { "" };
                write!(f, "mount /sys with processors, memory and control groups{more}")
            }
            Self::Serve { .. } => f.write_str("mount the runtime, whose files are served"),
            Self::Tmpfs { target, mode, size, .. } => {
                write!(f, "mount an empty {} (mode {mode:o}", target.display())?;
                size.map_or(Ok(()), |size| write!(f, ", {size} bytes"))?;
                f.write_str(")")
            }
            Self::Bind { source, target, writable } => {
                let how = if *writable { "writable" } else { "read-only" };
                write!(f, "mount {source} on {} {how}", target.display())
            }
            Self::Overlay { source, target, .. } => {
                write!(f, "mount a private copy of {source} on {}", target.display())
            }
            Self::Copy { source, target, .. } => {
                write!(f, "copy {} to {}", source.display(), target.display())
            }
            Self::Directories { .. } => f.write_str("make /run, /var/tmp, /home and such"),
            Self::Account { user, group, .. } => {
                write!(f, "name the user {user}, the group {group}")
            }
            Self::Hosts { name } => write!(f, "give {name} an address"),
            Self::Names { path } => write!(f, "show the host's {path}"),
            Self::SealRoot => f.write_str("make the root read-only"),
            Self::EnterRoot => f.write_str("enter the root and detach the host's"),
            Self::Workdir { path } => write!(f, "change to {}", path.display()),
            Self::StandardFiles => f.write_str("replace the standard files by the job's own"),
            Self::Session => f.write_str("begin a session"),
            Self::Terminal { .. } => f.write_str("open a terminal of the job's own"),
            Self::Network => f.write_str("enter a network with a loopback interface"),
            Self::CloseFiles { kept } => {
                f.write_str("close files 3 and up")?;
                kept.iter().try_for_each(|fd| write!(f, ", but not {fd}"))
            }
            Self::DropPrivileges { user: Some(ids) } => {
                write!(f, "drop all privileges as {}:{}", ids.uid, ids.gid)
            }
            Self::DropPrivileges { user: None } => f.write_str("drop all privileges"),
            Self::Seccomp => f.write_str("filter system calls"),
            Self::Init => f.write_str("stay as the parent of what follows"),
            Self::Exec { argv, .. } => {
                f.write_str("execute")?;
                argv.iter().try_for_each(|word| write!(f, " {}", word.to_string_lossy()))
            }
        }
    }
}

fn lossy_list<S: Serializer>(list: &[OsString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(list.iter().map(|word| word.to_string_lossy()))
}

fn lossy_map<S: Serializer>(env: &BTreeMap<OsString, OsString>, to: S) -> Result<S::Ok, S::Error> {
    let text = |word: &OsStr| word.to_string_lossy().into_owned();
    to.collect_map(env.iter().map(|(name, value)| (text(name), text(value))))
}
