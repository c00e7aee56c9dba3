//! `info`.

use super::Session;
use crate::error::Error;
use crate::store::{Installed, Usage};
use crate::ui::Ui;
use crate::{info, runtime};
use joblet_format::{Arch, Spec, Wanted};
use std::collections::BTreeMap;

impl Session<'_> {
    /// Tells what is known of a runtime, here and in the registry.
    pub(crate) fn info(&self, spec: &Spec, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean();
        let here = match store.find(spec)? {
            Some(runtime) => {
                let config = runtime::load(&runtime.path)?.config;
                let receipt = store.receipt(&runtime);
                Some(info::Here { config, receipt, disk: Usage::of(&runtime.path)?, runtime })
            }
            None => None,
        };
        let catalog = match self.catalog(ui) {
            Ok(catalog) => Some(catalog),
            // What is here can be told all the same.
            Err(error) if here.is_some() => {
                ui.warning(&error.to_string());
                None
            }
            Err(error) => return Err(error),
        };
        let none = BTreeMap::new();
        let releases = catalog.as_ref().and_then(|it| it.registry.runtimes.get(&spec.name));
        let offered = match &spec.wanted {
            Wanted::Exact(version) => releases.is_some_and(|all| all.contains_key(version)),
            _ => releases.is_some(),
        };
        if let (None, false, Some(catalog)) = (&here, offered, &catalog) {
            // The error names what there is instead.
            crate::registry::resolve(&catalog.registry, &catalog.location, spec, Arch::NATIVE)?;
        }
        let mut same = store.installed()?;
        same.retain(|runtime: &Installed| runtime.name == spec.name);
        let releases = releases.unwrap_or(&none);
        ui.data(&info::text(&spec.name, here.as_ref(), releases, &same, self.global.json))
    }
}
