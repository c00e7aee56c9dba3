//! Large registries in shards: the signed list of them, and the shard of one runtime.
//!
//! Whatever is wrong with them, `registry.json` itself is complete: the caller then reads that.

use super::config::Source;
use super::{Policy, cache, signed};
use crate::error::Error;
use crate::net::location::Location;
use crate::net::transfer::fetch;
use joblet_format::{Checksum, MAX_SHARD_BYTES, Registry, RuntimeName, ShardList};
use std::io::ErrorKind;

/// A verified list.
pub(super) struct Listed {
    /// The list.
    pub list: ShardList,
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its signature file; empty for an unsigned registry.
    pub minisig: String,
    /// When that expires, in seconds since 1970.
    pub expires: u64,
}

/// Reads the list of the shards of the registry `source`, whose `registry.json` has `length` bytes; `None`
/// if it is not in shards.
///
/// # Errors
/// Why the list is not used.
pub(super) fn list(
    source: &Source,
    length: u64,
    policy: &Policy,
) -> Result<Option<Listed>, String> {
    let Some(place) = place(&source.location) else { return Ok(None) };
    let body = match fetch::document(&place, MAX_SHARD_BYTES) {
        Err(Error::Net { status: Some(404 | 410), .. }) => return Ok(None),
        Err(Error::File { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| error.to_string())?,
    };
    let (minisig, expires) =
        signed::verify(source, &place, &body).map_err(|error| error.to_string())?;
    if expires < policy.seconds() {
        return Err(format!("the signature of {place} has expired"));
    }
    let list = parse(&body).map_err(|reason| format!("{place}: {reason}"))?;
    if list.registry.size != length {
        // Between two steps of a publication, or of a copy; or written by a program without support for shards.
        let size = list.registry.size;
        return Err(format!("{place} is for a document of {size} bytes, but that has {length}"));
    }
    Ok(Some(Listed { list, body, minisig, expires }))
}

/// Parses a list.
///
/// # Errors
/// The rule that it breaks.
pub(crate) fn parse(body: &[u8]) -> Result<ShardList, String> {
    serde_json::from_slice(body).map_err(|error| format!("not a list of shards: {error}"))
}

/// The location of the list beside the document at `registry`.
pub(super) fn place(registry: &Location) -> Option<Location> {
    registry.of_archive(&ShardList::list_file(&registry.file_name()?)?).ok()
}

/// The entries of `name`, which `list` has, from the cache or by a request.
///
/// # Errors
/// Why the shard is not used.
pub(super) fn entries(
    source: &Source,
    list: &ShardList,
    name: &RuntimeName,
    policy: &Policy,
) -> Result<Registry, String> {
    let registry = &source.location;
    let remote = matches!(registry, Location::Http(_));
    let checksum = list.shards.get(name).ok_or("it is not in the list")?;
    let key = registry.key();
    let cache = policy.cache.as_ref().filter(|_| remote);
    let cached = cache.and_then(|cache| cache::shard(cache, &key, name));
    let body = match cached.filter(|body| Checksum::of_bytes(body) == *checksum) {
        Some(body) => body,
        None if remote && policy.offline => return Err("it is not cached".into()),
        None => {
            let document = registry.file_name().unwrap_or_default();
            let directory = ShardList::directory(&document).unwrap_or_default();
            let path = format!("{directory}/{}", ShardList::shard(name, checksum));
            let place = registry.of_archive(&path)?;
            let body =
                fetch::document(&place, MAX_SHARD_BYTES).map_err(|error| error.to_string())?;
            let actual = Checksum::of_bytes(&body);
            if actual != *checksum {
                return Err(format!("{place} has {actual}, but the list has {checksum}"));
            }
            if let Some(cache) = cache {
                cache::save_shard(cache, &key, name, &body);
            }
            body
        }
    };
    let mut found: Registry =
        serde_json::from_slice(&body).map_err(|error| format!("not a shard: {error}"))?;
    let mut names = found.runtimes.keys().map(RuntimeName::as_str);
    let refused = found.refused.iter().map(|refused| refused.name.as_str());
    if let Some(other) = names.by_ref().chain(refused).find(|other| *other != name.as_str()) {
        return Err(format!("it has entries of {other:?}"));
    }
    if found.runtimes.is_empty() && found.refused.is_empty() {
        return Err("it has no entries".into());
    }
    found.updated_at.clone_from(&list.updated_at);
    Ok(found)
}

/// The cached part of a registry: the entries of some runtimes, no versions of the others.
pub(super) fn cached(source: &Source, list: &ShardList, policy: &Policy) -> Registry {
    let mut all = Registry { updated_at: list.updated_at.clone(), ..Registry::default() };
    for name in list.shards.keys() {
        let found = entries(source, list, name, policy).ok();
        let releases = found.and_then(|mut found| found.runtimes.remove(name));
        all.runtimes.insert(name.clone(), releases.unwrap_or_default());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_beside_its_document() {
        for (registry, want) in [
            (
                "https://example.org/r/registry.json",
                Some("https://example.org/r/registry.shards.json"),
            ),
            ("https://example.org/a/team.json?t=1", Some("https://example.org/a/team.shards.json")),
            ("/r/registry.json", Some("/r/registry.shards.json")),
            ("/r/document", None),
        ] {
            let location = Location::of_configured(registry, false).unwrap().unwrap();
            assert_eq!(place(&location).map(|it| it.to_string()).as_deref(), want, "{registry}");
        }
    }
}
