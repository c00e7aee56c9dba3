//! `install`, and the installation that `run` begins with.

use super::Session;
use crate::catalog::Registries;
use crate::error::Error;
use crate::store::{Installed, Store};
use crate::ui::Ui;
use crate::{install, list};
use joblet_format::{Spec, Wanted};

impl Session<'_> {
    pub(crate) fn install(&self, specs: &[Spec], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean();
        let mut registries = self.registries()?;
        let mut rows = Vec::new();
        for spec in specs {
            let (runtime, did) = install_one(spec, &store, &mut registries, ui)?;
            ui.note(&did);
            rows.push(runtime);
        }
        if self.global.json {
            ui.data(&list::installed(&rows, true))?;
        }
        Ok(())
    }

    /// The runtime that a job asked for: one that is installed, else it is installed now.
    pub(crate) fn provide(&self, spec: &Spec, ui: &mut Ui<'_>) -> Result<Installed, Error> {
        let store = self.store()?;
        store.clean_if_needed();
        let found = store.find(spec)?;
        match (&spec.wanted, found) {
            (Wanted::Any | Wanted::Exact(_), Some(found)) => Ok(found),
            // Nobody can be asked which version is the latest: the highest one here is.
            (Wanted::Latest, Some(found)) if self.offline() => Ok(found),
            _ => {
                let mut registries = self.registries()?;
                let (runtime, did) = install_one(spec, &store, &mut registries, ui)?;
                ui.detail(&did);
                Ok(runtime)
            }
        }
    }
}

/// Installs one runtime and says what was done.
pub(super) fn install_one(
    spec: &Spec,
    store: &Store,
    registries: &mut Registries,
    ui: &mut Ui<'_>,
) -> Result<(Installed, String), Error> {
    if let (Wanted::Exact(_), Some(found)) = (&spec.wanted, store.find(spec)?) {
        return Ok((found, format!("{spec} is installed already")));
    }
    let catalog = registries.serving(spec, ui)?;
    let outcome = install::install(spec, &catalog, store, ui)?;
    let runtime = outcome.runtime;
    let version = runtime.version.as_ref().map(ToString::to_string).unwrap_or_default();
    let did = match outcome.cost {
        None => format!("{}@{version} is installed already", runtime.name),
        Some(cost) => format!(
            "installed {}@{version} ({}{} in {:.1} s)",
            runtime.name,
            list::size(cost.fetched),
            match cost.reused {
                0 => String::new(),
                reused => format!(" fetched, {} reused,", list::size(reused)),
            },
            outcome.seconds
        ),
    };
    Ok((runtime, did))
}
