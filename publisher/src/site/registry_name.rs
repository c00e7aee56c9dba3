//! What programs call the registry that a page belongs to.

use super::text::{repository, shell_word};
use joblet_format::Registry;
use serde::Serialize;
use std::collections::BTreeSet;

/// The registry that programs ask where none is named.
const DEFAULT: &str = "ehsaniara/joblet-runtimes";

/// How commands on the pages name the registry.
#[derive(Serialize, Debug, PartialEq, Eq)]
pub(super) struct RegistryName {
    /// `owner/repo` or an address, as a word of a shell; empty where it is unknown.
    name: String,
    /// ` --registry=…`; empty for the registry that programs ask anyway.
    option: String,
    /// Whether nothing is known of it: then a script fills in the address that a page was read from.
    unknown: bool,
    /// `owner/repo`, which is all that Joblet's own client takes.
    repository: Option<String>,
}

impl RegistryName {
    /// Of the name that it was `given`, or else of the one repository that all archives are in.
    pub(super) fn new(given: Option<&str>, registry: &Registry) -> Self {
        let releases = registry.runtimes.values().flat_map(|releases| releases.values());
        let repositories: BTreeSet<_> = releases
            .map(|release| repository(&release.download_url).map(|it| it.as_str().to_owned()))
            .collect();
        let only = if repositories.len() == 1 { repositories.into_iter().next() } else { None };
        let Some(name) = given.map(str::to_owned).or(only.flatten()) else {
            let unknown = !registry.runtimes.is_empty();
            return Self { name: String::new(), option: String::new(), unknown, repository: None };
        };
        let repository = name.parse::<joblet_format::Repository>().ok();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:%".contains(&byte);
        let word = if name.bytes().all(plain) { name.clone() } else { shell_word(&name) };
        let option = if name == DEFAULT { String::new() } else { format!(" --registry={word}") };
        let repository = repository.map(|it| it.as_str().to_owned());
        Self { name: word, option, unknown: false, repository }
    }
}
