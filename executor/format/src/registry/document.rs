//! The wire format of the document: its members, and the rules on them.

use super::{Artifact, IndexFile, Part, Refused, Registry, Release, Zstd};
use crate::{Arch, RuntimeName, Version, unique};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// The version of the format, as it is in the document. Part of the format.
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

/// Releases in the form of the document, for serialization.
#[derive(Serialize)]
struct Listed<'r>(BTreeMap<&'r RuntimeName, BTreeMap<&'r Version, &'r Release>>);

impl<'r> Listed<'r> {
    /// The releases that are, or are not, extended.
    fn new(registry: &'r Registry, extended: bool) -> Self {
        let mut listed = BTreeMap::new();
        for (name, releases) in &registry.runtimes {
            let fitting = releases.iter().filter(|(_, release)| release.is_extended() == extended);
            let fitting: BTreeMap<_, _> = fitting.collect();
            if !fitting.is_empty() {
                listed.insert(name, fitting);
            }
        }
        Self(listed)
    }
}

/// The document before the rules on its strings are applied. Strings are borrowed.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Raw<'d> {
    #[serde(borrow)]
    version: Text<'d>,
    #[serde(borrow, default)]
    updated_at: Text<'d>,
    #[serde(borrow)]
    runtimes: RawRuntimes<'d>,
    #[serde(borrow, default)]
    extended: RawRuntimes<'d>,
}

/// A string of the document, borrowed unless it contains escapes.
#[derive(Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Text<'d>(#[serde(borrow)] Cow<'d, str>);

/// Versions by name, each level with unique keys.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct RawRuntimes<'d>(
    #[serde(borrow, deserialize_with = "unique::map")] BTreeMap<Text<'d>, RawVersions<'d>>,
);

/// The versions of one runtime, before the rules are applied.
#[derive(Deserialize)]
#[serde(transparent)]
struct RawVersions<'d>(
    #[serde(borrow, deserialize_with = "unique::map")] BTreeMap<Text<'d>, RawRelease<'d>>,
);

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RawRelease<'d> {
    #[serde(borrow)]
    version: Text<'d>,
    #[serde(borrow, default)]
    description: Text<'d>,
    #[serde(borrow)]
    download_url: Text<'d>,
    #[serde(borrow)]
    checksum: Text<'d>,
    size: u64,
    #[serde(borrow, default)]
    platforms: Vec<Text<'d>>,
    #[serde(borrow, default, deserialize_with = "unique::map")]
    artifacts: BTreeMap<Text<'d>, RawArtifact<'d>>,
    #[serde(borrow, default)]
    yanked: Option<Text<'d>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RawArtifact<'d> {
    #[serde(borrow)]
    download_url: Text<'d>,
    #[serde(borrow)]
    checksum: Text<'d>,
    size: u64,
    #[serde(borrow, default)]
    parts: Vec<RawPart<'d>>,
    #[serde(default)]
    unpacked_size: Option<u64>,
    #[serde(default)]
    entries: Option<u64>,
    #[serde(borrow, default)]
    index: Option<RawIndexFile<'d>>,
    #[serde(borrow, default)]
    zstd: Option<RawZstd<'d>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RawZstd<'d> {
    #[serde(borrow)]
    download_url: Text<'d>,
    #[serde(borrow)]
    checksum: Text<'d>,
    size: u64,
    #[serde(borrow, default)]
    parts: Vec<RawPart<'d>>,
    #[serde(borrow)]
    table: RawIndexFile<'d>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RawPart<'d> {
    #[serde(borrow)]
    download_url: Text<'d>,
    size: u64,
    #[serde(borrow)]
    checksum: Text<'d>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RawIndexFile<'d> {
    #[serde(borrow)]
    checksum: Text<'d>,
    size: u64,
}

impl fmt::Debug for Text<'_> {
    /// As the string, for messages about keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Serde's attribute `try_from` does not support types that borrow.
macro_rules! deserialize_through {
    ($($type:ty: $raw:ident),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $raw::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
deserialize_through!(Registry: Raw, Release: RawRelease);

/// Refuses a document of another format.
fn readable(version: &str) -> Result<(), String> {
    if version.split('.').next() == Some(FORMAT) {
        return Ok(());
    }
    Err(format!(
        "format version {version:?} is newer than this program, which reads version {FORMAT:?}"
    ))
}

impl TryFrom<Raw<'_>> for Registry {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        readable(&raw.version)?;
        let mut registry = Self { updated_at: raw.updated_at.0.into_owned(), ..Self::default() };
        for (name, versions) in raw.runtimes.0.into_iter().chain(raw.extended.0) {
            registry.add_versions(&name, versions);
        }
        Ok(registry)
    }
}

impl Registry {
    /// Adds the versions of one runtime; those that break a rule are listed in [`Registry::refused`].
    fn add_versions(&mut self, name: &str, versions: RawVersions) {
        for (version, release) in versions.0 {
            if let Err(reason) = self.add(name, &version, release) {
                let version = version.0.into_owned();
                self.refused.push(Refused { name: name.to_owned(), version, reason });
            }
        }
    }

    /// Adds one entry.
    ///
    /// # Errors
    /// The rule that it breaks.
    fn add(&mut self, name: &str, version: &str, raw: RawRelease) -> Result<(), String> {
        let (name, release) = checked(name, version, raw)?;
        let releases = self.runtimes.entry(name).or_default();
        if releases.contains_key(&release.version) {
            return Err("it is under `runtimes` and under `extended`".to_owned());
        }
        releases.insert(release.version.clone(), release);
        Ok(())
    }
}

/// Checks one entry.
fn checked(name: &str, key: &str, raw: RawRelease) -> Result<(RuntimeName, Release), String> {
    let name = name.parse::<RuntimeName>().map_err(|error| error.to_string())?;
    key.parse::<Version>().map_err(|error| error.to_string())?;
    if *raw.version != *key {
        return Err(format!("its `version` is {:?}", raw.version.0));
    }
    Ok((name, Release::try_from(raw)?))
}

impl TryFrom<RawRelease<'_>> for Release {
    type Error = String;

    fn try_from(raw: RawRelease) -> Result<Self, String> {
        let mut artifacts = BTreeMap::new();
        for (arch, artifact) in raw.artifacts {
            // An unknown architecture is ignored: this program does not run on it.
            if let Ok(arch) = arch.parse::<Arch>() {
                artifacts.insert(arch, Artifact::try_from(artifact)?);
            }
        }
        Ok(Self {
            version: raw.version.parse().map_err(message)?,
            description: raw.description.0.into_owned(),
            download_url: raw.download_url.0.into_owned(),
            checksum: raw.checksum.parse().map_err(message)?,
            size: raw.size,
            platforms: raw.platforms.iter().filter_map(|platform| platform.parse().ok()).collect(),
            artifacts,
            yanked: raw.yanked.map(|reason| reason.0.into_owned()),
        })
    }
}

impl TryFrom<RawArtifact<'_>> for Artifact {
    type Error = String;

    fn try_from(raw: RawArtifact) -> Result<Self, String> {
        Ok(Self {
            download_url: raw.download_url.0.into_owned(),
            checksum: raw.checksum.parse().map_err(message)?,
            size: raw.size,
            parts: parts(raw.parts, raw.size)?,
            unpacked_size: raw.unpacked_size,
            entries: raw.entries,
            index: raw.index.map(IndexFile::try_from).transpose()?,
            zstd: raw.zstd.map(Zstd::try_from).transpose()?,
        })
    }
}

impl TryFrom<RawZstd<'_>> for Zstd {
    type Error = String;

    fn try_from(raw: RawZstd) -> Result<Self, String> {
        Ok(Self {
            download_url: raw.download_url.0.into_owned(),
            checksum: raw.checksum.parse().map_err(message)?,
            size: raw.size,
            parts: parts(raw.parts, raw.size)?,
            table: raw.table.try_into()?,
        })
    }
}

/// The parts of a file of `size` bytes.
fn parts(raw: Vec<RawPart<'_>>, size: u64) -> Result<Vec<Part>, String> {
    let parts = raw.into_iter().map(Part::try_from).collect::<Result<Vec<_>, _>>()?;
    let length = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size));
    if !parts.is_empty() && length != size {
        return Err(format!("its parts have {length} bytes, it has {size}"));
    }
    Ok(parts)
}

impl TryFrom<RawPart<'_>> for Part {
    type Error = String;

    fn try_from(raw: RawPart) -> Result<Self, String> {
        if raw.size == 0 {
            return Err("one of its parts is empty".to_owned());
        }
        let checksum = raw.checksum.parse().map_err(message)?;
        Ok(Self { download_url: raw.download_url.0.into_owned(), size: raw.size, checksum })
    }
}

impl TryFrom<RawIndexFile<'_>> for IndexFile {
    type Error = String;

    fn try_from(raw: RawIndexFile) -> Result<Self, String> {
        Ok(Self { checksum: raw.checksum.parse().map_err(message)?, size: raw.size })
    }
}

fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}
