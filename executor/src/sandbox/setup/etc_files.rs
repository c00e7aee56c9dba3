//! `/etc/passwd`, `/etc/group`, `/etc/hosts` and `/etc/resolv.conf` of a job.
//!
//! They are written to the root's tmpfs and mounted over those of the runtime. In directories that only
//! the job has, they are written without a mount. Where the runtime has a read-only directory without
//! such a file, its programs do not read one, and none is added.

use super::{
    copy::check_file,
    failure::Failure,
    layer,
    mount_calls::{self, here},
    mounts::{RootFs, open_again},
    seal,
};
use crate::fs::beneath::{self, Create, Escape};
use crate::sandbox::{
    plan::{job::Ids, step::Origin},
    sys::{NODEV, NOEXEC, NOSUID, RDONLY},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{FileType, Mode, OFlags, fchmod, fstat, openat},
    io::Errno,
};
use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

/// Maximum number of bytes taken over from a runtime's file.
const MOST: u64 = 1 << 20;

/// Puts the lines of `user` and `group` before those of the runtime's `passwd` and `group`.
pub(crate) fn show_accounts(
    rootfs: &RootFs,
    ids: Ids,
    (user, group): (&str, &str),
    home: &[u8],
) -> Result<(), Failure> {
    let Ids { uid, gid } = ids;
    let mut line = format!("{user}:x:{uid}:{gid}:{user}:").into_bytes();
    line.extend(home);
    line.extend(b":/bin/sh\n");
    show(rootfs, "/etc/passwd", |old| with_account(&line, (user, uid), old))?;
    let line = format!("{group}:x:{gid}:\n").into_bytes();
    show(rootfs, "/etc/group", |old| with_account(&line, (group, gid), old))
}

/// `line`, followed by the lines of `old` with another name and another number.
fn with_account(line: &[u8], (name, number): (&str, u32), old: &[u8]) -> Vec<u8> {
    let number = number.to_string();
    let others = old.split_inclusive(|&byte| byte == b'\n').filter(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        fields.next() != Some(name.as_bytes()) && fields.nth(1) != Some(number.as_bytes())
    });
    [line].into_iter().chain(others).collect::<Vec<_>>().concat()
}

/// Adds the job's host `name` to the runtime's `hosts`.
pub(crate) fn show_hosts(rootfs: &RootFs, name: &str) -> Result<(), Failure> {
    show(rootfs, "/etc/hosts", |old| with_host(name, old))
}

fn with_host(name: &str, old: &[u8]) -> Vec<u8> {
    let local = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    let mut text = if old.trim_ascii().is_empty() { local.to_vec() } else { old.to_vec() };
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    // A name that would break the line's syntax is not added.
    if !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        text.extend(format!("127.0.0.1\t{name}\n").bytes());
    }
    text
}

/// Replaces the runtime's file `path` by the result of `make`, which gets its content.
fn show(
    rootfs: &RootFs,
    path: &'static str,
    make: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Result<(), Failure> {
    // The job never sees this name: it is unlinked when the root is sealed. Until then it is needed, since
    // the kernel refuses to mount an unlinked file elsewhere.
    let name = path.rsplit('/').next().unwrap_or(path);
    let path = Path::new(path);
    let write = |file: OwnedFd, text: &[u8]| {
        let done = File::from(file).write_all(text);
        done.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    let mode = Mode::from_raw_mode(0o644);
    let found = match beneath::open(rootfs.root.as_fd(), path, Escape::Clamp, Create::Nothing) {
        Err(Errno::NOENT) => {
            // A directory that only the job has, or one that cannot hold a mount point; usually the runtime's.
            let parent = path.parent().unwrap_or(path);
            let parent = beneath::open(rootfs.root.as_fd(), parent, Escape::Clamp, Create::Nothing);
            if parent.is_ok_and(|parent| rootfs.is_own(parent.as_fd()) == Ok(false)) {
                return Ok(());
            }
            let Ok(new) = rootfs.own_target(path, true) else { return Ok(()) };
            let file = open_again(rootfs, new.as_fd(), OFlags::WRONLY)?;
            fchmod(&file, mode)?;
            return Ok(write(file, &make(b""))?);
        }
        Err(_) => return Ok(()), // a loop of symlinks, a path below a file: unreadable for programs too
        Ok(found) => found,
    };
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile
        || rootfs.is_proc(found.as_fd())?
    {
        return Ok(());
    }
    let mut old = Vec::with_capacity(1 << 12);
    // A file that this user may not read is replaced as if it were empty. Without O_NONBLOCK another user, as its owner, could
    // delay the start by a lease.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    if let Ok(file) = open_again(rootfs, found.as_fd(), flags) {
        let read = File::from(file).take(MOST).read_to_end(&mut old);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&rootfs.root, rootfs.temporary_name(name), flags, mode)?;
    let tree = mount_calls::clone_tree(file.as_fd(), false)?;
    write(file, &make(&old))?;
    let flags = RDONLY | NOSUID | NODEV | NOEXEC;
    seal::attach_sealed(&rootfs.proc, &tree, here(&found), flags, false)
}

/// Mounts the host's file `path` at the same path. Without one on the host, the runtime's stays.
pub(crate) fn show_host_file(rootfs: &RootFs, path: &Path) -> Result<(), Failure> {
    let source = match rootfs.open_origin(&Origin::Host(path.into())) {
        Err(Errno::NOENT) => return Ok(()),
        source => source?,
    };
    check_file(source.as_fd())?;
    match rootfs.bind_open((&source, false), path, false) {
        // The runtime lacks the directory, and it cannot be added: programs run without the file.
        Err(failure) if failure.errno == 0 || layer::is_refused(&failure) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_the_first_of_its_name_and_number() {
        for (old, want) in [
            ("", "me:x:7:7\n"),
            ("root:x:0:0\n", "me:x:7:7\nroot:x:0:0\n"),
            ("me:x:1:1\nyou:x:7:7\nroot:x:0:0", "me:x:7:7\nroot:x:0:0"),
            ("me2:x:70:7\n\n# 7\n", "me:x:7:7\nme2:x:70:7\n\n# 7\n"),
        ] {
            let text = with_account(b"me:x:7:7\n", ("me", 7), old.as_bytes());
            assert_eq!(String::from_utf8(text).unwrap(), want, "{old}");
        }
    }

    #[test]
    fn a_host_has_one_line_more() {
        for (name, old, want) in [
            ("h", "127.0.0.1 localhost", "127.0.0.1 localhost\n127.0.0.1\th\n"),
            ("a b", "127.0.0.1 localhost\n", "127.0.0.1 localhost\n"),
            ("a\nb", "1.2.3.4 x\n", "1.2.3.4 x\n"),
        ] {
            assert_eq!(String::from_utf8(with_host(name, old.as_bytes())).unwrap(), want, "{name}");
        }
        let made = String::from_utf8(with_host("h", b"\n")).unwrap();
        assert!(made.contains("::1\tlocalhost") && made.ends_with("127.0.0.1\th\n"), "{made}");
    }
}
