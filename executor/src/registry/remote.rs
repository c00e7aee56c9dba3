//! A registry's document: from a local file, by a request, or from the cache.

use super::cache::{self, Cache, CachedDocument, Facts, Kind};
use super::config::Source;
use super::document::parse;
use super::rollback::{self, Order};
use super::shards::Listed;
use super::{Content, Document, Need, Policy};
use super::{shards, signed};
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::net::address::Address;
use crate::net::http::Validators;
use crate::net::location::Location;
use crate::net::transfer::fetch::{self, Beginning};
use joblet_format::{MAX_REGISTRY_BYTES, MAX_UNSHARDED_BYTES};
use std::time::{Duration, SystemTime};

/// How much of `registry.json` a host without a copy requests first, in bytes: most registries are
/// smaller.
const FIRST_BYTES: u64 = 64 << 10;

/// The document of a registry: for [`Need::One`] of a large one, the list of its shards.
///
/// A local document is read in place. A remote one is requested at most once an hour, conditionally; when
/// the request fails, a cached document of up to thirty days is used, with a warning.
pub(super) fn document(
    source: &mut Source,
    need: Need,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Document, Error> {
    add_token(source, policy)?;
    let location = &source.location;
    let Location::Http(address) = location else { return local(source, need, policy, ui) };
    let (url, key, trust) = (address.to_string(), address.key(), source.trust());
    let cache = policy.cache.as_ref();
    cache.map_or(Ok(()), Cache::check)?;
    let load = |now| cache.and_then(|cache| newest(cache, (&key, &trust), need, now));
    let fresh = |copy: &CachedDocument| copy.age < cache::FRESH && !policy.refresh;
    let mut copy = load(policy.now);
    let mut _asking = None;
    if !policy.offline && !policy.refresh && !copy.as_ref().is_some_and(fresh) {
        // One process sends the request; those that waited use its result.
        _asking = cache.map(|cache| cache::lock(cache, &key, policy.lock_timeout)).transpose()?;
        // Another process may have saved the document after `policy.now`: take the current time, or its age
        // would be negative.
        copy = load(policy.now.max(SystemTime::now()));
    }
    if let Some(copy) = copy.as_ref().filter(|copy| fresh(copy)) {
        ui.detail(&format!("registry {url}: using the copy of {} ago", rounded(copy.age)));
        return Ok(Document { cached: true, ..Document::of_copy(copy, location)? });
    }
    let answer = if policy.offline {
        let reason = if copy.as_ref().is_some_and(|copy| copy.age < cache::USABLE) {
            "not requested, because of --offline"
        } else {
            "no cached copy is younger than 30 days; run the command once without --offline"
        };
        Err(Error::net(&url, reason.into()))
    } else {
        ui.detail(&format!("registry {url}: requesting"));
        request(source, address, copy.as_ref(), need, policy, ui)
    };
    match (answer, copy) {
        (Ok(Some(document)), _) => Ok(document),
        (Ok(None), Some(copy)) => Document::of_copy(&copy, location),
        (Ok(None), None) => {
            let reason = "it has not changed, but there is no cached copy; try again";
            Err(Error::net(&url, reason.into()))
        }
        (Err(error @ Error::Net { .. }), Some(copy)) if copy.age < cache::USABLE => {
            ui.warning(&format!("{error}; using the copy of {} ago", rounded(copy.age)));
            Document::of_copy(&copy, location)
        }
        (Err(error), _) => Err(error),
    }
}

/// A registry's current document and its signature file.
pub(super) fn original(source: &Source) -> Result<(Vec<u8>, String), Error> {
    let body = fetch::document(&source.location, MAX_REGISTRY_BYTES)?;
    let (minisig, _) = signed::verify(source, &source.location, &body)?;
    Ok((body, minisig))
}

impl Document {
    fn of_copy(copy: &CachedDocument, location: &Location) -> Result<Self, Error> {
        let content = match copy.kind {
            Kind::Document => Content::Whole(parse(&copy.body, location)?),
            Kind::Shards => Content::Shards(
                shards::parse(&copy.body)
                    .map_err(|reason| Error::Registry { registry: location.to_string(), reason })?,
            ),
        };
        Ok(Self { content, expires: copy.facts.expires, cached: false })
    }
}

/// The cached copy of a registry: of two that satisfy `need` the newer one, or the smaller one if both are fresh.
fn newest(
    cache: &Cache,
    place: (&str, &str),
    need: Need,
    now: SystemTime,
) -> Option<CachedDocument> {
    let kinds: &[Kind] = match need {
        Need::One => &[Kind::Shards, Kind::Document],
        Need::All => &[Kind::Document],
    };
    let copies = kinds.iter().filter_map(|kind| cache::load(cache, place, *kind, now));
    copies.min_by_key(|copy| (copy.age.max(cache::FRESH), copy.kind))
}

/// The document of a registry on this host.
fn local(source: &Source, need: Need, policy: &Policy, ui: &mut Ui<'_>) -> Result<Document, Error> {
    let location = &source.location;
    if let Location::File(file) = location
        && !file.path().exists()
    {
        let reason = if file.path().ends_with("registry.json") {
            "it does not exist; joblet-publish site writes it, beside the archives"
        } else {
            "it does not exist; name a directory, an owner/repo or an https address"
        };
        return Err(Error::Registry { registry: location.to_string(), reason: reason.into() });
    }
    if let (Need::One, Location::File(file)) = (need, location) {
        let metadata = file.open()?.metadata().map_err(Error::file("stat", file.path()))?;
        let large = metadata.len() > MAX_UNSHARDED_BYTES;
        let listed = if large { listed(source, metadata.len(), policy, ui) } else { None };
        if let Some(Listed { list, expires, .. }) = listed {
            return Ok(Document { content: Content::Shards(list), expires, cached: false });
        }
    }
    let body = fetch::document(location, MAX_REGISTRY_BYTES)?;
    let (_, expires) = signed::verify(source, location, &body)?;
    Ok(Document { content: Content::Whole(parse(&body, location)?), expires, cached: false })
}

/// The list of the shards of a large registry, whose `registry.json` has `length` bytes; `None` if it
/// cannot be used.
fn listed(source: &Source, length: u64, policy: &Policy, ui: &mut Ui<'_>) -> Option<Listed> {
    let listed = shards::list(source, length, policy);
    listed.unwrap_or_else(|reason| {
        unusable(source, &reason, ui);
        None
    })
}

/// Reports why shards are not used.
pub(super) fn unusable(source: &Source, reason: &str, ui: &mut Ui<'_>) {
    let location = &source.location;
    ui.warning(&format!("registry {location}: read as a whole, its shards are not used: {reason}"));
}

/// Requests a document; `None` if `copy` is still current.
///
/// A document that is refused does not replace the cached one.
fn request(
    source: &Source,
    address: &Address,
    copy: Option<&CachedDocument>,
    need: Need,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Option<Document>, Error> {
    let none = Validators::default();
    let mut known = copy.map_or(&none, |copy| &copy.facts.validators);
    if need == Need::One {
        // Only the length of a registry in shards is requested.
        let in_shards = copy.is_some_and(|copy| copy.kind == Kind::Shards);
        let most = if in_shards { 1 } else { FIRST_BYTES };
        let limits = (MAX_UNSHARDED_BYTES, MAX_REGISTRY_BYTES);
        match fetch::beginning(address, most, limits, known)? {
            Beginning::Unchanged => match unchanged(source, &address.key(), copy, policy) {
                Err(error @ Error::Signature { .. }) if in_shards => {
                    unusable(source, &error.to_string(), ui);
                }
                done => return done,
            },
            Beginning::Whole(body, validators) => {
                return whole(source, address, &body, validators, policy, ui).map(Some);
            }
            Beginning::Large(length, validators) => {
                let found = in_shards_of(source, address, length, validators, policy, ui);
                if let Some(document) = found {
                    return Ok(Some(document));
                }
            }
            Beginning::Unclear => {}
        }
        // It has changed.
        known = &none;
    }
    match fetch::changed(address, MAX_REGISTRY_BYTES, known)? {
        Some((body, validators)) => whole(source, address, &body, validators, policy, ui).map(Some),
        None => unchanged(source, &address.key(), copy, policy),
    }
}

/// Verifies a whole document, and saves it.
fn whole(
    source: &Source,
    address: &Address,
    body: &[u8],
    validators: Validators,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Document, Error> {
    let (minisig, expires) = signed::verify(source, &source.location, body)?;
    let registry = parse(body, &source.location)?;
    check_rollback(&registry.updated_at, address, policy, ui)?;
    let facts = Facts { validators, minisig, expires };
    keep(source, address, Kind::Document, facts, body, policy, ui);
    Ok(Document { content: Content::Whole(registry), expires, cached: false })
}

/// The list of the shards of a document of `length` bytes, verified and saved; `None` if it cannot be used.
fn in_shards_of(
    source: &Source,
    address: &Address,
    length: u64,
    validators: Validators,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Option<Document> {
    let Listed { list, body, minisig, expires } = listed(source, length, policy, ui)?;
    if let Err(error) = check_rollback(&list.updated_at, address, policy, ui) {
        unusable(source, &error.to_string(), ui);
        return None;
    }
    let facts = Facts { validators, minisig, expires };
    keep(source, address, Kind::Shards, facts, &body, policy, ui);
    Some(Document { content: Content::Shards(list), expires, cached: false })
}

/// Handles a document that has not changed, whose signature may have.
fn unchanged(
    source: &Source,
    key: &str,
    copy: Option<&CachedDocument>,
    policy: &Policy,
) -> Result<Option<Document>, Error> {
    let (Some(copy), Some(cache)) = (copy, policy.cache.as_ref()) else { return Ok(None) };
    let place = match copy.kind {
        Kind::Document => Some(source.location.clone()),
        Kind::Shards => shards::place(&source.location),
    };
    let place = place.filter(|_| !source.keys.is_empty());
    let Some(place) = place else {
        cache::revalidate(cache, key, copy.kind, policy.now);
        return Ok(None);
    };
    let (minisig, expires) = signed::verify(source, &place, &copy.body)?;
    if minisig == copy.facts.minisig {
        cache::revalidate(cache, key, copy.kind, policy.now);
        return Ok(None);
    }
    // Signed again.
    let facts = Facts { validators: copy.facts.validators.clone(), minisig, expires };
    let mut document = Document::of_copy(copy, &source.location)?;
    document.expires = expires;
    // Best effort: without a cache file the document is requested again.
    _ = cache::save(cache, (key, &source.trust()), copy.kind, facts, &copy.body, policy.now);
    Ok(Some(document))
}

/// Refuses a document that is older than one seen before, and records its date.
fn check_rollback(
    updated_at: &str,
    url: &Address,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<(), Error> {
    let Some(cache) = policy.cache.as_ref() else { return Ok(()) };
    let key = url.key();
    let seen = cache::seen(cache, &key);
    match rollback::order(updated_at, seen.as_deref(), policy.now) {
        Order::Later if seen.as_deref() != Some(updated_at) => {
            cache::record_seen(cache, &key, updated_at);
        }
        Order::Later => {}
        Order::Future => ui.warning(&format!(
            "registry {url}: it is dated {updated_at}, in the future; is the clock right?"
        )),
        Order::Earlier => {
            let seen = seen.unwrap_or_default();
            return Err(Error::Registry {
                registry: url.to_string(),
                reason: format!(
                    "it is dated {updated_at}, but one dated {seen} was seen before: \
                     rollback is refused; try again later, or ask its maintainer"
                ),
            });
        }
    }
    Ok(())
}

fn keep(
    source: &Source,
    address: &Address,
    kind: Kind,
    facts: Facts,
    body: &[u8],
    policy: &Policy,
    ui: &mut Ui<'_>,
) {
    let place = (address.key(), source.trust());
    let save = |cache| cache::save(cache, (&place.0, &place.1), kind, facts, body, policy.now);
    if let Some(Err(error)) = policy.cache.as_ref().map(save) {
        ui.detail(&format!("the registry's document is not cached: {error}"));
    }
}

/// Adds a registry's token, from the environment variable that the configuration names.
fn add_token(source: &mut Source, policy: &Policy) -> Result<(), Error> {
    let (Some(variable), Location::Http(address)) = (&source.token_env, &source.location) else {
        return Ok(());
    };
    let Some(token) = (policy.variable)(variable) else {
        return Err(Error::Usage(format!(
            "the token for registry {} is expected in the environment variable {variable}, which is \
             not set",
            source.location
        )));
    };
    source.location = Location::Http(address.clone().with_token(token));
    Ok(())
}

/// A duration, rounded down to a readable unit.
fn rounded(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
