//! Downloads an archive to a file. A download that was interrupted is resumed, in this call or in the
//! next one.
//!
//! The partial file is `downloads/SHA256` in the store, or `downloads/SHA256-ETAG` once the server has sent a strong
//! entity tag, both in hex. It is kept when the network fails, and only then. While a process downloads, the name ends
//! in `.HOST.PID.TIME`: a process that has renamed a file to such a name owns it, on file systems without locks, too.

use crate::cli::progress::Progress;
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock;
use crate::net::location::Location;
use crate::net::parts::{Part, Parts};
use crate::net::transfer::fetch;
use crate::net::transfer::range_reader::{Chunk, RangeReader};
use joblet_format::{Artifact, Checksum};
use rustix::fs::{FlockOperation, OFlags};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;
/// Longest entity tag that is kept, in bytes: file names end at 255.
const MAX_ETAG: usize = 70;

/// A partial download.
#[derive(Debug)]
struct Partial<'d> {
    directory: &'d Directory,
    file: File,
    name: String,
    /// The strong entity tag of the bytes.
    etag: Option<String>,
}

/// Returns the archive in `parts` as one file; size and checksum of each part have been verified.
///
/// A local archive that is not split is verified in place. Any other is downloaded to a file in
/// `directory`, which is unlinked but open when this returns.
///
/// # Errors
/// [`Error::Net`] when the transfer fails, [`Error::Size`] or [`Error::Checksum`] when the bytes differ
/// from what the registry states, [`Error::File`] when the directory cannot be written.
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
        partial.truncate(0)?;
    }
    let mut done = partial.fill(parts, progress);
    if here > 0 && matches!(done, Err(Error::Checksum { .. } | Error::Size { .. })) {
        // The partial file may have been damaged: download again from the beginning.
        partial.truncate(0)?;
        done = partial.fill(parts, progress);
    }
    if matches!(done, Err(Error::Net { .. })) && partial.length()? > 0 {
        partial.keep();
    } else {
        // A file that cannot be removed is used or removed by the next download.
        _ = directory.remove_file(&partial.name);
    }
    done?;
    let at = partial.path();
    partial.file.rewind().map_err(Error::file("rewind", at))?;
    Ok(partial.file)
}

impl<'d> Partial<'d> {
    /// Takes the partial file of the archive whose checksum is `hex`, or makes one.
    fn open(directory: &'d Directory, hex: &str) -> Result<Self, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = format!(".{}.{}.{:08x}", lock::host(), std::process::id(), now.subsec_nanos());
        let mut found = directory.names().unwrap_or_default();
        found.retain(|name| name.starts_with(hex));
        found.sort();
        let mut taken = None;
        for name in found.iter().rev() {
            if taken.is_none() {
                taken = Self::take(directory, name, &own);
            } else if !name.contains('.') {
                _ = directory.remove_file(name);
            }
        }
        match taken {
            Some(partial) => Ok(partial),
            None => Self::create(directory, format!("{hex}{own}")),
        }
    }

    /// Takes the file `name` for this process, whose names end in `own`. `None` if another one uses it, or it is not
    /// a partial download of this user.
    fn take(directory: &'d Directory, name: &str, own: &str) -> Option<Self> {
        let (free, user) = name.split_at(name.find('.').unwrap_or(name.len()));
        let here = user.starts_with(&format!(".{}.", lock::host()));
        let file = directory.open_file(name, OFlags::RDWR).ok().filter(is_ours);
        let Some(file) = file else {
            if user.is_empty() {
                // It would be in the way of one that is kept.
                _ = directory.remove_file(name);
            }
            return None;
        };
        // A killed process of this host holds its lock no more; of one of another host it is unknown.
        let left = user.is_empty() || here;
        if !left || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return None;
        }
        let taken = format!("{free}{own}");
        directory.rename(name, directory, &taken).ok()?;
        let is_it = directory.stat_entry(&taken).is_ok_and(|it| {
            file.metadata().is_ok_and(|file| (file.dev(), file.ino()) == (it.st_dev, it.st_ino))
        });
        let etag = free.get(64..).and_then(|rest| hex::decode(rest.strip_prefix('-')?).ok());
        let etag = etag.and_then(|etag| String::from_utf8(etag).ok());
        is_it.then_some(Self { directory, file, name: taken, etag })
    }

    fn create(directory: &'d Directory, name: String) -> Result<Self, Error> {
        let file = directory.open_file(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
        let file = file.map_err(Error::file("create", directory.path_of(&name)))?;
        // Just created: no other process has it open.
        _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { directory, file, name, etag: None })
    }

    /// Leaves the file to the next call.
    fn keep(&self) {
        let free = self.name.split('.').next().unwrap_or_default();
        // A file that keeps its name is taken by the next call on this host.
        _ = self.directory.rename(&self.name, self.directory, free);
    }

    fn path(&self) -> PathBuf {
        self.directory.path_of(&self.name)
    }

    fn length(&self) -> Result<u64, Error> {
        self.file.metadata().map(|it| it.len()).map_err(Error::file("stat", self.path()))
    }

    /// Truncates the file to `length` bytes and continues there.
    fn truncate(&mut self, length: u64) -> Result<(), Error> {
        let done = self.file.set_len(length).and_then(|()| self.file.seek(SeekFrom::Start(length)));
        done.map(drop).map_err(Error::file("write", self.path()))
    }

    /// Hashes the bytes that are present, and fetches the others.
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

    /// Fetches the missing bytes of a part.
    fn fetch(&mut self, part: &Part, arriving: &mut Arriving<'_>) -> Result<(), Error> {
        let mut transfer = RangeReader::whole(part, arriving.at, self.etag.clone())?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match transfer.read(&mut buffer)? {
                Chunk::End => return Ok(()),
                Chunk::Restart => {
                    (arriving.hash, arriving.at) = (Sha256::new(), 0);
                    self.truncate(part.place.start)?;
                    self.record_etag(transfer.etag().map(str::to_owned));
                }
                Chunk::Bytes(count) => {
                    let bytes = &buffer[..count];
                    self.file.write_all(bytes).map_err(Error::file("write", self.path()))?;
                    // Hashing cannot fail.
                    _ = arriving.write(bytes);
                }
            }
        }
    }

    /// Records the entity tag in the file's name, for a later resumption.
    fn record_etag(&mut self, etag: Option<String>) {
        self.etag = etag.filter(|etag| etag.len() <= MAX_ETAG);
        let Some((digest, own)) = self.name.get(..64).zip(self.name.find('.')) else { return };
        let suffix =
            self.etag.as_ref().map_or(String::new(), |etag| format!("-{}", hex::encode(etag)));
        let name = format!("{digest}{suffix}{}", &self.name[own..]);
        if self.directory.rename(&self.name, self.directory, &name).is_ok() {
            self.name = name;
        }
    }
}

/// A writer that hashes and counts the bytes of a part.
struct Arriving<'a> {
    hash: Sha256,
    /// How many bytes have arrived.
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

/// Whether it is a regular file of this user, with one link.
fn is_ours(file: &File) -> bool {
    let own = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|it| it.is_file() && it.uid() == own && it.nlink() == 1)
}
