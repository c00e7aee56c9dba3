//! The copy of a registry that is kept for an hour.

use crate::error::Error;
use crate::lock::Lock;
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

/// The first line of a cache file; the registry's body follows.
///
/// Example: `{"url":"https://example.org/registry.json","fetched_at":1760000000,"sha256":"…"}`.
/// Only this program reads it; one that does not parse counts as absent.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    url: String,
    /// Seconds since 1970.
    fetched_at: u64,
    /// Of the body, in hex.
    sha256: String,
}

/// A copy of a registry, and how old it is.
#[derive(Debug)]
pub struct Copy {
    /// The document.
    pub body: Vec<u8>,
    /// Since it was fetched. A stamp in the future counts as infinitely old.
    pub age: Duration,
}

/// The file that keeps the copy of the registry at `url`.
fn file_of(cache: &Path, url: &str) -> PathBuf {
    cache.join("registries").join(hex::encode(Sha256::digest(url)))
}

/// The copy of the registry at `url`, if there is a whole one that this user or root wrote.
///
/// Anything that is wrong with the cache makes it empty: it can always be fetched again.
pub fn load(cache: &Path, url: &str, now: SystemTime) -> Option<Copy> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(file_of(cache, url), flags, Mode::empty()).ok()?;
    let file = File::from(file);
    let metadata = file.metadata().ok()?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    if !metadata.is_file() || !ours {
        return None;
    }
    let mut content = Vec::new();
    file.take(MAX_REGISTRY_BYTES + 4096).read_to_end(&mut content).ok()?;
    let line = content.iter().position(|&byte| byte == b'\n')?;
    let body = content.split_off(line + 1);
    let stamp: Stamp = serde_json::from_slice(&content).ok()?;
    if stamp.url != url || stamp.sha256 != hex::encode(Sha256::digest(&body)) {
        return None;
    }
    let fetched_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(stamp.fetched_at))?;
    let age = now.duration_since(fetched_at).unwrap_or(Duration::MAX);
    Some(Copy { body, age })
}

/// Waits until no other process asks the registry at `url`, at most `patience` seconds.
///
/// None where there is no such lock, or somebody keeps it that long: asking twice does no harm.
pub fn lock(cache: &Path, url: &str, patience: u64) -> Option<Lock> {
    let file = file_of(cache, url);
    make(file.parent()?).ok()?;
    Lock::wait(&file.with_extension("lock"), "the registry", patience).ok()
}

/// Keeps `body` as the copy of the registry at `url`, fetched `now`.
///
/// # Errors
/// [`Error::File`]; the caller goes on without a cache.
pub fn save(cache: &Path, url: &str, body: &[u8], now: SystemTime) -> Result<(), Error> {
    let path = file_of(cache, url);
    let directory = path.parent().expect("a cache file lies in a directory");
    make(directory).map_err(Error::file("create", directory))?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let stamp = Stamp {
        url: url.to_owned(),
        fetched_at: since.as_secs(),
        sha256: hex::encode(Sha256::digest(body)),
    };
    let mut content = serde_json::to_vec(&stamp).expect("a stamp is plain JSON");
    content.push(b'\n');
    content.extend_from_slice(body);
    write_atomically(directory, &path, &content).map_err(Error::file("write", &path))
}

fn make(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Writes a file that has no name until it is complete, then gives it `path`.
fn write_atomically(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".{}", std::process::id()));
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)?;
    let result = File::from(file).write_all(content).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // Best effort: the next writer truncates what is left.
        _ = rustix::fs::unlinkat(rustix::fs::CWD, &temporary, AtFlags::empty());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://example.org/registry.json";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_copy_comes_back_with_its_age() {
        let cache = tempfile::tempdir().unwrap();
        assert!(load(cache.path(), URL, at(5000)).is_none());
        save(cache.path(), URL, b"first", at(500)).unwrap();
        save(cache.path(), URL, b"body\nof two lines", at(1000)).unwrap();
        let copy = load(cache.path(), URL, at(5000)).unwrap();
        assert_eq!((copy.body.as_slice(), copy.age.as_secs()), (&b"body\nof two lines"[..], 4000));
        assert_eq!(load(cache.path(), URL, at(999)).unwrap().age, Duration::MAX);
        assert_eq!(fs::read_dir(cache.path().join("registries")).unwrap().count(), 1);
    }

    #[test]
    fn anything_odd_counts_as_absent() {
        let cache = tempfile::tempdir().unwrap();
        let file = file_of(cache.path(), URL);
        let odd = |spoil: &dyn Fn()| {
            _ = fs::remove_file(&file);
            save(cache.path(), URL, b"body", at(1000)).unwrap();
            assert!(load(cache.path(), URL, at(1000)).is_some());
            spoil();
            assert!(load(cache.path(), URL, at(1000)).is_none());
        };
        odd(&|| File::options().write(true).open(&file).unwrap().set_len(90).unwrap());
        odd(&|| fs::write(&file, b"").unwrap());
        odd(&|| fs::write(&file, b"{\"schema\": 2}\nbody").unwrap());
        odd(&|| {
            let other = "https://example.org/other.json";
            save(cache.path(), other, b"body", at(1000)).unwrap();
            fs::copy(file_of(cache.path(), other), &file).unwrap();
        });
        odd(&|| {
            fs::rename(&file, cache.path().join("elsewhere")).unwrap();
            std::os::unix::fs::symlink(cache.path().join("elsewhere"), &file).unwrap();
        });
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(load(cache.path(), URL, at(1000)).is_none());
    }
}
