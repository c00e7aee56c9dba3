//! What each command does: one function per command, and what they share.
//!
//! Together with `lib.rs`, this is the only place that joins stages.

mod info;
mod install;
mod list;
mod prune;
mod remove;
mod run;
mod upgrade;
mod verify;

use crate::args::Global;
use crate::catalog::{self, Catalog, Policy};
use crate::env::{self, Environment};
use crate::error::Error;
use crate::location::{DEFAULT_REGISTRY, Location};
use crate::store::Store;
use crate::ui::Ui;
use std::path::PathBuf;
use std::time::SystemTime;

/// Seconds to wait while another process asks the registry, instead of asking as well.
const MAX_PATIENCE: u64 = 60;

/// The options and the environment of one call.
pub(crate) struct Session<'a> {
    pub(crate) global: &'a Global,
    pub(crate) env: &'a Environment,
}

impl Session<'_> {
    pub(crate) fn store(&self) -> Result<Store, Error> {
        let named = self.global.store.clone().or_else(|| self.env.store.clone());
        let (root, system) = match named {
            Some(root) => (root, None),
            None => (self.default_store()?, Some(PathBuf::from(env::SYSTEM_STORE))),
        };
        // Mounts and receipts need a path that means the same from everywhere.
        let root = std::path::absolute(&root).map_err(Error::file("find", &root))?;
        Ok(Store::new(root, system, self.env.lock_timeout))
    }

    pub(crate) fn default_store(&self) -> Result<PathBuf, Error> {
        self.env.default_store().ok_or_else(|| {
            Error::Usage("HOME is not set; name the store with --store DIR".to_owned())
        })
    }

    pub(crate) fn catalog(&self, ui: &mut Ui<'_>) -> Result<Catalog, Error> {
        let named = self.global.registry.as_ref().or(self.env.registry.as_ref());
        let location = Location::of_registry(named.map_or(DEFAULT_REGISTRY, String::as_str))?;
        let policy = Policy {
            offline: self.global.offline || self.env.offline,
            refresh: self.global.refresh,
            now: SystemTime::now(),
            patience: self.env.lock_timeout.min(MAX_PATIENCE),
        };
        catalog::load(location, self.env.cache().as_deref(), policy, ui)
    }
}
