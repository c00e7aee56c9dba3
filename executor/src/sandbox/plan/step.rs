//! One step of a plan: plain data, comparable and printable.

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

/// The source of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "from", content = "path")]
pub enum Origin {
    /// A path in the runtime's directory; symlinks cannot leave it.
    Runtime(PathBuf),
    /// A path of the host.
    Host(#[serde(serialize_with = "lossy")] PathBuf),
    /// A path of the host at which this directory must still be: its device and inode number.
    #[serde(rename = "made")]
    CreatedDir(#[serde(serialize_with = "lossy")] PathBuf, #[serde(skip)] (u64, u64)),
    /// The caller's current directory.
    Cwd,
}

/// One step between the launcher and the job.
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
    /// The mapping of the new user namespace: one user and one group; setgroups(2) is denied.
    MapIds {
        /// IDs in the namespace.
        inside: Ids,
        /// IDs outside: the caller's.
        outside: Ids,
    },
    /// All mounts become private: mount events propagate neither out nor in.
    PrivateMounts,
    /// The host name.
    Hostname {
        /// The name.
        name: String,
    },
    /// An empty tmpfs mounted over `/`, which becomes the job's root.
    Root {
        /// Maximum size in bytes; default half of the memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// A new `/proc`, with files that expose the host masked.
    Proc {
        /// Whether the job's user is the host's root: then sysctls become read-only.
        protect: bool,
    },
    /// A new `/dev`.
    Dev {
        /// Whether device nodes are created, or the host's mounted.
        make_nodes: bool,
        /// Further devices of the host.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        more: Vec<Device>,
        /// Whether `/dev/shm` is the host's.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        shm: bool,
    },
    /// A read-only `/sys` with processors, memory and the job's own control groups.
    Sys {
        /// The control groups that it shows.
        groups: Groups,
        /// Whether it shows the host's network interfaces.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        network: bool,
    },
    /// The FUSE mount of the runtime, served by a process that fetches its files.
    Serve {
        /// Owner of the files.
        owner: Ids,
    },
    /// An empty writable directory.
    Tmpfs {
        /// Mount point.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Maximum size in bytes.
        size: Option<u64>,
        /// Owner.
        owner: Ids,
    },
    /// A bind mount.
    Bind {
        /// The file or directory.
        source: Origin,
        /// Mount point.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Whether it is writable.
        writable: bool,
    },
    /// A private copy of a directory: an overlay, or a mirror.
    Overlay {
        /// The read-only lower layer.
        source: Origin,
        /// Mount point.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Owner.
        owner: Ids,
    },
    /// A copy of a file of the host.
    Copy {
        /// Path on the host.
        #[serde(serialize_with = "lossy")]
        source: PathBuf,
        /// Path of the copy.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner.
        owner: Ids,
    },
    /// Standard directories that the runtime lacks: `/run`, `/var/tmp`, `/home` and others.
    Directories {
        /// Owner of the writable ones.
        owner: Ids,
    },
    /// The job's user and group in `/etc/passwd` and `/etc/group`.
    Account {
        /// User and group ID.
        ids: Ids,
        /// Name of the user.
        user: String,
        /// Name of the group.
        group: String,
        /// The user's home directory.
        #[serde(serialize_with = "lossy")]
        home: PathBuf,
    },
    /// The job's host name in `/etc/hosts`, with a loopback address.
    Hosts {
        /// The name.
        name: String,
    },
    /// A file of the host's resolver.
    #[serde(rename = "names")]
    ResolverFile {
        /// Its path, on the host and in the job.
        path: &'static str,
    },
    /// The root becomes read-only.
    SealRoot,
    /// The root becomes `/`; the host's root is unmounted.
    EnterRoot,
    /// The directory that the job starts in.
    Workdir {
        /// The directory.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Replacements of the caller's standard input, output and error.
    StandardFiles,
    /// A session and a process group of its own, without a terminal.
    Session,
    /// A terminal of the job's own, in place of the caller's.
    Terminal {
        /// Owner.
        owner: Ids,
    },
    /// The network namespace, with its loopback interface up.
    Network,
    /// Every descriptor is closed except standard input, output and error and `kept`.
    CloseFiles {
        /// Descriptors that the job inherits.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        kept: Vec<RawFd>,
    },
    /// Capabilities and the caller's keyring are dropped, irrevocably.
    DropPrivileges {
        /// User to change to, if there is no user namespace.
        user: Option<Ids>,
    },
    /// The filter of system calls.
    Seccomp,
    /// This process becomes an init, which forwards signals and reaps zombies; its child continues.
    Init,
    /// The job's program is executed.
    Exec {
        /// Command and arguments.
        #[serde(serialize_with = "lossy_list")]
        argv: Vec<OsString>,
        /// Its environment.
        #[serde(serialize_with = "lossy_map")]
        env: BTreeMap<OsString, OsString>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(path) => write!(f, "{} of the runtime", path.display()),
            Self::Host(path) | Self::CreatedDir(path, _) => write!(f, "{}", path.display()),
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
            Self::Directories { .. } => f.write_str("create missing /run, /var/tmp, /home …"),
            Self::Account { user, group, .. } => {
                write!(f, "add user {user} and group {group} to /etc/passwd and /etc/group")
            }
            Self::Hosts { name } => write!(f, "add {name} to /etc/hosts"),
            Self::ResolverFile { path } => write!(f, "show the host's {path}"),
            Self::SealRoot => f.write_str("make the root read-only"),
            Self::EnterRoot => f.write_str("enter the root and detach the host's"),
            Self::Workdir { path } => write!(f, "change to {}", path.display()),
            Self::StandardFiles => f.write_str("replace standard input, output and error"),
            Self::Session => f.write_str("start a session"),
            Self::Terminal { .. } => f.write_str("open a terminal of the job's own"),
            Self::Network => f.write_str("enter a network namespace with a loopback interface"),
            Self::CloseFiles { kept } => {
                f.write_str("close descriptors from 3 on")?;
                kept.iter().enumerate().try_for_each(|(index, fd)| {
                    write!(f, "{}{fd}", if index == 0 { " except " } else { ", " })
                })
            }
            Self::DropPrivileges { user: Some(ids) } => {
                write!(f, "drop all privileges as {}:{}", ids.uid, ids.gid)
            }
            Self::DropPrivileges { user: None } => f.write_str("drop all privileges"),
            Self::Seccomp => f.write_str("filter system calls"),
            Self::Init => f.write_str("run an init as PID 1"),
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
