//! Compares two bills of materials: packages added, removed and changed.

use crate::{
    error::Error,
    record::{
        contents::{self, Line},
        files,
    },
};
use joblet_format::{Arch, Record};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// A package in the bill of materials of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An SPDX licence expression.
    pub licence: String,
    /// Size of its files in the runtime, in bytes.
    pub size: u64,
    /// SHA-256 of the input, in hex.
    pub sha256: String,
}

/// The differences between the packages of two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Packages only in the second version.
    pub added: Vec<Package>,
    /// Packages only in the first version.
    pub removed: Vec<Package>,
    /// Packages in both, from different inputs.
    pub changed: Vec<Change>,
    /// Number of packages from the same input in both.
    pub unchanged: usize,
}

/// A package before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// In the first version.
    pub before: Package,
    /// In the second.
    pub after: Package,
}

/// The packages of one archive, by their identifier in the bill of materials.
pub type Packages = BTreeMap<String, Package>;

/// Compares two sets of packages.
pub fn between(before: &Packages, after: &Packages) -> Changes {
    let only = |these: &Packages, those: &Packages| {
        let these = these.iter().filter(|(id, _)| !those.contains_key(*id));
        these.map(|(_, package)| package.clone()).collect()
    };
    let both = || before.iter().filter_map(|(id, old)| Some((old, after.get(id)?)));
    let changed = both().filter(|(old, new)| old.sha256 != new.sha256);
    let change = |(before, after): (&Package, &Package)| Change {
        before: before.clone(),
        after: after.clone(),
    };
    Changes {
        added: only(after, before),
        removed: only(before, after),
        changed: changed.map(change).collect(),
        unchanged: both().filter(|(old, new)| old.sha256 == new.sha256).count(),
    }
}

/// Reads the packages of `record` for `arch`, and its list of contents, from the files beside it in the directory
/// `records`; `None` if the record lacks one of the two.
///
/// # Errors
/// As [`files::read`]; [`Error::Config`] for a malformed file.
pub fn read(
    records: &Path,
    record: &Record,
    arch: Arch,
) -> Result<Option<(Packages, String)>, Error> {
    let read = |name: String| files::read(records, record, &name);
    let (Some(sbom), Some(contents)) = (read(files::sbom(arch))?, read(files::contents(arch))?)
    else {
        return Ok(None);
    };
    let contents = String::from_utf8_lossy(&contents).into_owned();
    let place = files::dir(records, &record.name, &record.release.version).join(files::sbom(arch));
    let packages = packages(&sbom, &contents).map_err(|reason| Error::config(place, reason))?;
    Ok(Some((packages, contents)))
}

/// Parses a bill of materials made by [`crate::record::sbom`], with sizes from the list of contents.
///
/// # Errors
/// The rule that it breaks.
fn packages(sbom: &[u8], contents: &str) -> Result<Packages, String> {
    #[derive(Deserialize)]
    struct Document {
        packages: Vec<Entry>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        #[serde(rename = "SPDXID")]
        id: String,
        name: String,
        #[serde(default)]
        version_info: String,
        #[serde(default)]
        license_declared: String,
        checksums: Vec<Sum>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sum {
        checksum_value: String,
    }
    let document: Document = serde_json::from_slice(sbom).map_err(|error| error.to_string())?;
    let lines: Vec<Line> = contents::parse(contents).ok_or("its list of contents is malformed")?;
    let sizes = contents::sizes(&lines);
    // The first package is the runtime itself.
    let packages = document.packages.into_iter().skip(1).map(|entry| {
        let package = Package {
            size: sizes.get(&Some(entry.name.as_str())).copied().unwrap_or(0),
            name: entry.name,
            version: entry.version_info,
            licence: entry.license_declared,
            sha256: entry
                .checksums
                .into_iter()
                .next()
                .map_or_else(String::new, |it| it.checksum_value),
        };
        (entry.id, package)
    });
    Ok(packages.collect())
}
