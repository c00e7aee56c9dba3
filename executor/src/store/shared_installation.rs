//! Joins the installation by another process, to use its files while they arrive.

use super::directories::Subdirectory;
use super::interrupted::MARK;
use super::{Staging, Store, unique_name};
use crate::archive::members::ProgressFile;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::wrong;
use joblet_format::index::Index;
use rustix::fs::{OFlags, fstat};
use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// In a staging directory, beside the mark: a [`ProgressFile`].
pub(super) const PROGRESS: &str = ".joblet-progress";
/// Interval at which it is looked for.
const POLL: Duration = Duration::from_millis(10);

/// An installation by this process or another one, whose files several processes may use.
#[derive(Debug)]
pub(super) struct SharedInstallation {
    pub(super) staging: Staging,
    /// Where it is shared with other processes, if it is.
    pub(super) progress: Option<ProgressFile>,
    pub(super) index: Index,
    /// The index as it was fetched.
    pub(super) packed: Vec<u8>,
    /// The version's own directory, if another process made it, which may move it into the store at any time.
    pub(super) tree: Option<Directory>,
}

impl Store {
    /// Joins the installation of `version` (`NAME-VERSION`) whose lock another process holds, as soon as its
    /// `runtime.yml` is written; `None` if that process does not share it, or has ended. `parse` checks its index.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`].
    pub(super) fn join(
        &self,
        version: &str,
        parse: impl Fn(&[u8]) -> Option<Index>,
    ) -> Result<Option<SharedInstallation>, Error> {
        let (begin, limit) = (Instant::now(), Duration::from_secs(self.lock_timeout));
        loop {
            match self.running(version, &parse) {
                ControlFlow::Break(found) => return Ok(found),
                ControlFlow::Continue(()) if begin.elapsed() >= limit => return Ok(None),
                ControlFlow::Continue(()) => sleep(POLL),
            }
            if self.try_lock(version)?.is_some() {
                return Ok(None);
            }
        }
    }

    /// Looks for the installation of `version` by another process; finds `None` if it is not shared.
    fn running(
        &self,
        version: &str,
        parse: impl Fn(&[u8]) -> Option<Index>,
    ) -> ControlFlow<Option<SharedInstallation>> {
        let staging =
            || self.open_own_work().ok()??.open_subdirectory(Subdirectory::Staging).ok()?;
        let Some(around) = staging() else { return ControlFlow::Continue(()) };
        let mut names = around.names().unwrap_or_default();
        names.retain(|name| unique_name::version(name) == version);
        for name in names {
            let Ok(Some(directory)) = around.enter(&name) else { continue };
            // The mark is made after the other file, if that is made.
            let marked = directory.has(MARK);
            let file = match directory.open_file(PROGRESS, OFlags::RDWR) {
                Ok(file) if ProgressFile::is_in_use(&file) => file,
                Err(_) if marked => return ControlFlow::Break(None),
                _ => continue,
            };
            // It is about to be installed.
            let Ok(Some(tree)) = directory.enter(version) else { continue };
            let private = fstat(&file).is_ok_and(|stat| wrong(&stat).is_none());
            let packed = directory.read(MARK).ok().filter(|_| private);
            let joined = packed.and_then(|packed| {
                let index = parse(&packed)?;
                let progress = Some(ProgressFile::open(file, index.members().len())?);
                let staging = Staging::of_other(around, name, directory);
                Some(SharedInstallation { staging, progress, index, packed, tree: Some(tree) })
            });
            return ControlFlow::Break(joined);
        }
        ControlFlow::Continue(())
    }

    /// Moves the directory that another process left or set aside back to staging. The caller holds the lock of `version`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was removed.
    pub(super) fn reclaim(&self, staging: &Staging, version: &str) -> Result<(), Error> {
        let (around, name) = staging.place();
        let own = staging.directory().stat()?;
        let is_there = || {
            let there = around.stat_entry(name);
            there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino))
        };
        if !is_there() {
            let work = self.open_own_work()?;
            let aside = work
                .map(|work| work.open_subdirectory(Subdirectory::Interrupted))
                .transpose()?
                .flatten();
            // Fails if it is not there either.
            _ = aside.map(|aside| aside.rename_new(version, around, name));
        }
        let gone = || Error::NotFound("the process that was installing it has failed".to_owned());
        is_there().then_some(()).ok_or_else(gone)
    }
}
