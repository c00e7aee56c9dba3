//! Freshness of a version, from `freshness.json`.

use super::{
    super::text::{day, visible},
    Catalogue,
};
use joblet_format::{Fresh, RuntimeName, Version};
use serde::Serialize;

/// Maximum number of vulnerabilities named on a page; the rest are counted.
const NAMED: usize = 12;

/// Freshness of a version, for a page.
#[derive(Serialize)]
pub(in crate::site) struct Freshness {
    /// Dates of its inputs and of the refresh.
    inputs_of: String,
    checked: String,
    inputs: u64,
    newer: u64,
    security: u64,
    /// Vulnerabilities fixed by newer inputs: the first ones and the number of others; empty if none is named.
    fixes: String,
}

impl Catalogue<'_> {
    /// Freshness of a version; `None` if `freshness.json` lacks it.
    pub(super) fn freshness(&self, name: &RuntimeName, version: &Version) -> Option<Freshness> {
        let all = self.freshness?;
        let Fresh { inputs_of, inputs, newer, security, fixes } = all.get(name, version)?;
        Some(Freshness {
            inputs_of: day(inputs_of)?.to_owned(),
            checked: day(&all.checked_at)?.to_owned(),
            inputs: *inputs,
            newer: *newer,
            security: *security,
            fixes: named(fixes),
        })
    }

    /// Freshness of all versions of a runtime.
    pub(in crate::site) fn fresh(&self, name: &RuntimeName) -> Vec<Option<Freshness>> {
        let versions = self.registry.runtimes[name].keys();
        versions.map(|version| self.freshness(name, version)).collect()
    }
}

fn named(fixes: &[String]) -> String {
    let first: Vec<_> = fixes.iter().take(NAMED).map(|fix| visible(fix)).collect();
    let more = fixes.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    first.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_some_fixes_and_counts_the_others() {
        let fixes = |count: usize| {
            named(&(0..count).map(|number| format!("CVE-{number}")).collect::<Vec<_>>())
        };
        assert_eq!(fixes(0), "");
        assert_eq!(fixes(2), "CVE-0, CVE-1");
        assert!(fixes(14).ends_with("CVE-11 and 2 more"), "{}", fixes(14));
    }
}
