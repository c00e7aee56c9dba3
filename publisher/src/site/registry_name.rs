//! The name of the registry in commands on the pages.

use super::text::repository;
use joblet_format::{Registry, Repository};
use serde::Serialize;
use std::collections::BTreeSet;

/// The name of the registry in commands on the pages.
#[derive(Serialize, Debug, PartialEq, Eq)]
pub(super) struct RegistryName {
    /// `owner/repo` or an address, without characters special to a shell; empty if unknown.
    name: String,
    /// ` --registry=…`; empty for the default registry.
    option: String,
    /// Whether it is unknown: then a script inserts the address of the page.
    unknown: bool,
    /// `owner/repo`, the only form that Joblet's own client supports.
    repository: Option<String>,
}

impl RegistryName {
    /// The name `given`, else the repository of the archives if there is only one.
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
