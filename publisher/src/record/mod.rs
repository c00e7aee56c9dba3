//! Records: `records/NAME/VERSION.json`.
//!
//! In: packed archives, their trees and their inputs. Out: a record, and beside it lists of contents, SPDX
//! documents and the sources of the version.

pub mod build_cache;
pub mod changes;
pub mod compare;
pub mod components;
pub mod contents;
pub mod files;
pub mod image_packages;
pub mod licence;
pub mod provenance;
mod rpm;
pub mod sbom;
pub(crate) mod updates;

use crate::{
    env::cores::parallel_map,
    error::{Error, shown},
    fs::below::Below,
    pack::{self, Packed, PackedPart, PackedZstd},
    source::Source,
};
use files::Files;
use joblet_format::{Arch, Artifact, Part, Record, Release, RuntimeName, Version, Zstd};
use rustix::fs::FileType;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Longest record, in bytes.
pub(crate) const MAX_RECORD: u64 = 16 << 20;

/// The path of a version's record below `records`.
pub fn path(records: &Path, name: &RuntimeName, version: &Version) -> PathBuf {
    records.join(name.as_str()).join(format!("{version}.json"))
}

/// Makes the record of a build.
///
/// Architectures that were not built now are taken from `before`, the record of an earlier build, whose
/// time is kept if nothing differs. `files` are to be written beside the record. `base_url` is the future
/// address of the archives; without it they are beside `registry.json`.
pub fn make(
    source: &Source,
    built: &BTreeMap<Arch, Packed>,
    files: &Files,
    base_url: Option<&str>,
    now: String,
    before: Option<&Record>,
) -> Record {
    let mut artifacts: BTreeMap<Arch, Artifact> = before
        .map(|record| record.release.artifacts.clone())
        .unwrap_or_default()
        .into_iter()
        .filter(|(arch, _)| source.arches().contains(arch))
        .collect();
    for (arch, packed) in built {
        let file = source.name.archive(&source.version, *arch);
        let download_url = match base_url {
            Some(base) => format!("{}/{file}", base.trim_end_matches('/')),
            None => file,
        };
        let part = |(number, part): (usize, &PackedPart)| Part {
            download_url: pack::part_path(download_url.as_ref(), number).display().to_string(),
            size: part.size,
            checksum: part.checksum,
        };
        let artifact = Artifact {
            download_url: download_url.clone(),
            checksum: packed.checksum,
            size: packed.size,
            parts: packed.parts.iter().enumerate().map(part).collect(),
            unpacked_size: Some(packed.unpacked_size),
            entries: Some(packed.entries),
            index: Some(packed.index),
            zstd: packed.zstd.as_ref().map(|zstd| zstd_entry(zstd, &download_url)),
        };
        // Frames from an earlier build are kept: they are of the same archive.
        let same = artifacts.get(arch).filter(|before| before.checksum == artifact.checksum);
        let before = same.and_then(|before| before.zstd.clone());
        let zstd = artifact.zstd.or(before);
        let artifact = Artifact { zstd, ..artifact };
        artifacts.insert(*arch, artifact);
    }
    // The first is amd64 if there is one: Joblet's client reads only this one.
    let main = artifacts.values().next().expect("a build makes at least one archive").clone();
    let platforms = source.platforms.iter().filter(|it| artifacts.contains_key(&it.arch()));
    let release = Release {
        version: source.version.clone(),
        description: source.description.clone(),
        download_url: main.download_url,
        checksum: main.checksum,
        size: main.size,
        platforms: platforms.cloned().collect(),
        artifacts,
        yanked: before.and_then(|record| record.release.yanked.clone()),
    };
    let files = files::entries(files, &release, before);
    let unchanged = before.filter(|record| record.release == release && record.files == files);
    let published_at = unchanged.map_or(now, |record| record.published_at.clone());
    Record { name: source.name.clone(), published_at, release, files }
}

/// The record's entry for the frames of the archive at `download_url`.
pub(crate) fn zstd_entry(zstd: &PackedZstd, download_url: &str) -> Zstd {
    let url = pack::zstd_path(download_url.as_ref());
    let part = |(number, part): (usize, &PackedPart)| Part {
        download_url: pack::part_path(&url, number).display().to_string(),
        size: part.size,
        checksum: part.checksum,
    };
    Zstd {
        download_url: url.display().to_string(),
        checksum: zstd.checksum,
        size: zstd.size,
        parts: zstd.parts.iter().enumerate().map(part).collect(),
        table: zstd.table,
    }
}

/// Reads the record at `path`, which begins with `root`, if it exists. No link below `root` is followed.
///
/// # Errors
/// [`Error::Config`] if it is refused; [`Error::File`].
pub fn read(root: &Path, path: &Path) -> Result<Option<Record>, Error> {
    let root = Below::open(root)?;
    let Some(bytes) = root.map_or(Ok(None), |root| root.read(path, MAX_RECORD))? else {
        return Ok(None);
    };
    parse(&bytes).map(Some).map_err(|reason| Error::config(path, reason))
}

/// Parses a record.
///
/// # Errors
/// The rule that it breaks.
pub fn parse(bytes: &[u8]) -> Result<Record, String> {
    let record: Record =
        serde_json::from_slice(bytes).map_err(|error| format!("is not a record: {error}"))?;
    if let Some(name) = record.files.keys().find(|name| !files::is_name(name)) {
        return Err(format!("is not a record: {name:?} is not the name of a file beside it"));
    }
    let artifacts = record.release.artifacts.values();
    let parts = artifacts
        .flat_map(|it| it.parts.iter().map(|part| &part.download_url).chain([&it.download_url]));
    let zstd = record.release.artifacts.values().filter_map(|it| it.zstd.as_ref());
    let zstd = zstd
        .flat_map(|it| it.parts.iter().map(|part| &part.download_url).chain([&it.download_url]));
    let secret =
        parts.chain(zstd).chain([&record.release.download_url]).find_map(|url| shown::secret(url));
    match secret {
        Some(secret) => {
            Err(format!("has {secret} in the address of an archive; records are public"))
        }
        None => Ok(record),
    }
}

/// Joins two records of the same version, for different architectures, built on two machines.
///
/// # Errors
/// The field in which they differ.
pub fn join(mut one: Record, other: Record) -> Result<Record, String> {
    let about = |it: &Record| (it.name.clone(), it.release.version.clone());
    if about(&one) != about(&other) || one.release.description != other.release.description {
        return Err("is of another version than the record it is joined with".to_owned());
    }
    for (arch, artifact) in other.release.artifacts {
        if one.release.artifacts.get(&arch).is_some_and(|it| *it != artifact) {
            return Err(format!(
                "has another archive for {arch} than the record it is joined with"
            ));
        }
        one.release.artifacts.insert(arch, artifact);
    }
    for (name, file) in other.files {
        if one.files.get(&name).is_some_and(|it| *it != file) {
            return Err(format!("has another {name} than the record it is joined with"));
        }
        one.files.insert(name, file);
    }
    let more = other.release.platforms.into_iter();
    let more: Vec<_> = more.filter(|it| !one.release.platforms.contains(it)).collect();
    one.release.platforms.extend(more);
    if let Some(main) = one.release.artifacts.values().next() {
        one.release.download_url.clone_from(&main.download_url);
        (one.release.checksum, one.release.size) = (main.checksum, main.size);
    }
    one.published_at = one.published_at.max(other.published_at);
    Ok(one)
}

/// Every `NAME/VERSION.json` below `records`, regular file or not: others are refused when they are read.
fn list(records: &Path) -> Result<Vec<PathBuf>, Error> {
    let absent = || {
        let records = records.display();
        Error::NotFound(format!(
            "no records: {records} is not a directory; name that of the records with --records DIR"
        ))
    };
    let is_dir = records.is_dir();
    let root = Below::open(records).ok().flatten().filter(|_| is_dir).ok_or_else(absent)?;
    let mut found = Vec::new();
    for (name, kind) in root.entries()? {
        let is_runtime = || name.to_string_lossy().parse::<RuntimeName>().is_ok();
        let place = records.join(&name);
        if kind == FileType::Directory || kind == FileType::Symlink && is_runtime() {
            let Some(dir) = root.dir(&place)? else { continue };
            let files = dir.entries()?.into_iter().map(|(name, _)| place.join(name));
            found.extend(files.filter(|file| file.extension().is_some_and(|it| it == "json")));
        }
    }
    Ok(found)
}

/// Reads every `NAME/VERSION.json` below `records`, sorted by name and version.
///
/// # Errors
/// [`Error::Config`] for a record whose path does not match its name and version; [`Error::NotFound`] if
/// the directory does not exist.
pub(crate) fn read_all(records: &Path) -> Result<Vec<Record>, Error> {
    let found = list(records)?;
    let mut all = Vec::new();
    for (file, record) in found.iter().zip(parallel_map(&found, |file| read(records, file))?) {
        if let Some(record) = record {
            let place = path(records, &record.name, &record.release.version);
            if place != *file {
                let reason = format!("is the record that belongs to {}", place.display());
                return Err(Error::config(file, reason));
            }
            all.push(record);
        }
    }
    all.sort_by(|a, b| (&a.name, &a.release.version).cmp(&(&b.name, &b.release.version)));
    Ok(all)
}

/// Serializes a record.
pub(crate) fn render(record: &Record) -> String {
    let mut text = serde_json::to_string_pretty(record).expect("texts and numbers are JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::paths;
    use joblet_format::Checksum;

    fn source() -> Source {
        crate::source::parse(
            "name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64, rhel-amd64, ubuntu-arm64]\n",
        )
        .unwrap()
    }

    fn packed(byte: u8) -> Packed {
        let checksum = Checksum::from_digest([byte; 32]);
        let index = joblet_format::IndexFile { checksum, size: 5 };
        Packed {
            checksum,
            size: 10,
            parts: Vec::new(),
            unpacked_size: 20,
            entries: 3,
            index,
            zstd: None,
        }
    }

    #[test]
    fn architectures_of_two_builds_are_merged() {
        let arm = make(
            &source(),
            &BTreeMap::from([(Arch::Arm64, packed(2))]),
            &Files::new(),
            None,
            "1".into(),
            None,
        );
        assert_eq!(arm.release.checksum, packed(2).checksum);
        assert_eq!(arm.release.platforms, ["ubuntu-arm64".parse().unwrap()]);
        let amd = BTreeMap::from([(Arch::Amd64, packed(1))]);
        let base = Some("https://example.org/r/");
        let both = make(&source(), &amd, &Files::new(), base, "2".into(), Some(&arm));
        assert_eq!(both.release.artifacts.len(), 2);
        assert_eq!(both.release.artifacts[&Arch::Amd64].index, Some(packed(1).index));
        assert_eq!(both.release.download_url, "https://example.org/r/d-1.0.0-amd64.tar.gz");
        assert_eq!(both.release.artifacts[&Arch::Arm64].download_url, "d-1.0.0-arm64.tar.gz");
        assert_eq!((both.release.platforms.len(), both.published_at.as_str()), (3, "2"));
        let again = make(&source(), &amd, &Files::new(), base, "3".into(), Some(&both));
        assert_eq!(render(&again), render(&both), "a rerun changes no byte");
        let text = render(&both);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), both);
    }

    #[test]
    fn records_have_the_path_of_their_name_and_version() {
        let dir = tempfile::tempdir().unwrap();
        let error = read_all(&dir.path().join("none")).unwrap_err();
        assert_eq!(error.class().word(), "NOTFOUND");
        let built = BTreeMap::from([(Arch::Amd64, packed(1))]);
        let record = make(&source(), &built, &Files::new(), None, "1".into(), None);
        let right = path(dir.path(), &record.name, &record.release.version);
        paths::write(&right, render(&record).as_bytes()).unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), std::slice::from_ref(&record));
        let wrong = dir.path().join("d/1.0.1.json");
        paths::write(&wrong, render(&record).as_bytes()).unwrap();
        let error = read_all(dir.path()).unwrap_err().to_string();
        assert!(error.contains("1.0.1.json: is the record that belongs to "), "{error}");
        paths::write(&wrong, b"{}").unwrap();
        let error = read_all(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is not a record: missing field"), "{error}");
    }
}
