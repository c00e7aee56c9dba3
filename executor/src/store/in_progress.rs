//! Installation of a version that jobs use meanwhile (`run --lazy`).
//!
//! Its files arrive in its staging directory, in the order in which they are requested; when all of them are
//! there, it is an installation like any other. One process fetches them. Others join it: they read in its
//! [`ProgressFile`] which members are written, and one of them takes over if it ends early.

use super::install::{Work, choose, parts, place, receipt, same};
use super::shared_installation::{PROGRESS, SharedInstallation};
use super::{Installed, Receipt, Staging, Store, hold};
use crate::archive::members::{self, Follow, OnDemand, ProgressFile, Units};
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::kind;
use crate::fs::lock::Lock;
use crate::net::parts::Parts;
use crate::registry::Catalog;
use crate::thread;
use joblet_format::Spec;
use joblet_format::index::{Index, reads};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A version that is being installed, whose index is fetched.
#[derive(Debug)]
pub(crate) struct InProgress<'s> {
    store: &'s Store,
    /// Held until it is installed, so that others wait for it; `None` while another process installs it.
    lock: Mutex<Option<Lock>>,
    staging: Staging,
    /// Where it is shared with other processes, if it is.
    progress: Option<ProgressFile>,
    /// Its own directory, if another process began the installation.
    joined: Option<Directory>,
    /// The archive, and what of it is fetched at once.
    source: Source,
    index: Index,
    /// The index as it was fetched.
    packed: Vec<u8>,
    receipt: Receipt,
}

/// The files of an archive, and the units that are fetched of them.
type Source = (Parts, Units);

/// The state of an installation by another process.
#[derive(Debug)]
pub(crate) enum TakeOver {
    /// It continues.
    Busy,
    /// The version is installed, in this directory.
    Installed(OwnedFd),
    /// It ended early, and this process continues it.
    Own,
}

/// Why a version is not used while it is being installed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instead {
    /// It cannot be.
    Nothing(&'static str),
    /// Installing it first is faster, or fetches less.
    Installation(&'static str),
}

impl<'s> InProgress<'s> {
    /// Begins to install what `spec` means in `catalog`: fetches its index and makes its directories. Or returns why
    /// it has to be installed before it is used.
    ///
    /// # Errors
    /// As an installation.
    pub(crate) fn new(
        spec: &Spec,
        catalog: &Catalog,
        store: &'s Store,
        ui: &mut Ui<'_>,
    ) -> Result<Result<Self, Instead>, Error> {
        let choice = choose(spec, catalog, store.arch())?;
        let exact = spec.exactly(&choice.release.version);
        let Some(promise) = &choice.artifact.index else {
            return Ok(Err(Instead::Nothing("its archive has no index")));
        };
        let version = spec.name.directory(&choice.release.version);
        let lock = store.try_lock(&version)?;
        store.clean_holding(lock.as_ref())?;
        let source = parts(catalog, &choice, &exact)?;
        let receipt = receipt(spec, catalog, &choice, (source.to_string(), store.arch()));
        let (lock, source, joined) = match lock {
            None => {
                let parse = |packed: &[u8]| {
                    members::known_index(packed, promise, &choice.artifact, &version)
                };
                let Some(joined) = store.join(&version, parse)? else {
                    return Ok(Err(Instead::Installation("another process is installing it")));
                };
                ui.detail(&format!("{exact}: serving what another process is installing"));
                // If this process takes over, members are what the progress file lists.
                let units = Units::members(&joined.index);
                (None, (source, units), joined)
            }
            Some(lock) => {
                let work = Work { exact: &exact, choice: &choice, catalog, store, lock: &lock };
                match begin(&work, source)? {
                    Ok((source, joined)) => {
                        ui.detail(&format!("{exact}: serving {} on demand", receipt.url));
                        (Some(lock), source, joined)
                    }
                    Err(instead) => return Ok(Err(instead)),
                }
            }
        };
        let SharedInstallation { staging, progress, index, packed, tree: joined } = joined;
        let lock = Mutex::new(lock);
        Ok(Ok(Self { store, lock, staging, progress, joined, source, index, packed, receipt }))
    }

    /// Its index.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Its name and version.
    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.receipt.name, self.receipt.version)
    }

    /// The progress of the process that fetches it; `None` if this one does.
    pub(crate) fn follow(&self) -> Option<Follow<'_>> {
        let progress = self.progress.as_ref().filter(|_| self.joined.is_some());
        progress.map(|progress| Follow::new(&self.index, progress))
    }

    /// Declares that its `runtime.yml` is here: other processes may use it.
    pub(crate) fn share(&self) {
        if let Some(progress) = self.progress.as_ref().filter(|_| self.joined.is_none()) {
            progress.lock();
        }
    }

    /// Takes over the installation of another process, if that has ended early.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing is left of it; [`Error::Untrusted`], [`Error::File`].
    pub(crate) fn take_over(&self) -> Result<TakeOver, Error> {
        let (store, version) = (self.store, self.index.directory());
        let Some(lock) = store.try_lock(version)? else { return Ok(TakeOver::Busy) };
        let Receipt { name, version: number, checksum, .. } = &self.receipt;
        let (name, number) = (name.clone(), Some(number.clone()));
        let installed = Installed { name, version: number, path: store.root().join(version) };
        let same = |receipt: Receipt| receipt.checksum == *checksum;
        if store.receipt(&installed).is_some_and(same)
            && let Ok(root) = store.open(&installed)
        {
            hold(&root);
            return Ok(TakeOver::Installed(root));
        }
        store.reclaim(&self.staging, version)?;
        *self.lock() = Some(lock);
        Ok(TakeOver::Own)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes its directories, and begins to fetch on demand; only of an installation by this process.
    ///
    /// # Errors
    /// As [`OnDemand::new`].
    pub(crate) fn on_demand(&self) -> Result<OnDemand<'_>, Error> {
        let directory = self.staging.directory();
        let into = directory.as_fd().try_clone_to_owned();
        let into = into.map_err(Error::file("open", directory.path()))?;
        let first = reads::parse(&self.packed, self.index.members().len());
        let (archive, units) = &self.source;
        let shared = (self.progress.as_ref(), self.joined.is_some());
        OnDemand::new(archive, units.clone(), (&self.index, first), into, shared)
    }

    /// Its own directory, which keeps its files when it is moved into the store.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn tree(&self) -> Result<OwnedFd, Error> {
        let directory = self.staging.directory();
        let made = match self.joined {
            Some(_) => None,
            None => directory.enter(self.index.directory())?,
        };
        let found = self.joined.as_ref().or(made.as_ref());
        let tree = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let tree = tree.and_then(|tree| tree.as_fd().try_clone_to_owned());
        let tree = tree.map_err(Error::file("open", directory.path()))?;
        hold(&tree);
        Ok(tree)
    }

    /// Makes it an installed version, of which everything was fetched.
    ///
    /// # Errors
    /// As for an installation.
    pub(crate) fn complete(&self) -> Result<(), Error> {
        let (needed, packed) = (self.index.unpacked_size(), self.packed.clone());
        let receipt = &self.receipt;
        place(self.store, &self.staging, receipt, Some(packed), (needed, true))?;
        // Before another process can remove this version, install it again, and so make a directory of this name.
        self.staging.clear();
        // Processes that wait for it need not wait for the job.
        *self.lock() = None;
        Ok(())
    }

    /// Leaves the staging directory to another process that has it open: nothing is removed.
    pub(crate) fn leave(self) {
        std::mem::forget(self.staging);
    }

    /// Sets aside what has arrived, for the next call, or removes it if it is useless after this error. Does nothing if
    /// another process installs it.
    pub(crate) fn stop(&self, error: &Error) {
        if self.lock().is_none() {
        } else if matches!(error, Error::Net { .. }) {
            // If it fails, the next call does it.
            _ = self.store.set_aside(&self.staging);
        } else {
            self.staging.clear();
        }
    }
}

/// Begins an installation: fetches its index, and makes its staging directory.
fn begin(
    work: &Work<'_>,
    source: Parts,
) -> Result<Result<(Source, SharedInstallation), Instead>, Error> {
    let &Work { exact, choice, catalog, store, lock } = work;
    let wait = |reason| Ok(Err(Instead::Installation(reason)));
    if same(store, exact, catalog, choice)?.is_some() {
        return wait("it is installed by now");
    }
    if !store.indexes(&exact.name)?.is_empty() {
        return wait("most of it may be in the version that is installed");
    }
    let Some(promise) = &choice.artifact.index else { return wait("its archive has no index") };
    let frames = choice.artifact.zstd.as_ref();
    let frames = frames.map(|zstd| work.frames(zstd).map(|parts| (zstd, parts))).transpose()?;
    let first = frames.as_ref().map_or(&source, |(_, parts)| parts);
    // At the same time: each takes a round trip, and connections that are used later.
    let mut table = None;
    let (index, packed) = std::thread::scope(|scope| {
        let (table, frames) = (&mut table, &frames);
        let fetch = move || {
            *table = frames.as_ref().map(|(zstd, parts)| members::table_alone(parts, zstd));
        };
        let table = thread::spawn(scope, Box::new(fetch))?;
        let index = work.index(first, promise);
        thread::join(table);
        index
    })?;
    if store.interrupted(lock.name(), &packed)?.is_some() {
        return wait("an installation of it was interrupted and is resumed");
    }
    let units = table.zip(frames).map(|(table, (zstd, parts))| {
        let units = members::frames(&table?, &parts, zstd, &index)?;
        Ok((parts, units))
    });
    let source = match units.transpose() {
        Ok(Some(found)) => found,
        Err(error) if !Error::is_absence(&error) => return Err(error),
        Ok(None) | Err(_) => (source, Units::members(&index)),
    };
    store.require_space(index.unpacked_size())?;
    let staging = store.stage(lock)?;
    let directory = staging.directory();
    // Not on a file system that machines share: locks and writes of one may reach the others late.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let file = kind::shared(directory).is_none().then(|| directory.open_file(PROGRESS, flags));
    staging.mark(&packed)?;
    // Without it, others wait for the end of the installation.
    let new = |file| ProgressFile::new(file, index.members().len()).ok();
    let progress = file.and_then(Result::ok).and_then(new);
    Ok(Ok((source, SharedInstallation { staging, progress, index, packed, tree: None })))
}
