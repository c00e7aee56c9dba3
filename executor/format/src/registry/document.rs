//! The document itself: its members as they stand there, and the rules on them.

use super::{Artifact, IndexFile, Part, Refused, Registry, Release};
use crate::{Arch, RuntimeName, Version, unique};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the format, as it stands in the document. Part of the format.
const FORMAT: &str = "1";

impl Serialize for Registry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let (whole, extended) = (Listed::new(self, false), Listed::new(self, true));
        let mut document = serializer.serialize_struct("Registry", 4)?;
        document.serialize_field("version", FORMAT)?;
        document.serialize_field("updated_at", &self.updated_at)?;
        document.serialize_field("runtimes", &whole)?;
        if !extended.0.is_empty() {
            document.serialize_field("extended", &extended)?;
        }
        document.end()
    }
}

/// Releases as they stand in the document.
#[derive(Serialize)]
struct Listed<'r>(BTreeMap<&'r RuntimeName, BTreeMap<&'r Version, &'r Release>>);

impl<'r> Listed<'r> {
    /// Those that are, or are not, in parts.
    fn new(registry: &'r Registry, in_parts: bool) -> Self {
        let mut listed = BTreeMap::new();
        for (name, releases) in &registry.runtimes {
            let fitting = releases.iter().filter(|(_, release)| release.in_parts() == in_parts);
            let fitting: BTreeMap<_, _> = fitting.collect();
            if !fitting.is_empty() {
                listed.insert(name, fitting);
            }
        }
        Self(listed)
    }
}

/// The document before the rules on its texts are applied.
#[derive(Deserialize)]
pub(super) struct Raw {
    version: String,
    #[serde(default)]
    updated_at: String,
    #[serde(deserialize_with = "runtimes")]
    runtimes: RawRuntimes,
    #[serde(default, deserialize_with = "runtimes")]
    extended: RawRuntimes,
}

type RawRuntimes = BTreeMap<String, BTreeMap<String, RawRelease>>;

#[derive(Deserialize)]
pub(super) struct RawRelease {
    version: String,
    #[serde(default)]
    description: String,
    download_url: String,
    checksum: String,
    size: u64,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default, deserialize_with = "unique::map")]
    artifacts: BTreeMap<String, RawArtifact>,
    #[serde(default)]
    yanked: Option<String>,
}

#[derive(Deserialize)]
struct RawArtifact {
    download_url: String,
    checksum: String,
    size: u64,
    #[serde(default)]
    parts: Vec<RawPart>,
    #[serde(default)]
    unpacked_size: Option<u64>,
    #[serde(default)]
    entries: Option<u64>,
    #[serde(default)]
    index: Option<RawIndexFile>,
}

#[derive(Deserialize)]
struct RawPart {
    download_url: String,
    size: u64,
    checksum: String,
}

#[derive(Deserialize)]
struct RawIndexFile {
    checksum: String,
    size: u64,
}

/// Both levels of `runtimes`, each with unique keys.
fn runtimes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<RawRuntimes, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Versions(#[serde(deserialize_with = "unique::map")] BTreeMap<String, RawRelease>);

    let names: BTreeMap<String, Versions> = unique::map(deserializer)?;
    Ok(names.into_iter().map(|(name, versions)| (name, versions.0)).collect())
}

impl TryFrom<Raw> for Registry {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        if raw.version.split('.').next() != Some(FORMAT) {
            return Err(format!(
                "format version {:?} is newer than this program, which reads version {FORMAT:?}",
                raw.version
            ));
        }
        let mut registry = Self { updated_at: raw.updated_at, ..Self::default() };
        for (name, versions) in raw.runtimes.into_iter().chain(raw.extended) {
            for (version, release) in versions {
                if let Err(reason) = registry.add(&name, &version, release) {
                    registry.refused.push(Refused { name: name.clone(), version, reason });
                }
            }
        }
        Ok(registry)
    }
}

impl Registry {
    /// Takes in one entry, if it breaks no rule.
    fn add(&mut self, name: &str, version: &str, raw: RawRelease) -> Result<(), String> {
        let (name, release) = checked(name, version, raw)?;
        let releases = self.runtimes.entry(name).or_default();
        if releases.contains_key(&release.version) {
            return Err("it stands under `runtimes` and under `extended`".to_owned());
        }
        releases.insert(release.version.clone(), release);
        Ok(())
    }
}

/// One entry, if it breaks no rule.
fn checked(name: &str, key: &str, raw: RawRelease) -> Result<(RuntimeName, Release), String> {
    let name = name.parse::<RuntimeName>().map_err(|error| error.to_string())?;
    key.parse::<Version>().map_err(|error| error.to_string())?;
    if raw.version != key {
        return Err(format!("it says version {:?} inside", raw.version));
    }
    Ok((name, Release::try_from(raw)?))
}

impl TryFrom<RawRelease> for Release {
    type Error = String;

    fn try_from(raw: RawRelease) -> Result<Self, String> {
        let mut artifacts = BTreeMap::new();
        for (arch, artifact) in raw.artifacts {
            // An architecture that this version of the format does not know concerns no host it runs on.
            if let Ok(arch) = arch.parse::<Arch>() {
                artifacts.insert(arch, Artifact::try_from(artifact)?);
            }
        }
        Ok(Self {
            version: raw.version.parse().map_err(text)?,
            description: raw.description,
            download_url: raw.download_url,
            checksum: raw.checksum.parse().map_err(text)?,
            size: raw.size,
            platforms: raw.platforms.iter().filter_map(|platform| platform.parse().ok()).collect(),
            artifacts,
            yanked: raw.yanked,
        })
    }
}

impl TryFrom<RawArtifact> for Artifact {
    type Error = String;

    fn try_from(raw: RawArtifact) -> Result<Self, String> {
        let parts = raw.parts.into_iter().map(Part::try_from).collect::<Result<Vec<_>, _>>()?;
        let length = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size));
        if !parts.is_empty() && length != raw.size {
            return Err(format!("its parts have {length} bytes, it has {}", raw.size));
        }
        Ok(Self {
            download_url: raw.download_url,
            checksum: raw.checksum.parse().map_err(text)?,
            size: raw.size,
            parts,
            unpacked_size: raw.unpacked_size,
            entries: raw.entries,
            index: raw.index.map(IndexFile::try_from).transpose()?,
        })
    }
}

impl TryFrom<RawPart> for Part {
    type Error = String;

    fn try_from(raw: RawPart) -> Result<Self, String> {
        if raw.size == 0 {
            return Err("one of its parts is empty".to_owned());
        }
        let checksum = raw.checksum.parse().map_err(text)?;
        Ok(Self { download_url: raw.download_url, size: raw.size, checksum })
    }
}

impl TryFrom<RawIndexFile> for IndexFile {
    type Error = String;

    fn try_from(raw: RawIndexFile) -> Result<Self, String> {
        Ok(Self { checksum: raw.checksum.parse().map_err(text)?, size: raw.size })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
