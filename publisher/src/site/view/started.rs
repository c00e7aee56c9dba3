//! The page of the first steps.

use super::Catalogue;
use crate::source::language::example;
use joblet_format::Version;
use serde::Serialize;

/// The runtime of the commands on the page.
#[derive(Serialize)]
pub(in crate::site) struct Started {
    name: String,
    version: String,
    /// Series of the version, as in `NAME@1` and `NAME@1.4`.
    major: String,
    minor: String,
    /// What a job of it could run.
    command: &'static str,
}

impl Catalogue<'_> {
    /// The commands name a runtime of this registry; of an empty one, what could be in it.
    pub(in crate::site) fn started(&self) -> Started {
        let shown = self.shown();
        let name = shown.map(|(name, _)| name.clone());
        let name = name.unwrap_or_else(|| "python-3.11".parse().expect("a name"));
        let version = shown.map(|(_, release)| release.version.clone());
        let version: Version = version.unwrap_or_else(|| "1.4.0".parse().expect("a version"));
        let text = version.to_string();
        let numbers: Vec<_> = text.split(['-', '.']).take(2).collect();
        Started {
            major: numbers[0].to_owned(),
            minor: numbers.join("."),
            command: example(&name),
            name: name.to_string(),
            version: text,
        }
    }
}
