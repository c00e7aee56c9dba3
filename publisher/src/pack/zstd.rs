//! Recompresses a packed archive: the same tar stream in zstd frames, `….tar.zst`.
//!
//! Members are inflated, joined to frames of at most 8 MiB and compressed at level 19, each independently and
//! by one thread: the bytes depend only on the archive, its index and the pinned libzstd.

use super::{
    PackedPart, index_path,
    parts::{Parts, part_path},
};
use crate::{error::Error, fs::paths};
use joblet_format::{
    Checksum, IndexFile,
    frames::{self, Frame},
    index::{Index, MAX_INDEX_BYTES, reads},
    member::MAX_MEMBER,
};
use libdeflater::Decompressor;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    num::NonZero,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};
use zstd_safe::{CCtx, CParameter};

/// Compression level. Level 3 makes files a third larger, in a fortieth of the time.
const LEVEL: i32 = 19;

/// A `.tar.zst` on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedZstd {
    /// SHA-256 of the whole file.
    pub checksum: Checksum,
    /// Length of the whole file, in bytes.
    pub size: u64,
    /// Its parts; empty if it is one file.
    pub parts: Vec<PackedPart>,
    /// The table at its beginning.
    pub table: IndexFile,
}

/// The path of the frames of `archive`, a `.tar.gz`.
pub fn zstd_path(archive: &Path) -> PathBuf {
    archive.with_extension("zst")
}

/// Writes the frames of the packed `archive`, which has `parts` parts (0: one file) and its index beside it,
/// with `jobs` threads.
///
/// # Errors
/// [`Error::File`]; [`Error::Check`] if the archive does not match its index.
pub fn frames(
    archive: &Path,
    parts: usize,
    part_size: u64,
    jobs: NonZero<usize>,
) -> Result<PackedZstd, Error> {
    let refused = |reason: String| Error::Check { runtime: archive.display().to_string(), reason };
    let (index, first) = index(archive)?.map_err(refused)?;
    let target = zstd_path(archive);
    let reading = Error::file("read", archive);
    let members = Members { index: &index, files: open_parts(archive, parts)?, at: 0 };
    let spool = tempfile::tempfile_in(target.parent().unwrap_or(Path::new(".")));
    let mut spool = spool.map_err(Error::file("create", &target))?;
    let plan = frames::plan(&index, &first);
    let listed = compress(members, plan, jobs, &mut spool).map_err(reading)?;
    let table = frames::table(&listed);
    spool.rewind().map_err(Error::file("read", &target))?;
    write(&target, &table, &listed, spool, part_size)
}

/// An index, and the members that are read first, in runs.
type Planned = (Index, Vec<Range<usize>>);

/// Reads the index beside an archive. The inner error is the rule that it breaks.
fn index(archive: &Path) -> Result<Result<Planned, String>, Error> {
    let path = index_path(archive);
    let (file, mut bytes) = (paths::read(&path)?, Vec::new());
    let gzip = flate2::read::GzDecoder::new(file.as_slice());
    gzip.take(MAX_INDEX_BYTES).read_to_end(&mut bytes).map_err(Error::file("read", &path))?;
    Ok(Index::parse(&bytes).map(|index| {
        let first = reads::parse(&file, index.members().len());
        (index, first)
    }))
}

/// Opens the archive, its parts concatenated.
fn open_parts(archive: &Path, parts: usize) -> Result<Box<dyn Read + Send>, Error> {
    let mut all: Box<dyn Read + Send> = Box::new(io::empty());
    let paths = (0..parts).map(|number| part_path(archive, number));
    let paths: Vec<_> = if parts == 0 { vec![archive.to_owned()] } else { paths.collect() };
    for path in paths {
        all = Box::new(all.chain(paths::open(&path)?));
    }
    Ok(all)
}

/// Reads the members of an archive, in order.
struct Members<'i> {
    index: &'i Index,
    files: Box<dyn Read + Send>,
    /// Number of the next member.
    at: usize,
}

impl Members<'_> {
    /// Reads and verifies the next `count` members.
    fn take(&mut self, count: u32) -> io::Result<Vec<Vec<u8>>> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let member = self.index.members()[self.at];
            let mut bytes = vec![0; member.length as usize];
            self.files.read_exact(&mut bytes)?;
            if member.sha256 != *Sha256::digest(&bytes) {
                return Err(io::Error::other("a member does not match the index"));
            }
            taken.push(bytes);
            self.at += 1;
        }
        Ok(taken)
    }
}

/// Compresses all frames into `to`, in order.
fn compress(
    members: Members<'_>,
    plan: Vec<u32>,
    jobs: NonZero<usize>,
    to: &mut File,
) -> io::Result<Vec<Frame>> {
    let plan = plan.into_iter();
    // At most one finished frame per thread waits to be written.
    let (ordered, replies) = mpsc::sync_channel(jobs.get());
    let queue = Arc::new(Mutex::new(WorkQueue { members, plan, ordered }));
    thread::scope(move |scope| {
        for _ in 0..jobs.get() {
            let queue = Arc::clone(&queue);
            scope.spawn(move || work(&queue));
        }
        // The channel is closed when the last thread ends.
        drop(queue);
        let mut listed = Vec::new();
        for made in replies {
            let Ok(made) = made.recv() else { break }; // its thread panicked; the scope does, too
            let (members, bytes) = made?;
            to.write_all(&bytes)?;
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            listed.push(Frame { length, members, sha256: Sha256::digest(&bytes).into() });
        }
        Ok(listed)
    })
}

/// The number of members of a frame, these members, and the channel for the result.
type Job = (u32, io::Result<Vec<Vec<u8>>>, SyncSender<FrameResult>);

/// A frame and its number of members.
type FrameResult = io::Result<(u32, Vec<u8>)>;

/// The source of work for the threads, behind a mutex.
struct WorkQueue<'i> {
    members: Members<'i>,
    /// The number of members of each frame.
    plan: std::vec::IntoIter<u32>,
    /// To the writer: the channel of each frame, in order.
    ordered: SyncSender<Receiver<FrameResult>>,
}

impl WorkQueue<'_> {
    /// The next job; `None` at the end, or after the writer has failed.
    fn take(&mut self) -> Option<Job> {
        let count = self.plan.next()?;
        let (reply, made) = mpsc::sync_channel(1);
        self.ordered.send(made).ok()?;
        Some((count, self.members.take(count), reply))
    }
}

/// Compresses frames until there are no more.
fn work(queue: &Mutex<WorkQueue<'_>>) {
    let take = || queue.lock().expect("no code panics under the lock").take();
    while let Some((count, members, reply)) = take() {
        let made = members.and_then(|members| frame(&members));
        _ = reply.send(made.map(|bytes| (count, bytes))); // fails if the writer has failed
    }
}

/// Compresses one frame with the content of `members`.
fn frame(members: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut inflater = Decompressor::new();
    let mut plain = Vec::new();
    let mut buffer = vec![0; MAX_MEMBER];
    for member in members {
        let length = inflater.gzip_decompress(member, &mut buffer).map_err(io::Error::other)?;
        plain.extend(&buffer[..length]);
    }
    let named = |code| io::Error::other(zstd_safe::get_error_name(code));
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(LEVEL)).map_err(named)?;
    context.set_parameter(CParameter::ContentSizeFlag(true)).map_err(named)?;
    context.set_parameter(CParameter::ChecksumFlag(false)).map_err(named)?;
    let mut bytes = vec![0; zstd_safe::compress_bound(plain.len())];
    let length = context.compress2(&mut bytes[..], &plain).map_err(named)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Writes the table and the frames in `spool` to `target`, split into parts if it is too large for one file.
fn write(
    target: &Path,
    table: &[u8],
    listed: &[Frame],
    mut spool: File,
    part_size: u64,
) -> Result<PackedZstd, Error> {
    let (mut parts, mut hash) = (Parts::new(target, part_size)?, Sha256::new());
    parts.put(table, &hash)?;
    hash.update(table);
    let mut size = table.len() as u64;
    for frame in listed {
        let mut bytes = vec![0; frame.length as usize];
        spool.read_exact(&mut bytes).map_err(Error::file("read", target))?;
        parts.put(&bytes, &hash)?;
        hash.update(&bytes);
        size += u64::from(frame.length);
    }
    let parts = parts.publish_alone(&hash)?;
    let checksum = Checksum::from_digest(hash.finalize().into());
    let table = IndexFile { checksum: Checksum::of_bytes(table), size: table.len() as u64 };
    Ok(PackedZstd { checksum, size, parts, table })
}
