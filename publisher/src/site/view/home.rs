//! The home page: every runtime, with the values for filters.

use super::super::text::{day, grouped};
use super::{Catalogue, SUMMARY, architectures, archives, description};
use crate::source::language::{example, language};
use joblet_format::{Release, RuntimeName, Version, text};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
pub(in crate::site) struct Home<'a> {
    runtimes: Vec<Listed<'a>>,
    /// Name and command of a runtime for the example.
    shown: Option<(&'a str, &'static str)>,
    /// Numbers of runtimes and versions.
    count: String,
    versions: String,
    languages: BTreeSet<&'static str>,
    architectures: BTreeSet<&'static str>,
    updated: Option<&'a str>,
}

/// A runtime on the home page.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    description: String,
    language: &'static str,
    latest: Option<String>,
    prerelease: bool,
    architectures: Vec<&'static str>,
    /// The largest download of the latest version, in bytes.
    bytes: u64,
    size: String,
    /// Date of the latest version.
    day: Option<&'a str>,
}

impl<'a> Catalogue<'a> {
    pub(in crate::site) fn home(&self) -> Home<'a> {
        let runtimes = self.registry.runtimes.iter();
        let mut runtimes: Vec<_> =
            runtimes.map(|(name, releases)| self.listed(name, releases)).collect();
        runtimes.sort_by_key(|listed| listed.latest.is_none()); // runtimes without a usable version are last
        let names = self.registry.runtimes.keys();
        let releases = self.registry.runtimes.values().flat_map(BTreeMap::values);
        Home {
            shown: self.shown().map(|(name, _)| (name.as_str(), example(name))),
            count: grouped(runtimes.len() as u64),
            runtimes,
            versions: grouped(releases.clone().count() as u64),
            languages: names.map(language).collect(),
            architectures: releases.flat_map(architectures).collect(),
            updated: day(&self.registry.updated_at),
        }
    }

    /// The runtime of examples, with its latest version: one of Python, if there is one.
    pub(super) fn shown(&self) -> Option<(&'a RuntimeName, &'a Release)> {
        let names = self.registry.runtimes.keys();
        let mut offered = names.filter_map(|name| Some((name, self.latest(name)?)));
        let first = offered.clone().next();
        offered.find(|(name, _)| language(name) == "Python").or(first)
    }

    fn listed(&self, name: &'a RuntimeName, releases: &BTreeMap<Version, Release>) -> Listed<'a> {
        let latest = self.latest(name);
        let sizes = latest.into_iter().flat_map(archives).map(|(_, artifact)| artifact.size);
        let bytes = sizes.max().unwrap_or(0);
        Listed {
            name: name.as_str(),
            description: text::shortened(&description(latest, releases), SUMMARY),
            language: language(name),
            latest: latest.map(|release| release.version.to_string()),
            prerelease: latest.is_some_and(|release| release.version.is_prerelease()),
            architectures: latest.into_iter().flat_map(architectures).collect(),
            bytes,
            size: text::size(bytes),
            day: latest.and_then(|latest| self.day(name, latest)),
        }
    }
}
