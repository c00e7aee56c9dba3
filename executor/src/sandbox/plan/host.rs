//! Properties of the host and the caller that a plan depends on.

use super::job::Ids;
use crate::env::Environment;
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs,
    io::Errno,
    process, thread,
};
use serde::Serialize;

/// Properties of the host and the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The caller.
    pub ids: Ids,
    /// Whether the caller can make namespaces without a user namespace.
    pub privileged: bool,
    /// Whether the caller's current directory can be a lower layer.
    pub cwd: Cwd,
    /// Name of the job's user.
    pub user: String,
    /// Name of the job's group.
    pub group: String,
    /// The caller's control groups.
    pub groups: Groups,
}

/// The control groups of a process, in hierarchies that limit resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// None.
    None,
    /// Version 2: one group.
    V2(Group),
    /// Version 1: a group in each hierarchy.
    V1(Vec<Group>),
}

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Controllers of the hierarchy of cgroup v1, separated by `,`; empty for cgroup v2.
    pub controllers: String,
    /// Its path below the root of the hierarchy, as in `/proc/self/cgroup`; empty for a group that does not exist
    /// yet.
    pub path: String,
}

impl Groups {
    /// The control groups of a job without limits, which are its caller's; none if those are the roots of
    /// cgroup v1. The root of cgroup v2 is recognized later, by its files.
    #[must_use]
    pub fn inherited(self) -> Self {
        match self {
            Self::V1(groups) if groups.iter().all(|group| group.path == "/") => Self::None,
            groups => groups,
        }
    }

    /// The control groups of a job with limits, which do not exist yet.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        match &mut self {
            Self::None => {}
            Self::V2(group) => group.path.clear(),
            Self::V1(groups) => groups.iter_mut().for_each(|group| group.path.clear()),
        }
        self
    }
}

/// Whether a current directory can be the lower layer of `/work`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cwd {
    /// Yes: it contains files.
    Files,
    /// No: it is `/`, or on a kernel file system such as `/proc` and `/sys`.
    Private,
}

impl Host {
    /// Inspects this process and its current directory, for a job that runs as `user`.
    pub(crate) fn observe(user: Option<Ids>) -> Self {
        let ids = Ids { uid: process::geteuid().as_raw(), gid: process::getegid().as_raw() };
        let admin = thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(thread::CapabilitySet::SYS_ADMIN));
        let of_job = user.unwrap_or(ids);
        let user = account("/etc/passwd", of_job.uid).or_else(|| caller(of_job.uid == ids.uid));
        let user = user.unwrap_or_else(|| "user".into());
        let group = account("/etc/group", of_job.gid).unwrap_or_else(|| user.clone());
        Self {
            ids,
            user,
            group,
            groups: groups(&std::fs::read("/proc/self/cgroup").unwrap_or_default()),
            privileged: ids.uid == 0 && admin,
            cwd: if cwd_is_private().unwrap_or(true) { Cwd::Private } else { Cwd::Files },
        }
    }
}

/// Controllers of cgroup v1 that programs read their limits from.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "cpuset"];

/// Reads `/proc/self/cgroup`, cgroups(7): lines of number, controllers and group.
fn groups(text: &[u8]) -> Groups {
    let text = String::from_utf8_lossy(text);
    let group = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some(Group { controllers: controllers.into(), path: path.into() })
    };
    let groups: Vec<_> = text.lines().filter_map(group).collect();
    let known = |names: &str| names.split(',').any(|name| CONTROLLERS.contains(&name));
    let (ones, others): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| known(&group.controllers));
    if ones.is_empty() {
        let two = others.into_iter().find(|group| group.controllers.is_empty());
        return two.map_or(Groups::None, Groups::V2);
    }
    Groups::V1(ones)
}

/// The name with this `number` in a file like `/etc/passwd`: `name:…:number:…`.
fn account(path: &str, number: u32) -> Option<String> {
    if number == 0 {
        return Some("root".into());
    }
    let text = std::fs::read(path).ok()?;
    let number = number.to_string();
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        (fields.nth(1)? == number.as_bytes()).then(|| is_name(name)).flatten()
    })
}

/// The caller's name from `USER` of its session, for hosts whose users are not in `/etc/passwd`; only if the
/// job's user `is_caller`.
fn caller(is_caller: bool) -> Option<String> {
    is_caller
        .then(|| Environment::user_names().find_map(|name| is_name(name.as_encoded_bytes())))?
}

/// `name` if it is valid in `/etc/passwd` and not `root`.
fn is_name(name: &[u8]) -> Option<String> {
    let good = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/' | b',');
    let ok = !name.is_empty() && name.len() <= 256 && name.iter().all(good) && name != b"root";
    ok.then(|| String::from_utf8_lossy(name).into_owned())
}

/// Kernel file systems, by their magic numbers (statfs(2)): proc, sysfs,
/// cgroup, cgroup2, debugfs, tracefs, securityfs, devpts, bpf, configfs, efivarfs, pstore,
/// selinux, smack, binfmt_misc, mqueue, rpc_pipefs, nfsd, fusectl, nsfs.
const KERNEL_VIEWS: [u32; 20] = [
    0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x1cd1,
    0xcafe_4a11, 0x6265_6570, 0xde5e_81e4, 0x6165_676c, 0xf97c_ff8c, 0x4341_5d53, 0x4249_4e4d,
    0x1980_0202, 0x6759_6969, 0x6e66_7364, 0x6573_5543, 0x6e73_6673,
];

/// Whether `file` is on a kernel file system.
pub(crate) fn is_kernel_view(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let magic = fs::fstatfs(file)?.f_type;
    Ok(KERNEL_VIEWS.iter().any(|view| i128::from(*view) == i128::from(magic)))
}

fn cwd_is_private() -> Result<bool, Errno> {
    let flags = fs::OFlags::PATH | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
    let (root, dir) = (fs::stat("/")?, fs::open(".", flags, fs::Mode::empty())?);
    let here = fs::fstat(&dir)?;
    Ok(is_kernel_view(dir.as_fd())? || (root.st_dev, root.st_ino) == (here.st_dev, here.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions() {
        let group = |controllers: &str, path: &str| Group {
            controllers: controllers.into(),
            path: path.into(),
        };
        for (text, want) in [
            ("", Groups::None),
            ("0::/\n", Groups::V2(group("", "/"))),
            ("0::/user.slice/x\n1:name=systemd:/\n", Groups::V2(group("", "/user.slice/x"))),
            (
                "3:memory:/\n2:cpu,cpuacct:/\n0::/a\n",
                Groups::V1(vec![group("memory", "/"), group("cpu,cpuacct", "/")]),
            ),
            (
                "3:memory:/a\n2:cpu,cpuacct:/\n1:name=x:/a\n",
                Groups::V1(vec![group("memory", "/a"), group("cpu,cpuacct", "/")]),
            ),
        ] {
            assert_eq!(groups(text.as_bytes()), want, "{text}");
            let top = text.starts_with("3:memory:/\n");
            assert_eq!(groups(text.as_bytes()).inherited(), if top { Groups::None } else { want });
        }
    }

    #[test]
    fn names_that_can_be_in_a_file() {
        for (name, good) in
            [("me", true), ("müller", false), ("", false), ("a:b", false), ("root", false)]
        {
            assert_eq!(is_name(name.as_bytes()).is_some(), good, "{name}");
        }
    }
}
