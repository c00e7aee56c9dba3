//! Copies of files, which replace their targets only when they are complete.

use super::{DIRECTORY, Signals};
use rustix::{
    fd::BorrowedFd,
    fs::{AtFlags, Mode, OFlags, SeekFrom, Stat, fchmod, linkat, openat, renameat, seek, unlinkat},
    io::Errno,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
};

/// Bytes that are copied between two checks for a signal.
const PIECE: u64 = 64 << 20;

/// State of the copy of a directory.
pub(super) struct Copying<'a> {
    /// The target directory.
    root: BorrowedFd<'a>,
    /// Device and inode number of directories that nothing is copied into.
    pub protected: &'a [(u64, u64)],
    /// Path of the current directory below `root`.
    pub path: Vec<CString>,
    /// By device and inode number of a file with several names, the path of its copy below `root`. Its other names
    /// become hard links, since a job can give one file so many names that their copies fill a disk.
    copies: HashMap<(u64, u64), Vec<CString>>,
    /// See [`Results`](super::Results).
    signals: Option<&'a Signals>,
    stopped: bool,
    /// The first failure, with the path.
    pub failed: Option<io::Error>,
}

impl<'a> Copying<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, signals: Option<&'a Signals>) -> Self {
        let (path, copies) = (Vec::new(), HashMap::new());
        Self { root, protected: &[], path, copies, signals, stopped: false, failed: None }
    }

    /// Fails after a signal that would have ended the launcher.
    pub(super) fn check_signals(&mut self) -> io::Result<()> {
        while let Some((signal, _)) = self.signals.and_then(|all| all.queue.read().ok().flatten()) {
            if signal.is_ending() {
                self.stopped = true;
            }
        }
        if self.stopped {
            return Err(io::Error::other("stopped by a signal"));
        }
        Ok(())
    }

    /// Copies the regular file `source` to `name` in `to`, which keeps the old file until the new one is complete.
    pub(super) fn copy_file(
        &mut self,
        source: &mut File,
        (to, name): (BorrowedFd<'_>, &CStr),
        mode: Mode,
    ) -> io::Result<()> {
        let part = format!(".joblet-exec-{}", std::process::id());
        // Left by a killed launcher.
        _ = unlinkat(to, &part, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut copy = File::from(openat(to, &part, flags, Mode::from_raw_mode(0o600))?);
        let done = self
            .copy_data(source, &mut copy)
            .and_then(|()| Ok(fchmod(&copy, mode)?))
            .and_then(|()| Ok(renameat(to, &part, to, name)?));
        if done.is_err() {
            _ = unlinkat(to, &part, AtFlags::empty());
        }
        done
    }

    /// Copies the content of a file, with its holes, which take no space.
    pub(super) fn copy_data(&mut self, from: &mut File, to: &mut File) -> io::Result<()> {
        let length = from.metadata()?.len();
        let mut end = 0;
        loop {
            let start = match seek(&*from, SeekFrom::Data(end)) {
                Ok(start) => start,
                // Only a hole follows.
                Err(Errno::NXIO) => return to.set_len(length),
                Err(errno) => return Err(errno.into()),
            };
            end = seek(&*from, SeekFrom::Hole(start))?.min(start + PIECE);
            seek(&*from, SeekFrom::Start(start))?;
            seek(&*to, SeekFrom::Start(start))?;
            io::copy(&mut from.take(end - start), to)?;
            self.check_signals()?;
        }
    }

    /// Records that `name` could not be copied.
    pub(super) fn fail(&mut self, name: &CStr, error: &io::Error) {
        let path = self.path.iter().map(CString::as_c_str).chain([name]);
        let path: Vec<_> = path.map(CStr::to_string_lossy).collect();
        let error = || io::Error::other(format!("{}: {error}", path.join("/")));
        self.failed.get_or_insert_with(error);
    }

    /// Makes `name` in `to` a hard link to the copy of the file with this `stat`. Returns `false` if there is no copy;
    /// `name` is then recorded as the copy.
    pub(super) fn link(
        &mut self,
        stat: &Stat,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(copy) = self.copies.get(&(stat.st_dev, stat.st_ino)) else {
            let path = self.path.iter().cloned().chain([name.to_owned()]).collect();
            self.copies.insert((stat.st_dev, stat.st_ino), path);
            return Ok(false);
        };
        let (last, parents) = copy.split_last().ok_or(Errno::INVAL)?;
        let mut directory = openat(self.root, ".", DIRECTORY, Mode::empty())?;
        for parent in parents {
            directory = openat(&directory, parent, DIRECTORY, Mode::empty())?;
        }
        match unlinkat(to, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        match linkat(&directory, last, to, name, AtFlags::empty()) {
            // A file system without hard links, or a file that has too many.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        }
    }
}
