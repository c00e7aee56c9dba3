//! `freshness.json` beside a registry's document: which versions have newer inputs.
//!
//! Informative: without it nothing is missing, and nothing that is installed or run depends on it. Of a
//! registry with keys it counts only with a signature of its own.

use super::config::Source;
use super::{Policy, signature};
use crate::cli::ui::Ui;
use crate::net::location::Location;
use crate::net::transfer::fetch;
use joblet_format::{Freshness, MAX_FRESHNESS_BYTES};

/// The file's name, beside `registry.json`.
const FILE: &str = "freshness.json";

/// Reads the file beside the document of `source`; `None` where there is none that can be used.
pub(super) fn read(source: &Source, policy: &Policy, ui: &mut Ui<'_>) -> Option<Freshness> {
    if policy.offline && matches!(source.location, Location::Http(_)) {
        return None;
    }
    let found = verified(source);
    found.map_err(|reason| ui.detail(&format!("{FILE} is not used: {reason}"))).ok()
}

fn verified(source: &Source) -> Result<Freshness, String> {
    let fetch = |suffix: &str, limit| {
        let place = source.location.of_archive(&format!("{FILE}{suffix}"))?;
        fetch::document(&place, limit).map_err(|error| error.to_string())
    };
    let bytes = fetch("", MAX_FRESHNESS_BYTES)?;
    if !source.keys.is_empty() {
        let minisig = fetch(".minisig", signature::MAX_SIGNATURE_BYTES)?;
        signature::verify(&bytes, &minisig, &source.keys, source.threshold)?;
    }
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}
