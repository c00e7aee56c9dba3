//! `export` and `import`.
//!
//! In: specs, or a bundle. Out: a bundle, or installed runtimes.

mod layout;

use super::Session;
use super::install::install_all;
use super::upgrade::{Places, newest};
use crate::cli::escape::shown;
use crate::cli::ui::Ui;
use crate::commands::bundle::layout::{Bundle, BundleManifest, DOCUMENT, MANIFEST};
use crate::commands::output;
use crate::env::weaken;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::trust;
use crate::net::local::Local;
use crate::net::location::Location;
use crate::net::transfer::fetch;
use crate::registry::Registries;
use crate::registry::config::Source;
use joblet_format::{Arch, Spec};
use rustix::fs::{AtFlags, unlinkat};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Maximum size of a manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

impl Session<'_> {
    /// Writes a bundle of runtimes into the new directory `to`.
    pub(crate) fn export(
        &self,
        specs: &[Spec],
        to: &Path,
        arch: Arch,
        ui: &mut Ui<'_>,
    ) -> Result<(), Error> {
        let exists = || Error::Usage(format!("{} exists; name a new directory", to.display()));
        let (Some(above), Some(name)) = (to.parent(), to.file_name()) else { return Err(exists()) };
        let utf8 = || Error::Usage(format!("{} is not UTF-8", to.display()));
        let name = name.to_str().ok_or_else(utf8)?;
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        let mut done = self.write(specs, (above, name), arch, ui);
        if let Err(Error::File { path, source, .. }) = &mut done
            && path.starts_with(above)
        {
            // Instead of the hint about the store.
            *source = io::Error::other(format!("{source}; name another directory with --to"));
        }
        if matches!(done, Ok(false)) {
            return Err(exists());
        }
        done?;
        ui.note(&format!("{}: there, joblet-exec import {name} installs it", to.display()));
        Ok(())
    }

    /// As [`Self::export`], into the directory `name` in `above`; false if that exists.
    fn write(
        &self,
        specs: &[Spec],
        (above, name): (&Path, &str),
        arch: Arch,
        ui: &mut Ui<'_>,
    ) -> Result<bool, Error> {
        Directory::make_all(above, 0o777)?;
        let above = Directory::open(above).map_err(Error::file("open", above))?;
        if above.has(name) {
            return Ok(false);
        }
        let partial = format!("{name}.partial");
        let directory = above.make(&partial)?;
        let is_fresh = trust::is_fresh(&above, &directory, 0);
        if !is_fresh.map_err(Error::file("read", directory.path()))? && !weaken::without("export") {
            let (path, reason) = (directory.path().into(), trust::REPLACED.into());
            return Err(Error::Untrusted { path, reason, option: "--to DIR" });
        }
        let mut done = self.fill(specs, &directory, arch, ui);
        if done.is_ok() {
            done = above
                .rename_new(&partial, &above, name)
                .map_err(Error::file("rename", above.path_of(name)));
        }
        if done.is_err() {
            // What is in it was put there by this process. If that fails, its name shows that it is incomplete.
            for name in directory.names()? {
                _ = directory.remove_file(&name);
            }
            _ = unlinkat(&above, partial, AtFlags::REMOVEDIR);
        }
        done.map(|()| true)
    }

    fn fill(
        &self,
        specs: &[Spec],
        directory: &Directory,
        arch: Arch,
        ui: &mut Ui<'_>,
    ) -> Result<(), Error> {
        let (mut places, mut bundle) = (Places::new(self, false)?, None);
        // Without a store nothing is installed.
        let installed = self.store().and_then(|store| newest(&store, &places.usual));
        let (installed, mut exported) = (installed.unwrap_or_default(), Vec::new());
        for spec in specs {
            // What is installed is exported from the registry that it came from.
            let own =
                installed.iter().find(|it| spec.origin.is_none() && it.spec.name == spec.name);
            let origin = spec.origin.clone().or_else(|| own.and_then(|it| it.spec.origin.clone()));
            let from = own.and_then(|it| it.from.clone());
            let spec = Spec { origin, ..spec.clone() };
            let catalog = places.for_origin(from.as_ref()).serving(&spec, ui)?;
            let new = || (Bundle::new(directory, &catalog), catalog.location.clone(), from);
            let (bundle, location, _) = bundle.get_or_insert_with(new);
            if !bundle.is_of(&catalog) {
                return Err(Error::Usage(format!(
                    "{spec} is in {}, the specs before it in {location}; export them separately",
                    catalog.location
                )));
            }
            let exact = bundle.add(&spec, arch, &catalog, ui)?;
            if !exported.contains(&exact) {
                exported.push(exact);
            }
        }
        let Some((bundle, location, from)) = bundle else { return Ok(()) };
        bundle.finish(places.for_origin(from.as_ref()).original(&location)?)?;
        for exact in exported {
            ui.note(&format!("exported {exact} for {arch}"));
        }
        Ok(())
    }

    /// Installs all runtimes of the bundle `from`.
    pub(crate) fn import(&self, from: &Path, ui: &mut Ui<'_>) -> Result<(), Error> {
        let file = from.join(MANIFEST);
        let location = Location::File(Local::new(from, MANIFEST));
        let found = fs::metadata(&file).map_err(|error| error.kind());
        if let Err(ErrorKind::NotFound | ErrorKind::NotADirectory) = found {
            let why = "is not the directory of a bundle, which joblet-exec export writes";
            return Err(Error::NotFound(format!("{} {why}", from.display())));
        }
        let manifest = fetch::document(&location, MAX_MANIFEST_BYTES)?;
        let refuse = |reason: String| Error::Config { path: file.clone(), reason };
        let manifest: BundleManifest =
            serde_json::from_slice(&manifest).map_err(|error| refuse(error.to_string()))?;
        let source = self.bundled(&manifest, from)?;
        let store = self.store()?;
        store.clean()?;
        let parsed = manifest.runtimes.iter().map(|text| text.parse::<Spec>());
        let specs = parsed.collect::<Result<Vec<_>, _>>();
        let specs = specs.map_err(|error| refuse(error.to_string()))?;
        let mut registries = Registries::new(vec![source], self.policy());
        let rows = install_all(&specs, &store, &mut registries, ui)?;
        if self.global.json {
            ui.data(&output::plain(&rows))?;
        }
        Ok(())
    }

    /// The registry in a bundle, with the keys of the original registry if that is configured.
    fn bundled(&self, manifest: &BundleManifest, from: &Path) -> Result<Source, Error> {
        let config = self.config()?;
        let from = std::path::absolute(from).map_err(Error::file("find", from))?;
        let location = Location::File(Local::new(&from, DOCUMENT));
        let signed = config.iter().any(|source| !source.keys.is_empty());
        let known = config.into_iter().find(|it| it.location.to_string() == manifest.registry);
        match known {
            Some(source) => Ok(Source { location, token_env: None, ..source }),
            // If registries must be signed, a bundle cannot avoid that by naming another registry.
            None if signed => Err(Error::Registry {
                registry: shown(&manifest.registry),
                reason: "the bundle's registry is not configured here; add it with its key".into(),
            }),
            None => Ok(Source::plain(location)),
        }
    }
}
