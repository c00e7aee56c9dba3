//! Finds the archive of an earlier build from the same inputs.
//!
//! `CACHE/built/HEX` contains the checksum of an archive. HEX is the SHA-256 of everything that determines
//! the archive's bytes: this program, the source as kept beside records, the architecture and the part
//! size. The archive itself is then verified on disk.

use crate::{
    error::Error,
    fs::paths,
    pack::{self, Packed, PackedPart},
    record::files::{self, Files},
};
use joblet_format::{Arch, Artifact, Checksum, Record, Zstd};
use sha2::{Digest, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The cache entry of a build.
pub struct BuildKey(PathBuf);

impl BuildKey {
    /// The entry of a build for `arch` from `source`, the files kept beside its record.
    ///
    /// # Errors
    /// [`Error::File`] if this program cannot be read.
    pub fn new(cache: &Path, source: &Files, arch: Arch, part_size: u64) -> Result<Self, Error> {
        let program = PathBuf::from("/proc/self/exe");
        let absent = || Error::file("read", &program)(io::Error::from(io::ErrorKind::NotFound));
        let (program, _) = digest(std::slice::from_ref(&program))?.ok_or_else(absent)?;
        let mut hash = Sha256::new();
        hash.update(program.to_string());
        hash.update(format!("\n{arch}\n{part_size}\n"));
        for (name, bytes) in source {
            hash.update(format!("{name} {}\n", bytes.len()));
            hash.update(bytes);
        }
        let key = Checksum::from_digest(hash.finalize().into());
        Ok(Self(cache.join("built").join(key.hex())))
    }

    /// Records the result of a build.
    pub fn write(&self, packed: &Packed) {
        // Best effort: without the entry the next build is only slower.
        _ = paths::write(&self.0, packed.checksum.to_string().as_bytes());
    }

    /// The archive at `target`, if `record` (in `records`) and the disk have the result of this build. Its
    /// files of the record are added to `files`.
    ///
    /// # Errors
    /// [`Error::File`] for anything but absence.
    pub fn find(
        &self,
        arch: Arch,
        target: &Path,
        (records, record): (&Path, &Record),
        files: &mut Files,
    ) -> Result<Option<Packed>, Error> {
        let Some(checksum) = paths::read_if_there(&self.0)? else { return Ok(None) };
        let Some(artifact) = record.release.artifacts.get(&arch) else { return Ok(None) };
        if artifact.checksum.to_string().as_bytes() != checksum || !is_complete(artifact, target)? {
            return Ok(None);
        }
        let mut beside = Files::new();
        for name in [files::contents(arch), files::sbom(arch)] {
            // If they are damaged, a new build writes them again.
            let Ok(Some(bytes)) = files::read(records, record, &name) else { return Ok(None) };
            beside.insert(name, bytes);
        }
        let Some(packed) = packed(artifact) else { return Ok(None) };
        files.append(&mut beside);
        Ok(Some(packed))
    }
}

/// The [`Packed`] of an `artifact` that was packed here.
fn packed(artifact: &Artifact) -> Option<Packed> {
    let part = |part: &joblet_format::Part| PackedPart { size: part.size, checksum: part.checksum };
    Some(Packed {
        checksum: artifact.checksum,
        size: artifact.size,
        parts: artifact.parts.iter().map(part).collect(),
        unpacked_size: artifact.unpacked_size?,
        entries: artifact.entries?,
        index: artifact.index?,
        zstd: None,
    })
}

/// Whether the frames of the archive `target` exist with size and checksum of `zstd`.
///
/// # Errors
/// [`Error::File`] for anything but absence.
pub(crate) fn has_frames(zstd: &Zstd, target: &Path) -> Result<bool, Error> {
    let path = pack::zstd_path(target);
    let paths: Vec<PathBuf> = match zstd.parts.len() {
        0 => vec![path],
        parts => (0..parts).map(|number| pack::part_path(&path, number)).collect(),
    };
    Ok(digest(&paths)? == Some((zstd.checksum, zstd.size)))
}

/// Whether the complete archive, its index, and no further part are at `target`.
fn is_complete(artifact: &Artifact, target: &Path) -> Result<bool, Error> {
    let parts = artifact.parts.len();
    let paths: Vec<PathBuf> = match parts {
        0 => vec![target.to_owned()],
        _ => (0..parts).map(|number| pack::part_path(target, number)).collect(),
    };
    // Parts with the right sizes, whose concatenation has the right hash, are right.
    for (path, part) in paths.iter().zip(&artifact.parts) {
        if std::fs::metadata(path).is_ok_and(|it| it.len() != part.size) {
            return Ok(false);
        }
    }
    let too_much = pack::part_path(target, parts).exists() || parts > 0 && target.exists();
    let index = digest(&[pack::index_path(target)])?;
    Ok(!too_much
        && artifact.index.is_some_and(|it| index == Some((it.checksum, it.size)))
        && digest(&paths)? == Some((artifact.checksum, artifact.size)))
}

/// Checksum and length of the concatenation of `paths`; `None` if one does not exist.
fn digest(paths: &[PathBuf]) -> Result<Option<(Checksum, u64)>, Error> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    for path in paths {
        let Some(mut file) = paths::open_if_there(path)? else { return Ok(None) };
        size += io::copy(&mut file, &mut hash).map_err(Error::file("read", path))?;
    }
    Ok(Some((Checksum::from_digest(hash.finalize().into()), size)))
}
