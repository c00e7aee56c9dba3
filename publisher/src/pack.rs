//! The tree → `NAME-VERSION-ARCH.tar.gz`.

use crate::{
    error::Error,
    fsx,
    tree::Tree,
    ustar::{self, Written},
};
use flate2::{Compression, GzBuilder};
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

/// Largest archive, in bytes: what Joblet's client and the hosts of release assets accept.
const MAX_ARCHIVE: u64 = (2 << 30) - 1;
/// zlib's level: 9 is 0.7 % smaller and takes three to four times as long.
const LEVEL: u32 = 6;
/// Input of the compressor at a time, in bytes: constant, so that its output is.
const PIECE: usize = 128 << 10;

/// An archive as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the file.
    pub checksum: Checksum,
    /// Length of the file, in bytes.
    pub size: u64,
    /// Sum of the lengths of the regular files inside, in bytes.
    pub unpacked_size: u64,
    /// Number of tar entries inside.
    pub entries: u64,
}

/// Packs `tree` and `runtime_yml` below `directory` into `target`, which appears whole or not at all.
///
/// # Errors
/// [`Error::Check`] if the archive would be larger than 2 GiB; [`Error::File`].
pub fn pack(
    tree: &Tree,
    runtime_yml: &str,
    directory: &str,
    target: &Path,
) -> Result<Packed, Error> {
    let mut staged = fsx::stage(target)?;
    let counted = Counted { to: staged.as_file_mut(), size: 0, hash: Sha256::new() };
    let (written, counted) = compress(counted, |to| ustar::write(to, directory, tree, runtime_yml))
        .map_err(|error| ustar::explain(error, directory, target))?;
    let (size, checksum) = (counted.size, Checksum::from_digest(counted.hash.finalize().into()));
    let Written { entries, unpacked_size } = written;
    fsx::publish(staged, target)?;
    Ok(Packed { checksum, size, unpacked_size, entries })
}

/// Compresses what `body` writes into one gzip member without name and time.
fn compress<W: Write, R>(
    to: W,
    body: impl FnOnce(&mut dyn Write) -> io::Result<R>,
) -> io::Result<(R, W)> {
    let gzip = GzBuilder::new().operating_system(255).write(to, Compression::new(LEVEL));
    let mut pieces = BufWriter::with_capacity(PIECE, gzip);
    let result = body(&mut pieces)?;
    let gzip = pieces.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok((result, gzip.finish()?))
}

/// Counts and hashes what passes, and stops at the limit.
struct Counted<W> {
    to: W,
    size: u64,
    hash: Sha256,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        if self.size > MAX_ARCHIVE {
            let reason = "the archive is larger than 2 GiB, which Joblet's client cannot read; \
                          leave packages out or make two runtimes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    #[test]
    fn the_header_tells_nothing() {
        let ((), bytes) = compress(Vec::new(), |to| to.write_all(b"hello")).unwrap();
        // magic, deflate, no flags, no time, no extra flags, unknown system
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn what_is_reported_is_what_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out/d.tar.gz");
        let mut tree = Tree::default();
        let content = vec![b'x'; 100_000].into();
        tree.insert("a", Node::File { executable: false, content }).unwrap();
        let packed = pack(&tree, "name: d\n", "d-1.0.0", &target).unwrap();
        let bytes = fsx::read(&target).unwrap();
        assert_eq!(packed.size, bytes.len() as u64);
        assert_eq!(packed.checksum, Checksum::from_digest(Sha256::digest(&bytes).into()));
        assert_eq!((packed.entries, packed.unpacked_size), (4, 100_008));
        assert_eq!(pack(&tree, "name: d\n", "d-1.0.0", &target).unwrap(), packed);
    }

    #[test]
    fn an_archive_over_two_gibibytes_is_refused() {
        let mut counted = Counted { to: io::sink(), size: MAX_ARCHIVE, hash: Sha256::new() };
        let error = counted.write_all(b"x").unwrap_err();
        let error = ustar::explain(error, "d-1.0.0", Path::new("x"));
        assert_eq!(error.class().word(), "CHECK");
        assert!(
            error.to_string().starts_with("d-1.0.0: the archive is larger than 2 GiB"),
            "{error}"
        );
    }

    #[test]
    fn nothing_is_left_of_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let spool = std::sync::Arc::new(tempfile::tempfile().unwrap());
        let content = crate::tree::Content::stretch(spool, 0, 5);
        let mut tree = Tree::default();
        tree.insert("a", Node::File { executable: false, content }).unwrap();
        let error = pack(&tree, "", "d-1.0.0", &dir.path().join("d.tar.gz")).unwrap_err();
        assert_eq!(error.class().word(), "STORE");
        assert_eq!(fsx::list(dir.path()).unwrap().len(), 0);
    }
}
