//! Collects the files of a release: archives, indexes, record and its files.

use crate::{
    error::{Error, shown},
    fs::paths,
    pack,
    record::{self, files},
    source::is_address,
};
use joblet_format::{Checksum, Record, RuntimeName, Version};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Suffix of the name of the record.
pub(crate) const RECORD: &str = ".record.json";
/// Suffix of the name of the list of checksums, for `sha256sum -c`.
pub(crate) const SUMS: &str = ".SHA256SUMS";

/// One file of a release.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its name in the release.
    pub name: String,
    /// Its local path.
    pub path: PathBuf,
    /// Its length, in bytes.
    pub size: u64,
    /// SHA-256.
    pub checksum: Checksum,
}

/// All files of one version.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Its record.
    pub record: Record,
    /// Its files, sorted by name.
    pub assets: Vec<Asset>,
}

/// The record of `name@version`, joined from those in `outs`, the output directories of machines that
/// built some architectures each.
///
/// # Errors
/// [`Error::NotFound`] if there is none; [`Error::Config`] if the records contradict each other.
pub(crate) fn record_of(
    outs: &[PathBuf],
    name: &RuntimeName,
    version: &Version,
) -> Result<Record, Error> {
    let mut whole: Option<Record> = None;
    for out in outs {
        let path = record::path(&out.join("records"), name, version);
        let Some(record) = record::read(out, &path)? else { continue };
        whole = Some(match whole {
            None => record,
            Some(others) => record::join(others, record).map_err(|it| Error::config(path, it))?,
        });
    }
    whole.ok_or_else(|| {
        Error::NotFound(format!(
            "{name}@{version} was not built; run `joblet-publish build {name}`"
        ))
    })
}

/// Collects the files of `record` from `outs`; files generated for the release are written to `staging`.
///
/// # Errors
/// [`Error::NotFound`] for a missing file; [`Error::Differs`] for one with another checksum;
/// [`Error::Usage`] for relative addresses, which only a local registry has.
pub(crate) fn gather(record: Record, outs: &[PathBuf], staging: &Path) -> Result<Bundle, Error> {
    let version = &record.release.version;
    let directory = record.name.directory(version);
    let mut urls = record.release.artifacts.values().map(|artifact| &artifact.download_url);
    if let Some(url) = urls.find(|url| !is_address(url)) {
        return Err(Error::Usage(format!(
            "{}@{version} has the relative address {}, which is invalid in a released registry; \
             build it with --base-url",
            record.name,
            shown::quoted(url)
        )));
    }
    let mut assets = Vec::new();
    for artifact in record.release.artifacts.values() {
        let archive = file_name(&artifact.download_url);
        if artifact.parts.is_empty() {
            assets.push(require(outs, archive, artifact.checksum)?);
        }
        for part in &artifact.parts {
            assets.push(require(outs, file_name(&part.download_url), part.checksum)?);
        }
        if let Some(zstd) = &artifact.zstd {
            if zstd.parts.is_empty() {
                assets.push(require(outs, file_name(&zstd.download_url), zstd.checksum)?);
            }
            for part in &zstd.parts {
                assets.push(require(outs, file_name(&part.download_url), part.checksum)?);
            }
        }
        if let Some(index) = &artifact.index {
            let name = pack::index_path(Path::new(archive)).to_string_lossy().into_owned();
            assets.push(require(outs, &name, index.checksum)?);
        }
    }
    let beside: Vec<_> =
        outs.iter().map(|out| files::dir(&out.join("records"), &record.name, version)).collect();
    for (name, expected) in &record.files {
        let asset = require(&beside, name, expected.checksum)?;
        assets.push(Asset { name: format!("{directory}.{name}"), ..asset });
    }
    let text = record::render(&record);
    assets.push(staged(staging, format!("{directory}{RECORD}"), text.as_bytes())?);
    assets.sort_by(|a, b| a.name.cmp(&b.name));
    let mut sums = String::new();
    for asset in &assets {
        _ = writeln!(sums, "{}  {}", asset.checksum.hex(), asset.name); // writing to a String cannot fail
    }
    assets.push(staged(staging, format!("{directory}{SUMS}"), sums.as_bytes())?);
    Ok(Bundle { record, assets })
}

/// The last component of an address.
pub(crate) fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Writes a generated file of the release.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn staged(staging: &Path, name: String, bytes: &[u8]) -> Result<Asset, Error> {
    let path = staging.join(&name);
    paths::write(&path, bytes)?;
    let file = paths::open(&path)?;
    look_at(name, path, file)
}

fn require(dirs: &[PathBuf], name: &str, checksum: Checksum) -> Result<Asset, Error> {
    let mut other = None;
    for dir in dirs {
        let path = dir.join(name);
        let Some(file) = paths::open_below(dir, &path)? else { continue };
        let asset = look_at(name.to_owned(), path, file)?;
        if asset.checksum == checksum {
            return Ok(asset);
        }
        other = Some(asset);
    }
    Err(match other {
        None => Error::NotFound(format!("{name}, which is in the record, is missing; build again")),
        Some(asset) => {
            let hint = "the record has a different file; build again";
            Error::checksum(asset.path.display().to_string(), checksum, asset.checksum, hint)
        }
    })
}

fn look_at(name: String, path: PathBuf, mut file: File) -> Result<Asset, Error> {
    let mut hash = Sha256::new();
    let size = io::copy(&mut file, &mut hash).map_err(Error::file("read", &path))?;
    let checksum = Checksum::from_digest(hash.finalize().into());
    Ok(Asset { name, path, size, checksum })
}
