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
pub(crate) mod shards;
pub(crate) mod signature;
mod signed;

use crate::cli::ui::Ui;
use crate::error::Error;
use crate::net::location::Location;
use cache::Cache;
use config::Source;
use joblet_format::{
    Freshness, Origin, Refused, Registry, RuntimeName, ShardList, Spec, Wanted, nearest,
};
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
    content: Content,
    /// When the signature expires, in seconds since 1970.
    expires: u64,
    /// Whether it is a cached copy that was not revalidated.
    cached: bool,
}

/// The parsed content of a registry.
#[derive(Debug)]
enum Content {
    /// `registry.json`.
    Whole(Registry),
    /// The list of its shards, of a large registry.
    Shards(ShardList),
}

/// The requested entries of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The names, and the entries of some.
    One,
    /// All entries.
    All,
}

impl Registries {
    /// Reads nothing yet.
    pub(crate) fn new(sources: Vec<Source>, policy: Policy) -> Self {
        Self { sources: sources.into_iter().map(|source| (source, None)).collect(), policy }
    }

    /// Asks registries for changes from now on, even where the cached document is fresh.
    pub(crate) fn refresh(&mut self) {
        self.policy.refresh = !self.policy.offline;
        self.sources.iter_mut().for_each(|(_, read)| *read = None);
    }

    /// The entries of `spec`'s runtime in the registry that serves it: the one `spec` names, else the
    /// first that has any version of the runtime. If they lack what `spec` names, registries are asked for changes.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no registry has it, and those of [`Registries::catalogs`].
    /// [`Error::Registry`] when the signature has expired, unless `spec` is exact.
    pub(crate) fn serving(&mut self, spec: &Spec, ui: &mut Ui<'_>) -> Result<Catalog, Error> {
        let found = self.known(spec, ui);
        let lacks = match (&found, &spec.wanted) {
            (Err(Error::NotFound(_)), _) => true,
            (Ok(catalog), Wanted::Exact(version)) => !catalog
                .registry
                .runtimes
                .get(&spec.name)
                .is_some_and(|it| it.contains_key(version)),
            _ => false,
        };
        let cached =
            |(_, read): &(Source, Option<Document>)| read.as_ref().is_some_and(|it| it.cached);
        if lacks && !self.policy.offline && self.sources.iter().any(cached) {
            self.refresh();
            return self.known(spec, ui);
        }
        found
    }

    /// [`Registries::serving`], from documents that may be cached.
    fn known(&mut self, spec: &Spec, ui: &mut Ui<'_>) -> Result<Catalog, Error> {
        let mut asked = Vec::new();
        for (source, read) in &mut self.sources {
            if spec.origin.is_some() && spec.origin != source.origin {
                continue;
            }
            let document = document(source, read, Need::One, &self.policy, ui)?;
            if document.content.has(&spec.name) {
                let expired = document.expired(&self.policy);
                if expired && !matches!(spec.wanted, Wanted::Exact(_)) {
                    let reason = format!("{EXPIRED}; ask its maintainer, or name an exact version");
                    return Err(Error::Registry { registry: source.location.to_string(), reason });
                } else if expired {
                    ui.warning(&format!("registry {}: {EXPIRED}", source.location));
                }
                return entries(source, read, &spec.name, &self.policy, ui);
            }
            asked.push(source.location.to_string());
        }
        Err(self.missing(spec, &asked))
    }

    /// The entries of all registries. Without network, of a large one that was never read as a whole, the
    /// entries that are cached; other runtimes of it have no versions then.
    ///
    /// # Errors
    /// [`Error::Net`] when the request fails and no usable document is cached, [`Error::Registry`] when
    /// the document is refused; the cache is then unchanged. [`Error::Signature`] when the required
    /// signatures are missing or wrong.
    pub(crate) fn catalogs(&mut self, ui: &mut Ui<'_>) -> Result<Vec<Catalog>, Error> {
        let mut all = Vec::new();
        for (source, read) in &mut self.sources {
            let document = match document(source, read, Need::All, &self.policy, ui) {
                Err(error @ Error::Net { .. }) if self.policy.offline => {
                    document(source, read, Need::One, &self.policy, ui).map_err(|_| error)?
                }
                document => document?,
            };
            if document.expired(&self.policy) {
                ui.warning(&format!("registry {}: {EXPIRED}", source.location));
            }
            let registry = match &document.content {
                Content::Whole(registry) => registry.clone(),
                Content::Shards(list) => {
                    let reason = "its versions are known only of runtimes that were asked for";
                    ui.warning(&format!("registry {}: {reason}", source.location));
                    shards::cached(source, list, &self.policy)
                }
            };
            let (origin, location) = (source.origin.clone(), source.location.clone());
            all.push(Catalog { origin, location, registry });
        }
        Ok(all)
    }

    /// How many runtimes there are, and the locations of the registries.
    ///
    /// # Errors
    /// As [`Registries::catalogs`].
    pub(crate) fn count(&mut self, ui: &mut Ui<'_>) -> Result<(usize, Vec<String>), Error> {
        let (mut count, mut places) = (0, Vec::new());
        for (source, read) in &mut self.sources {
            let document = document(source, read, Need::One, &self.policy, ui)?;
            count += document.content.names().len();
            if document.expired(&self.policy) {
                ui.warning(&format!("registry {}: {EXPIRED}", source.location));
            }
            places.push(source.location.to_string());
        }
        Ok((count, places))
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

    /// The result of the last refresh of the registry at `location`, if it exists.
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
                [] => "see runtimes.registries in ~/.rnx/config.yaml".to_owned(),
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
            None => "see joblet-exec list --available".to_owned(),
        };
        let places = asked.join(" or ");
        Error::NotFound(format!("no runtime is called {name} in {places}; {hint}"))
    }
}

/// The entries of `name` in a registry.
fn entries(
    source: &mut Source,
    read: &mut Option<Document>,
    name: &RuntimeName,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Catalog, Error> {
    if let Content::Shards(list) = &document(source, read, Need::One, policy, ui)?.content {
        match shards::entries(source, list, name, policy) {
            Ok(registry) => {
                warn_refused(source, &registry.refused, ui);
                let (origin, location) = (source.origin.clone(), source.location.clone());
                return Ok(Catalog { origin, location, registry });
            }
            // The document may be cached.
            Err(_) if policy.offline => {}
            Err(reason) => remote::unusable(source, &reason, ui),
        }
    }
    let Content::Whole(whole) = &document(source, read, Need::All, policy, ui)?.content else {
        unreachable!("all is needed")
    };
    let registry = document::only(whole, name);
    let (origin, location) = (source.origin.clone(), source.location.clone());
    Ok(Catalog { origin, location, registry })
}

/// The document of a registry, read at first use, or when more of it is needed.
fn document<'r>(
    source: &mut Source,
    read: &'r mut Option<Document>,
    need: Need,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<&'r Document, Error> {
    let serves = |it: &Document| need == Need::One || matches!(it.content, Content::Whole(_));
    if !read.as_ref().is_some_and(serves) {
        let document = remote::document(source, need, policy, ui)?;
        if let Content::Whole(registry) = &document.content {
            warn_refused(source, &registry.refused, ui);
        }
        *read = Some(document);
    }
    Ok(read.as_ref().expect("it was read just now"))
}

/// Warns of entries that break a rule.
fn warn_refused(source: &Source, refused: &[Refused], ui: &mut Ui<'_>) {
    let Some(first) = refused.first() else { return };
    ui.warning(&format!(
        "registry {}: {} broken and ignored, the first is {:?}@{:?}: {}",
        source.location,
        match refused.len() {
            1 => "one entry is".to_owned(),
            count => format!("{count} entries are"),
        },
        first.name,
        first.version,
        first.reason
    ));
}

impl Content {
    /// Whether it has a runtime `name`, or an entry of that name that breaks a rule.
    fn has(&self, name: &RuntimeName) -> bool {
        match self {
            Self::Whole(registry) => document::has(registry, name),
            Self::Shards(list) => list.shards.contains_key(name),
        }
    }

    /// The names of its runtimes.
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Whole(registry) => registry.runtimes.keys().map(RuntimeName::as_str).collect(),
            Self::Shards(list) => list.shards.keys().map(RuntimeName::as_str).collect(),
        }
    }
}

impl Document {
    fn expired(&self, policy: &Policy) -> bool {
        self.expires < policy.seconds()
    }
}

impl Policy {
    /// The current time, in seconds since 1970.
    fn seconds(&self) -> u64 {
        self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}
