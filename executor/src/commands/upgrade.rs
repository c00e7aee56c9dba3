//! `outdated` and `upgrade`.

use super::Session;
use crate::catalog::Catalog;
use crate::error::Error;
use crate::list;
use crate::registry;
use crate::store::Store;
use crate::ui::Ui;
use joblet_format::{Arch, RuntimeName, Spec, Version, Wanted};

impl Session<'_> {
    /// Lists what has a newer version, and what was withdrawn.
    pub(crate) fn outdated(&self, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean();
        let (catalog, mut rows) = (self.catalog(ui)?, Vec::new());
        for (name, installed) in newest(&store)? {
            // What the registry does not have is not outdated.
            let Some(releases) = catalog.registry.runtimes.get(&name) else { continue };
            let yanked = releases.get(&installed).and_then(|release| release.yanked.clone());
            let latest = latest(&catalog, &name).ok().filter(|latest| *latest > installed);
            if latest.is_some() || yanked.is_some() {
                rows.push(list::Outdated { name, installed, latest, yanked });
            }
        }
        if rows.is_empty() && !self.global.json {
            ui.note("every installed runtime is the latest");
            return Ok(());
        }
        ui.data(&list::outdated(&rows, self.global.json))
    }

    /// Installs the latest versions. Older ones stay: jobs may name them.
    pub(crate) fn upgrade(&self, names: &[RuntimeName], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean();
        let mut wanted = newest(&store)?;
        if let Some(missing) = names.iter().find(|name| wanted.iter().all(|it| it.0 != **name)) {
            let spec = Spec { name: missing.clone(), wanted: Wanted::Any };
            return store.expect(&spec).map(drop);
        }
        wanted.retain(|(name, _)| names.is_empty() || names.contains(name));
        let (mut catalog, mut rows) = (Some(self.catalog(ui)?), Vec::new());
        for (name, installed) in wanted {
            let found = catalog.as_ref().map_or(Ok(installed.clone()), |it| latest(it, &name));
            match found {
                Ok(latest) if latest > installed => {
                    let spec = Spec { name, wanted: Wanted::Exact(latest) };
                    let (runtime, did) = self.install_one(&spec, &store, &mut catalog, ui)?;
                    ui.note(&did);
                    rows.push(runtime);
                }
                Ok(_) => ui.detail(&format!("{name}@{installed} is the latest")),
                // Of all, some may be from elsewhere.
                Err(error @ Error::NotFound(_)) if names.is_empty() => {
                    ui.detail(&error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        if self.global.json {
            return ui.data(&list::installed(&rows, true));
        }
        if rows.is_empty() {
            ui.note("every installed runtime is the latest");
        }
        Ok(())
    }
}

/// The version of each installed runtime that its name alone means.
fn newest(store: &Store) -> Result<Vec<(RuntimeName, Version)>, Error> {
    let all = store.installed()?;
    let of = |group: &[crate::store::Installed]| {
        let versions = group.iter().filter_map(|runtime| runtime.version.as_ref());
        Some((group.first()?.name.clone(), Version::latest(versions)?.clone()))
    };
    Ok(all.chunk_by(|a, b| a.name == b.name).filter_map(of).collect())
}

/// The latest version of `name` that runs here.
fn latest(catalog: &Catalog, name: &RuntimeName) -> Result<Version, Error> {
    let spec = Spec { name: name.clone(), wanted: Wanted::Latest };
    let choice = registry::resolve(&catalog.registry, &catalog.location, &spec, Arch::NATIVE)?;
    Ok(choice.release.version.clone())
}
