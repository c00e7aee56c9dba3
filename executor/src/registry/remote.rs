//! A registry's document: from a local file, by a request, or from the cache.

use super::cache::{self, Cache, Facts};
use super::config::Source;
use super::document::RegistryDocument;
use super::rollback::{self, Order};
use super::signature;
use super::{Document, Policy};
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::net::address::Address;
use crate::net::http::Validators;
use crate::net::location::Location;
use crate::net::transfer::fetch;
use joblet_format::MAX_REGISTRY_BYTES;
use std::time::{Duration, SystemTime};

/// The document of a registry.
///
/// A local document is read in place. A remote one is requested at most once an hour, conditionally; when
/// the request fails, a cached document of up to thirty days is used, with a warning.
pub(super) fn document(
    source: &mut Source,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Document, Error> {
    add_token(source, policy)?;
    let location = &source.location;
    let Location::Http(address) = location else {
        let body = fetch::document(location, MAX_REGISTRY_BYTES)?;
        let (_, expires) = verify(source, &body)?;
        return Ok(Document { content: RegistryDocument::parse(body, location)?, expires });
    };
    let (url, key, trust) = (address.to_string(), address.key(), source.trust());
    let cache = policy.cache.as_ref();
    cache.map_or(Ok(()), Cache::check)?;
    let load = |now| cache.and_then(|cache| cache::load(cache, &key, &trust, now));
    let fresh = |copy: &cache::CachedDocument| copy.age < cache::FRESH && !policy.refresh;
    let mut copy = load(policy.now);
    let mut _asking = None;
    if !policy.offline && !policy.refresh && !copy.as_ref().is_some_and(fresh) {
        // One process sends the request; those that waited use its result.
        _asking = cache.map(|cache| cache::lock(cache, &key, policy.lock_timeout)).transpose()?;
        // Another process may have saved the document after `policy.now`: take the time anew, or its age
        // would be negative.
        copy = load(policy.now.max(SystemTime::now()));
    }
    if let Some(copy) = copy.take_if(|copy| fresh(copy)) {
        ui.detail(&format!("registry {url}: using the copy of {} ago", rounded(copy.age)));
        return Ok(copy.into());
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
        request(source, address, copy.as_ref(), policy, ui)
    };
    let usable = copy.filter(|copy| copy.age < cache::USABLE);
    match (answer, usable) {
        (Ok(Some(document)), _) => Ok(document),
        (Ok(None), _) => load(policy.now).map(Document::from).ok_or_else(|| {
            Error::net(&url, "it has not changed, but the cached copy is gone; try again".into())
        }),
        (Err(error @ Error::Net { .. }), Some(copy)) => {
            ui.warning(&format!("{error}; using the copy of {} ago", rounded(copy.age)));
            Ok(copy.into())
        }
        (Err(error), _) => Err(error),
    }
}

/// A registry's current document and its signature file.
pub(super) fn original(source: &Source) -> Result<(Vec<u8>, String), Error> {
    let body = fetch::document(&source.location, MAX_REGISTRY_BYTES)?;
    let (minisig, _) = verify(source, &body)?;
    Ok((body, minisig))
}

impl From<cache::CachedDocument> for Document {
    fn from(copy: cache::CachedDocument) -> Self {
        Self { content: copy.document, expires: copy.facts.expires }
    }
}

/// Requests a document; `None` if `copy` is still current.
///
/// A document that is refused does not replace the cached one.
fn request(
    source: &Source,
    address: &Address,
    copy: Option<&cache::CachedDocument>,
    policy: &Policy,
    ui: &mut Ui<'_>,
) -> Result<Option<Document>, Error> {
    let (location, cache) = (&source.location, policy.cache.as_ref());
    let key = address.key();
    let none = Validators::default();
    let known = copy.map_or(&none, |copy| &copy.facts.validators);
    let Some((body, validators)) = fetch::changed(address, MAX_REGISTRY_BYTES, known)? else {
        return unchanged(source, &key, copy, policy);
    };
    let (minisig, expires) = verify(source, &body)?;
    let mut document = RegistryDocument::parse(body, location)?;
    check_rollback(&document.section_index.updated_at, address, policy, ui)?;
    let facts = Facts { validators, minisig, expires };
    keep(cache, (&key, &source.trust()), facts, &mut document, policy, ui);
    Ok(Some(Document { content: document, expires }))
}

/// Handles a document that has not changed, whose signature may have.
fn unchanged(
    source: &Source,
    key: &str,
    copy: Option<&cache::CachedDocument>,
    policy: &Policy,
) -> Result<Option<Document>, Error> {
    let (Some(copy), Some(cache)) = (copy, policy.cache.as_ref()) else { return Ok(None) };
    if source.keys.is_empty() || minisig(source)? == copy.facts.minisig.as_bytes() {
        cache::revalidate(cache, key, policy.now);
        return Ok(None);
    }
    // Signed again: evict, so that the next request gets both.
    let Some(body) = copy.document.body() else { return Ok(None) };
    let (minisig, expires) = verify(source, &body)?;
    let mut document = RegistryDocument::parse(body, &source.location)?;
    let facts = Facts { validators: copy.facts.validators.clone(), minisig, expires };
    // Best effort: without a cache file the document is requested again.
    _ = cache::save(cache, (key, &source.trust()), facts, &mut document, policy.now);
    Ok(Some(Document { content: document, expires }))
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
    cache: Option<&Cache>,
    place: (&str, &str),
    facts: Facts,
    document: &mut RegistryDocument,
    policy: &Policy,
    ui: &mut Ui<'_>,
) {
    let saved = cache.map(|cache| cache::save(cache, place, facts, document, policy.now));
    if let Some(Err(error)) = saved {
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

/// Verifies the signatures of a document, if the registry has keys. Returns the file and its expiry.
fn verify(source: &Source, body: &[u8]) -> Result<(String, u64), Error> {
    if source.keys.is_empty() {
        return Ok((String::new(), u64::MAX));
    }
    let minisig = minisig(source)?;
    let expires = signature::verify(body, &minisig, &source.keys, source.threshold);
    let expires = expires.map_err(|reason| refused(source, reason))?;
    Ok((String::from_utf8_lossy(&minisig).into_owned(), expires))
}

/// Fetches the signature file of a registry that has keys.
fn minisig(source: &Source) -> Result<Vec<u8>, Error> {
    let beside = source.location.beside(".minisig");
    fetch::document(&beside, signature::MAX_SIGNATURE_BYTES).map_err(|error| match error {
        Error::File { source: ref io, .. } if io.kind() == std::io::ErrorKind::NotFound => {
            refused(source, "the signature file is missing".into())
        }
        Error::Net { reason, status: Some(404 | 410), .. } => {
            refused(source, format!("the signature file is missing: {reason}"))
        }
        other => other,
    })
}

fn refused(source: &Source, reason: String) -> Error {
    Error::Signature { registry: source.location.to_string(), reason }
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
