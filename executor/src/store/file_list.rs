//! The list of a runtime's files, recorded when an archive without an index is unpacked.

use crate::archive::members::Difference;
use crate::error::Error;
use crate::fs::trust::is_ours;
use crate::fs::walk::{Walk, visit};
use crate::thread;
use joblet_format::index::{self, Body, Index};
use joblet_format::ustar::MTIME;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::available_parallelism;

/// The files below a directory, sorted by path: `.joblet/receipts/NAME-VERSION.files`.
///
/// A record for each file, directory and symbolic link, terminated by a NUL byte: mode in octal, time in
/// seconds since 1970 (0 for directories, whose times are not compared), length in bytes, SHA-256 of the
/// content or of the link's target, path.
///
/// Example: `100755 1700000000 5 2cf2… isolated/usr/bin/demo`. Only this program reads it; one that
/// does not parse counts as absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing(Vec<ListedFile>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct ListedFile {
    path: Vec<u8>,
    mode: u32,
    mtime: i64,
    size: u64,
    sha256: [u8; 32],
}

impl Listing {
    /// Lists the tree below the open directory `root`; `path` is for messages. Every file is read, on all
    /// cores; if the tree should be as `known`, only those with the length that they have there: another one is a
    /// difference already, and a file with holes can have any length.
    ///
    /// All threads have ended when this returns.
    ///
    /// # Errors
    /// [`Error::File`] when something cannot be read.
    pub(crate) fn scan(root: impl AsFd, path: &Path, known: Option<&Self>) -> Result<Self, Error> {
        let mut entries = Vec::new();
        let failed =
            |(below, errno): (PathBuf, Errno)| Error::file("read", path.join(below))(errno);
        visit(root.as_fd(), &mut |path, data| {
            let path = path.as_os_str().as_bytes().to_owned();
            let directory = FileType::from_raw_mode(data.st_mode).is_dir();
            let size = u64::try_from(data.st_size).unwrap_or_default();
            let (mtime, size) = if directory { (0, 0) } else { (data.st_mtime, size) };
            entries.push(ListedFile { path, mode: data.st_mode, mtime, size, sha256: [0; 32] });
            true
        })
        .map_err(failed)?;
        hash_all(root.as_fd(), &mut entries, known).map_err(failed)?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self(entries))
    }

    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ListedFile { path, mode, mtime, size, sha256 } in &self.0 {
            let sha256 = hex::encode(sha256);
            // Writing to a Vec cannot fail.
            _ = write!(bytes, "{mode:o} {mtime} {size} {sha256} ");
            bytes.extend(path);
            bytes.push(0);
        }
        bytes
    }

    /// Parses a recorded list; `None` if it is damaged.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let records = bytes.strip_suffix(&[0])?.split(|&byte| byte == 0);
        records.map(ListedFile::parse).collect::<Option<_>>().map(Self)
    }

    /// How the list `there` differs from this one.
    pub(crate) fn differences(&self, there: &Self) -> Vec<Difference> {
        let mut left: BTreeMap<_, _> = there.0.iter().map(|entry| (&entry.path, entry)).collect();
        let mut found = Vec::new();
        let mut differs = |entry: &ListedFile, what| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            found.push(Difference { path, what });
        };
        for entry in &self.0 {
            let there = left.remove(&entry.path);
            if let Some(what) = there.map_or(Some("is missing"), |there| entry.difference(there)) {
                differs(entry, what);
            }
        }
        for entry in left.into_values() {
            differs(entry, "is not of this runtime");
        }
        found.sort();
        found
    }
}

/// The properties that make two files equal: permissions, time, length in bytes, SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Content {
    mode: u32,
    mtime: i64,
    size: u64,
    sha256: [u8; 32],
}

impl Content {
    /// Whether the file at `path` has these properties and belongs to the caller or root. Reads it.
    pub(crate) fn is_in(&self, walk: &mut Walk, path: &Path) -> bool {
        let data = walk
            .parent(path)
            .and_then(|(parent, name)| rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
        let same = data.is_ok_and(|data| {
            let size = u64::try_from(data.st_size).unwrap_or_default();
            is_ours(&data)
                && (data.st_mode, data.st_mtime, size) == (self.mode, self.mtime, self.size)
        });
        same && hash(walk, path, self.mode).is_ok_and(|sha256| sha256 == self.sha256)
    }
}

impl Listing {
    /// The files of an index that have one piece: an index has no hash of a larger file as a whole.
    pub(crate) fn of_index(index: &Index) -> Self {
        let entry = |entry: &index::Entry| match &entry.body {
            Body::File { executable, pieces } if pieces.len() == 1 => Some(ListedFile {
                path: entry.path.clone().into_bytes(),
                mode: FILE | if *executable { 0o755 } else { 0o644 },
                mtime: i64::try_from(MTIME).ok()?,
                size: pieces[0].size,
                sha256: pieces[0].sha256,
            }),
            _ => None,
        };
        Self(index.entries().iter().filter_map(entry).collect())
    }

    /// Path and properties of the regular files that are not empty.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&Path, Content)> {
        let files = self.0.iter().filter(|entry| entry.mode & KIND == FILE && entry.size > 0);
        files.map(|&ListedFile { ref path, mode, mtime, size, sha256 }| {
            (Path::new(OsStr::from_bytes(path)), Content { mode, mtime, size, sha256 })
        })
    }

    /// Maps the properties of the files in these lists to the number of a list and the path in it.
    pub(crate) fn by_content<'l>(
        lists: impl Iterator<Item = &'l Self>,
    ) -> BTreeMap<Content, (usize, &'l Path)> {
        let mut known = BTreeMap::new();
        for (number, list) in lists.enumerate() {
            for (path, key) in list.contents() {
                known.insert(key, (number, path));
            }
        }
        known
    }
}

impl ListedFile {
    fn parse(record: &[u8]) -> Option<Self> {
        let mut fields = record.splitn(5, |&byte| byte == b' ');
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let mode = u32::from_str_radix(text()?, 8).ok()?;
        let (mtime, size) = (text()?.parse().ok()?, text()?.parse().ok()?);
        let mut sha256 = [0; 32];
        hex::decode_to_slice(text()?, &mut sha256).ok()?;
        Some(Self { path: fields.next()?.to_owned(), mode, mtime, size, sha256 })
    }

    fn difference(&self, there: &Self) -> Option<&'static str> {
        if self.mode & KIND != there.mode & KIND {
            return Some("is something else");
        }
        if (self.mode, self.mtime, self.size) != (there.mode, there.mtime, there.size) {
            return Some("has another length, time or permissions");
        }
        (self.sha256 != there.sha256).then_some("has other content")
    }
}

/// The file type bits of a mode.
const KIND: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Fills in the hashes. Threads take entries one by one, since their sizes differ widely.
fn hash_all(
    root: BorrowedFd<'_>,
    entries: &mut [ListedFile],
    known: Option<&Listing>,
) -> Result<(), (PathBuf, Errno)> {
    let is_wanted = |entry: &&mut ListedFile| {
        let Some(Listing(known)) = known else { return true };
        let found = known.binary_search_by(|other| other.path.cmp(&entry.path));
        found.is_ok_and(|at| known[at].size == entry.size)
    };
    let left = Mutex::new(entries.iter_mut().filter(is_wanted));
    let some = || {
        let mut walk = Walk::new(root).map_err(|errno| (PathBuf::new(), errno))?;
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(entry) = next else { return Ok(()) };
            let path = Path::new(OsStr::from_bytes(&entry.path));
            let sha256 = hash(&mut walk, path, entry.mode);
            entry.sha256 = sha256.map_err(|errno| (path.to_owned(), errno))?;
        }
    };
    let cores = available_parallelism().map_or(1, NonZero::get);
    let failed = OnceLock::new();
    thread::parallel(cores, &|| _ = some().map_err(|error| failed.set(error)));
    failed.into_inner().map_or(Ok(()), Err)
}

fn hash(walk: &mut Walk, path: &Path, mode: u32) -> Result<[u8; 32], Errno> {
    let mut hash = Sha256::new();
    match mode & KIND {
        FILE => {
            let copied = io::copy(&mut File::from(walk.open_file(path)?), &mut hash);
            copied.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        LINK => {
            let (parent, name) = walk.parent(path)?;
            hash.update(rustix::fs::readlinkat(parent, name, Vec::new())?.as_bytes());
        }
        _ => {}
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn take(root: &Path) -> Listing {
        Listing::scan(File::open(root).unwrap(), root, None).unwrap()
    }

    fn tree() -> tempfile::TempDir {
        let base = tempfile::tempdir().unwrap();
        let path = |below: &[u8]| base.path().join(OsStr::from_bytes(below));
        fs::create_dir(path(b"d")).unwrap();
        fs::write(path(b"d/a b"), "one").unwrap();
        fs::write(path(b"d/\xff\n"), "two").unwrap();
        symlink("/no/where", path(b"d/link")).unwrap();
        base
    }

    #[test]
    fn a_round_trip_changes_nothing() {
        let base = tree();
        let listing = take(base.path());
        assert_eq!(listing.0.len(), 4);
        assert_eq!(Listing::parse(&listing.to_bytes()), Some(listing));
        for bad in ["", "\0", "100644 0 0 00 a\0", "100644 0 0 x\0", "9 0 0 0\0", "no end"] {
            assert_eq!(Listing::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn every_change_is_seen() {
        type Change = fn(&Path);
        let changes: [(Change, &str, &str); 8] = [
            (|d| fs::write(d.join("x"), "").unwrap(), "d/x", "is not of this runtime"),
            (|d| fs::remove_file(d.join("a b")).unwrap(), "d/a b", "is missing"),
            (|d| _ = rewrite(&d.join("a b"), "0ne"), "d/a b", "has other content"),
            (
                |d| _ = rewrite(&d.join("a b"), "more"),
                "d/a b",
                "has another length, time or permissions",
            ),
            (
                // One hole, which takes hours to read.
                |d| rewrite(&d.join("a b"), "").set_len(1 << 40).unwrap(),
                "d/a b",
                "has another length, time or permissions",
            ),
            (
                |d| fs::set_permissions(d, fs::Permissions::from_mode(0o700)).unwrap(),
                "d",
                "has another length, time or permissions",
            ),
            (|d| relink(&d.join("link"), "/no/wh3re"), "d/link", "has other content"),
            (|d| relink(&d.join("a b"), "one"), "d/a b", "is something else"),
        ];
        for (change, path, what) in changes {
            let base = tree();
            let before = take(base.path());
            assert_eq!(before.differences(&take(base.path())), []);
            change(&base.path().join("d"));
            let root = File::open(base.path()).unwrap();
            let there = Listing::scan(root, base.path(), Some(&before)).unwrap();
            let found = before.differences(&there);
            assert_eq!(found, [Difference { path: path.into(), what }]);
        }
    }

    /// Other content of the same age.
    fn rewrite(path: &Path, content: &str) -> File {
        let time = path.metadata().unwrap().modified().unwrap();
        fs::write(path, content).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
        file
    }

    /// Another link of the same age.
    fn relink(path: &Path, target: &str) {
        let time = path.symlink_metadata().unwrap().mtime();
        fs::remove_file(path).unwrap();
        symlink(target, path).unwrap();
        let time = crate::fs::walk::times(u64::try_from(time).unwrap());
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, path, &time, flags).unwrap();
    }
}
