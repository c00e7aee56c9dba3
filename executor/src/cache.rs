//! The copies of registries that are kept for an hour, and what was seen of each.

use crate::error::Error;
use crate::http::Validators;
use crate::lock::Lock;
use crate::shelf::{Label, Shelf};
use joblet_format::MAX_REGISTRY_BYTES;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a copy is used without asking.
pub const FRESH: Duration = Duration::from_secs(60 * 60);
/// How long a copy is used when nobody answers.
pub const USABLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The first word of a cache file. Part of the format; another version is another file name, too.
const FORMAT: &str = "joblet-registry-2";
/// Length of the first line: the word, ten digits, 64 hex digits, with what parts them.
const FIRST_LINE: usize = FORMAT.len() + 1 + 10 + 1 + 64 + 1;

/// What stands in front of a copy.
///
/// A cache file is `joblet-registry-2 LENGTH SHA256`, a newline, as many bytes of this as JSON, whose
/// hash that is, and the document. It was fetched, or found unchanged, when the file was modified.
/// Only this program reads it; one that is not as it was written counts as absent.
#[derive(Serialize, Deserialize)]
struct Stamp {
    url: String,
    /// By which keys it was verified, as [`Source::trust`](crate::config::Source::trust) says it.
    trust: String,
    facts: Facts,
    label: Label,
}

/// A copy of a registry, and how old it is.
#[derive(Debug)]
pub struct Copy {
    /// What is known of it.
    pub facts: Facts,
    /// The document.
    pub shelf: Shelf,
    /// Since it was fetched. A time in the future counts as infinitely old.
    pub age: Duration,
}

/// What is known of a document beside what it says. Part of the format.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// What the server calls the document.
    pub validators: Validators,
    /// Its signature file; empty where there need be none.
    pub minisig: String,
    /// When that expires, in seconds since 1970.
    pub expires: u64,
}

/// The file of the registry at `url`.
fn file_of(cache: &Path, url: &str, kind: &str) -> PathBuf {
    cache.join("registries").join(hex::encode(Sha256::digest(url)) + kind)
}

/// The copy of the registry at `url`, if there is one that this user or root wrote.
///
/// Anything that is wrong with the cache makes it empty: it can always be fetched again.
pub fn load(cache: &Path, url: &str, trust: &str, now: SystemTime) -> Option<Copy> {
    let mut file = open(&file_of(cache, url, ".2"))?;
    let metadata = file.metadata().ok()?;
    let mut line = [0; FIRST_LINE];
    file.read_exact(&mut line).ok()?;
    let mut words = std::str::from_utf8(&line).ok()?.trim_end().split(' ');
    let (format, length, sha256) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let offset = FIRST_LINE as u64 + length;
    if format != FORMAT || offset > metadata.len() {
        return None;
    }
    let mut json = Vec::new();
    (&file).take(length).read_to_end(&mut json).ok()?;
    let stamp: Stamp = serde_json::from_slice(&json)
        .ok()
        .filter(|_| sha256 == hex::encode(Sha256::digest(&json)))?;
    if stamp.url != url || stamp.trust != trust || metadata.len() - offset != stamp.label.length {
        return None;
    }
    let age = now.duration_since(metadata.modified().ok()?).unwrap_or(Duration::MAX);
    let shelf = Shelf::in_file(stamp.label, file, offset);
    Some(Copy { facts: stamp.facts, shelf, age })
}

/// Keeps `shelf`, whose document is in memory, as the copy of the registry at `url`, fetched `now`.
///
/// # Errors
/// [`Error::File`]; the caller goes on without a cache.
pub fn save(
    cache: &Path,
    (url, trust): (&str, &str),
    facts: Facts,
    shelf: &mut Shelf,
    now: SystemTime,
) -> Result<(), Error> {
    shelf.seal();
    let (url, trust) = (url.to_owned(), trust.to_owned());
    let path = file_of(cache, &url, ".2");
    let label = shelf.label.clone();
    let stamp = Stamp { url, trust, facts, label };
    let json = serde_json::to_vec(&stamp).expect("a stamp is plain JSON");
    let line = format!("{FORMAT} {:010} {}\n", json.len(), hex::encode(Sha256::digest(&json)));
    let body = shelf.body().unwrap_or_default();
    write(&path, &[line.as_bytes(), &json, &body], Some(now)).map_err(Error::file("write", &path))
}

/// Notes that the copy of the registry at `url` is what the registry has `now`.
pub fn confirm(cache: &Path, url: &str, now: SystemTime) {
    // One that cannot be noted is asked for again.
    _ = open(&file_of(cache, url, ".2")).map(|file| file.set_modified(now));
}

/// Forgets the copy of the registry at `url`, which is damaged.
pub fn forget(cache: &Path, url: &str) {
    // One that stays is replaced by the next answer.
    _ = fs::remove_file(file_of(cache, url, ".2"));
}

/// The newest time that a document of the registry at `url` has said of itself. It is kept apart from
/// the copy: a copy that is spoiled does not take it along.
pub fn seen(cache: &Path, url: &str) -> Option<String> {
    let mut text = String::new();
    open(&file_of(cache, url, ".seen"))?.take(64).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Remembers a time for [`seen`].
pub fn see(cache: &Path, url: &str, updated_at: &str) {
    // Best effort, as everything in the cache.
    _ = write(&file_of(cache, url, ".seen"), &[updated_at.as_bytes()], None);
}

/// Waits until no other process asks the registry at `url`, at most `patience` seconds.
///
/// None where there is no such lock, or somebody keeps it that long: asking twice does no harm.
pub fn lock(cache: &Path, url: &str, patience: u64) -> Option<Lock> {
    let file = file_of(cache, url, ".lock");
    make(file.parent()?).ok()?;
    Lock::wait(&file, "the registry", patience).ok()
}

/// Opens a regular file that this user or root wrote, never through a link.
fn open(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    let whole = metadata.is_file() && metadata.len() < 2 * MAX_REGISTRY_BYTES;
    (ours && whole).then_some(file)
}

fn make(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Writes a file that has no name until it is complete, then gives it `path`.
fn write(path: &Path, content: &[&[u8]], modified: Option<SystemTime>) -> io::Result<()> {
    let directory = path.parent().expect("a cache file lies in a directory");
    make(directory)?;
    let temporary = directory.join(format!(".{}", std::process::id()));
    // Left by a process of the same number that was killed, or put there by somebody: only a file that
    // is new is this user's, and no FIFO.
    _ = fs::remove_file(&temporary);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)?);
    let written = content.iter().try_for_each(|part| file.write_all(part));
    let dated = || modified.map_or(Ok(()), |time| file.set_modified(time));
    let result = written.and_then(|()| dated()).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // Best effort, as above.
        _ = rustix::fs::unlinkat(rustix::fs::CWD, &temporary, AtFlags::empty());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Local;
    use crate::location::Location;

    const URL: &str = "https://example.org/registry.json";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn document(name: &str) -> String {
        format!(
            r#"{{"version": "1", "runtimes": {{"{name}": {{"1.0.0": {{"version": "1.0.0",
                "download_url": "x", "size": 1, "checksum": "sha256:{}"}}}}}}}}"#,
            "0".repeat(64)
        )
    }

    fn keep(cache: &Path, url: &str, name: &str, now: SystemTime) {
        let location = Location::File(Local::of("r".as_ref()));
        let mut shelf = Shelf::of(document(name).into_bytes(), &location).unwrap();
        let facts = Facts { expires: 7, ..Facts::default() };
        save(cache, (url, "anybody"), facts, &mut shelf, now).unwrap();
    }

    #[test]
    fn a_copy_comes_back_with_its_age() {
        let cache = tempfile::tempdir().unwrap();
        let cache = cache.path();
        let age = |now| load(cache, URL, "anybody", at(now)).map(|copy| copy.age);
        assert_eq!(age(5000), None);
        keep(cache, URL, "first", at(500));
        keep(cache, URL, "demo", at(1000));
        let copy = load(cache, URL, "anybody", at(5000)).unwrap();
        assert_eq!((copy.age.as_secs(), copy.facts.expires), (4000, 7));
        assert_eq!(copy.shelf.body().unwrap(), document("demo").into_bytes());
        assert_eq!(copy.shelf.part(None).unwrap().runtimes.len(), 1);
        assert!(load(cache, URL, "somebody", at(5000)).is_none(), "verified by others");
        // Of a clock that ran ahead, an hour or ten years.
        assert_eq!(age(999), Some(Duration::MAX));
        confirm(cache, URL, at(4500));
        assert_eq!(age(5000), Some(Duration::from_secs(500)));
        see(cache, URL, "2026-01-01T00:00:00Z");
        forget(cache, URL);
        assert_eq!((age(5000), seen(cache, URL).unwrap().len()), (None, 20));
        assert_eq!(fs::read_dir(cache.join("registries")).unwrap().count(), 1);
    }

    /// SEC-D09
    #[test]
    fn anything_odd_counts_as_absent() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path();
        let file = file_of(cache, URL, ".2");
        let here = || {
            let copy = load(cache, URL, "anybody", at(1000));
            copy.is_some_and(|copy| copy.shelf.part(None).is_some())
        };
        let odd = |spoil: &dyn Fn()| {
            _ = fs::remove_file(&file);
            keep(cache, URL, "demo", at(1000));
            assert!(here());
            spoil();
            assert!(!here());
        };
        let bytes = || fs::read(&file).unwrap();
        let whole = {
            keep(cache, URL, "demo", at(1000));
            bytes().len()
        };
        for length in [0, 10, FIRST_LINE - 1, FIRST_LINE, 300, whole - 1] {
            odd(&|| fs::write(&file, &bytes()[..length]).unwrap());
        }
        // A flipped bit in the first line, in the stamp and in the document.
        for place in [3, 25, 60, 200, whole - 60] {
            odd(&|| {
                let mut spoiled = bytes();
                spoiled[place] ^= 1;
                fs::write(&file, spoiled).unwrap();
            });
        }
        odd(&|| fs::write(&file, [bytes(), b"x".to_vec()].concat()).unwrap());
        odd(&|| fs::write(&file, b"{\"schema\": 3}\nbody").unwrap());
        odd(&|| {
            let other = "https://example.org/other.json";
            keep(cache, other, "demo", at(1000));
            fs::copy(file_of(cache, other, ".2"), &file).unwrap();
        });
        // SEC-E14: what waits where a copy is written is not written into.
        let waiting = file.with_file_name(format!(".{}", std::process::id()));
        for make in ["mkfifo", "touch", "ln -s /dev/null"] {
            let mut words = make.split(' ').chain(waiting.to_str());
            let made = std::process::Command::new(words.next().unwrap()).args(words).status();
            assert!(made.unwrap().success());
            keep(cache, URL, "demo", at(1000));
            assert!(here() && waiting.symlink_metadata().is_err());
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        }
        odd(&|| {
            fs::rename(&file, cache.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink(cache.join("elsewhere"), &file).unwrap();
        });
        if rustix::process::geteuid().is_root() {
            odd(&|| std::os::unix::fs::chown(&file, Some(12345), None).unwrap());
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(!here());
    }
}
