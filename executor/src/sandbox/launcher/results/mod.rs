//! Files that a job has left in its private `/work`: the child sends the directory before it becomes the job,
//! and the launcher reads it after the last process that could change it has ended.
//!
//! All names and files are untrusted: links are not followed, opening does not block, and a copy replaces
//! only what has its name below the target directory.

mod copy;
mod visit;

use self::{
    copy::Copying,
    visit::{Place, Target, Visit, visit},
};
use super::signals::Signals;
use crate::sandbox::setup::fd_passing::receive;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Access, AtFlags, CWD, Mode, OFlags, Stat, accessat, fchmod, fstat, openat},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};
use std::{
    ffi::{CStr, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Depth of directories that are visited.
const DEEPEST: u32 = 256;

/// How directories are opened: links are not followed.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The socket pair by which the child sends the directory.
pub(crate) struct Expected {
    near: OwnedFd,
    /// For the child.
    pub far: OwnedFd,
}

/// A directory that a finished job has left.
#[derive(Debug)]
pub struct Results {
    /// The job's changes.
    layer: OwnedFd,
    /// The layer over the previous content, as the job saw it.
    work: OwnedFd,
    covered: Vec<Covered>,
    /// A signal that would end the launcher stops the copy instead.
    signals: Option<Signals>,
}

/// A directory over which another one was mounted while the job ran.
#[derive(Debug)]
struct Covered {
    /// The covered directory.
    point: OwnedFd,
    /// The job's changes there.
    layer: OwnedFd,
}

/// Number of files and other objects that a job has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Files that the job made or changed.
    pub files: u64,
    /// Links and special files.
    pub others: u64,
}

impl Expected {
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self { near, far })
    }

    /// The directory, if the child has sent it.
    pub(crate) fn take(self, signals: Signals) -> Option<Results> {
        let [layer, work] = receive(self.near.as_fd())?;
        let covered = std::iter::from_fn(|| receive(self.near.as_fd()))
            .map(|[point, layer]| Covered { point, layer })
            .collect();
        Some(Results { layer, work, covered, signals: Some(signals) })
    }
}

/// A file that was copied for the job: not a result unless the job has changed it.
#[derive(Debug)]
pub struct Given<'a> {
    /// Its name in the directory.
    pub name: &'a OsStr,
    /// Its length in bytes, and its modification time in seconds and nanoseconds.
    pub state: (i64, i64, i64),
}

impl Given<'_> {
    fn is(&self, name: &CStr, stat: &Stat) -> bool {
        let state = (stat.st_size, stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        name.to_bytes() == self.name.as_bytes() && state == self.state
    }
}

impl Results {
    /// Opens the directory `to` for the results of a job; it is made if it is missing.
    ///
    /// # Errors
    /// If it cannot be made, or this process may not make files in it.
    pub fn prepare(to: &Path) -> io::Result<OwnedFd> {
        std::fs::create_dir_all(to)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let to = openat(CWD, to, flags, Mode::empty())?;
        accessat(&to, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
        Ok(to)
    }

    /// Counts the results, without unchanged files of `given`.
    pub fn count(&self, given: &[Given<'_>]) -> Found {
        let mut found = Found::default();
        // An unreadable directory is not worth a message.
        _ = visit(&self.whole(given), None, &mut found);
        found
    }

    /// Copies the results to the directory `to`, without unchanged files of `given`, and not into directories of the
    /// identities `protected`. Continues after failures.
    ///
    /// # Errors
    /// If something cannot be read or written; the first such file is named.
    pub fn copy(
        &self,
        to: &OwnedFd,
        given: &[Given<'_>],
        protected: &[(u64, u64)],
    ) -> io::Result<Found> {
        let mut found = Found::default();
        let mut copying = Copying::new(to.as_fd(), self.signals.as_ref());
        copying.protected = protected;
        let target = Target { directory: to.as_fd(), copying: &mut copying };
        visit(&self.whole(given), Some(target), &mut found)?;
        copying.failed.map_or(Ok(found), Err)
    }

    /// The whole directory, made accessible to its user.
    fn whole<'a>(&'a self, given: &'a [Given<'a>]) -> Visit<'a> {
        if let Ok(stat) = fstat(&self.layer)
            && stat.st_mode & 0o500 != 0o500
        {
            // If this fails, opening it reports the reason.
            _ = fchmod(&self.work, Mode::RUSR | Mode::XUSR);
        }
        let from = Place { layer: self.layer.as_fd(), work: Some(self.work.as_fd()) };
        Visit { from, covered: &self.covered, given, depth: DEEPEST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{SeekFrom, seek};
    use std::{fs::File, io::Write, os::unix::fs::MetadataExt};

    #[test]
    fn hard_links_of_a_file_are_copied_as_hard_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(from.path().join("d/e")).unwrap();
        std::fs::write(from.path().join("d/e/first"), "new").unwrap();
        for name in ["second", "d/third"] {
            std::fs::hard_link(from.path().join("d/e/first"), from.path().join(name)).unwrap();
        }
        std::fs::write(from.path().join("alone"), "new").unwrap();
        std::fs::write(to.path().join("second"), "old").unwrap();
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        let (layer, work) = (open(from.path()), open(from.path()));
        let results = Results { layer, work, covered: Vec::new(), signals: None };
        let found = results.copy(&open(to.path()), &[], &[]).unwrap();
        assert_eq!(found, Found { files: 4, others: 0 });
        let seen = |name| {
            let file = to.path().join(name);
            (std::fs::read_to_string(&file).unwrap(), file.metadata().unwrap().nlink())
        };
        for name in ["d/e/first", "second", "d/third"] {
            assert_eq!(seen(name), ("new".to_owned(), 3), "{name}");
        }
        assert_eq!(seen("alone").1, 1);
    }

    #[test]
    fn a_signal_stops_the_copy_and_leaves_the_old_file() {
        use nix::sys::signal::{Signal::SIGTERM, raise};
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, text) in [(&from, "new"), (&to, "old")] {
            std::fs::write(directory.path().join("file"), text).unwrap();
        }
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        let signals = Signals::block().unwrap();
        raise(SIGTERM).unwrap();
        let (layer, work) = (open(from.path()), open(from.path()));
        let results = Results { layer, work, covered: Vec::new(), signals: Some(signals) };
        let error = results.copy(&open(to.path()), &[], &[]).unwrap_err();
        assert_eq!(error.to_string(), "file: stopped by a signal");
        assert_eq!(std::fs::read_to_string(to.path().join("file")).unwrap(), "old");
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 1);
        // The signal has been received: it does not end this process when the mask is restored.
        drop(results);
    }

    #[test]
    fn holes_are_copied_as_holes() {
        const MIB: u64 = 1 << 20;
        let directory = File::open("/").unwrap();
        for (data, length) in [(vec![], 0), (vec![], 4096 * MIB), (vec![0, 700 * MIB], 800 * MIB)] {
            let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            for at in &data {
                seek(&from, SeekFrom::Start(*at)).unwrap();
                from.write_all(b"data").unwrap();
            }
            from.set_len(length).unwrap();
            let mut copying = Copying::new(directory.as_fd(), None);
            copying.copy_data(&mut from, &mut to).unwrap();
            assert_eq!(to.metadata().unwrap().len(), length);
            assert!(to.metadata().unwrap().blocks() < 1000);
            for at in &data {
                let mut bytes = [0; 4];
                std::os::unix::fs::FileExt::read_exact_at(&to, &mut bytes, *at).unwrap();
                assert_eq!(&bytes, b"data");
            }
        }
    }
}
