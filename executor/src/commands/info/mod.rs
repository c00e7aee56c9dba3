//! `info`.
//!
//! In: a spec. Out: details from the store and the registries.

mod output;

use super::Session;
use crate::cli::escape::shown;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::registry::{Registries, resolve};
use crate::runtime;
use crate::store::{Installed, Receipt, Usage};
use joblet_format::{Spec, Wanted};

impl Session<'_> {
    /// Shows details of a runtime, installed and in the registry.
    pub(crate) fn info(&self, spec: &Spec, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let here = match store.find(spec)? {
            Some(runtime) => {
                let loaded =
                    runtime::load_open(store.open(&runtime)?, &runtime.path, store.arch())?;
                let disk = Usage::measure(&loaded.dir, &runtime.path)?;
                // Earlier versions recorded addresses with their queries.
                let receipt = store.receipt(&runtime).map(|receipt| Receipt {
                    registry: shown(&receipt.registry),
                    url: shown(&receipt.url),
                    ..receipt
                });
                Some(output::InstalledDetails { config: loaded.config, receipt, disk, runtime })
            }
            None => None,
        };
        let mut freshness = None;
        let mut serving = |all: &mut Registries, ui: &mut Ui<'_>| {
            let catalog = all.serving(spec, ui)?;
            freshness = all.freshness(&catalog.location, ui);
            Ok(catalog)
        };
        let catalog = match self.registries().and_then(|mut all| serving(&mut all, ui)) {
            Ok(catalog) => Some(catalog),
            // Details of the installed version are shown without it.
            Err(Error::NotFound(_)) if here.is_some() => None,
            Err(error) if here.is_some() => {
                ui.warning(&error.to_string());
                None
            }
            Err(error) => return Err(error),
        };
        if let (None, Wanted::Exact(_), Some(catalog)) = (&here, &spec.wanted, &catalog) {
            // The error names similar ones.
            resolve::resolve(&catalog.registry, &catalog.location, spec, store.arch())?;
        }
        let mut same = store.installed()?;
        same.retain(|runtime: &Installed| runtime.name == spec.name);
        let profiles: Vec<_> =
            self.profiles(&[])?.iter().map(super::profile::Profile::shown).collect();
        ui.data(&output::details(
            &spec.name,
            (here.as_ref(), &profiles),
            (catalog.as_ref(), freshness.as_ref()),
            (&same, store.arch()),
            self.global.json,
        ))
    }
}
