//! Atomic publication, replacement and removal of a version.

use super::clean::ASIDE;
use super::directories::Subdirectory;
use super::{Installed, Kept, Receipt, Store, YANKED, in_use, unique_name};
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::Lock;
use rustix::fs::syncfs;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Name of `runtime.yml` in a runtime that is removed in place, where it cannot be renamed.
const HIDDEN: &str = ".runtime.yml";

impl Store {
    /// Creates an empty staging directory for the locked version.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`] when the store cannot be written.
    pub(crate) fn stage(&self, lock: &Lock) -> Result<Staging, Error> {
        let around = self.subdirectory(Subdirectory::Staging)?;
        let name = unique_name::make(&around, lock.name())?;
        match around.enter(&name) {
            Ok(Some(directory)) => Ok(Staging { around, name, directory, kept: false }),
            other => {
                // What cannot be removed now is tried again by the next command.
                _ = around.remove_tree(&name);
                let gone = |_| Error::file("open", around.path_of(&name))(Errno::NOENT);
                Err(other.map_or_else(|error| error, gone))
            }
        }
    }

    /// The directory of downloads, each named by its checksum.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`] when the store cannot be written.
    pub(crate) fn downloads(&self) -> Result<Directory, Error> {
        self.subdirectory(Subdirectory::Downloads)
    }

    /// Publishes `prepared` as the runtime of `receipt`. Returns its directory, and whether it is new.
    ///
    /// Everything is synced before the rename, and nothing is ever replaced.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`]; the version is then not installed.
    pub(crate) fn publish(
        &self,
        prepared: &Prepared<'_>,
        receipt: &Receipt,
        (kind, content): (Kept, &[u8]),
    ) -> Result<(PathBuf, bool), Error> {
        let (own, receipts) =
            (self.open_or_create_root()?, self.subdirectory(Subdirectory::Receipts)?);
        let name = receipt.name.directory(&receipt.version);
        let target = own.path_of(&name);
        let there = || own.has(&format!("{name}/runtime.yml"));
        if there() {
            return Ok((target, false));
        }
        let file = |kind: &str| format!("{name}.{kind}");
        let text = serde_json::to_vec_pretty(receipt).expect("a receipt is plain JSON");
        let done = || {
            // A receipt of an earlier installation would describe other files.
            receipts.remove_file(&file(kind.counterpart().extension()))?;
            prepared.staging.put(&text, &receipts, &file("json"))?;
            prepared.staging.put(content, &receipts, &file(kind.extension()))?;
            prepared.sync()?;
            let new = match prepared.around().rename_new(prepared.name(), own, &name) {
                // Without shared locks, another process may have been first.
                Err(Errno::EXIST | Errno::NOTEMPTY) if there() => false,
                done => done.map(|()| true).map_err(Error::file("rename", &target))?,
            };
            own.sync().inspect_err(|_| {
                // If that fails, too, it stays, complete.
                _ = own.rename_new(&name, prepared.around(), prepared.name());
            })?;
            Ok(new)
        };
        let done = done();
        if done.is_err() && !there() {
            // What stays is never read alone.
            _ = receipts.remove_file(&file(kind.extension()));
            _ = receipts.remove_file(&file("json"));
        }
        done.map(|new| (target, new))
    }

    /// Replaces an installed runtime by `prepared`. Returns the processes that use the old one.
    ///
    /// Where the file system supports exchange, the name refers to a complete runtime at all times.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`]; the runtime is then as it was.
    pub(crate) fn replace(
        &self,
        prepared: &Prepared<'_>,
        runtime: &Installed,
    ) -> Result<Option<String>, Error> {
        let (own, name) = self.place_in_own_store(runtime)?;
        let (staging, removed) =
            (self.subdirectory(Subdirectory::Staging)?, self.subdirectory(Subdirectory::Removed)?);
        prepared.sync()?;
        let failed = || Error::file::<Errno>("replace", &runtime.path);
        let exchange = || prepared.around().exchange(prepared.name(), own, name);
        let aside = match exchange() {
            Err(Errno::INVAL | Errno::NOSYS) => {
                let claimed = unique_name::make(&staging, name)?;
                let aside = format!("{claimed}/{ASIDE}");
                let replaced = own
                    .rename(name, &staging, &aside)
                    .and_then(|()| prepared.around().rename(prepared.name(), own, name));
                replaced.map_err(failed())?;
                own.sync()?;
                let aside = unique_name::remove(&staging, &aside, &removed, name);
                let aside = aside.map_err(failed())?;
                // Empty; if it cannot be removed, a later cleanup does.
                _ = staging.remove_tree(&claimed);
                aside
            }
            done => {
                done.map_err(failed())?;
                let moved = || {
                    unique_name::remove(prepared.around(), prepared.name(), &removed, name)
                        .map_err(failed())
                };
                own.sync().and_then(|()| moved()).inspect_err(|_| {
                    // Jobs may use it: it is moved out of staging, which is deleted.
                    _ = exchange();
                })?
            }
        };
        self.discard(&removed, &aside)
    }

    /// Removes a version: renames it at once, then deletes its files. If processes use it, they are returned,
    /// and a later command deletes the files.
    ///
    /// # Errors
    /// [`Error::InUse`] where it cannot be moved away, [`Error::Busy`], [`Error::Untrusted`],
    /// [`Error::File`]; [`Error::NotFound`] when the directory is not in this store.
    pub(crate) fn remove(&self, runtime: &Installed) -> Result<Option<String>, Error> {
        let (own, name) = self.place_in_own_store(runtime)?;
        let _lock = Lock::wait(&self.open_or_create_work()?, name, self.lock_timeout)?;
        let (removed, receipts) =
            (self.subdirectory(Subdirectory::Removed)?, self.subdirectory(Subdirectory::Receipts)?);
        let aside = match unique_name::remove(own, name, &removed, name) {
            // EXDEV for a directory of an overlay's lower layer: a container image that contains runtimes.
            Err(Errno::XDEV) => {
                self.remove_in_place(own, name)?;
                None
            }
            done => {
                let aside = done.map_err(Error::file("remove", &runtime.path))?;
                own.sync().inspect_err(|_| {
                    // If that fails, too, it stays, complete.
                    _ = removed.rename_new(&aside, own, name);
                })?;
                Some(aside)
            }
        };
        for kind in ["json", YANKED, Kept::Index.extension(), Kept::Files.extension()] {
            // What stays is never read alone.
            _ = receipts.remove_file(&format!("{name}.{kind}"));
        }
        aside.map_or(Ok(None), |aside| self.discard(&removed, &aside))
    }

    /// The store directory of `runtime` and its name in it, if it is the writable store.
    fn place_in_own_store<'r>(
        &self,
        runtime: &'r Installed,
    ) -> Result<(&Directory, &'r str), Error> {
        let name = runtime.path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if runtime.path.ancestors().nth(2) == Some(self.root.as_path()) {
            return Err(Error::NotFound(format!(
                "{} was installed by Joblet; remove it with `rnx runtime remove`",
                runtime.path.display()
            )));
        }
        if runtime.path.parent() != Some(self.root.as_path()) || name.is_empty() {
            return Err(Error::NotFound(format!(
                "{} is in {}, which is only read; name that store with --store to change it",
                runtime.name,
                runtime.path.parent().unwrap_or(Path::new("/")).display()
            )));
        }
        Ok((self.open_or_create_root()?, name))
    }

    /// Deletes the runtime `name` in `removed`, unless processes use it, which are returned.
    fn discard(&self, removed: &Directory, name: &str) -> Result<Option<String>, Error> {
        match in_use::users(removed, name, in_use::Named::Uniquely, self.kept) {
            None => removed.remove_tree(name).map(|()| None),
            users => Ok(users),
        }
    }

    /// Removes a runtime that cannot be renamed. Without its `runtime.yml` no new job starts in it; running
    /// jobs are detected.
    fn remove_in_place(&self, own: &Directory, name: &str) -> Result<(), Error> {
        let Some(directory) = own.enter(name)? else { return Ok(()) };
        let failed = || Error::file::<Errno>("remove", own.path_of(name));
        directory.rename("runtime.yml", &directory, HIDDEN).map_err(failed())?;
        match in_use::users(own, name, in_use::Named::InPlace, self.kept) {
            None => own.remove_tree(name),
            Some(holders) => {
                directory.rename(HIDDEN, &directory, "runtime.yml").map_err(failed())?;
                Err(Error::InUse { what: name.to_owned(), holders })
            }
        }
    }
}

/// A directory below `.joblet/staging`, removed on drop.
#[derive(Debug)]
pub(crate) struct Staging {
    around: Directory,
    name: String,
    directory: Directory,
    /// Whether it is not removed: another process works on it.
    kept: bool,
}

impl Staging {
    /// The directory `name` in `around`, which another process works on.
    pub(super) fn of_other(around: Directory, name: String, directory: Directory) -> Self {
        Self { around, name, directory, kept: true }
    }

    /// The directory.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its parent directory, and its name in it.
    pub(super) fn place(&self) -> (&Directory, &str) {
        (&self.around, &self.name)
    }

    /// Removes it before it is dropped.
    pub(super) fn clear(&self) {
        // What cannot be removed now is tried again by the next command.
        _ = self.around.remove_tree(&self.name);
    }

    /// A free name for one temporary file beside it: its parent directory and the name.
    pub(crate) fn beside(&self) -> (&Directory, String) {
        (&self.around, format!("{}.tmp", self.name))
    }

    /// The runtime in it: the directory itself, or its subdirectory `child`.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`].
    pub(crate) fn prepared(&self, child: Option<String>) -> Result<Prepared<'_>, Error> {
        let name = child.as_deref().unwrap_or(".");
        let directory = self.directory.enter(name)?;
        let gone = || Error::file("open", self.directory.path_of(name))(Errno::NOENT);
        Ok(Prepared { directory: directory.ok_or_else(gone)?, staging: self, child })
    }

    /// Writes the file `name` in `there` atomically.
    fn put(&self, bytes: &[u8], there: &Directory, name: &str) -> Result<(), Error> {
        let (around, file) = self.beside();
        let put = around.write(&file, bytes).and_then(|()| {
            let named = around.rename(&file, there, name);
            named.map_err(Error::file("write", there.path_of(name)))
        });
        put.inspect_err(|_| {
            // What cannot be removed now is tried again by the next command.
            _ = around.remove_file(&file);
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            self.clear();
        }
    }
}

/// A runtime in a staging directory.
#[derive(Debug)]
pub(crate) struct Prepared<'s> {
    /// Its directory.
    pub directory: Directory,
    staging: &'s Staging,
    child: Option<String>,
}

impl Prepared<'_> {
    fn around(&self) -> &Directory {
        if self.child.is_some() { &self.staging.directory } else { &self.staging.around }
    }

    fn name(&self) -> &str {
        self.child.as_deref().unwrap_or(&self.staging.name)
    }

    /// Writes its whole file system to the disk (syncfs(2)).
    fn sync(&self) -> Result<(), Error> {
        syncfs(&self.directory).map_err(Error::file("sync", self.directory.path()))
    }
}
