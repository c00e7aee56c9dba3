//! The registry that is in use, from its cached copy or from where it is.

use crate::cache;
use crate::error::Error;
use crate::fetch;
use crate::location::Location;
use crate::registry;
use crate::ui::Ui;
use joblet_format::{MAX_REGISTRY_BYTES, Registry};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A registry and where it came from.
#[derive(Debug)]
pub struct Catalog {
    /// Where the document is.
    pub location: Location,
    /// The document.
    pub registry: Registry,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Ask nobody.
    pub offline: bool,
    /// Ask even if the copy is fresh.
    pub refresh: bool,
    /// The time by which copies are old.
    pub now: SystemTime,
    /// How long to wait while another process asks, in seconds.
    pub patience: u64,
}

/// Reads the registry at `location`.
///
/// A local one is read where it lies. A remote one is asked for at most once an hour; when it does
/// not answer, a copy of up to thirty days serves, with a warning.
///
/// # Errors
/// [`Error::Net`] when there is neither an answer nor a copy, [`Error::Registry`] when the document
/// is refused; what was cached stays then.
pub fn load(
    location: Location,
    cache: Option<&Path>,
    policy: Policy,
    ui: &mut Ui<'_>,
) -> Result<Catalog, Error> {
    let body = match (&location, cache) {
        (Location::File(_), _) => fetch::document(&location, MAX_REGISTRY_BYTES)?,
        (Location::Http(_), cache) => remote(&location, cache, policy, ui)?,
    };
    let registry = registry::parse(&body, &location)?;
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
    Ok(Catalog { location, registry })
}

/// The document of a remote registry.
fn remote(
    location: &Location,
    cache: Option<&Path>,
    policy: Policy,
    ui: &mut Ui<'_>,
) -> Result<Vec<u8>, Error> {
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
