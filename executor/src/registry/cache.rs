//! Cached registry documents, and the newest date seen of each registry.

use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::{self, Lock};
use crate::fs::trust::is_ours;
use crate::net::http::Validators;
use joblet_format::{MAX_REGISTRY_BYTES, RuntimeName};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// Age up to which a cached document is used without a request.
pub(crate) const FRESH: Duration = Duration::from_secs(60 * 60);
/// Age up to which a cached document is used when the request fails.
pub(crate) const USABLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The first word of a cache file. Part of the format; another version has another file name, too.
const FORMAT: &str = "joblet-registry-3";
/// Length of the first line, in bytes: the word, ten digits, 64 hex digits, and their separators.
const FIRST_LINE: usize = FORMAT.len() + 1 + 10 + 1 + 64 + 1;

/// The header of a cached document.
///
/// A cache file is `joblet-registry-3 LENGTH SHA256`, a newline, this header as LENGTH bytes of JSON, and
/// the document; both have that hash. The file's modification time is when the document was fetched or last
/// revalidated. Only this program reads it; a damaged file counts as absent.
#[derive(Serialize, Deserialize)]
struct CacheHeader {
    url: String,
    /// The keys it was verified with: [`Source::trust`](crate::registry::config::Source::trust).
    trust: String,
    facts: Facts,
}

/// A cached document of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The list of its shards.
    Shards,
    /// `registry.json`.
    Document,
}

impl Kind {
    /// The extension of its file. Part of the format.
    fn extension(self) -> &'static str {
        match self {
            Self::Shards => ".3s",
            Self::Document => ".3",
        }
    }
}

/// A cached document and its age.
#[derive(Debug)]
pub(crate) struct CachedDocument {
    /// Which document.
    pub kind: Kind,
    /// Its metadata.
    pub facts: Facts,
    /// Its bytes.
    pub body: Vec<u8>,
    /// Time since it was fetched. A time in the future counts as infinitely old.
    pub age: Duration,
}

/// Metadata of a document. Part of the format.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The validators of the response for `registry.json`.
    pub validators: Validators,
    /// The signature file of the document; empty for an unsigned registry.
    pub minisig: String,
    /// When the signature expires, in seconds since 1970.
    pub expires: u64,
}

/// The cache directory, opened at first use and then used by descriptor.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    opened: OnceLock<Directory>,
}

impl Cache {
    /// The cache at `path`. The directory is created when something is first saved.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, opened: OnceLock::new() }
    }

    /// Refuses a cache that other users may write: they could hide a rollback.
    ///
    /// # Errors
    /// [`Error::Untrusted`]. A directory that cannot be opened counts as empty.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.registries() {
            Err(error @ Error::Untrusted { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    fn registries(&self) -> Result<Option<&Directory>, Error> {
        if let Some(found) = self.opened.get() {
            return Ok(Some(found));
        }
        let found = Directory::open_own(&self.path).and_then(|found| {
            let Some(found) = found else { return Ok(None) };
            found.trusted()?.enter("registries")?.map(Directory::trusted).transpose()
        });
        let found = found.map_err(|error| match error {
            Error::Untrusted { path, reason, .. } => {
                Error::Untrusted { path, reason, option: "XDG_CACHE_HOME" }
            }
            other => other,
        });
        Ok(found?.map(|found| self.opened.get_or_init(|| found)))
    }

    fn open_or_create(&self) -> Result<&Directory, Error> {
        if self.registries()?.is_none() {
            Directory::make_all(&self.path.join("registries"), 0o700)?;
        }
        self.registries()?.ok_or_else(|| Error::file("open", &self.path)(Errno::NOENT))
    }

    /// Opens a regular file that belongs to this user or root.
    fn open(&self, name: &str) -> Option<File> {
        let file = self.registries().ok()??.open_file(name, OFlags::RDONLY).ok()?;
        let stat = fstat(&file).ok()?;
        let short = u64::try_from(stat.st_size).is_ok_and(|size| size < 2 * MAX_REGISTRY_BYTES);
        let plain = FileType::from_raw_mode(stat.st_mode).is_file();
        (is_ours(&stat) && plain && short).then_some(file)
    }
}

/// The file name for the registry at `url`, with the extension `kind`.
fn file_name(url: &str, kind: &str) -> String {
    hex::encode(Sha256::digest(url)) + kind
}

/// Loads what is cached of the registry at `url`, if this user or root wrote it.
///
/// Any failure counts as absence: the document can be fetched again.
pub(crate) fn load(
    cache: &Cache,
    (url, trust): (&str, &str),
    kind: Kind,
    now: SystemTime,
) -> Option<CachedDocument> {
    let mut file = cache.open(&file_name(url, kind.extension()))?;
    let metadata = file.metadata().ok()?;
    let mut line = [0; FIRST_LINE];
    file.read_exact(&mut line).ok()?;
    let mut words = std::str::from_utf8(&line).ok()?.trim_end().split(' ');
    let (format, length, sha256) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let mut rest = Vec::new();
    file.take(2 * MAX_REGISTRY_BYTES).read_to_end(&mut rest).ok()?;
    if format != FORMAT || length > rest.len() || sha256 != hex::encode(Sha256::digest(&rest)) {
        return None;
    }
    let body = rest.split_off(length);
    let header: CacheHeader = serde_json::from_slice(&rest).ok()?;
    if header.url != url || header.trust != trust {
        return None;
    }
    let age = now.duration_since(metadata.modified().ok()?).unwrap_or(Duration::MAX);
    Some(CachedDocument { kind, facts: header.facts, body, age })
}

/// Saves `body` as the document `kind` of the registry at `url`, fetched `now`.
///
/// # Errors
/// [`Error::File`]; the caller continues without a cache.
pub(crate) fn save(
    cache: &Cache,
    (url, trust): (&str, &str),
    kind: Kind,
    facts: Facts,
    body: &[u8],
    now: SystemTime,
) -> Result<(), Error> {
    let header = CacheHeader { url: url.to_owned(), trust: trust.to_owned(), facts };
    let json = serde_json::to_vec(&header).expect("a header is plain JSON");
    let hash = Sha256::new().chain_update(&json).chain_update(body).finalize();
    let line = format!("{FORMAT} {:010} {}\n", json.len(), hex::encode(hash));
    let name = file_name(url, kind.extension());
    write(cache, &name, &[line.as_bytes(), &json, body], Some(now))
}

/// Marks the document `kind` of the registry at `url` as current at `now`.
pub(crate) fn revalidate(cache: &Cache, url: &str, kind: Kind, now: SystemTime) {
    // Best effort: otherwise the next call revalidates again.
    let file = cache.open(&file_name(url, kind.extension()));
    _ = file.map(|file| file.set_modified(now));
}

/// The cached shard of `name` of the registry at `url`; the caller compares its checksum.
pub(crate) fn shard(cache: &Cache, url: &str, name: &RuntimeName) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    cache.open(&shard_file(url, name))?.read_to_end(&mut body).ok()?;
    Some(body)
}

/// Saves the shard of `name` of the registry at `url`.
pub(crate) fn save_shard(cache: &Cache, url: &str, name: &RuntimeName, body: &[u8]) {
    // Best effort, as everything in the cache.
    _ = write(cache, &shard_file(url, name), &[body], None);
}

fn shard_file(url: &str, name: &RuntimeName) -> String {
    // No URL contains a space.
    file_name(&format!("{url} {name}"), ".shard")
}

/// The newest `updated_at` seen of the registry at `url`. It is in a file of its own, so that it
/// outlives a damaged document.
pub(crate) fn seen(cache: &Cache, url: &str) -> Option<String> {
    let mut text = String::new();
    cache.open(&file_name(url, ".seen"))?.take(64).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Records a time for [`seen`].
pub(crate) fn record_seen(cache: &Cache, url: &str, updated_at: &str) {
    // Best effort, as everything in the cache.
    _ = write(cache, &file_name(url, ".seen"), &[updated_at.as_bytes()], None);
}

/// Waits up to `lock_timeout` seconds for other processes' requests to the registry at `url`.
///
/// `None` without support for locks, or after the timeout: a duplicate request does no harm.
///
/// # Errors
/// [`Error::Untrusted`] when the lock file is not this program's.
pub(crate) fn lock(cache: &Cache, url: &str, lock_timeout: u64) -> Result<Option<Lock>, Error> {
    match cache.open_or_create().and_then(|directory| Lock::wait(directory, url, lock_timeout)) {
        Err(error @ Error::Untrusted { .. }) => Err(error),
        lock => Ok(lock.ok()),
    }
}

/// Writes a file under a temporary name, then renames it to `name`.
fn write(
    cache: &Cache,
    name: &str,
    content: &[&[u8]],
    modified: Option<SystemTime>,
) -> Result<(), Error> {
    let directory = cache.open_or_create()?;
    let temporary = format!(".{}.{}", lock::host(), std::process::id());
    directory.remove_file(&temporary)?;
    let result = || -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = directory.open_file(&temporary, flags)?;
        content.iter().try_for_each(|part| file.write_all(part))?;
        modified.map_or(Ok(()), |time| file.set_modified(time))?;
        Ok(directory.rename(&temporary, directory, name)?)
    };
    result().map_err(|error| {
        // Best effort: the next write to the same temporary name removes it.
        _ = directory.remove_file(&temporary);
        Error::file("write", directory.path_of(name))(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    const URL: &str = "https://example.org/registry.json";
    const BODY: &str = "{\"version\": \"1\", \"runtimes\": {}, \"members\": \"that are ignored, for some length\"}";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn keep(cache: &Cache, url: &str, body: &str, now: SystemTime) {
        let facts = Facts { expires: 7, ..Facts::default() };
        save(cache, (url, "anybody"), Kind::Document, facts, body.as_bytes(), now).unwrap();
    }

    fn load_at(cache: &Cache, seconds: u64) -> Option<CachedDocument> {
        load(cache, (URL, "anybody"), Kind::Document, at(seconds))
    }

    #[test]
    fn a_saved_document_is_loaded_with_its_age() {
        let place = tempfile::tempdir().unwrap();
        let cache = &Cache::new(place.path().join("joblet"));
        let age = |now| load_at(cache, now).map(|copy| copy.age);
        assert_eq!(age(5000), None);
        keep(cache, URL, "first", at(500));
        keep(cache, URL, "demo", at(1000));
        let copy = load_at(cache, 5000).unwrap();
        assert_eq!((copy.age.as_secs(), copy.facts.expires), (4000, 7));
        assert_eq!(copy.body, b"demo");
        let by_others = load(cache, (URL, "somebody"), Kind::Document, at(5000));
        assert!(by_others.is_none(), "verified by others");
        // Written while the clock was ahead by an hour or by ten years.
        assert_eq!(age(999), Some(Duration::MAX));
        revalidate(cache, URL, Kind::Document, at(4500));
        assert_eq!(age(5000), Some(Duration::from_secs(500)));
        record_seen(cache, URL, "2026-01-01T00:00:00Z");
        assert_eq!(seen(cache, URL).unwrap().len(), 20);
        assert!(load(cache, (URL, "anybody"), Kind::Shards, at(5000)).is_none());
        assert_eq!(fs::read_dir(place.path().join("joblet/registries")).unwrap().count(), 2);
    }

    #[test]
    fn a_shard_is_of_one_runtime_of_one_registry() {
        let place = tempfile::tempdir().unwrap();
        let cache = &Cache::new(place.path().join("joblet"));
        let (a, b): (RuntimeName, RuntimeName) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(shard(cache, URL, &a), None);
        save_shard(cache, URL, &a, b"one");
        save_shard(cache, URL, &a, b"two");
        assert_eq!(shard(cache, URL, &a).unwrap(), b"two");
        assert_eq!((shard(cache, URL, &b), shard(cache, "https://example.org", &a)), (None, None));
    }

    /// SEC-D09
    #[test]
    fn a_damaged_file_counts_as_absent() {
        let directory = tempfile::tempdir().unwrap();
        let cache = &Cache::new(directory.path().join("joblet"));
        let registries = directory.path().join("joblet/registries");
        let file = registries.join(file_name(URL, ".3"));
        let here = || load_at(cache, 1000).is_some();
        let odd = |spoil: &dyn Fn()| {
            _ = fs::remove_file(&file);
            keep(cache, URL, BODY, at(1000));
            assert!(here());
            spoil();
            assert!(!here());
        };
        let bytes = || fs::read(&file).unwrap();
        let whole = {
            keep(cache, URL, BODY, at(1000));
            bytes().len()
        };
        for length in [0, 10, FIRST_LINE - 1, FIRST_LINE, 120, 200, whole - 1] {
            odd(&|| fs::write(&file, &bytes()[..length]).unwrap());
        }
        // A flipped bit in the first line, in the header and in the document.
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
            keep(cache, other, BODY, at(1000));
            fs::copy(registries.join(file_name(other, ".3")), &file).unwrap();
        });
        // SEC-E14: a file or link placed at the temporary name is not written through.
        let waiting = file.with_file_name(format!(".{}.{}", lock::host(), std::process::id()));
        for make in ["mkfifo", "touch", "ln -s /dev/null"] {
            let mut words = make.split(' ').chain(waiting.to_str());
            let made = std::process::Command::new(words.next().unwrap()).args(words).status();
            assert!(made.unwrap().success());
            keep(cache, URL, BODY, at(1000));
            assert!(here() && waiting.symlink_metadata().is_err());
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        }
        odd(&|| {
            fs::rename(&file, registries.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink(registries.join("elsewhere"), &file).unwrap();
        });
        if rustix::process::geteuid().is_root() {
            odd(&|| std::os::unix::fs::chown(&file, Some(12345), None).unwrap());
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(!here());
    }

    /// How a directory is changed, which one, its refusal, and whether this host allows the change.
    type Case<'a> = (&'a dyn Fn(&Path), &'a str, &'a str, bool);

    /// SEC-E04: the date seen of a registry is not read from a directory that others may write.
    #[test]
    fn a_cache_that_others_may_write_is_refused() {
        use std::os::unix::fs::{PermissionsExt, chown, symlink};
        let directory = tempfile::tempdir().unwrap();
        let (joblet, elsewhere) = (directory.path().join("joblet"), directory.path().join("x"));
        let open_to_all = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        };
        let foreign = |path: &Path| chown(path, Some(65534), None).unwrap();
        let link = |path: &Path| {
            fs::rename(path, &elsewhere).unwrap();
            symlink(&elsewhere, path).unwrap();
        };
        let root = rustix::process::geteuid().is_root();
        let cases: [Case<'_>; 5] = [
            (&open_to_all, "", "others may write it (mode 777)", true),
            (&open_to_all, "registries", "others may write it (mode 777)", true),
            (&link, "registries", "it is not a directory", true),
            (&foreign, "", "it belongs to user 65534", root),
            (&foreign, "registries", "it belongs to user 65534", root),
        ];
        for (spoil, below, reason, possible) in cases {
            _ = (fs::remove_dir_all(&joblet), fs::remove_dir_all(&elsewhere));
            let cache = Cache::new(joblet.clone());
            cache.check().unwrap();
            record_seen(&cache, URL, "2026-01-01T00:00:00Z");
            if !possible {
                continue;
            }
            spoil(&joblet.join(below));
            let cache = Cache::new(joblet.clone());
            let error = cache.check().unwrap_err().to_string();
            let path = joblet.join(below).components().collect::<PathBuf>();
            let want = format!("{} is refused: {reason}", path.display());
            assert!(error.starts_with(&want), "{error}");
            assert!(error.ends_with("or name another place with XDG_CACHE_HOME"), "{error}");
            assert!(lock(&cache, URL, 0).is_err() && seen(&cache, URL).is_none());
        }
    }
}
