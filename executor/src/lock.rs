//! One process at a time changes a version, or asks a registry.

use crate::error::Error;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a waiting process looks again.
const POLL: Duration = Duration::from_millis(50);

/// A held lock: a file that says who holds it, removed when it is released.
///
/// The kernel releases it when its holder dies, however that happens.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    name: String,
    file: File,
}

impl Lock {
    /// Takes the lock at `path`, waiting up to `timeout` seconds.
    ///
    /// # Errors
    /// [`Error::Busy`] with the holder's process id, [`Error::File`].
    pub fn wait(path: &Path, name: &str, timeout: u64) -> Result<Self, Error> {
        let start = Instant::now();
        let timeout = Duration::from_secs(timeout);
        loop {
            if let Some(lock) = Self::try_now(path, name)? {
                return Ok(lock);
            }
            let waited = start.elapsed();
            if waited >= timeout {
                return Err(Error::Busy { what: name.to_owned(), holder: holder(path), waited });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Takes the lock at `path` if nobody holds it.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be made.
    pub fn try_now(path: &Path, name: &str) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))
            .map_err(Error::file("open", path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            done => done.map_err(Error::file("lock", path))?,
        }
        let file = File::from(file);
        // Whoever held it before has removed the file: the lock of a file without name locks nothing.
        let metadata = file.metadata().map_err(Error::file("stat", path))?;
        if metadata.nlink() == 0 {
            return Ok(None);
        }
        let mut lock = Self { path: path.to_owned(), name: name.to_owned(), file };
        lock.file.set_len(0).map_err(Error::file("write", path))?;
        writeln!(lock.file, "{}", std::process::id()).map_err(Error::file("write", path))?;
        Ok(Some(lock))
    }

    /// What is locked: `NAME-VERSION`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays locks nothing once it is closed.
        _ = std::fs::remove_file(&self.path);
    }
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(32).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_waiting_ends() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("demo-1.0.0");
        let held = Lock::wait(&path, "demo-1.0.0", 0).unwrap();
        assert!(Lock::try_now(&path, "demo-1.0.0").unwrap().is_none());
        let error = Lock::wait(&path, "demo-1.0.0", 0).unwrap_err().to_string();
        let holder = format!("demo-1.0.0 is being changed by process {}", std::process::id());
        assert!(error.starts_with(&holder), "{error}");
        drop(held);
        assert!(!path.exists());
        drop(Lock::wait(&path, "demo-1.0.0", 0).unwrap());
    }
}
