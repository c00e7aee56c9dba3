//! The commands: one function for each, and what they share.
//!
//! In: a [`Session`] and a command with its operands. Out: its effect and what it prints.
//!
//! Only this folder and `lib.rs` connect stages.

mod bundle;
mod doctor;
mod info;
mod install;
mod job;
mod list;
mod missing_paths;
mod output;
mod profile;
mod protected_stores;
mod prune;
mod remove;
mod run;
mod serve;
mod tmp_dir;
mod upgrade;
mod verify;

use crate::cli::args::Global;
use crate::cli::ui::Ui;
use crate::env::{self, Environment};
use crate::error::Error;
use crate::net::location::Location;
use crate::registry::cache::Cache;
use crate::registry::config::{self, Config, Source};
use crate::registry::{Policy, Registries};
use crate::store::Store;
use std::path::PathBuf;
use std::time::SystemTime;

/// Maximum time to wait for another process that fetches the registry, in seconds.
const MAX_LOCK_TIMEOUT: u64 = 60;

/// The options and the environment of one call.
pub(crate) struct Session<'a> {
    pub(crate) global: &'a Global,
    pub(crate) env: &'a Environment,
}

impl Session<'_> {
    pub(crate) fn store(&self) -> Result<Store, Error> {
        let (root, others) = self.roots()?;
        Ok(Store::new(&root, others, self.env.lock_timeout, self.env.arch))
    }

    /// The directories of all stores that runtimes are looked up in.
    pub(crate) fn store_paths(&self) -> Result<Vec<PathBuf>, Error> {
        let (root, mut others) = self.roots()?;
        others.push(root);
        // Also where another store is named.
        others.extend(self.env.default_store());
        Ok(others)
    }

    /// The directories of the store, and of the stores that are only read: shared ones and the system's.
    fn roots(&self) -> Result<(PathBuf, Vec<PathBuf>), Error> {
        let named = self.global.store.clone().or_else(|| self.env.store.clone());
        let mut others = self.env.shared_stores.clone();
        let root = if let Some(root) = named {
            root
        } else {
            others.push(env::SYSTEM_STORE.into());
            self.default_store()?
        };
        // Mounts and receipts need an absolute path.
        let root = std::path::absolute(&root).map_err(Error::file("find", &root))?;
        Ok((root, others))
    }

    /// Refuses `--json` if the path of the store is not UTF-8, as JSON is: an altered path would be worse than
    /// none. Called before the command does anything.
    pub(crate) fn check_json(&self) -> Result<(), Error> {
        match self.roots() {
            Ok((root, _)) if self.global.json && root.to_str().is_none() => {
                Err(Error::Usage(format!(
                    "--json cannot name the store {}, which is not UTF-8; leave --json out, or \
                     name another store with --store DIR",
                    root.display()
                )))
            }
            _ => Ok(()), // other commands report a missing store if they need one
        }
    }

    pub(crate) fn default_store(&self) -> Result<PathBuf, Error> {
        self.env.default_store().ok_or_else(|| {
            Error::Usage("HOME is not set; name the store with --store DIR".to_owned())
        })
    }

    /// The registries of this call: that of `--registry`, else those of the configuration.
    pub(crate) fn registries(&self) -> Result<Registries, Error> {
        let config = self.config()?;
        let named = self.global.registry.as_ref().or(self.env.registry.as_ref());
        let sources = match named {
            Some(named) => vec![named_source(named, config)?],
            None if config.is_empty() => vec![Source::plain(Location::default_registry())],
            None => config,
        };
        Ok(Registries::new(sources, self.policy()))
    }

    /// The registries of the configuration.
    pub(crate) fn config(&self) -> Result<Vec<Source>, Error> {
        let found = self.first(&|config: &Config| !config.registries.is_empty())?;
        Ok(found.map_or_else(Vec::new, |config| config.registries))
    }

    /// With `--verbose`, lists members of the configuration that this program ignores.
    pub(crate) fn name_ignored(&self, ui: &mut Ui<'_>) {
        if !ui.is_verbose() {
            return;
        }
        // An invalid configuration is reported by commands that need it.
        let found = self.first(&|config: &Config| !config.ignored.is_empty());
        if let Ok(Some(Config { ignored, .. })) = found
            && !ignored.is_empty()
        {
            ui.detail(&format!("of the configuration, not used: {}", ignored.join(", ")));
        }
    }

    /// The configuration that the caller named.
    fn config_file(&self) -> Option<&PathBuf> {
        self.global.config.as_ref().or(self.env.config.as_ref())
    }

    /// The configuration of `--config`, else the first one that is `wanted`.
    fn first(&self, wanted: &dyn Fn(&Config) -> bool) -> Result<Option<Config>, Error> {
        match self.config_file() {
            Some(file) => config::read_file(file).map(Some),
            None => config::read_first(&self.env.configs(), wanted),
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            offline: self.offline(),
            refresh: self.global.refresh,
            now: SystemTime::now(),
            cache: self.env.cache().map(Cache::new),
            lock_timeout: self.env.lock_timeout.min(MAX_LOCK_TIMEOUT),
            variable: env::nonempty_var,
        }
    }

    pub(crate) fn offline(&self) -> bool {
        self.global.offline || self.env.offline
    }
}

/// The registry `named`, a name or an address; if it is configured, with its configured keys
/// and token.
fn named_source(named: &str, config: Vec<Source>) -> Result<Source, Error> {
    let called = |source: &Source| source.origin.as_ref().is_some_and(|it| it.as_str() == named);
    if let Some(source) = config.iter().find(|source| called(source)) {
        return Ok(source.clone());
    }
    let location = Location::of_registry(named)?;
    let configured = config.into_iter().find(|source| source.location == location);
    Ok(configured.unwrap_or_else(|| Source::plain(location)))
}
