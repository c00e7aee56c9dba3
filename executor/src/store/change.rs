//! How a version appears, is replaced and disappears: whole, whatever happens in between.

use super::{Installed, Kept, Receipt, Store, WORK, hold};
use crate::error::Error;
use crate::lock::Lock;
use crate::tree::close;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Dir, Mode, OFlags, RenameFlags, open};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In a staging directory: a runtime that is being replaced where two cannot be exchanged at once.
const ASIDE: &str = ".old";
/// How long a download that broke off is kept.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Store {
    /// An empty directory to prepare the locked version in, and a descriptor of it.
    ///
    /// # Errors
    /// [`Error::File`] when the store cannot be written.
    pub fn stage(&self, lock: &Lock) -> Result<(Staging, OwnedFd), Error> {
        let path = self.work("staging")?.join(lock.name());
        remove_tree(&path)?;
        fs::create_dir(&path).map_err(Error::file("create", &path))?;
        let staging = Staging { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&staging.path, flags, Mode::empty())
            .map_err(Error::file("open", &staging.path))?;
        Ok((staging, directory))
    }

    /// Where archives arrive, each under the name of its checksum.
    ///
    /// # Errors
    /// [`Error::File`] when the store cannot be written.
    pub fn downloads(&self) -> Result<PathBuf, Error> {
        self.work("downloads")
    }

    /// Makes `prepared`, a directory inside `staging`, the runtime of `receipt`.
    ///
    /// All of it is on the disk before it gets its name, and nothing is ever replaced.
    ///
    /// # Errors
    /// [`Error::File`]; the version is then not installed.
    pub fn publish(
        &self,
        staging: Staging,
        prepared: &Path,
        receipt: &Receipt,
        (kind, content): (Kept, &[u8]),
    ) -> Result<PathBuf, Error> {
        let target = self.directory(&receipt.name, &receipt.version);
        let directory = receipt.name.directory(&receipt.version);
        let receipts = self.work("receipts")?.join(format!("{directory}.json"));
        let text = serde_json::to_vec_pretty(receipt).expect("a receipt is plain JSON");
        let kept = receipts.with_extension(kind.extension());
        // One of an earlier installation would speak of other files.
        let done = remove_file(&receipts.with_extension(kind.other().extension()))
            .and_then(|()| write(&receipts, &text))
            .and_then(|()| write(&kept, content))
            .and_then(|()| sync_all(&staging.path))
            .and_then(|()| rename_new(prepared, &target))
            .and_then(|()| self.settle(prepared, &target));
        if done.is_err() && !target.exists() {
            // What stays is never read alone.
            _ = fs::remove_file(kept);
            _ = fs::remove_file(receipts);
        }
        drop(staging);
        done.map(|()| target)
    }

    /// Makes sure that a runtime was moved from `from` to `to`, or moves it back.
    fn settle(&self, from: &Path, to: &Path) -> Result<(), Error> {
        sync_directory(&self.root).inspect_err(|_| {
            // Where it stays if even that fails, it is whole.
            _ = fs::rename(to, from);
        })
    }

    /// Puts `prepared`, a directory inside `staging`, in the place of an installed runtime.
    ///
    /// There is a complete one under its name at any moment, where the file system can exchange.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::File`]; the runtime is then as it was.
    pub fn replace(
        &self,
        staging: &Staging,
        prepared: &Path,
        runtime: &Installed,
    ) -> Result<(), Error> {
        let _alone = hold::alone(&runtime.path)?;
        sync_all(&staging.path)?;
        match rustix::fs::renameat_with(CWD, prepared, CWD, &runtime.path, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                let aside = staging.path.join(ASIDE);
                fs::rename(&runtime.path, aside).map_err(Error::file("replace", &runtime.path))?;
                fs::rename(prepared, &runtime.path)
                    .map_err(Error::file("replace", &runtime.path))?;
            }
            done => done.map_err(Error::file("replace", &runtime.path))?,
        }
        sync_directory(&self.root)
    }

    /// Removes a version that no job uses: at once from its name, then from the disk.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Busy`], [`Error::File`]; [`Error::NotFound`] when the directory is not in this store.
    pub fn remove(&self, runtime: &Installed) -> Result<(), Error> {
        let name = runtime.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if runtime.path.parent() != Some(self.root.as_path()) || name.is_empty() {
            return Err(Error::NotFound(format!(
                "{} is in {}, which is not changed; use --store to name that store",
                runtime.name,
                runtime.path.parent().unwrap_or(Path::new("/")).display()
            )));
        }
        let lock = Lock::wait(&self.work("locks")?.join(name), name, self.lock_timeout)?;
        let alone = hold::alone(&runtime.path)?;
        let (staging, _) = self.stage(&lock)?;
        let aside = staging.path.join(name);
        match fs::rename(&runtime.path, &aside) {
            // A directory of an overlay's lower layer has to stay: an image that brings runtimes.
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                // Without this file it is no runtime, whatever else is left of it.
                remove_file(&runtime.path.join("runtime.yml"))?;
                drop(alone);
                remove_tree(&runtime.path)?;
            }
            done => {
                done.map_err(Error::file("remove", &runtime.path))?;
                // Whoever finds it from now on sees that it is not where it was.
                drop(alone);
                self.settle(&runtime.path, &aside)?;
            }
        }
        let receipt = self.work("receipts")?.join(format!("{name}.json"));
        // What is missing is as good as removed, and what stays is never read alone.
        for kind in [Kept::Index, Kept::Files] {
            _ = fs::remove_file(receipt.with_extension(kind.extension()));
        }
        _ = fs::remove_file(receipt);
        remove_tree(&staging.path)
    }

    /// Removes what processes that died have left in the store. Best effort: what cannot be removed
    /// now is tried again by the next command.
    pub fn clean(&self) {
        let work = self.root.join(WORK);
        if !work.exists() || self.work("locks").is_err() {
            return;
        }
        clean_downloads(&work.join("downloads"));
        for part in ["staging", "locks", "receipts"] {
            let Ok(entries) = fs::read_dir(work.join(part)) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let name = if part == "receipts" { path.file_stem() } else { path.file_name() };
                let Some(name) = name.and_then(|name| name.to_str()) else { continue };
                let runtime = self.root.join(name);
                let whole = || runtime.join("runtime.yml").symlink_metadata().is_ok();
                if part == "receipts" && whole() {
                    continue;
                }
                let lock = work.join("locks").join(name);
                let Ok(Some(_lock)) = Lock::try_now(&lock, name) else { continue };
                if part == "staging" {
                    // Replaced by a process that died before the new one had the name.
                    _ = rename_new(&path.join(ASIDE), &runtime);
                    _ = remove_tree(&path);
                } else if part == "receipts" && !whole() {
                    // What a removal in place has left.
                    _ = remove_tree(&runtime);
                    _ = fs::remove_file(&path);
                }
            }
        }
    }

    /// As [`Store::clean`], for a command that must not lose time: one look says whether there is
    /// anything to do.
    pub fn clean_if_needed(&self) {
        // Who dies leaves its lock: that is removed last.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let locks = open(self.root.join(WORK).join("locks"), flags, Mode::empty());
        let mut names = locks.and_then(Dir::new).into_iter().flatten().flatten();
        if names.any(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
            self.clean();
        }
    }
}

/// Removes downloads that nobody has gone on with for a week, and what is none.
fn clean_downloads(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().into_encoded_bytes();
        let digest = name.get(..64).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let age = entry.metadata().and_then(|it| it.modified()).map(|time| time.elapsed());
        if !digest || age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT_FOR)) {
            _ = fs::remove_file(entry.path());
        }
    }
}

/// A directory below `.joblet/staging` that is removed when it is no longer needed.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by the next command.
        _ = remove_tree(&self.path);
    }
}

/// Renames a directory to a name that nothing has yet.
fn rename_new(from: &Path, to: &Path) -> Result<(), Error> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without that flag: rename(2) replaces no directory that has entries, and
        // the lock keeps other processes of ours away.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to).map_err(Error::file("rename", to)),
        done => done.map_err(Error::file("rename", to)),
    }
}

/// Writes a file whose name nobody looks for yet.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let file = File::create(path).map_err(Error::file("write", path))?;
    (&file).write_all(bytes).map_err(Error::file("write", path))?;
    close(file).map_err(Error::file("write", path))
}

/// Everything on the file system of `path` is on the disk then.
fn sync_all(path: &Path) -> Result<(), Error> {
    let opened = File::open(path).map_err(Error::file("open", path))?;
    rustix::fs::syncfs(&opened).map_err(Error::file("sync", path))
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = File::open(path).map_err(Error::file("open", path))?;
    directory.sync_all().map_err(Error::file("sync", path))
}

/// Removes a directory and what is in it, never through a link; none is fine.
fn remove_tree(path: &Path) -> Result<(), Error> {
    gone(path, fs::remove_dir_all(path))
}

/// Removes a file; none is fine.
fn remove_file(path: &Path) -> Result<(), Error> {
    gone(path, fs::remove_file(path))
}

fn gone(path: &Path, removed: std::io::Result<()>) -> Result<(), Error> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
