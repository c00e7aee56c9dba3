//! Checks a published `.tar.zst`: that it is what its registry says, frame by frame, and the tar stream of its archive.

use super::remote::{Place, is_served};
use crate::error::Error;
use flate2::write::MultiGzDecoder;
use joblet_format::{
    Artifact, Checksum, Zstd,
    frames::{self, Frame, MAX_TABLE_BYTES},
    index::Index,
};
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// The SHA-256 of the tar stream of a `.tar.gz` that is written to it.
pub(crate) struct TarDigest {
    gzip: MultiGzDecoder<Sha256>,
    /// Why what was written is not gzip. Reported at the end: its checksum, compared before, is more specific.
    broken: io::Result<()>,
}

impl TarDigest {
    pub(crate) fn new() -> Self {
        Self { gzip: MultiGzDecoder::new(Sha256::new()), broken: Ok(()) }
    }

    fn finish(self) -> io::Result<Checksum> {
        self.broken?;
        Ok(Checksum::from_digest(self.gzip.finish()?.finalize().into()))
    }
}

impl Write for TarDigest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken.is_ok() {
            self.broken = self.gzip.write_all(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the frames of `artifact`, which is `object`, at `place`, and compares their content with that of its archive,
/// which was written to `archive`. Returns their checksum; `None` if it has no frames.
///
/// # Errors
/// [`Error::Net`], [`Error::File`]; [`Error::Differs`] with what is not as the registry says; [`Error::Config`] for a
/// table that is not of this archive.
pub(crate) fn check(
    object: &str,
    artifact: &Artifact,
    place: &Place,
    archive: TarDigest,
) -> Result<Option<Checksum>, Error> {
    let Some(zstd) = &artifact.zstd else { return Ok(None) };
    let object = format!("{object} .tar.zst");
    let index = place.index(artifact)?;
    let index = index.ok_or_else(|| Error::config(&object, "is of an archive without an index"))?;
    let tar = archive.finish().map_err(Error::file("decompress", &object))?;
    let actual = content(&object, zstd, &index, place)?;
    if actual != tar {
        let hint = "it is not the tar stream of its .tar.gz";
        return Err(Error::checksum(object, tar, actual, hint));
    }
    Ok(Some(zstd.checksum))
}

/// The SHA-256 of the content of the frames of `zstd`, verified against the table, and the table against the registry.
fn content(object: &str, zstd: &Zstd, index: &Index, place: &Place) -> Result<Checksum, Error> {
    let mut files = place.joined(&zstd.download_url, &zstd.parts);
    let table = files.next(zstd.table.size.min(MAX_TABLE_BYTES))?;
    is_served(&format!("{object}: table"), zstd.table.checksum, Checksum::of_bytes(&table))?;
    let listed = frames::parse(&table, zstd.size, index).map_err(|it| Error::config(object, it))?;
    let (mut whole, mut tar, mut members) = (Sha256::new(), Sha256::new(), index.members());
    whole.update(&table);
    for (number, Frame { length, members: count, sha256 }) in listed.into_iter().enumerate() {
        let object = format!("{object}: frame {number}");
        let bytes = files.next(length.into())?;
        is_served(&object, Checksum::from_digest(sha256), Checksum::of_bytes(&bytes))?;
        whole.update(&bytes);
        let inside;
        (inside, members) = members.split_at(count as usize);
        let mut plain = vec![0; inside.iter().map(|member| member.unpacked as usize).sum()];
        let length = zstd_safe::decompress(&mut plain[..], &bytes)
            .map_err(|code| Error::config(&object, zstd_safe::get_error_name(code)))?;
        if length != plain.len() {
            let reason = format!("has {length} bytes, its members {}", plain.len());
            return Err(Error::config(&object, reason));
        }
        tar.update(&plain);
    }
    if files.more()? {
        return Err(Error::config(object, format!("has more than {} bytes", zstd.size)));
    }
    is_served(object, zstd.checksum, Checksum::from_digest(whole.finalize().into()))?;
    Ok(Checksum::from_digest(tar.finalize().into()))
}
