//! The registries that are in use, and which of them serves a name.
//!
//! In: the configuration, and the name that is wanted. Out: a [`Catalog`]: what the registry that serves it
//! offers, its signature verified, not older than what was seen before, from the network or the cache.

pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod document;
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
use joblet_format::{Origin, Registry, RuntimeName, Spec, Wanted, nearest};
use std::time::SystemTime;

/// What is wrong with a registry whose signature has expired.
const EXPIRED: &str = "its signature has expired: what it says may be out of date";

/// What a registry offers, and where it is.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// What the configuration calls it.
    pub origin: Option<Origin>,
    /// Where the document is.
    pub location: Location,
    /// The document, or the part of it that was asked for.
    pub registry: Registry,
}

/// How registries are read.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Make no request.
    pub offline: bool,
    /// Make a request even if the copy is fresh.
    pub refresh: bool,
    /// The time by which copies are old.
    pub now: SystemTime,
    /// Where copies are kept.
    pub cache: Option<Cache>,
    /// How long to wait for another process's request, in seconds.
    pub lock_timeout: u64,
    /// The value of a variable that the configuration names, unless it is empty.
    pub variable: fn(&str) -> Option<String>,
}

/// The registries, in the order in which they are asked. Each is read once at most.
#[derive(Debug)]
pub(crate) struct Registries {
    sources: Vec<(Source, Option<Document>)>,
    policy: Policy,
}

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Document {
    content: RegistryDocument,
    /// When its signature expires, in seconds since 1970.
    expires: u64,
}

impl Registries {
    /// None is read before it is needed.
    pub(crate) fn new(sources: Vec<Source>, policy: Policy) -> Self {
        Self { sources: sources.into_iter().map(|source| (source, None)).collect(), policy }
    }

    /// What the registry that serves `spec` says of its runtime: the one that was named, else the
    /// first that has any version of it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, and what [`Registries::all`] says. [`Error::Registry`]
    /// when its signature has expired, unless `spec` is exact.
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
                return part(source, read, Some(&spec.name), &self.policy, ui);
            }
            asked.push(source.location.to_string());
        }
        Err(self.missing(spec, &asked))
    }

    /// What all of them offer.
    ///
    /// # Errors
    /// [`Error::Net`] when there is neither an answer nor a copy, [`Error::Registry`] when the
    /// document is refused; the cache is then unchanged. [`Error::Signature`] when it is not signed as
    /// it must be.
    pub(crate) fn all(&mut self, ui: &mut Ui<'_>) -> Result<Vec<Catalog>, Error> {
        let mut all = Vec::new();
        for (source, read) in &mut self.sources {
            if document(source, read, &self.policy, ui)?.expired(&self.policy) {
                ui.warning(&format!("registry {}: {EXPIRED}", source.location));
            }
            all.push(part(source, read, None, &self.policy, ui)?);
        }
        Ok(all)
    }

    /// The document of the registry at `location` byte for byte, and its signature, if it must be
    /// signed.
    ///
    /// # Errors
    /// As [`Registries::all`].
    pub(crate) fn original(&self, location: &Location) -> Result<Option<(Vec<u8>, String)>, Error> {
        let found = self.sources.iter().find(|(source, _)| source.location == *location);
        match found {
            Some((source, _)) if !source.keys.is_empty() => remote::original(source).map(Some),
            _ => Ok(None),
        }
    }

    /// One that is read as these are: that at `location`, with its keys if it is one of these.
    pub(crate) fn at(sources: &[Source], location: Location, policy: Policy) -> Self {
        let source = sources.iter().find(|source| source.location == location).cloned();
        Self::new(vec![source.unwrap_or_else(|| Source::plain(location))], policy)
    }

    /// Whether one of them is called `origin`.
    pub(crate) fn knows(&self, origin: &Origin) -> bool {
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

/// What a registry says of `name`, or of all.
fn part(
    source: &mut Source,
    read: &mut Option<Document>,
    name: Option<&RuntimeName>,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Catalog, Error> {
    let mut registry = document(source, read, policy, ui)?.content.part(name);
    if let (None, Some(cache)) = (&registry, &policy.cache) {
        // The copy is damaged in a part that was not read before.
        cache::evict(cache, &source.location.key());
        *read = None;
        registry = document(source, read, policy, ui)?.content.part(name);
    }
    let (origin, location) = (source.origin.clone(), source.location.clone());
    let registry = registry.ok_or_else(|| Error::Registry {
        registry: location.to_string(),
        reason: "the document changed while it was read; try again".into(),
    })?;
    Ok(Catalog { origin, location, registry })
}

/// The document of a registry, read when first needed.
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
