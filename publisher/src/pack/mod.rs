//! The tree → `NAME-VERSION-ARCH.tar.gz` and its index.
//!
//! tree → entries ([`stream`]) → what each member holds ([`cut`], [`gear`]) → members, made on all
//! cores ([`member`], [`row`]) → the file, in order → its index ([`joblet_format::index`]).
//!
//! The bytes of both files depend on the tree, the directory's name and the pinned libdeflate alone.

mod cut;
mod gear;
mod member;
mod names;
mod row;
mod stream;

use crate::{error::Error, fsx, tree::Tree};
use joblet_format::{
    Checksum, IndexFile,
    index::{Index, MAX_INDEX_BYTES, Piece},
};
use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest, Sha256};
use std::{
    io::Write,
    num::NonZero,
    path::{Path, PathBuf},
};
use stream::{Item, Stream};

/// Largest archive, in bytes: what Joblet's client and the hosts of release assets accept.
const MAX_ARCHIVE: u64 = (2 << 30) - 1;
/// Of the index, which is mostly hashes: the highest level that costs nothing.
const INDEX_LEVEL: i32 = 9;

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
    /// The index beside it.
    pub index: IndexFile,
}

/// Where the index of `archive` lies.
pub fn index_path(archive: &Path) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(".index");
    path.into()
}

/// Packs `tree` and `runtime_yml` below `directory` into `target`, with `jobs` threads, and writes the
/// index beside it. What lies at `target` is whole, and the index beside it is its own.
///
/// # Errors
/// [`Error::Check`] if the archive would be larger than 2 GiB or breaks a rule of the format (a path
/// that is too long); [`Error::File`].
pub fn pack(
    tree: &Tree,
    runtime_yml: &str,
    directory: &str,
    target: &Path,
    jobs: NonZero<usize>,
) -> Result<Packed, Error> {
    let stream = Stream::new(directory, tree, runtime_yml)?;
    names::distinct(stream.items.iter().map(|item| item.path.as_str()))
        .map_err(|rule| refused(directory, rule))?;
    let (unpacked_size, entries) = (stream.unpacked_size(), stream.items.len() as u64);
    let mut staged = fsx::stage(target)?;
    let mut archive = Archive::new(staged.as_file_mut(), &stream);
    let reading = |error| Error::file("pack", target)(error);
    row::make(&stream, jobs, reading, |made| archive.put(made, directory, target))?;
    let Archive { size, hash, members, pieces, .. } = archive;
    let items = stream.items.into_iter().zip(pieces);
    let listed = items.map(|(item, pieces)| Item::into_entry(item, pieces)).collect();
    let index =
        Index::new(stream.directory, members, listed).map_err(|rule| refused(directory, rule))?;
    let index = compressed(&index, directory)?;
    let packed = Packed {
        checksum: Checksum::from_digest(hash.finalize().into()),
        size,
        unpacked_size,
        entries,
        index: IndexFile {
            checksum: Checksum::from_digest(Sha256::digest(&index).into()),
            size: index.len() as u64,
        },
    };
    publish(staged, target, &index)?;
    Ok(packed)
}

/// An archive that is being written.
struct Archive<W> {
    to: W,
    size: u64,
    hash: Sha256,
    members: Vec<joblet_format::index::Member>,
    /// Of each entry.
    pieces: Vec<Vec<Piece>>,
}

impl<W: Write> Archive<W> {
    fn new(to: W, stream: &Stream) -> Self {
        let pieces = vec![Vec::new(); stream.items.len()];
        Self { to, size: 0, hash: Sha256::new(), members: Vec::new(), pieces }
    }

    fn put(&mut self, made: &member::Made, directory: &str, target: &Path) -> Result<(), Error> {
        self.size += made.bytes.len() as u64;
        if self.size > MAX_ARCHIVE {
            let reason = "the archive is larger than 2 GiB, which Joblet's client cannot read; \
                          leave packages out or make two runtimes";
            return Err(refused(directory, reason.to_owned()));
        }
        self.to.write_all(&made.bytes).map_err(Error::file("write", target))?;
        self.hash.update(&made.bytes);
        self.members.push(made.member);
        for (item, piece) in &made.pieces {
            self.pieces[*item].push(*piece);
        }
        Ok(())
    }
}

/// The file of an index: one gzip stream without name and time.
fn compressed(index: &Index, directory: &str) -> Result<Vec<u8>, Error> {
    let plain = index.to_bytes();
    let level = CompressionLvl::new(INDEX_LEVEL).expect("libdeflate knows the level");
    let mut compressor = Compressor::new(level);
    let mut bytes = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(&plain, &mut bytes).expect("the bound is enough");
    bytes.truncate(length);
    if plain.len().max(length) as u64 > MAX_INDEX_BYTES {
        let reason = format!(
            "the index is larger than {MAX_INDEX_BYTES} bytes; leave packages out or make two runtimes"
        );
        return Err(refused(directory, reason));
    }
    Ok(bytes)
}

fn refused(directory: &str, reason: String) -> Error {
    Error::Check { runtime: directory.to_owned(), reason }
}

/// Gives both files their names. An archive never lies beside the index of another one: that goes
/// first, and equal indexes are those of equal archives.
fn publish(staged: tempfile::NamedTempFile, target: &Path, index: &[u8]) -> Result<(), Error> {
    let path = index_path(target);
    if fsx::read_if_there(&path)?.as_deref() != Some(index) {
        fsx::remove_if_there(target)?;
        fsx::write(&path, index)?;
    }
    fsx::publish(staged, target)
}

#[cfg(test)]
mod tests;
