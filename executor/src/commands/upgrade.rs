//! `outdated` and `upgrade`.

use super::Session;
use super::install::{install_all, keep_first};
use super::output;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::net::location::Location;
use crate::registry::config::Source;
use crate::registry::resolve;
use crate::registry::{Catalog, Registries};
use crate::store::{Installed, Receipt, Store};
use joblet_format::image::RUNTIME;
use joblet_format::{Arch, Freshness, Origin, RuntimeName, Spec, Version, Wanted};
use std::collections::BTreeMap;
use std::path::Path;

impl Session<'_> {
    /// Lists installed runtimes that have a newer version or are yanked.
    pub(crate) fn outdated(&self, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let (mut places, mut rows) = (Places::new(self, true)?, Vec::new());
        // Most are of one registry, whose file is read once.
        let mut refreshed: Option<(Location, Option<Freshness>)> = None;
        let mut failed = None;
        for Newest { spec, version: installed, from, .. } in newest(&store, &places.usual)? {
            let catalog = match places.for_origin(from.as_ref()).serving(&spec, ui) {
                Ok(catalog) => catalog,
                // A runtime of no registry is not outdated.
                Err(Error::NotFound(_)) => continue,
                Err(error) if from.is_some() => {
                    keep_first(&mut failed, error, ui);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let name = spec.name.clone();
            store.record_yanked(&name, &catalog.registry);
            let release = catalog.registry.runtimes.get(&name).and_then(|all| all.get(&installed));
            let yanked = release.and_then(|release| release.yanked.clone());
            let latest = latest(&catalog, &spec, self.env.arch).ok();
            let latest = latest.filter(|latest| *latest > installed || yanked.is_some());
            if latest.is_some() || yanked.is_some() {
                let location = &catalog.location;
                if refreshed.as_ref().is_none_or(|(of, _)| of != location) {
                    let found = places.for_origin(from.as_ref()).freshness(location, ui);
                    refreshed = Some((location.clone(), found));
                }
                let all = refreshed.as_ref().and_then(|(_, found)| found.as_ref());
                let fresh = all.and_then(|all| all.get(&name, &installed)).cloned();
                rows.push(output::Outdated { name, installed, latest, yanked, fresh });
            }
        }
        if !rows.is_empty() || self.global.json {
            ui.data(&output::outdated(&rows, self.global.json))?;
        } else if failed.is_none() {
            ui.note(&nothing_newer(&store)?);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Installs the latest versions. Older ones are kept: jobs may name them.
    pub(crate) fn upgrade(&self, names: &[RuntimeName], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let mut places = Places::new(self, true)?;
        let mut wanted = newest(&store, &places.usual)?;
        let missing = |name: &&RuntimeName| wanted.iter().all(|it| it.spec.name != **name);
        if let Some(name) = names.iter().find(missing) {
            let spec = Spec { origin: None, name: name.clone(), wanted: Wanted::Any };
            return store.require(&spec).map(drop);
        }
        wanted.retain(|it| names.is_empty() || names.contains(&it.spec.name));
        let mut newer: BTreeMap<Option<String>, Vec<Spec>> = BTreeMap::new();
        let (mut failed, mut warned) = (None, false);
        for Newest { spec, version: installed, runtime, from } in wanted {
            let name = &spec.name;
            let found = places.for_origin(from.as_ref()).serving(&spec, ui).and_then(|catalog| {
                store.record_yanked(name, &catalog.registry);
                latest(&catalog, &spec, self.env.arch)
            });
            let reason = store.yanked(&runtime);
            if let Some(reason) = &reason {
                ui.warn_of_yanked(&spec.exactly(&installed), reason);
                warned = true;
            }
            match found {
                Ok(latest) if latest > installed || reason.is_some() => {
                    newer.entry(from).or_default().push(spec.exactly(&latest));
                }
                Ok(_) => ui.detail(&format!("{name}@{installed} is the latest")),
                // Without names: some runtimes may not be of these registries.
                Err(error @ Error::NotFound(_)) if names.is_empty() => {
                    ui.detail(&error.to_string());
                }
                // An unreachable registry does not prevent upgrades from the others.
                Err(error) if names.is_empty() && from.is_some() => {
                    keep_first(&mut failed, error, ui);
                }
                Err(error) => return Err(error),
            }
        }
        let mut rows = Vec::new();
        for (from, specs) in newer {
            match install_all(&specs, &store, places.for_origin(from.as_ref()), ui) {
                Ok(done) => rows.extend(done),
                Err(error) => keep_first(&mut failed, error, ui),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if self.global.json {
            return ui.data(&output::plain(&rows));
        }
        if rows.is_empty() && !warned {
            ui.note(&nothing_newer(&store)?);
        }
        Ok(())
    }
}

impl Session<'_> {
    /// Whether the command line or the environment names a registry.
    fn names_registry(&self) -> bool {
        self.global.registry.is_some() || self.env.registry.is_some()
    }

    /// Catalogs of the registries of this call, and of those that installed runtimes came from.
    pub(super) fn offered(&self, ui: &mut Ui<'_>) -> Result<Vec<Catalog>, Error> {
        let mut places = Places::new(self, false)?;
        // Without a store nothing is installed.
        let installed = self.store().and_then(|store| newest(&store, &places.usual));
        let mut came = Vec::new();
        for from in installed.unwrap_or_default().into_iter().filter_map(|it| it.from) {
            if !came.contains(&from) {
                came.push(from);
            }
        }
        let mut all = Vec::new();
        let usual = places.usual.catalogs(ui).map(|catalogs| all = catalogs);
        // A registry named by this call is the only one, and was read already.
        for from in came.into_iter().filter(|_| !self.names_registry()) {
            match places.for_origin(Some(&from)).catalogs(ui) {
                Ok(more) => all.extend(more),
                // A failure of the usual registries is reported below.
                Err(error) if usual.is_ok() => ui.warning(&error.to_string()),
                Err(_) => {}
            }
        }
        // An unreachable registry does not hide others.
        match usual {
            Err(error) if all.is_empty() => return Err(error),
            Err(error) => ui.warning(&error.to_string()),
            Ok(()) => {}
        }
        let mut seen = Vec::new();
        all.retain(|catalog: &Catalog| {
            let new = !seen.contains(&catalog.location);
            seen.push(catalog.location.clone());
            new
        });
        Ok(all)
    }
}

/// The message if there is nothing to upgrade.
fn nothing_newer(store: &Store) -> Result<String, Error> {
    let none = store.installed()?.is_empty();
    Ok(if none {
        none_installed(store)
    } else {
        "every installed runtime is the latest".to_owned()
    })
}

/// The message of an empty store.
pub(super) fn none_installed(store: &Store) -> String {
    format!("no runtime is installed in {}", store.root().display())
}

/// The name of the registry that a runtime was installed from, if that is configured, or else its address.
pub(super) fn came_from(
    store: &Store,
    runtime: &Installed,
    registries: &Registries,
) -> (Option<Origin>, Option<String>) {
    match store.receipt(runtime) {
        Some(Receipt { origin: Some(origin), .. }) => {
            (Some(origin).filter(|origin| registries.has_origin(origin)), None)
        }
        receipt => (None, receipt.map(|receipt| receipt.registry)),
    }
}

/// The registries of this call, and those that runtimes were installed from.
pub(super) struct Places<'s> {
    session: &'s Session<'s>,
    /// Whether they are asked for changes even where their cached document is fresh.
    refresh: bool,
    pub(super) usual: Registries,
    configured: Vec<Source>,
    /// The latter, by their addresses in receipts.
    own: BTreeMap<String, Registries>,
}

impl<'s> Places<'s> {
    pub(super) fn new(session: &'s Session<'s>, refresh: bool) -> Result<Self, Error> {
        let (mut usual, configured) = (session.registries()?, session.config()?);
        if refresh {
            usual.refresh();
        }
        Ok(Self { session, refresh, usual, configured, own: BTreeMap::new() })
    }

    /// The registries for a runtime installed `from` an address that is not configured. A registry named by
    /// `--registry` is used for every runtime.
    pub(super) fn for_origin(&mut self, from: Option<&String>) -> &mut Registries {
        let Self { session, refresh, usual, configured, own } = self;
        let Some(from) = from.filter(|_| session.global.registry.is_none()) else { return usual };
        // An incomplete address, such as one without its query, cannot be used.
        let Ok(Some(location)) = Location::of_configured(from, false) else { return usual };
        // A removed medium; or an unsigned registry where registries must be signed, which is used only
        // if this call names it.
        let gone = matches!(location, Location::File(_)) && !Path::new(from).exists();
        let must_be_signed = configured.iter().any(|source| !source.keys.is_empty());
        if gone || (must_be_signed && configured.iter().all(|it| it.location != location)) {
            return usual;
        }
        let new = || {
            let mut only = Registries::only(configured, location, session.policy());
            if *refresh {
                only.refresh();
            }
            only
        };
        own.entry(from.clone()).or_insert_with(new)
    }
}

/// The newest installed version of a runtime.
pub(super) struct Newest {
    /// The runtime, with its registry if that is configured.
    pub(super) spec: Spec,
    /// The version.
    version: Version,
    /// The version's directory.
    runtime: Installed,
    /// Address of the registry that it was installed from, if that has no name.
    pub(super) from: Option<String>,
}

/// The newest version of each installed runtime.
pub(super) fn newest(store: &Store, registries: &Registries) -> Result<Vec<Newest>, Error> {
    let all = store.installed()?;
    let newest = |group: &[Installed]| {
        let versions = group.iter().filter_map(|runtime| runtime.version.as_ref());
        let version = Version::latest(versions)?;
        let newest = group.iter().find(|runtime| runtime.version.as_ref() == Some(version))?;
        let (origin, from) = came_from(store, newest, registries);
        let spec = Spec { origin, name: newest.name.clone(), wanted: Wanted::Latest };
        Some(Newest { spec, version: version.clone(), runtime: newest.clone(), from })
    };
    let groups = all.chunk_by(|a, b| a.name == b.name);
    // Images have no registry.
    Ok(groups.filter(|group| group[0].name.as_str() != RUNTIME).filter_map(newest).collect())
}

/// The latest version for this architecture.
fn latest(catalog: &Catalog, spec: &Spec, arch: Arch) -> Result<Version, Error> {
    let choice = resolve::resolve(&catalog.registry, &catalog.location, spec, arch)?;
    Ok(choice.release.version.clone())
}
