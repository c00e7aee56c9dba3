//! The registries that are in use, each from its cached copy or from where it is.

use crate::cache;
use crate::config::Source;
use crate::env;
use crate::error::Error;
use crate::fetch;
use crate::location::Location;
use crate::registry;
use crate::trust;
use crate::ui::Ui;
use joblet_format::{MAX_REGISTRY_BYTES, Origin, Registry, RuntimeName, Spec, nearest};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What a registry offers, and where it is.
#[derive(Debug)]
pub struct Catalog {
    /// What the configuration calls it.
    pub origin: Option<Origin>,
    /// Where the document is.
    pub location: Location,
    /// The document, or the part of it that was asked for.
    pub registry: Registry,
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Ask nobody.
    pub offline: bool,
    /// Ask even if the copy is fresh.
    pub refresh: bool,
    /// The time by which copies are old.
    pub now: SystemTime,
    /// Where copies are kept.
    pub cache: Option<PathBuf>,
    /// How long to wait while another process asks, in seconds.
    pub patience: u64,
}

/// The registries, in the order in which they are asked. Each is read once at most.
#[derive(Debug)]
pub struct Registries {
    sources: Vec<(Source, Option<Registry>)>,
    policy: Policy,
}

impl Registries {
    /// None is read before it is needed.
    pub fn new(sources: Vec<Source>, policy: Policy) -> Self {
        Self { sources: sources.into_iter().map(|source| (source, None)).collect(), policy }
    }

    /// What the registry that serves `spec` says of its runtime: the one that was named, else the
    /// first that has any version of it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, and what [`Registries::all`] says.
    pub fn serving(&mut self, spec: &Spec, ui: &mut Ui<'_>) -> Result<Catalog, Error> {
        let mut asked = Vec::new();
        for (source, read) in &mut self.sources {
            if spec.origin.is_some() && spec.origin != source.origin {
                continue;
            }
            let registry = document(source, read, &self.policy, ui)?;
            let has = registry.runtimes.contains_key(&spec.name)
                || registry.refused.iter().any(|entry| entry.name == spec.name.as_str());
            if has {
                return Ok(Catalog {
                    origin: source.origin.clone(),
                    location: source.location.clone(),
                    registry: registry.clone(),
                });
            }
            asked.push(source.location.to_string());
        }
        Err(self.missing(spec, &asked))
    }

    /// What all of them offer.
    ///
    /// # Errors
    /// [`Error::Net`] when there is neither an answer nor a copy, [`Error::Registry`] when the
    /// document is refused; what was cached stays then. [`Error::Signature`] when it is not signed as
    /// it must be.
    pub fn all(&mut self, ui: &mut Ui<'_>) -> Result<Vec<Catalog>, Error> {
        let mut all = Vec::new();
        for (source, read) in &mut self.sources {
            all.push(Catalog {
                registry: document(source, read, &self.policy, ui)?.clone(),
                origin: source.origin.clone(),
                location: source.location.clone(),
            });
        }
        Ok(all)
    }

    /// Whether one of them is called `origin`.
    pub fn knows(&self, origin: &Origin) -> bool {
        self.sources.iter().any(|(source, _)| source.origin.as_ref() == Some(origin))
    }

    fn missing(&self, spec: &Spec, asked: &[String]) -> Error {
        let name = &spec.name;
        if let (Some(origin), []) = (&spec.origin, asked) {
            let known: Vec<_> =
                self.sources.iter().filter_map(|(source, _)| source.origin.as_ref()).collect();
            let names = known.iter().map(|origin| origin.as_str());
            let known: Vec<_> = names.collect();
            let hint = match known.as_slice() {
                [] => "none is; see runtimes.registries in ~/.rnx/config.yaml".to_owned(),
                known => format!("these are: {}", known.join(", ")),
            };
            return Error::NotFound(format!("no registry called {origin} is configured; {hint}"));
        }
        let read = self.sources.iter().filter_map(|(_, registry)| registry.as_ref());
        let names = read.flat_map(|registry| registry.runtimes.keys()).map(RuntimeName::as_str);
        let hint = match nearest(name.as_str(), names) {
            Some(near) => format!("did you mean {near}?"),
            None => "joblet-exec list --available shows what there is".to_owned(),
        };
        let places = asked.join(" or ");
        Error::NotFound(format!("no runtime is called {name} in {places}; {hint}"))
    }
}

/// The document of a registry, read when first needed.
fn document<'r>(
    source: &mut Source,
    read: &'r mut Option<Registry>,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<&'r Registry, Error> {
    if let Some(registry) = read {
        return Ok(registry);
    }
    add_token(source)?;
    let location = &source.location;
    let body = match location {
        Location::File(_) => fetch::document(location, MAX_REGISTRY_BYTES)?,
        Location::Http(_) => remote(location, policy, ui)?,
    };
    signed(source, &body)?;
    let registry = registry::parse(&body, location)?;
    if let Some(first) = registry.refused.first() {
        ui.warning(&format!(
            "registry {location}: {} broken and ignored, the first is {:?}@{:?}: {}",
            match registry.refused.len() {
                1 => "one entry is".to_owned(),
                count => format!("{count} entries are"),
            },
            first.name,
            first.version,
            first.reason
        ));
    }
    Ok(read.insert(registry))
}

/// Takes a registry's token out of the environment.
fn add_token(source: &mut Source) -> Result<(), Error> {
    let (Some(variable), Location::Http(address)) = (&source.token_env, &source.location) else {
        return Ok(());
    };
    let Some(token) = env::named(variable) else {
        return Err(Error::Usage(format!(
            "the token for registry {} is to be in the variable {variable}, which is not set",
            source.location
        )));
    };
    source.location = Location::Http(address.clone().with_token(token));
    Ok(())
}

/// Checks the signature of a document, where one is wanted.
fn signed(source: &Source, body: &[u8]) -> Result<(), Error> {
    if source.keys.is_empty() {
        return Ok(());
    }
    let refused = |reason| Error::Signature { registry: source.location.to_string(), reason };
    let minisig = fetch::document(&source.location.beside(".minisig"), trust::MAX_SIGNATURE_BYTES)?;
    trust::verify(body, &minisig, &source.keys, source.threshold).map(drop).map_err(refused)
}

/// The document of a remote registry.
///
/// It is asked for at most once an hour; when it does not answer, a copy of up to thirty days
/// serves, with a warning.
fn remote(location: &Location, policy: &Policy, ui: &mut Ui<'_>) -> Result<Vec<u8>, Error> {
    let cache = policy.cache.as_deref();
    let url = location.to_string();
    let load = || cache.and_then(|cache| cache::load(cache, &url, policy.now));
    let fresh = |copy: &cache::Copy| copy.age < cache::FRESH && !policy.refresh;
    let mut copy = load();
    let mut _asking = None;
    if !policy.offline && !policy.refresh && !copy.as_ref().is_some_and(fresh) {
        // One process asks; those that waited use its answer.
        _asking = cache.and_then(|cache| cache::lock(cache, &url, policy.patience));
        copy = load();
    }
    let copy = match copy {
        Some(copy) if fresh(&copy) => {
            ui.detail(&format!("registry {url}: using the copy of {} ago", spoken(copy.age)));
            return Ok(copy.body);
        }
        other => other.filter(|copy| copy.age < cache::USABLE),
    };
    let answer = if policy.offline {
        Err(Error::Net { url: url.clone(), reason: "not asked, because of --offline".into() })
    } else {
        ui.detail(&format!("registry {url}: asking"));
        fetch::document(location, MAX_REGISTRY_BYTES)
    };
    match (answer, copy) {
        (Ok(body), _) => {
            // A document that is refused must not take the place of a good copy.
            registry::parse(&body, location)?;
            if let Some(Err(error)) = cache.map(|cache| cache::save(cache, &url, &body, policy.now))
            {
                ui.detail(&format!("the registry's copy is not kept: {error}"));
            }
            Ok(body)
        }
        (Err(error @ Error::Net { .. }), Some(copy)) => {
            ui.warning(&format!("{error}; using the copy of {} ago", spoken(copy.age)));
            Ok(copy.body)
        }
        (Err(Error::Net { url, reason }), None) => {
            let advice = "no copy of it is younger than 30 days; go online once, or name a local \
                          registry with --registry DIR";
            Err(Error::Net { url, reason: format!("{reason}; {advice}") })
        }
        (Err(error), _) => Err(error),
    }
}

/// A duration in the unit that people would choose.
fn spoken(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
