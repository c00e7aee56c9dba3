//! A version that is used while it is being installed.
//!
//! Its files arrive in its staging directory, in the order in which they are asked for; when all of them are
//! there, it is an installation like any other.

use super::install::{Work, choose, parts, place, receipt, same};
use super::{Receipt, Staging, Store, hold};
use crate::archive::members::{self, OnDemand, Units};
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::Lock;
use crate::net::parts::Parts;
use crate::registry::Catalog;
use joblet_format::Spec;
use joblet_format::index::{Index, reads};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A version whose index is here.
#[derive(Debug)]
pub(crate) struct Begun<'s> {
    store: &'s Store,
    /// Held until it is installed, so that others wait for it.
    lock: Mutex<Option<Lock>>,
    staging: Staging,
    /// The archive, and what of it is fetched at once.
    archive: Parts,
    units: Units,
    index: Index,
    /// The index as it was fetched.
    packed: Vec<u8>,
    receipt: Receipt,
}

/// Why a version is not used while it is being installed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instead {
    /// It cannot be.
    Nothing(&'static str),
    /// It is here sooner, or for less, when it is waited for.
    Installation(&'static str),
}

impl<'s> Begun<'s> {
    /// Begins to install what `spec` means in `catalog`: fetches its index and makes its directories. Or says why
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
        store.clean()?;
        let version = spec.name.directory(&choice.release.version);
        let Some(lock) = store.try_lock(&version)? else {
            return Ok(Err(Instead::Installation("another process is installing it")));
        };
        if same(store, &exact, catalog, &choice)?.is_some() {
            return Ok(Err(Instead::Installation("it is installed by now")));
        }
        if !store.indexes(&spec.name)?.is_empty() {
            return Ok(Err(Instead::Installation(
                "most of it may be in the version that is installed",
            )));
        }
        let source = parts(catalog, &choice, &exact)?;
        let work = Work { exact: &exact, choice: &choice, catalog, store, lock: &lock };
        let frames = choice.artifact.zstd.as_ref();
        let frames = frames.map(|zstd| work.frames(zstd).map(|parts| (zstd, parts))).transpose()?;
        let first = frames.as_ref().map_or(&source, |(_, parts)| parts);
        // At the same time: each takes a round trip, and connections that are used later.
        let ((index, packed), table) = thread::scope(|scope| {
            let table = || frames.as_ref().map(|(zstd, parts)| members::table_alone(parts, zstd));
            let table = thread::Builder::new().spawn_scoped(scope, table);
            let table = table.map_err(Error::file("start", "a thread"))?;
            let index = work.index(first, promise);
            // Not left to the scope: it waits for what threads do, not for their end.
            let table = table.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, Error>((index?, table))
        })?;
        if store.interrupted(&version, &packed)?.is_some() {
            return Ok(Err(Instead::Installation(
                "an installation of it was interrupted and is gone on with",
            )));
        }
        ui.detail(&format!("{exact}: serving {source} on demand"));
        let receipt = receipt(spec, catalog, &choice, (source.to_string(), store.arch()));
        let units = table.zip(frames).map(|(table, (zstd, parts))| {
            Ok((members::frames(&table?, &parts, zstd, &index)?, parts))
        });
        let (units, archive) = match units.transpose() {
            Ok(Some(found)) => found,
            Ok(None) => (Units::members(&index), source),
            Err(error) if Error::is_absence(&error) => (Units::members(&index), source),
            Err(error) => return Err(error),
        };
        store.require_space(index.unpacked_size())?;
        let staging = store.stage(&lock)?;
        staging.mark(&packed)?;
        let lock = Mutex::new(Some(lock));
        Ok(Ok(Self { store, lock, staging, archive, units, index, packed, receipt }))
    }

    /// What is in it.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Its name and version.
    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.receipt.name, self.receipt.version)
    }

    /// Makes its directories, and begins to fetch on demand.
    ///
    /// # Errors
    /// As [`OnDemand::new`].
    pub(crate) fn on_demand(&self) -> Result<OnDemand<'_>, Error> {
        let directory = self.staging.directory();
        let into = directory.as_fd().try_clone_to_owned();
        let into = into.map_err(Error::file("open", directory.path()))?;
        let first = reads::of(&self.packed, self.index.members().len());
        OnDemand::new(&self.archive, self.units.clone(), (&self.index, first), into)
    }

    /// Its own directory, which keeps its files when it is moved into the store.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn tree(&self) -> Result<OwnedFd, Error> {
        let directory = self.staging.directory();
        let found = directory.enter(self.index.directory())?;
        let tree = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let tree = tree.and_then(|tree: Directory| tree.as_fd().try_clone_to_owned());
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
        // Who waits for it need not wait for the job.
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.staging.clear();
        Ok(())
    }

    /// Leaves it to another process that has the same open: nothing of it is removed here.
    pub(crate) fn leave(self) {
        std::mem::forget(self.staging);
    }

    /// Sets aside what has arrived, for the next call, or removes it if that would be of no use.
    pub(crate) fn stop(&self, error: &Error) {
        if matches!(error, Error::Net { .. }) {
            // If it fails, the next call does it.
            _ = self.store.set_aside(&self.staging);
        } else {
            self.staging.clear();
        }
    }
}
