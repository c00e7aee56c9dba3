//! `outdated` and `upgrade`.

use super::Session;
use super::install::install_all;
use super::output;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::registry::resolve;
use crate::registry::{Catalog, Registries};
use crate::store::{Installed, Store};
use joblet_format::{Arch, RuntimeName, Spec, Version, Wanted};

impl Session<'_> {
    /// Lists what has a newer version, and what was withdrawn.
    pub(crate) fn outdated(&self, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let (mut registries, mut rows) = (self.registries()?, Vec::new());
        for (spec, installed) in newest(&store, &registries)? {
            let catalog = match registries.serving(&spec, ui) {
                Ok(catalog) => catalog,
                // What no registry has is not outdated.
                Err(Error::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            let name = spec.name.clone();
            let release = catalog.registry.runtimes.get(&name).and_then(|all| all.get(&installed));
            let yanked = release.and_then(|release| release.yanked.clone());
            let latest =
                latest(&catalog, &spec, self.env.arch).ok().filter(|latest| *latest > installed);
            if latest.is_some() || yanked.is_some() {
                rows.push(output::Outdated { name, installed, latest, yanked });
            }
        }
        if rows.is_empty() && !self.global.json {
            ui.note("every installed runtime is the latest");
            return Ok(());
        }
        ui.data(&output::outdated(&rows, self.global.json))
    }

    /// Installs the latest versions. Older ones stay: jobs may name them.
    pub(crate) fn upgrade(&self, names: &[RuntimeName], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let mut registries = self.registries()?;
        let mut wanted = newest(&store, &registries)?;
        let missing = |name: &&RuntimeName| wanted.iter().all(|(spec, _)| spec.name != **name);
        if let Some(name) = names.iter().find(missing) {
            let spec = Spec { origin: None, name: name.clone(), wanted: Wanted::Any };
            return store.require(&spec).map(drop);
        }
        wanted.retain(|(spec, _)| names.is_empty() || names.contains(&spec.name));
        let mut newer = Vec::new();
        for (spec, installed) in wanted {
            let name = &spec.name;
            let found = registries
                .serving(&spec, ui)
                .and_then(|catalog| latest(&catalog, &spec, self.env.arch));
            match found {
                Ok(latest) if latest > installed => newer.push(spec.exactly(&latest)),
                Ok(_) => ui.detail(&format!("{name}@{installed} is the latest")),
                // Of all, some may be from elsewhere.
                Err(error @ Error::NotFound(_)) if names.is_empty() => {
                    ui.detail(&error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let rows = install_all(&newer, &store, &mut registries, ui)?;
        if self.global.json {
            return ui.data(&output::installed(&rows, true));
        }
        if rows.is_empty() {
            ui.note("every installed runtime is the latest");
        }
        Ok(())
    }
}

/// Each installed runtime, of the registry that it came from, and the version that its name means.
fn newest(store: &Store, registries: &Registries) -> Result<Vec<(Spec, Version)>, Error> {
    let all = store.installed()?;
    let of = |group: &[Installed]| {
        let versions = group.iter().filter_map(|runtime| runtime.version.as_ref());
        let version = Version::latest(versions)?;
        let newest = group.iter().find(|runtime| runtime.version.as_ref() == Some(version))?;
        let origin = store.receipt(newest).and_then(|receipt| receipt.origin);
        let origin = origin.filter(|origin| registries.knows(origin));
        let spec = Spec { origin, name: newest.name.clone(), wanted: Wanted::Latest };
        Some((spec, version.clone()))
    };
    Ok(all.chunk_by(|a, b| a.name == b.name).filter_map(of).collect())
}

/// The latest version that runs here.
fn latest(catalog: &Catalog, spec: &Spec, arch: Arch) -> Result<Version, Error> {
    let choice = resolve::resolve(&catalog.registry, &catalog.location, spec, arch)?;
    Ok(choice.release.version.clone())
}
