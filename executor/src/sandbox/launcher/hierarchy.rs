//! Hierarchies of control groups: where they are mounted, and the launcher's groups in them.

use crate::{fs::split::split, sandbox::setup::seal::unescape};
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The content of `/proc/self/cgroup`; empty if it cannot be read.
pub(super) fn own_groups() -> Vec<u8> {
    fs::read("/proc/self/cgroup").unwrap_or_default()
}

/// The controllers of each hierarchy in `own`, separated by `,` and none for cgroup v2, and the launcher's group in it:
/// cgroups(7).
pub(super) fn groups(own: &[u8]) -> impl Iterator<Item = (&str, &Path)> {
    split(own, b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |&byte| byte == b':').skip(1);
        let names = std::str::from_utf8(fields.next()?).ok()?;
        Some((names, Path::new(OsStr::from_bytes(fields.next()?))))
    })
}

/// The root and the mount point of each mount whose file system `is_it` accepts, by its type and its options.
pub(super) fn mounts(
    table: &[u8],
    is_it: impl Fn(&[u8], &[u8]) -> bool,
) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    split(table, b'\n').filter_map(move |line| {
        let mut fields = split(line, b' ').skip(3);
        let (top, point) = (fields.next()?, fields.next()?);
        let mut last = fields.skip_while(|field| *field != b"-");
        let (kind, options) = (last.nth(1)?, last.nth(1)?);
        is_it(kind, options).then(|| (unescape(top), unescape(point)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-B25: beside mounts that users made and named.
    #[test]
    fn mounts_of_a_type_and_with_an_option() {
        let table = b"41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                      41 31 0:38 /a\\040b /x shared:1 master:2 - cgroup2 none rw\n41 31\n\
                      42 31 0:39 / /sys/fs/cgroup/pids rw - cgroup cgroup2 rw,pids\n\
                      43 31 0:40 / /home/\xff rw - fuse.cgroup2 cgroup2 rw,user_id=7\n\
                      44 31 0:38 /\xff /y rw - cgroup2 - rw\n";
        let found = |name: &[u8], option: &[u8]| {
            let is_it = |kind: &[u8], options: &[u8]| {
                kind == name && split(options, b',').any(|it| it == option)
            };
            mounts(table, is_it).collect::<Vec<_>>()
        };
        let odd = PathBuf::from(OsStr::from_bytes(b"/\xff"));
        let v2 = [("/", "/sys/fs/cgroup"), ("/a b", "/x")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(found(b"cgroup2", b"rw"), [&v2[..], &[(odd, "/y".into())]].concat());
        assert_eq!(found(b"cgroup", b"pids"), [("/".into(), "/sys/fs/cgroup/pids".into())]);
        assert_eq!(found(b"cgroup", b"memory"), []);
    }

    /// SEC-B25: a group whose name is not UTF-8.
    #[test]
    fn groups_of_any_name() {
        let own = b"2:cpu,cpuacct:/b:c\n1:name=systemd:/\n0::/u/\xff\n";
        let odd = Path::new(OsStr::from_bytes(b"/u/\xff"));
        let want =
            [("cpu,cpuacct", Path::new("/b:c")), ("name=systemd", Path::new("/")), ("", odd)];
        assert_eq!(groups(own).collect::<Vec<_>>(), want);
    }
}
