//! Packs a tree into `NAME-VERSION-ARCH.tar.gz` with its index.
//!
//! In: a [`Tree`]. Out: the archive, whole or in parts, and `….tar.gz.index`.
//!
//! tree → entries ([`stream`]) → content of each member ([`cut`], [`gear`]) → members, compressed on all
//! cores ([`member`], [`parallel`]) → the file, in order → its index ([`joblet_format::index`]).
//!
//! The bytes of both files depend only on the tree, the directory's name and the pinned libdeflate; those of the index
//! also on what checks read ([`reads`]).

mod cut;
mod gear;
pub(crate) mod image;
mod member;
mod parallel;
mod parts;
pub mod reads;
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

/// Compression level of the index. Higher levels gain nothing: it is mostly hashes.
const INDEX_LEVEL: i32 = 9;

/// A packed archive on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the whole archive.
    pub checksum: Checksum,
    /// Length of the whole archive, in bytes.
    pub size: u64,
    /// Its parts; empty if it is one file.
    pub parts: Vec<PackedPart>,
    /// Sum of the lengths of the regular files inside, in bytes.
    pub unpacked_size: u64,
    /// Number of tar entries inside.
    pub entries: u64,
    /// The index beside it.
    pub index: IndexFile,
    /// The same tar stream in zstd frames, if made.
    pub zstd: Option<PackedZstd>,
}

/// The path of the index of `archive`.
pub fn index_path(archive: &Path) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push(".index");
    path.into()
}

/// Packs `tree` and `runtime_yml` below `directory` into `target`, with `jobs` threads, and writes the
/// index beside it. Both are published atomically; an archive is never beside the index of another.
///
/// An archive of more than `part_size` bytes is split into parts of at most that size beside `target`
/// ([`part_path`]); `target` does not exist then.
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
    let callbacks = Callbacks { report: &|_, _| {}, permit: &|_| Ok(()) };
    pack_with(tree, runtime_yml, directory, target, part_size, jobs, &callbacks)
}

/// What is called while an archive is packed.
pub(crate) struct Callbacks<'c> {
    /// Reports how many bytes of the tree are packed, and of how many.
    pub(crate) report: &'c (dyn Fn(u64, u64) + Sync),
    /// Decides, before any file at the target changes, whether the archive (whose `parts` are not known yet) may
    /// go there. Its error ends packing.
    pub(crate) permit: &'c dyn Fn(&Packed) -> Result<(), Error>,
}

/// As [`pack`], with callbacks.
///
/// # Errors
/// As [`pack`], and that of `callbacks.permit`.
pub(crate) fn pack_with(
    tree: &Tree,
    runtime_yml: &str,
    directory: &str,
    target: &Path,
    part_size: u64,
    jobs: NonZero<usize>,
    callbacks: &Callbacks,
) -> Result<Packed, Error> {
    let stream = Stream::new(directory, tree, runtime_yml)?;
    let mut parts = Parts::new(target, part_size)?;
    let put = |member: &[u8], whole: &Sha256| parts.put(member, whole);
    let Written { mut packed, file, hash, .. } =
        write(stream, target, jobs, put, callbacks.report)?;
    (callbacks.permit)(&packed)?;
    packed.parts = parts.publish(&file, &hash)?;
    Ok(packed)
}

/// As [`pack`], without writing a file; also returns the index. `target` is for messages.
///
/// # Errors
/// As [`pack`].
pub(crate) fn dry_run(
    tree: &Tree,
    runtime_yml: &str,
    directory: &str,
    target: &Path,
    jobs: NonZero<usize>,
) -> Result<(Packed, Index), Error> {
    let stream = Stream::new(directory, tree, runtime_yml)?;
    let Written { packed, index, .. } = write(stream, target, jobs, |_, _| Ok(()), &|_, _| {})?;
    Ok((packed, index))
}

/// The result of writing all members.
struct Written {
    packed: Packed,
    index: Index,
    /// The index, compressed.
    file: Vec<u8>,
    /// SHA-256 of the whole archive.
    hash: Sha256,
}

/// Compresses the members of `stream` and passes each to `put`, with the hash of the previous ones.
fn write(
    stream: Stream,
    target: &Path,
    jobs: NonZero<usize>,
    mut put: impl FnMut(&[u8], &Sha256) -> Result<(), Error> + Send,
    report: &(dyn Fn(u64, u64) + Sync),
) -> Result<Written, Error> {
    let (unpacked_size, entries) = (stream.unpacked_size(), stream.items.len() as u64);
    let (mut size, mut done, mut hash, mut members) = (0, 0, Sha256::new(), Vec::new());
    let mut pieces: Vec<Vec<Piece>> = vec![Vec::new(); stream.items.len()];
    let reading = |error| Error::file("pack", target)(error);
    parallel::make(&stream, jobs, reading, |made| {
        put(&made.bytes, &hash)?;
        size += made.bytes.len() as u64;
        done += u64::from(made.member.unpacked);
        report(done, unpacked_size);
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
        index: IndexFile { checksum: Checksum::of_bytes(&file), size: file.len() as u64 },
        zstd: None,
    };
    Ok(Written { packed, index, file, hash })
}

/// Compresses an index: one gzip stream without name and time.
fn compressed(index: &Index, directory: &str) -> Result<Vec<u8>, Error> {
    let plain = index.to_bytes();
    let level = CompressionLvl::new(INDEX_LEVEL).expect("a level of libdeflate");
    let mut compressor = Compressor::new(level);
    let mut bytes = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(&plain, &mut bytes).expect("the bound suffices");
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
