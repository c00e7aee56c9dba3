//! What programs call the registry that a page belongs to.

use super::text::repository;
use joblet_format::{Registry, Repository};
use serde::Serialize;
use std::collections::BTreeSet;

/// How commands on the pages name the registry.
#[derive(Serialize, Debug, PartialEq, Eq)]
pub(super) struct RegistryName {
    /// `owner/repo` or an address, of letters that mean nothing to a shell; empty where it is unknown.
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
        let option =
            if name == Repository::DEFAULT { String::new() } else { format!(" --registry={name}") };
        let repository = name.parse().ok().map(|it: Repository| it.as_str().to_owned());
        Self { name, option, unknown: false, repository }
    }
}
