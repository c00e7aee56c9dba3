//! Compression of a blob, in blocks, on all cores.
//!
//! A block is a gzip member or a zstd frame. Readers decode their concatenation as one stream (RFC 1952, 2.2;
//! RFC 8878, 3).

use crate::error::Error;
use joblet_format::Checksum;
use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Write},
    num::NonZero,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};
use zstd_safe::{CCtx, CParameter};

/// Compression of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Supported by every registry and container engine.
    Gzip,
    /// Smaller, faster to unpack, slow to compress; supported by container engines since about 2021.
    Zstd,
}

impl Compression {
    /// Compression level, as in archives of runtimes.
    fn level(self) -> i32 {
        if self == Self::Gzip { 6 } else { 19 }
    }

    /// Uncompressed length of a block, in bytes.
    fn block(self) -> usize {
        if self == Self::Gzip { 1 << 20 } else { 8 << 20 }
    }
}

/// Digests and size of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob {
    /// SHA-256 of the compressed bytes.
    pub digest: Checksum,
    /// Number of the compressed bytes.
    pub size: u64,
    /// SHA-256 of the uncompressed bytes.
    pub diff_id: Checksum,
}

/// A block and the channel for the compressed block.
type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// A writer that splits a blob into blocks.
pub(super) struct Blocks {
    compression: Compression,
    plain: Vec<u8>,
    hash: Sha256,
    jobs: SyncSender<Job>,
    /// Channel to the writer: a receiver for each compressed block, in order.
    ordered: SyncSender<Receiver<io::Result<Vec<u8>>>>,
}

impl Blocks {
    fn send(&mut self) -> io::Result<()> {
        let (reply, made) = mpsc::sync_channel(1);
        let block = std::mem::take(&mut self.plain);
        let gone = || io::Error::other("the file cannot be written");
        self.ordered.send(made).map_err(|_| gone())?;
        self.jobs.send((block, reply)).map_err(|_| gone())
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = self.compression.block() - self.plain.len();
        let taken = &bytes[..free.min(bytes.len())];
        self.plain.extend(taken);
        self.hash.update(taken);
        if self.plain.len() == self.compression.block() {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses the bytes that `produce` writes to `to`, with `jobs` threads. `path` is for messages.
///
/// # Errors
/// Of `produce`; [`Error::File`].
pub(super) fn compress(
    compression: Compression,
    jobs: NonZero<usize>,
    (to, path): (&mut File, &Path),
    produce: impl FnOnce(&mut Blocks) -> Result<(), Error>,
) -> Result<Blob, Error> {
    let (sender, receiver) = mpsc::sync_channel::<Job>(jobs.get());
    let (ordered, replies) = mpsc::sync_channel(2 * jobs.get());
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let receiver = Arc::clone(&receiver);
            scope.spawn(move || work(compression, &receiver));
        }
        drop(receiver);
        let writer = scope.spawn(move || write(to, replies));
        let plain = Vec::with_capacity(compression.block());
        let mut blocks = Blocks { compression, plain, hash: Sha256::new(), jobs: sender, ordered };
        let produced = produce(&mut blocks);
        let sent = if blocks.plain.is_empty() { Ok(()) } else { blocks.send() };
        let diff_id = Checksum::from_digest(blocks.hash.finalize().into());
        // The threads and the writer end when the channels are closed.
        drop((blocks.jobs, blocks.ordered));
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (digest, size) = written.map_err(Error::file("write", path))?;
        produced?;
        sent.map_err(Error::file("write", path))?;
        Ok(Blob { digest, size, diff_id })
    })
}

fn work(compression: Compression, jobs: &Mutex<Receiver<Job>>) {
    let next = || jobs.lock().expect("nothing panics with the lock").recv();
    while let Ok((block, reply)) = next() {
        let made = match compression {
            Compression::Gzip => gzip(compression, &block),
            Compression::Zstd => zstd(compression, &block),
        };
        _ = reply.send(made); // fails if the writer has ended
    }
}

fn write(
    to: &mut File,
    replies: Receiver<Receiver<io::Result<Vec<u8>>>>,
) -> io::Result<(Checksum, u64)> {
    let (mut hash, mut size) = (Sha256::new(), 0);
    for made in replies {
        let Ok(made) = made.recv() else { break }; // its thread panicked, and so will the scope
        let bytes = made?;
        hash.update(&bytes);
        size += bytes.len() as u64;
        to.write_all(&bytes)?;
    }
    Ok((Checksum::from_digest(hash.finalize().into()), size))
}

fn gzip(compression: Compression, block: &[u8]) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(compression.level()).expect("libdeflate knows the level");
    let mut compressor = Compressor::new(level);
    let mut bytes = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor.gzip_compress(block, &mut bytes).map_err(io::Error::other)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn zstd(compression: Compression, block: &[u8]) -> io::Result<Vec<u8>> {
    let named = |code| io::Error::other(zstd_safe::get_error_name(code));
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(compression.level())).map_err(named)?;
    context.set_parameter(CParameter::ContentSizeFlag(true)).map_err(named)?;
    let mut bytes = vec![0; zstd_safe::compress_bound(block.len())];
    let length = context.compress2(&mut bytes[..], block).map_err(named)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn a_blob_does_not_depend_on_threads() {
        let plain: Vec<u8> = (0..(3 << 20) + 5_u32).map(|at| (at / 7).to_le_bytes()[0]).collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut made = Vec::new();
            for jobs in [1, 3] {
                let mut file = tempfile::tempfile().unwrap();
                let jobs = NonZero::new(jobs).unwrap();
                let blob = compress(compression, jobs, (&mut file, Path::new("x")), |to| {
                    to.write_all(&plain).map_err(Error::file("write", "x"))
                });
                file.rewind().unwrap();
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                made.push((blob.unwrap(), bytes));
            }
            let (blob, bytes) = made.pop().unwrap();
            assert_eq!(made, [(blob, bytes.clone())]);
            assert_eq!(blob.size, bytes.len() as u64);
            assert_eq!(blob.digest, Checksum::of_bytes(&bytes));
            assert_eq!(blob.diff_id, Checksum::of_bytes(&plain));
            let mut unpacked = Vec::new();
            if compression == Compression::Gzip {
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
                assert_eq!(unpacked, plain);
            }
        }
    }

    #[test]
    fn a_read_error_is_reported() {
        let mut file = tempfile::tempfile().unwrap();
        let (jobs, refused) =
            (NonZero::new(2).unwrap(), |_: &mut Blocks| Err(Error::Usage("no".into())));
        let error = compress(Compression::Gzip, jobs, (&mut file, Path::new("x")), refused);
        assert_eq!(error.unwrap_err().to_string(), "no");
    }
}
