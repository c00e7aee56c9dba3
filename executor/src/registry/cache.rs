//! Cached registry documents, and the newest date seen of each registry.

use super::document::{RegistryDocument, SectionIndex};
use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::lock::{self, Lock};
use crate::fs::trust::is_ours;
use crate::net::http::Validators;
use joblet_format::MAX_REGISTRY_BYTES;
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
const FORMAT: &str = "joblet-registry-2";
/// Length of the first line, in bytes: the word, ten digits, 64 hex digits, and their separators.
const FIRST_LINE: usize = FORMAT.len() + 1 + 10 + 1 + 64 + 1;

/// The header of a cached document.
///
/// A cache file is `joblet-registry-2 LENGTH SHA256`, a newline, this header as LENGTH bytes of JSON with
/// that hash, and the document. The file's modification time is when the document was fetched or last
/// revalidated. Only this program reads it; a damaged file counts as absent.
#[derive(Serialize, Deserialize)]
struct CacheHeader {
    url: String,
    /// The keys it was verified with: [`Source::trust`](crate::registry::config::Source::trust).
    trust: String,
    facts: Facts,
    #[serde(rename = "label")]
    section_index: SectionIndex,
}

/// A cached document and its age.
#[derive(Debug)]
pub(crate) struct CachedDocument {
    /// Its metadata.
    pub facts: Facts,
    /// The document.
    pub document: RegistryDocument,
    /// Time since it was fetched. A time in the future counts as infinitely old.
    pub age: Duration,
}

/// Metadata of a document. Part of the format.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The validators of the HTTP response.
    pub validators: Validators,
    /// Its signature file; empty for an unsigned registry.
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

/// Loads the cached document of the registry at `url`, if this user or root wrote it.
///
/// Any failure counts as absence: the document can be fetched again.
pub(crate) fn load(
    cache: &Cache,
    url: &str,
    trust: &str,
    now: SystemTime,
) -> Option<CachedDocument> {
    let mut file = cache.open(&file_name(url, ".2"))?;
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
    let header: CacheHeader = serde_json::from_slice(&json)
        .ok()
        .filter(|_| sha256 == hex::encode(Sha256::digest(&json)))?;
    if header.url != url
        || header.trust != trust
        || metadata.len() - offset != header.section_index.length
    {
        return None;
    }
    let age = now.duration_since(metadata.modified().ok()?).unwrap_or(Duration::MAX);
    let document = RegistryDocument::in_file(header.section_index, file, offset);
    Some(CachedDocument { facts: header.facts, document, age })
}

/// Saves `document`, which is in memory, as that of the registry at `url`, fetched `now`.
///
/// # Errors
/// [`Error::File`]; the caller continues without a cache.
pub(crate) fn save(
    cache: &Cache,
    (url, trust): (&str, &str),
    facts: Facts,
    document: &mut RegistryDocument,
    now: SystemTime,
) -> Result<(), Error> {
    document.hash_sections();
    let (url, trust) = (url.to_owned(), trust.to_owned());
    let name = file_name(&url, ".2");
    let section_index = document.section_index.clone();
    let header = CacheHeader { url, trust, facts, section_index };
    let json = serde_json::to_vec(&header).expect("a header is plain JSON");
    let line = format!("{FORMAT} {:010} {}\n", json.len(), hex::encode(Sha256::digest(&json)));
    let body = document.body().unwrap_or_default();
    write(cache, &name, &[line.as_bytes(), &json, &body], Some(now))
}

/// Marks the cached document of the registry at `url` as current at `now`.
pub(crate) fn revalidate(cache: &Cache, url: &str, now: SystemTime) {
    // Best effort: otherwise the next call revalidates again.
    _ = cache.open(&file_name(url, ".2")).map(|file| file.set_modified(now));
}

/// Removes the cached document of the registry at `url`, which is damaged.
pub(crate) fn evict(cache: &Cache, url: &str) {
    // Best effort: the next response replaces it.
    _ = cache.open_or_create().and_then(|directory| directory.remove_file(&file_name(url, ".2")));
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
    use crate::net::local::Local;
    use crate::net::location::Location;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

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

    fn keep(cache: &Cache, url: &str, name: &str, now: SystemTime) {
        let location = Location::File(Local::from_path("r".as_ref()));
        let mut document = RegistryDocument::parse(document(name).into_bytes(), &location).unwrap();
        let facts = Facts { expires: 7, ..Facts::default() };
        save(cache, (url, "anybody"), facts, &mut document, now).unwrap();
    }

    #[test]
    fn a_saved_document_is_loaded_with_its_age() {
        let place = tempfile::tempdir().unwrap();
        let cache = &Cache::new(place.path().join("joblet"));
        let age = |now| load(cache, URL, "anybody", at(now)).map(|copy| copy.age);
        assert_eq!(age(5000), None);
        keep(cache, URL, "first", at(500));
        keep(cache, URL, "demo", at(1000));
        let copy = load(cache, URL, "anybody", at(5000)).unwrap();
        assert_eq!((copy.age.as_secs(), copy.facts.expires), (4000, 7));
        assert_eq!(copy.document.body().unwrap(), document("demo").into_bytes());
        assert_eq!(copy.document.entries(None).unwrap().runtimes.len(), 1);
        assert!(load(cache, URL, "somebody", at(5000)).is_none(), "verified by others");
        // Written while the clock was ahead by an hour or by ten years.
        assert_eq!(age(999), Some(Duration::MAX));
        revalidate(cache, URL, at(4500));
        assert_eq!(age(5000), Some(Duration::from_secs(500)));
        record_seen(cache, URL, "2026-01-01T00:00:00Z");
        evict(cache, URL);
        assert_eq!((age(5000), seen(cache, URL).unwrap().len()), (None, 20));
        assert_eq!(fs::read_dir(place.path().join("joblet/registries")).unwrap().count(), 1);
    }

    /// SEC-D09
    #[test]
    fn a_damaged_file_counts_as_absent() {
        let directory = tempfile::tempdir().unwrap();
        let cache = &Cache::new(directory.path().join("joblet"));
        let registries = directory.path().join("joblet/registries");
        let file = registries.join(file_name(URL, ".2"));
        let here = || {
            let copy = load(cache, URL, "anybody", at(1000));
            copy.is_some_and(|copy| copy.document.entries(None).is_some())
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
            keep(cache, other, "demo", at(1000));
            fs::copy(registries.join(file_name(other, ".2")), &file).unwrap();
        });
        // SEC-E14: a file or link placed at the temporary name is not written through.
        let waiting = file.with_file_name(format!(".{}.{}", lock::host(), std::process::id()));
        for make in ["mkfifo", "touch", "ln -s /dev/null"] {
            let mut words = make.split(' ').chain(waiting.to_str());
            let made = std::process::Command::new(words.next().unwrap()).args(words).status();
            assert!(made.unwrap().success());
            keep(cache, URL, "demo", at(1000));
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
