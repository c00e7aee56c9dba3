//! Locks: one process at a time changes a version or requests a registry's document.
//!
//! Correctness does not depend on them: a version is prepared under a unique name, and rename(2) decides
//! which process was first. A lock only avoids duplicate work. So where a file system has no locks, or
//! does not share them between machines, data may be fetched twice, and nothing is lost.
//!
//! All locks of a directory are in one permanent file: if a holder removed its lock file, each waiter
//! would have to open it again, and NFS, which caches names, could return the removed one. A lock is an
//! open file description lock (fcntl_locking(2)) on a range of bytes: the kernel releases it when its
//! holder ends, network file systems propagate it to other machines, which they do not do for flock(2),
//! and it works between threads that opened the file separately. The file has mode 0600, so that no other
//! user can open it and hold a lock in it.

use super::directory::Directory;
use super::trust::{is_ours, untrusted};
use crate::env::weaken;
use crate::error::Error;
use nix::errno::Errno as NixErrno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The file's name in its directory.
pub(crate) const FILE: &str = "lock";
/// Interval at which a waiting process tries again.
const POLL: Duration = Duration::from_millis(50);
/// Length of a holder's record in the file, in bytes.
///
/// It is `PID HOST` and a newline; anything after the newline is left from an earlier holder. Only this
/// program reads it, and only to name the holder in messages.
const RECORD: usize = 64;

/// A held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    name: String,
    /// Closing it releases the lock; `None` where the file system has no locks.
    file: Option<File>,
}

impl Lock {
    /// Takes the lock called `name` in `directory`, waiting up to `timeout` seconds.
    ///
    /// # Errors
    /// [`Error::Busy`] with the holder, [`Error::Untrusted`], [`Error::File`].
    pub(crate) fn wait(directory: &Directory, name: &str, timeout: u64) -> Result<Self, Error> {
        let start = Instant::now();
        let timeout = Duration::from_secs(timeout);
        loop {
            if let Some(lock) = Self::try_now(directory, name)? {
                return Ok(lock);
            }
            let waited = start.elapsed();
            if waited >= timeout {
                let holder = holder(directory, name);
                return Err(Error::Busy { what: name.to_owned(), holder, waited });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Takes the lock called `name` in `directory` if it is free.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when the file is not this program's lock file, [`Error::File`].
    pub(crate) fn try_now(directory: &Directory, name: &str) -> Result<Option<Self>, Error> {
        let file = open(directory)?;
        let at = offset(name);
        let range = libc::flock {
            l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
            l_start: i64::try_from(at).unwrap_or_default(),
            l_len: i64::try_from(RECORD).unwrap_or_default(),
            l_pid: 0,
        };
        let name = name.to_owned();
        if weaken::without("locks") {
            return Ok(Some(Self { name, file: None }));
        }
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => {}
            Err(NixErrno::EAGAIN | NixErrno::EACCES) => return Ok(None),
            // The file system has no such locks: see above.
            Err(NixErrno::ENOLCK | NixErrno::ENOSYS | NixErrno::EOPNOTSUPP | NixErrno::EINVAL) => {
                return Ok(Some(Self { name, file: None }));
            }
            Err(errno) => {
                let errno = Errno::from_raw_os_error(errno as i32);
                return Err(Error::file("lock", directory.path_of(FILE))(errno));
            }
        }
        let record = format!("{} {}\n", std::process::id(), host());
        // Best effort, for example on a full disk: it only names the holder in messages.
        _ = file.write_all_at(record.as_bytes(), at);
        Ok(Some(Self { name, file: Some(file) }))
    }

    /// The same lock once more: it is released when both are dropped.
    ///
    /// # Errors
    /// As dup(2).
    pub(crate) fn again(&self) -> std::io::Result<Self> {
        let file = self.file.as_ref().map(File::try_clone).transpose()?;
        Ok(Self { name: self.name.clone(), file })
    }

    /// Its name, such as `NAME-VERSION`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the lock is effective: false where the file system has no locks.
    pub(crate) fn holds(&self) -> bool {
        self.file.is_some()
    }
}

/// Opens the lock file of `directory`, and creates it if it is missing.
fn open(directory: &Directory) -> Result<File, Error> {
    let path = directory.path_of(FILE);
    let odd = |what: &str| untrusted(&path, format!("{what}; move it away"));
    let file = match directory.open_file(FILE, OFlags::RDWR | OFlags::CREATE) {
        Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(odd("it is not a file")),
        file => file.map_err(Error::file("open", &path))?,
    };
    let stat = fstat(&file).map_err(Error::file("stat", &path))?;
    match wrong(&stat) {
        Some(what) => Err(odd(what)),
        None => Ok(file),
    }
}

/// Why a file is not one that this program created and no other user can open.
pub(crate) fn wrong(stat: &Stat) -> Option<&'static str> {
    if weaken::without("store-owners") {
        None
    } else if !FileType::from_raw_mode(stat.st_mode).is_file() {
        Some("it is not a file")
    } else if stat.st_nlink != 1 {
        Some("it has other names (hard links)")
    } else if !is_ours(stat) {
        Some("it belongs to another user")
    } else {
        (stat.st_mode & 0o077 != 0).then_some("others may open it")
    }
}

/// The offset of the lock `name` in the file, in bytes. Two names may share an offset: then one waits
/// for the other.
fn offset(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    u64::from(u16::from_be_bytes([digest[0], digest[1]]) & 0x3ff) * RECORD as u64
}

/// The host name of this machine.
pub(crate) fn host() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let mut name = name.to_string_lossy().into_owned();
    name.retain(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    name.truncate(24);
    name
}

/// The process that holds a lock: `PID`, or `PID on HOST`.
fn holder(directory: &Directory, name: &str) -> String {
    let mut record = [0; RECORD];
    let read = directory.open_file(FILE, OFlags::RDONLY).map(|file| {
        // The file is just being created.
        _ = file.read_at(&mut record, offset(name));
    });
    let text = read.ok().and_then(|()| std::str::from_utf8(&record).ok()).unwrap_or_default();
    match text.lines().next().and_then(|line| line.split_once(' ')) {
        Some((pid, there)) if there == host() => pid.to_owned(),
        Some((pid, there)) => format!("{pid} on {there}"),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn one_holder_at_a_time_and_waiting_ends() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::open(base.path()).unwrap();
        let wait = |name| Lock::wait(&directory, name, 0);
        let held = wait("demo-1.0.0").unwrap();
        assert!(held.holds());
        assert!(Lock::try_now(&directory, "demo-1.0.0").unwrap().is_none());
        let error = wait("demo-1.0.0").unwrap_err().to_string();
        let holder = format!("demo-1.0.0 is being changed by process {};", std::process::id());
        assert!(error.starts_with(&holder), "{error}");
        let other = wait("demo-1.1.0").unwrap();
        let again = held.again().unwrap();
        drop(held);
        assert!(Lock::try_now(&directory, "demo-1.0.0").unwrap().is_none());
        drop(again);
        drop((wait("demo-1.0.0").unwrap(), other));
        let mode = fs::metadata(base.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "no other user may open it");
    }

    /// SEC-E04: a lock that another user has made.
    #[test]
    fn other_objects_than_locks_are_refused_and_unchanged() {
        let base = tempfile::tempdir().unwrap();
        let (lock, other) = (base.path().join(FILE), base.path().join("other"));
        fs::write(&other, "content").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        let directory = Directory::open(base.path()).unwrap();
        let open_to_all = || {
            fs::copy(&other, &lock).unwrap();
            fs::set_permissions(&lock, Permissions::from_mode(0o604)).unwrap();
        };
        let foreign = || {
            fs::copy(&other, &lock).unwrap();
            std::os::unix::fs::chown(&lock, Some(65534), None).unwrap();
        };
        let root = rustix::process::geteuid().is_root();
        let cases: [(&dyn Fn(), &str, bool); 6] = [
            (&|| symlink(&other, &lock).unwrap(), "it is not a file", true),
            (&|| mkfifoat(CWD, &lock, Mode::RUSR | Mode::WUSR).unwrap(), "it is not a file", true),
            (&|| fs::create_dir(&lock).unwrap(), "it is not a file", true),
            (&|| fs::hard_link(&other, &lock).unwrap(), "it has other names", true),
            (&open_to_all, "others may open it", true),
            (&foreign, "it belongs to another user", root),
        ];
        for (make, reason, _) in cases.into_iter().filter(|case| case.2) {
            make();
            let error = Lock::try_now(&directory, "demo-1.0.0").unwrap_err().to_string();
            let want = format!("{} is refused: {reason}", lock.display());
            assert!(error.starts_with(&want), "{error}");
            assert_eq!(fs::read(&other).unwrap(), b"content");
            fs::remove_file(&lock).or_else(|_| fs::remove_dir(&lock)).unwrap();
        }
    }
}
