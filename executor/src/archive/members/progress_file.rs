//! The progress of an installation, for other processes that use its files meanwhile.
//!
//! A file of `2n + 1` bytes for the `n` members of the index, private to the user: whether each member is written
//! (1) or not (0), by the process that installs, which holds an exclusive flock(2); whether a read waits for it, by the
//! others; and its [`Phase`]. Each byte is written by one side alone, so no update is lost. Not mapped: what another
//! process cuts off would be SIGBUS.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering, fence};
use std::thread::sleep;
use std::time::Duration;

/// Attempts to lock the file, and the pause between two.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// State of the download. The number is the byte in the file; a larger one counts as the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It continues.
    Fetching = 0,
    /// The network is down.
    Away = 1,
    /// It is for so long that reads fail.
    GivenUp = 2,
    /// It has failed.
    Failed = 3,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct ProgressFile {
    file: File,
    members: usize,
}

impl ProgressFile {
    /// Fills the empty `file` of an installation of so many `members` by this process.
    ///
    /// # Errors
    /// That of write(2).
    pub(crate) fn new(file: File, members: usize) -> io::Result<Self> {
        file.write_all_at(&vec![0; 2 * members + 1], 0)?;
        Ok(Self { file, members })
    }

    /// Declares that this process installs the version, and that others may use it.
    pub(crate) fn lock(&self) {
        // Other processes hold it for a moment to see whether it is in use. Without it they wait for the installation.
        for _ in 0..TRIES {
            let done = flock(&self.file, FlockOperation::NonBlockingLockExclusive);
            if done != Err(Errno::WOULDBLOCK) {
                break;
            }
            sleep(PAUSE);
        }
    }

    /// Whether another process works on the installation of `file`.
    pub(crate) fn is_in_use(file: &File) -> bool {
        flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    /// The file of another process's installation of so many `members`; `None` if it is not one.
    pub(crate) fn open(file: File, members: usize) -> Option<Self> {
        let length = file.metadata().ok()?.len();
        (length == 2 * members as u64 + 1).then_some(Self { file, members })
    }

    /// Makes it that of an installation by this process, after the other one has ended.
    pub(super) fn take_over(&self) {
        self.lock();
        self.set_phase(Phase::Fetching);
    }

    /// For each member, whether it is written.
    pub(super) fn written(&self) -> Vec<u8> {
        self.read(0..self.members)
    }

    /// Whether all of these members are written.
    pub(super) fn are_written(&self, members: Range<usize>) -> bool {
        self.read(members).iter().all(|byte| *byte != 0)
    }

    /// Records that these members are written.
    pub(super) fn set_written(&self, members: Range<usize>) {
        self.write(members);
    }

    /// For each member, whether a read of another process waits for it, or has.
    pub(super) fn asked(&self) -> Vec<u8> {
        self.read(self.members..2 * self.members)
    }

    /// Requests these members.
    pub(super) fn ask(&self, members: Range<usize>) {
        let bytes = self.members + members.start..self.members + members.end;
        if self.read(bytes.clone()).contains(&0) {
            self.write(bytes);
        }
    }

    /// Records the state of the download.
    pub(super) fn set_phase(&self, phase: Phase) {
        // At worst, reads of other processes wait for longer.
        _ = self.file.write_all_at(&[phase as u8], 2 * self.members as u64);
    }

    /// The state of the download.
    pub(super) fn phase(&self) -> Phase {
        match self.read(2 * self.members..2 * self.members + 1)[0] {
            0 => Phase::Fetching,
            1 => Phase::Away,
            2 => Phase::GivenUp,
            _ => Phase::Failed,
        }
    }

    /// These bytes; 0 where there are none.
    fn read(&self, bytes: Range<usize>) -> Vec<u8> {
        let mut found = vec![0; bytes.len()];
        _ = self.file.read_exact_at(&mut found, bytes.start as u64);
        // What was written before is seen by what is read after this.
        fence(Ordering::SeqCst);
        found
    }

    /// Sets these bytes.
    fn write(&self, bytes: Range<usize>) {
        fence(Ordering::SeqCst);
        // Fails on a full disk that copies on write: the others wait for the end of the installation.
        _ = self.file.write_all_at(&vec![1; bytes.len()], bytes.start as u64);
    }
}
