//! An archive of any make becomes a file, and a download goes on where it broke off: in this call, or
//! in the next one.
//!
//! What has arrived is `downloads/SHA256` in the store, or `downloads/SHA256-ETAG` once the server has
//! said what it calls the bytes, both in hex. It stays when the network fails, and only then.

use crate::cli::progress::Progress;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock;
use crate::net::location::Location;
use crate::net::parts::{Part, Parts};
use crate::net::transfer::fetch;
use crate::net::transfer::stretch::{Chunk, Transfer};
use joblet_format::{Artifact, Checksum};
use rustix::fs::{FlockOperation, OFlags};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;
/// Longest entity tag that is kept, in bytes: file names end at 255.
const MAX_ETAG: usize = 90;

/// What has arrived of an archive.
#[derive(Debug)]
struct Partial<'d> {
    directory: &'d Directory,
    file: File,
    name: String,
    /// What the server calls the bytes.
    etag: Option<String>,
}

/// Returns the archive in `parts`, joined, as one file; each part has the size and checksum that it
/// must have.
///
/// A local archive is verified where it lies, unless it has to be joined. Any other is downloaded to a
/// file in `directory`, which has no name any more when this returns.
///
/// # Errors
/// [`Error::Net`] when it does not arrive, [`Error::Size`] or [`Error::Checksum`] when it is another one,
/// [`Error::File`] when the directory cannot be written.
pub(crate) fn archive(
    parts: &Parts,
    artifact: &Artifact,
    directory: &Directory,
    progress: bool,
) -> Result<File, Error> {
    let (name, size) = (parts.to_string(), artifact.size);
    let name = name.rsplit('/').next().unwrap_or_default();
    if let [part @ Part { location: Location::File(file), .. }] = parts.list() {
        let progress = Progress::bytes(format!("verifying {name}"), size, progress);
        return fetch::local(part, file, &progress);
    }
    let progress = &Progress::bytes(format!("downloading {name}"), size, progress);
    let mut partial = Partial::open(directory, &artifact.checksum.hex())?;
    let here = partial.length()?;
    if here > artifact.size {
        partial.restart(0)?;
    }
    let mut done = partial.fill(parts, progress);
    if here > 0 && matches!(done, Err(Error::Checksum { .. } | Error::Size { .. })) {
        // What was here may have been of something else: once more, from the beginning.
        partial.restart(0)?;
        done = partial.fill(parts, progress);
    }
    let keep = matches!(done, Err(Error::Net { .. })) && partial.length()? > 0;
    if !keep {
        // One that stays is used or removed by the next download.
        _ = directory.remove_file(&partial.name);
    }
    done?;
    let at = partial.path();
    partial.file.rewind().map_err(Error::file("rewind", at))?;
    Ok(partial.file)
}

impl<'d> Partial<'d> {
    /// The file for the archive whose checksum is `hex`, locked.
    fn open(directory: &'d Directory, hex: &str) -> Result<Self, Error> {
        let mut found = directory.names().unwrap_or_default();
        found.retain(|name| name.starts_with(hex));
        found.sort();
        let name = found.pop().unwrap_or_else(|| hex.to_owned());
        for other in found {
            _ = directory.remove_file(&other);
        }
        let etag =
            name.strip_prefix(hex).and_then(|rest| hex::decode(rest.strip_prefix('-')?).ok());
        let etag = etag.and_then(|etag| String::from_utf8(etag).ok());
        if let Some(file) = directory.file(&name, OFlags::RDWR).ok().filter(is_ours) {
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { directory, file, name, etag });
            }
            // Somebody else is fetching the same: this one is for this process alone.
            let own = format!("{hex}.{}.{}", lock::host(), std::process::id());
            directory.remove_file(&own)?;
            return Self::create(directory, own);
        }
        directory.remove_file(&name)?;
        Self::create(directory, hex.to_owned())
    }

    fn create(directory: &'d Directory, name: String) -> Result<Self, Error> {
        let file = directory.file(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
        let file = file.map_err(Error::file("create", directory.at(&name)))?;
        // Nobody else has it open yet.
        _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { directory, file, name, etag: None })
    }

    fn path(&self) -> PathBuf {
        self.directory.at(&self.name)
    }

    fn length(&self) -> Result<u64, Error> {
        self.file.metadata().map(|it| it.len()).map_err(Error::file("stat", self.path()))
    }

    /// Forgets everything from `length` on.
    fn restart(&mut self, length: u64) -> Result<(), Error> {
        let done = self.file.set_len(length).and_then(|()| self.file.seek(SeekFrom::Start(length)));
        done.map(drop).map_err(Error::file("write", self.path()))
    }

    /// Hashes what is here, and fetches what is missing.
    fn fill(&mut self, parts: &Parts, progress: &Progress) -> Result<(), Error> {
        let here = self.length()?;
        for part in parts.list() {
            let mut arriving = Arriving { hash: Sha256::new(), at: 0, progress };
            let before = here.saturating_sub(part.place.start).min(part.size());
            let start = SeekFrom::Start(part.place.start);
            self.file.seek(start).map_err(Error::file("seek", self.path()))?;
            let old = io::copy(&mut (&self.file).take(before), &mut arriving);
            old.map_err(Error::file("read", self.path()))?;
            if arriving.at < part.size() {
                self.fetch(part, &mut arriving)?;
            }
            let actual = Checksum::from_digest(arriving.hash.finalize().into());
            if actual != part.checksum {
                let object = part.location.to_string();
                return Err(Error::Checksum { object, expected: part.checksum, actual });
            }
        }
        Ok(())
    }

    /// Fetches what is missing of a part.
    fn fetch(&mut self, part: &Part, arriving: &mut Arriving<'_>) -> Result<(), Error> {
        let mut transfer = Transfer::whole(part, arriving.at, self.etag.clone())?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match transfer.read(&mut buffer)? {
                Chunk::End => return Ok(()),
                Chunk::Restart => {
                    (arriving.hash, arriving.at) = (Sha256::new(), 0);
                    self.restart(part.place.start)?;
                    self.call(transfer.etag().map(str::to_owned));
                }
                Chunk::Bytes(count) => {
                    let bytes = &buffer[..count];
                    self.file.write_all(bytes).map_err(Error::file("write", self.path()))?;
                    // Hashing does not fail.
                    _ = arriving.write(bytes);
                }
            }
        }
    }

    /// Notes what the server calls the bytes, for who goes on with them.
    fn call(&mut self, etag: Option<String>) {
        self.etag = etag.filter(|etag| etag.len() <= MAX_ETAG);
        let Some(digest) = self.name.get(..64).filter(|_| !self.name.contains('.')) else { return };
        let suffix =
            self.etag.as_ref().map_or(String::new(), |etag| format!("-{}", hex::encode(etag)));
        let name = format!("{digest}{suffix}");
        if self.directory.rename(&self.name, self.directory, &name).is_ok() {
            self.name = name;
        }
    }
}

/// A part on its way: what is written here is hashed and counted.
struct Arriving<'a> {
    hash: Sha256,
    /// How much of it is here, in bytes.
    at: u64,
    progress: &'a Progress,
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        self.progress.advance(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether it is a file that this user wrote, and that has no other name.
fn is_ours(file: &File) -> bool {
    let own = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|it| it.is_file() && it.uid() == own && it.nlink() == 1)
}
