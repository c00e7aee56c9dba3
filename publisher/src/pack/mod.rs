//! The tree → `NAME-VERSION-ARCH.tar.gz` and its index.
//!
//! In: a [`Tree`]. Out: the archive, whole or in parts, and `….tar.gz.index`.
//!
//! tree → entries ([`stream`]) → what each member holds ([`cut`], [`gear`]) → members, made on all
//! cores ([`member`], [`parallel`]) → the file, in order → its index ([`joblet_format::index`]).
//!
//! The bytes of both files depend on the tree, the directory's name and the pinned libdeflate alone.

mod cut;
mod gear;
mod member;
mod parallel;
mod parts;
mod stream;
mod zstd;

use crate::{error::Error, tree::Tree};
use joblet_format::{
    Checksum, IndexFile,
    index::{Index, MAX_INDEX_BYTES, Piece},
};
use libdeflater::{CompressionLvl, Compressor};
use parts::Parts;
pub use parts::{MAX_PART, PackedPart, part_path};
use sha2::{Digest, Sha256};
use std::{
    num::NonZero,
    path::{Path, PathBuf},
};
use stream::{Item, Stream};
pub use zstd::{PackedZstd, frames, zstd_path};

/// Of the index, which is mostly hashes: the highest level that costs nothing.
const INDEX_LEVEL: i32 = 9;

/// An archive as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the whole.
    pub checksum: Checksum,
    /// Length of the whole, in bytes.
    pub size: u64,
    /// The files that it is in, where it is not in one.
    pub parts: Vec<PackedPart>,
    /// Sum of the lengths of the regular files inside, in bytes.
    pub unpacked_size: u64,
    /// Number of tar entries inside.
    pub entries: u64,
    /// The index beside it.
    pub index: IndexFile,
    /// The same in zstd frames, if they were made.
    pub zstd: Option<PackedZstd>,
}

/// Where the index of `archive` is.
pub fn index_path(archive: &Path) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(".index");
    path.into()
}

/// Packs `tree` and `runtime_yml` below `directory` into `target`, with `jobs` threads, and writes the
/// index beside it. What is at `target` is whole, and the index beside it is its own.
///
/// An archive of more than `part_size` bytes is in parts beside `target` ([`part_path`]), each of
/// them as large at most; nothing is at `target` then.
///
/// # Errors
/// [`Error::Check`] if it breaks a rule of the format (a path that is too long); [`Error::Usage`] if
/// parts are too small; [`Error::File`].
pub fn pack(
    tree: &Tree,
    runtime_yml: &str,
    directory: &str,
    target: &Path,
    part_size: u64,
    jobs: NonZero<usize>,
) -> Result<Packed, Error> {
    let stream = Stream::new(directory, tree, runtime_yml)?;
    let mut parts = Parts::new(target, part_size)?;
    let put = |member: &[u8], whole: &Sha256| parts.put(member, whole);
    let Written { mut packed, file, hash, .. } = write(stream, target, jobs, put)?;
    packed.parts = parts.publish(&file, &hash)?;
    Ok(packed)
}

/// What [`pack`] would make, and its index, without a file. `target` is for messages.
///
/// # Errors
/// As [`pack`].
pub fn measure(
    tree: &Tree,
    runtime_yml: &str,
    directory: &str,
    target: &Path,
    jobs: NonZero<usize>,
) -> Result<(Packed, Index), Error> {
    let stream = Stream::new(directory, tree, runtime_yml)?;
    let Written { packed, index, .. } = write(stream, target, jobs, |_, _| Ok(()))?;
    Ok((packed, index))
}

/// What is known of an archive when its last byte was written.
struct Written {
    packed: Packed,
    index: Index,
    /// The index, compressed.
    file: Vec<u8>,
    /// Of the whole archive.
    hash: Sha256,
}

/// Makes the members of `stream` and gives each to `put`, with the hash of those before it.
fn write(
    stream: Stream,
    target: &Path,
    jobs: NonZero<usize>,
    mut put: impl FnMut(&[u8], &Sha256) -> Result<(), Error> + Send,
) -> Result<Written, Error> {
    let (unpacked_size, entries) = (stream.unpacked_size(), stream.items.len() as u64);
    let (mut size, mut hash, mut members) = (0, Sha256::new(), Vec::new());
    let mut pieces: Vec<Vec<Piece>> = vec![Vec::new(); stream.items.len()];
    let reading = |error| Error::file("pack", target)(error);
    parallel::make(&stream, jobs, reading, |made| {
        put(&made.bytes, &hash)?;
        size += made.bytes.len() as u64;
        hash.update(&made.bytes);
        members.push(made.member);
        for (item, piece) in &made.pieces {
            pieces[*item].push(*piece);
        }
        Ok(())
    })?;
    let items = stream.items.into_iter().zip(pieces);
    let listed = items.map(|(item, pieces)| Item::into_entry(item, pieces)).collect();
    let directory = stream.directory;
    let index =
        Index::new(directory.clone(), members, listed).map_err(|rule| refused(&directory, rule))?;
    let file = compressed(&index, &directory)?;
    let packed = Packed {
        checksum: Checksum::from_digest(hash.clone().finalize().into()),
        size,
        parts: Vec::new(),
        unpacked_size,
        entries,
        index: IndexFile {
            checksum: Checksum::from_digest(Sha256::digest(&file).into()),
            size: file.len() as u64,
        },
        zstd: None,
    };
    Ok(Written { packed, index, file, hash })
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

#[cfg(test)]
mod tests;
