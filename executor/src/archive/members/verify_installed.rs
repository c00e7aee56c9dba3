//! Verification of an installed tree against its index, on all cores.

use super::update::looks_installed;
use crate::archive::reuse::Intact;
use crate::error::Error;
use crate::fs::walk::{Walk, visit};
use crate::thread;
use joblet_format::index::{Body, Entry, Index};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

/// Size of a read, in bytes.
const BUFFER: usize = 256 << 10;
/// The difference of a path that is not a regular file, and so is not read.
const NO_FILE: &str = "is not a regular file";

/// A path that differs from the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Difference {
    /// Path below the runtime's directory.
    pub path: String,
    /// The difference.
    pub what: &'static str,
}

/// The result.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Differences, sorted by path.
    pub differences: Vec<Difference>,
    /// Intact files and pieces.
    pub good: Intact,
}

/// Compares the runtime open as `root` with its index, reading every file. `path` is for messages.
///
/// # Errors
/// [`Error::File`] if the directory cannot be read.
pub(crate) fn verify(index: &Index, root: &OwnedFd, path: &Path) -> Result<Report, Error> {
    let next = AtomicUsize::new(0);
    let cores = available_parallelism().map_or(1, NonZero::get);
    let all = Mutex::new(Ok(Report::default()));
    thread::parallel(cores, &|| {
        let part = compare(index, root, &next);
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *all, part) {
            (Ok(report), Ok(part)) => {
                report.differences.extend(part.differences);
                report.good.files.extend(part.good.files);
                report.good.pieces.extend(part.good.pieces);
            }
            (Err(_), _) => {}
            (_, Err(errno)) => *all = Err(errno),
        }
    });
    let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut report = all.map_err(Error::file("read", path))?;
    extra(index, root, &mut report.differences)
        .map_err(|(below, errno)| Error::file("read", path.join(below))(errno))?;
    report.differences.sort();
    Ok(report)
}

/// One thread: it takes entries one by one, since some are much larger than others.
fn compare(index: &Index, root: &OwnedFd, next: &AtomicUsize) -> Result<Report, Errno> {
    let mut walk = Walk::new(root.as_fd())?;
    let mut report = Report::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(entry) = index.entries().get(number) else { return Ok(report) };
        if entry.path.is_empty() {
            continue;
        }
        let what = match difference(&mut walk, entry) {
            Ok(Some(NO_FILE)) => Some(NO_FILE),
            Ok(about) => {
                // Most pieces of a modified large file may be intact.
                let (bad, fine) = contents(&mut walk, entry, &mut buffer);
                let what = about.or(bad);
                if what.is_some() {
                    report.good.pieces.extend(fine.into_iter().map(|piece| (number, piece)));
                } else if matches!(entry.body, Body::File { .. }) {
                    report.good.files.insert(number);
                }
                what
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Some("is missing"),
            Err(_) => Some("cannot be read"),
        };
        if let Some(what) = what {
            report.differences.push(Difference { path: entry.path.clone(), what });
        }
    }
}

/// The difference from `entry` that can be seen without reading content.
fn difference(walk: &mut Walk, entry: &Entry) -> Result<Option<&'static str>, Errno> {
    let (parent, name) = walk.parent(&entry.path)?;
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    Ok(match &entry.body {
        Body::Directory if !kind.is_dir() => Some("is not a directory"),
        Body::Directory => (found.st_mode & 0o7777 != 0o755).then_some("has other permissions"),
        Body::Symlink(_) if !kind.is_symlink() => Some("is not a symbolic link"),
        Body::Symlink(target) => {
            let there = rustix::fs::readlinkat(parent, name, Vec::new())?;
            (there.as_bytes() != target.as_bytes()).then_some("points elsewhere")
        }
        Body::File { .. } if !kind.is_file() => Some(NO_FILE),
        Body::File { .. } if !looks_installed(entry, &found) => {
            Some("has another length, time or permissions")
        }
        Body::File { .. } => None,
    })
}

/// The difference of a file's content, and its intact pieces.
fn contents(
    walk: &mut Walk,
    entry: &Entry,
    buffer: &mut [u8],
) -> (Option<&'static str>, Vec<usize>) {
    let Body::File { pieces, .. } = &entry.body else { return (None, Vec::new()) };
    let Ok(file) = walk.open_file(&entry.path).map(File::from) else {
        return (Some("cannot be read"), Vec::new());
    };
    let (mut bad, mut sound, mut offset) = (None, Vec::new(), 0);
    for (place, piece) in pieces.iter().enumerate() {
        match hash(&file, offset, piece.size, buffer) {
            Ok(found) if found == piece.sha256 => sound.push(place),
            Ok(_) => bad = bad.or(Some("has other content")),
            Err(_) => bad = Some("cannot be read"),
        }
        offset += piece.size;
    }
    (bad, sound)
}

/// SHA-256 of the `size` bytes at `offset`, or of fewer at the end of the file.
fn hash(file: &File, offset: u64, size: u64, buffer: &mut [u8]) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut done = 0;
    while done < size {
        let length = usize::try_from(size - done).unwrap_or(usize::MAX).min(buffer.len());
        let count = file.read_at(&mut buffer[..length], offset + done)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        done += count as u64;
    }
    Ok(hash.finalize().into())
}

/// Paths that are not in the index.
fn extra(
    index: &Index,
    root: &OwnedFd,
    differences: &mut Vec<Difference>,
) -> Result<(), (PathBuf, Errno)> {
    let known: BTreeMap<_, _> =
        index.entries().iter().map(|entry| (entry.path.as_str(), &entry.body)).collect();
    visit(root.as_fd(), &mut |path, _| {
        let path = path.to_string_lossy();
        let Some(body) = known.get(&*path) else {
            let path = path.into_owned();
            differences.push(Difference { path, what: "is not of this runtime" });
            return false;
        };
        **body == Body::Directory
    })
}
