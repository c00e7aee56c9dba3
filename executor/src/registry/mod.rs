//! The registries in use, and which of them serves a name.
//!
//! In: the configuration, and a runtime's name. Out: a [`Catalog`]: the entries of the registry that serves
//! it, from the network or the cache, with verified signature and not older than a document seen before.

pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod document;
mod freshness;
mod remote;
pub(crate) mod resolve;
mod rollback;
pub(crate) mod signature;

use crate::cli::ui::Ui;
use crate::error::Error;
use crate::net::location::Location;
use cache::Cache;
use config::Source;
use document::RegistryDocument;
use joblet_format::{Freshness, Origin, Registry, RuntimeName, Spec, Wanted, nearest};
use std::time::SystemTime;

/// The reason that refuses a registry, or warns, after its signature's expiry.
const EXPIRED: &str = "its signature has expired: it may be out of date";

/// The entries of a registry.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Its name in the configuration.
    pub origin: Option<Origin>,
    /// The location of the document.
    pub location: Location,
    /// All entries, or those of one runtime.
    pub registry: Registry,
}

/// How registries are read.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Make no request.
    pub offline: bool,
    /// Make a request even if the cached document is fresh.
    pub refresh: bool,
    /// The current time, for the age of cached documents.
    pub now: SystemTime,
    /// The cache; `None` without one.
    pub cache: Option<Cache>,
    /// How long to wait for another process's request, in seconds.
    pub lock_timeout: u64,
    /// Reads an environment variable; `None` if it is empty or not set.
    pub variable: fn(&str) -> Option<String>,
}

/// The registries, in order of priority. Each is read at most once.
#[derive(Debug)]
pub(crate) struct Registries {
    sources: Vec<(Source, Option<Document>)>,
    policy: Policy,
}

/// A document and the expiry of its signature.
#[derive(Debug)]
pub(crate) struct Document {
    content: RegistryDocument,
    /// When the signature expires, in seconds since 1970.
    expires: u64,
}

impl Registries {
    /// Reads nothing yet.
    pub(crate) fn new(sources: Vec<Source>, policy: Policy) -> Self {
        Self { sources: sources.into_iter().map(|source| (source, None)).collect(), policy }
    }

    /// The entries of `spec`'s runtime in the registry that serves it: the one `spec` names, else the
    /// first that has any version of the runtime.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no registry has it, and those of [`Registries::catalogs`].
    /// [`Error::Registry`] when the signature has expired, unless `spec` is exact.
    pub(crate) fn serving(&mut self, spec: &Spec, ui: &mut Ui<'_>) -> Result<Catalog, Error> {
        let mut asked = Vec::new();
        for (source, read) in &mut self.sources {
            if spec.origin.is_some() && spec.origin != source.origin {
                continue;
            }
            let document = document(source, read, &self.policy, ui)?;
            if document.content.has(&spec.name) {
                let expired = document.expired(&self.policy);
                if expired && !matches!(spec.wanted, Wanted::Exact(_)) {
                    let reason = format!("{EXPIRED}; ask its maintainer, or name an exact version");
                    return Err(Error::Registry { registry: source.location.to_string(), reason });
                } else if expired {
                    ui.warning(&format!("registry {}: {EXPIRED}", source.location));
                }
                return entries(source, read, Some(&spec.name), &self.policy, ui);
            }
            asked.push(source.location.to_string());
        }
        Err(self.missing(spec, &asked))
    }

    /// The entries of all registries.
    ///
    /// # Errors
    /// [`Error::Net`] when the request fails and no usable document is cached, [`Error::Registry`] when
    /// the document is refused; the cache is then unchanged. [`Error::Signature`] when the required
    /// signatures are missing or wrong.
    pub(crate) fn catalogs(&mut self, ui: &mut Ui<'_>) -> Result<Vec<Catalog>, Error> {
        let mut all = Vec::new();
        for (source, read) in &mut self.sources {
            if document(source, read, &self.policy, ui)?.expired(&self.policy) {
                ui.warning(&format!("registry {}: {EXPIRED}", source.location));
            }
            all.push(entries(source, read, None, &self.policy, ui)?);
        }
        Ok(all)
    }

    /// The document of the registry at `location`, byte for byte, and its signature file, if it has keys.
    ///
    /// # Errors
    /// As [`Registries::catalogs`].
    pub(crate) fn original(&self, location: &Location) -> Result<Option<(Vec<u8>, String)>, Error> {
        let found = self.sources.iter().find(|(source, _)| source.location == *location);
        match found {
            Some((source, _)) if !source.keys.is_empty() => remote::original(source).map(Some),
            _ => Ok(None),
        }
    }

    /// What the last refresh of the registry at `location` found, if that is there.
    pub(crate) fn freshness(&self, location: &Location, ui: &mut Ui<'_>) -> Option<Freshness> {
        let (source, _) = self.sources.iter().find(|(source, _)| source.location == *location)?;
        freshness::read(source, &self.policy, ui)
    }

    /// Only the registry at `location`, with its keys if it is one of `sources`.
    pub(crate) fn only(sources: &[Source], location: Location, policy: Policy) -> Self {
        let source = sources.iter().find(|source| source.location == location).cloned();
        Self::new(vec![source.unwrap_or_else(|| Source::plain(location))], policy)
    }

    /// Whether a registry named `origin` is configured.
    pub(crate) fn has_origin(&self, origin: &Origin) -> bool {
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
        let read = || self.sources.iter().filter_map(|(_, document)| document.as_ref());
        let mut names = read().flat_map(|document| document.content.names()).peekable();
        if names.peek().is_none() && !asked.is_empty() {
            let places = asked.join(" or ");
            return Error::NotFound(format!(
                "there is no {name}: nothing is published in {places} yet; --registry WHERE names \
                 another registry"
            ));
        }
        let hint = match nearest(name.as_str(), names) {
            Some(near) => format!("did you mean {near}?"),
            None => "joblet-exec list --available shows what there is".to_owned(),
        };
        let places = asked.join(" or ");
        Error::NotFound(format!("no runtime is called {name} in {places}; {hint}"))
    }
}

/// The entries of `name` in a registry, or all its entries.
fn entries(
    source: &mut Source,
    read: &mut Option<Document>,
    name: Option<&RuntimeName>,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Catalog, Error> {
    let mut registry = document(source, read, policy, ui)?.content.entries(name);
    if let (None, Some(cache)) = (&registry, &policy.cache) {
        // The cache file is damaged in a section that was not read before.
        cache::evict(cache, &source.location.key());
        *read = None;
        registry = document(source, read, policy, ui)?.content.entries(name);
    }
    let (origin, location) = (source.origin.clone(), source.location.clone());
    let registry = registry.ok_or_else(|| Error::Registry {
        registry: location.to_string(),
        reason: "the document changed while it was read; try again".into(),
    })?;
    Ok(Catalog { origin, location, registry })
}

/// The document of a registry, read at first use.
fn document<'r>(
    source: &mut Source,
    read: &'r mut Option<Document>,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<&'r Document, Error> {
    if read.is_none() {
        let document = remote::document(source, policy, ui)?;
        if let Some(first) = document.content.refused().next() {
            ui.warning(&format!(
                "registry {}: {} broken and ignored, the first is {:?}@{:?}: {}",
                source.location,
                match document.content.refused().len() {
                    1 => "one entry is".to_owned(),
                    count => format!("{count} entries are"),
                },
                first.name,
                first.version,
                first.reason
            ));
        }
        *read = Some(document);
    }
    Ok(read.as_ref().expect("it was read just now"))
}

impl Document {
    fn expired(&self, policy: &Policy) -> bool {
        let now = policy.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.expires < now.as_secs()
    }
}
