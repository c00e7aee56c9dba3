//! The directory where runtimes are installed.
//!
//! `NAME-VERSION/` is complete whenever it exists: everything is prepared in `.joblet/` beside it,
//! synced, and renamed without replacing anything.
//!
//! ```text
//! STORE/python-3.11-1.0.0/                  runtime.yml, isolated/
//! STORE/.joblet/locks/python-3.11-1.0.0     held while that directory appears or disappears
//! STORE/.joblet/staging/python-3.11-1.0.0/  what its holder is working on; else a leftover
//! STORE/.joblet/downloads/                  an archive that arrives; it loses its name at once
//! STORE/.joblet/receipts/python-3.11-1.0.0.json
//! STORE/.joblet/receipts/python-3.11-1.0.0.index   of its archive, as it was fetched
//! ```

use crate::error::Error;
use joblet_format::{Arch, Checksum, Origin, RuntimeName, Spec, Version, Wanted, nearest};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

mod installed;
mod lock;

pub use installed::Installed;
pub use lock::Lock;

/// Where this program works, below the store's own directory.
const WORK: &str = ".joblet";

/// The directories of runtimes on this host.
#[derive(Debug)]
pub struct Store {
    /// The store that is changed.
    root: PathBuf,
    /// Another one that is only read.
    system: Option<PathBuf>,
    /// How long to wait for a lock, in seconds.
    lock_timeout: u64,
}

/// What is known about how a runtime came here: `.joblet/receipts/NAME-VERSION.json`.
///
/// Informative: a runtime without a receipt works.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The runtime.
    pub name: RuntimeName,
    /// Its version.
    pub version: Version,
    /// The architecture of the archive.
    pub arch: Arch,
    /// What the configuration called the registry that listed it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Where that registry was.
    pub registry: String,
    /// Where the archive came from.
    pub url: String,
    /// Of the archive.
    pub checksum: Checksum,
    /// Of the archive, in bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub installed_at: u64,
}

impl Store {
    /// The store at `root`, and one more that is only read.
    pub fn new(root: PathBuf, system: Option<PathBuf>, lock_timeout: u64) -> Self {
        let system = system.filter(|system| *system != root);
        Self { root, system, lock_timeout }
    }

    /// The directory that is changed.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every runtime of both directories, sorted by name and version, the store's own first.
    ///
    /// # Errors
    /// When a directory that exists cannot be read.
    pub fn installed(&self) -> Result<Vec<Installed>, Error> {
        let mut all = installed::scan(&self.root)?;
        for other in self.system.iter().map(|system| installed::scan(system)) {
            for runtime in other? {
                let same = |own: &Installed| {
                    (&own.name, &own.version) == (&runtime.name, &runtime.version)
                };
                if !all.iter().any(same) {
                    all.push(runtime);
                }
            }
        }
        all.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(all)
    }

    /// The installed runtime that `spec` means, if there is one.
    ///
    /// # Errors
    /// As [`Store::installed`].
    pub fn find(&self, spec: &Spec) -> Result<Option<Installed>, Error> {
        let mut fitting = self.installed()?;
        fitting.retain(|runtime| runtime.name == spec.name && is_of(runtime, spec));
        if let Wanted::Exact(version) = &spec.wanted {
            return Ok(fitting.into_iter().find(|found| found.version.as_ref() == Some(version)));
        }
        let latest = Version::latest(fitting.iter().filter_map(|found| found.version.as_ref()));
        let latest = latest.cloned();
        Ok(fitting.into_iter().find(|found| found.version == latest))
    }

    /// As [`Store::find`], for a command that needs one.
    ///
    /// # Errors
    /// [`Error::NotFound`] with what is installed instead.
    pub fn expect(&self, spec: &Spec) -> Result<Installed, Error> {
        if let Some(found) = self.find(spec)? {
            return Ok(found);
        }
        let all = self.installed()?;
        let same: Vec<_> = all.iter().filter(|runtime| runtime.name == spec.name).collect();
        let hint = if same.is_empty() {
            match nearest(spec.name.as_str(), all.iter().map(|found| found.name.as_str())) {
                Some(near) => format!("did you mean {near}?"),
                None => "joblet-exec list shows what is".to_owned(),
            }
        } else {
            let version = |found: &Installed| found.version.as_ref().map(Version::to_string);
            let versions: Vec<_> = same.iter().filter_map(|found| version(found)).collect();
            format!("installed: {}", versions.join(", "))
        };
        Err(Error::NotFound(format!("{spec} is not installed; {hint}")))
    }

    /// As [`Store::expect`], for a command that must not guess among several versions.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Usage`] with the specs to choose from.
    pub fn expect_one(&self, spec: &Spec) -> Result<Installed, Error> {
        let found = self.expect(spec)?;
        let mut same = self.installed()?;
        same.retain(|runtime| runtime.name == spec.name);
        if matches!(spec.wanted, Wanted::Exact(_)) || same.len() == 1 {
            return Ok(found);
        }
        let versions = same.iter().filter_map(|found| found.version.as_ref());
        let specs: Vec<_> = versions.map(|version| spec.exactly(version).to_string()).collect();
        Err(Error::Usage(format!("which one? {} are installed", specs.join(", "))))
    }

    /// The directory of one version in the store that is changed.
    pub fn directory(&self, name: &RuntimeName, version: &Version) -> PathBuf {
        self.root.join(name.directory(version))
    }

    /// Waits until no other process changes this version, and keeps them out from then on.
    ///
    /// # Errors
    /// [`Error::Busy`] after the timeout, [`Error::File`] when the store cannot be written.
    pub fn lock(&self, name: &RuntimeName, version: &Version) -> Result<Lock, Error> {
        let directory = name.directory(version);
        let path = self.work("locks")?.join(&directory);
        Lock::wait(&path, &directory, self.lock_timeout)
    }

    /// An empty directory to prepare the locked version in, and a descriptor of it.
    ///
    /// # Errors
    /// [`Error::File`] when the store cannot be written.
    pub fn stage(&self, lock: &Lock) -> Result<(Staging, OwnedFd), Error> {
        let path = self.work("staging")?.join(lock.name());
        remove_tree(&path)?;
        fs::create_dir(&path).map_err(Error::file("create", &path))?;
        let staging = Staging { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&staging.path, flags, Mode::empty())
            .map_err(Error::file("open", &staging.path))?;
        Ok((staging, directory))
    }

    /// The name that the download for the locked version has for a moment.
    ///
    /// # Errors
    /// [`Error::File`] when the store cannot be written.
    pub fn download(&self, lock: &Lock) -> Result<PathBuf, Error> {
        let path = self.work("downloads")?.join(lock.name());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => Ok(path),
        }
    }

    /// Makes `prepared`, a directory inside `staging`, the runtime of `receipt`.
    ///
    /// All of it is on the disk before it gets its name, and nothing is ever replaced.
    ///
    /// # Errors
    /// [`Error::File`]; the version is then not installed.
    pub fn publish(
        &self,
        staging: Staging,
        prepared: &Path,
        receipt: &Receipt,
        index: Option<&[u8]>,
    ) -> Result<PathBuf, Error> {
        let target = self.directory(&receipt.name, &receipt.version);
        let directory = receipt.name.directory(&receipt.version);
        let receipts = self.work("receipts")?.join(format!("{directory}.json"));
        let text = serde_json::to_vec_pretty(receipt).expect("a receipt is plain JSON");
        fs::write(&receipts, text).map_err(Error::file("write", &receipts))?;
        let kept = receipts.with_extension("index");
        match index {
            Some(index) => fs::write(&kept, index).map_err(Error::file("write", &kept))?,
            // One of an earlier installation would speak of other files.
            None => drop(fs::remove_file(&kept)),
        }
        let opened = File::open(&staging.path).map_err(Error::file("open", &staging.path))?;
        rustix::fs::syncfs(&opened).map_err(Error::file("sync", &staging.path))?;
        rename_new(prepared, &target)?;
        sync_directory(&self.root)?;
        drop(staging);
        Ok(target)
    }

    /// The directories of installed versions of `name`, each with the index that was kept of it.
    ///
    /// # Errors
    /// As [`Store::installed`].
    pub fn indexes(&self, name: &RuntimeName) -> Result<Vec<(Vec<u8>, PathBuf)>, Error> {
        let mut found = installed::scan(&self.root)?;
        found.retain(|runtime| runtime.name == *name);
        let index = |runtime: Installed| Some((self.index(&runtime)?, runtime.path));
        Ok(found.into_iter().filter_map(index).collect())
    }

    /// The index that was kept of an installed runtime of this store.
    pub fn index(&self, runtime: &Installed) -> Option<Vec<u8>> {
        let receipts = self.root.join(WORK).join("receipts");
        let name =
            runtime.path.file_name().filter(|_| runtime.path.parent() == Some(&self.root))?;
        fs::read(format!("{}.index", receipts.join(name).display())).ok()
    }

    /// Puts `prepared`, a directory inside `staging`, in the place of an installed runtime.
    ///
    /// There is a complete one under its name at any moment, where the file system can exchange.
    ///
    /// # Errors
    /// [`Error::File`]; the runtime is then as it was.
    pub fn replace(
        &self,
        staging: &Staging,
        prepared: &Path,
        runtime: &Installed,
    ) -> Result<(), Error> {
        let opened = File::open(&staging.path).map_err(Error::file("open", &staging.path))?;
        rustix::fs::syncfs(&opened).map_err(Error::file("sync", &staging.path))?;
        match rustix::fs::renameat_with(CWD, prepared, CWD, &runtime.path, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                let aside = staging.path.join(".old");
                fs::rename(&runtime.path, aside).map_err(Error::file("replace", &runtime.path))?;
                fs::rename(prepared, &runtime.path)
                    .map_err(Error::file("replace", &runtime.path))?;
            }
            done => done.map_err(Error::file("replace", &runtime.path))?,
        }
        sync_directory(&self.root)
    }

    /// Removes a version: at once from its name, then from the disk.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::NotFound`] when the directory is not in this store.
    pub fn remove(&self, runtime: &Installed) -> Result<(), Error> {
        let name = runtime.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if runtime.path.parent() != Some(self.root.as_path()) || name.is_empty() {
            return Err(Error::NotFound(format!(
                "{} is in {}, which is not changed; use --store to name that store",
                runtime.name,
                runtime.path.parent().unwrap_or(Path::new("/")).display()
            )));
        }
        let lock = Lock::wait(&self.work("locks")?.join(name), name, self.lock_timeout)?;
        let (staging, _) = self.stage(&lock)?;
        let aside = staging.path.join(name);
        fs::rename(&runtime.path, &aside).map_err(Error::file("remove", &runtime.path))?;
        sync_directory(&self.root)?;
        let receipt = self.work("receipts")?.join(format!("{name}.json"));
        // What is missing is as good as removed, and what stays is never read alone.
        _ = fs::remove_file(receipt.with_extension("index"));
        _ = fs::remove_file(receipt);
        remove_tree(&staging.path)
    }

    /// Removes what processes that died have left in the store. Best effort.
    pub fn clean(&self) {
        let Ok(staging) = fs::read_dir(self.root.join(WORK).join("staging")) else { return };
        for entry in staging.flatten() {
            let name = entry.file_name();
            let lock = self.root.join(WORK).join("locks").join(&name);
            if let Ok(Some(_lock)) = Lock::try_now(&lock, &name.to_string_lossy()) {
                // What cannot be removed now is tried again by the next command.
                _ = remove_tree(&entry.path());
            }
        }
    }

    /// One of the directories this program works in.
    fn work(&self, part: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(WORK).join(part);
        fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        Ok(path)
    }
}

/// The receipt of an installed runtime; `None` where it has none.
pub fn receipt(runtime: &Installed) -> Option<Receipt> {
    let (root, name) = (runtime.path.parent()?, runtime.path.file_name()?);
    let receipts = root.join(WORK).join("receipts");
    let text = fs::read(format!("{}.json", receipts.join(name).display())).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether the runtime came from the registry that `spec` names, if it names one.
fn is_of(runtime: &Installed, spec: &Spec) -> bool {
    spec.origin.is_none() || receipt(runtime).is_some_and(|receipt| receipt.origin == spec.origin)
}

/// A directory below `.joblet/staging` that is removed when it is no longer needed.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by the next command.
        _ = remove_tree(&self.path);
    }
}

/// Renames a directory to a name that nothing has yet.
fn rename_new(from: &Path, to: &Path) -> Result<(), Error> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without that flag: rename(2) replaces no directory that has entries, and
        // the lock keeps other processes of ours away.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to).map_err(Error::file("rename", to)),
        done => done.map_err(Error::file("rename", to)),
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = File::open(path).map_err(Error::file("open", path))?;
    directory.sync_all().map_err(Error::file("sync", path))
}

/// Removes a directory and what is in it, never through a link; none is fine.
fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let base = tempfile::tempdir().unwrap();
        let store = Store::new(base.path().join("store"), Some(base.path().join("system")), 1);
        (base, store)
    }

    fn put(directory: &Path, name: &str, yml: &str) {
        fs::create_dir_all(directory.join(name)).unwrap();
        fs::write(directory.join(name).join("runtime.yml"), yml).unwrap();
    }

    fn receipt() -> Receipt {
        Receipt {
            origin: None,
            name: "demo".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            arch: Arch::Amd64,
            registry: "here".into(),
            url: "there".into(),
            checksum: Checksum::from_digest([0; 32]),
            size: 0,
            installed_at: 0,
        }
    }

    #[test]
    fn what_is_installed_is_found() {
        let (base, store) = store();
        assert_eq!(store.installed().unwrap(), []);
        for name in ["demo-1.9.0", "demo-1.10.0", "demo-2.0.0-rc.1", ".joblet", "Odd"] {
            put(&base.path().join("store"), name, "");
        }
        put(&base.path().join("store"), "hand", "name: hand\nversion: 3.1.0\nmounts: []\n");
        put(&base.path().join("store"), "bare", "name: bare\nversion: 3.1\nmounts: []\n");
        put(&base.path().join("system"), "demo-1.9.0", "");
        put(&base.path().join("system"), "tool-1.0.0", "");
        fs::create_dir(base.path().join("store/empty-1.0.0")).unwrap();
        let path = |spec: &str| {
            let found = store.find(&spec.parse().unwrap()).unwrap()?;
            Some(found.path.strip_prefix(base.path()).unwrap().to_str().unwrap().to_owned())
        };
        for (spec, want) in [
            ("demo", Some("store/demo-1.10.0")),
            ("demo@latest", Some("store/demo-1.10.0")),
            ("demo@1.9.0", Some("store/demo-1.9.0")),
            ("demo@2.0.0-rc.1", Some("store/demo-2.0.0-rc.1")),
            ("demo@3.0.0", None),
            ("hand@3.1.0", Some("store/hand")),
            ("bare", Some("store/bare")),
            ("tool", Some("system/tool-1.0.0")),
            ("empty", None),
        ] {
            assert_eq!(path(spec).as_deref(), want, "{spec}");
        }
        assert_eq!(store.installed().unwrap().len(), 6);
        let missing = |spec: &str| store.expect(&spec.parse().unwrap()).unwrap_err().to_string();
        assert!(missing("demo@3.0.0").contains("installed: 1.9.0, 1.10.0, 2.0.0-rc.1"));
        assert!(missing("dmeo").contains("did you mean demo?"));
        assert!(missing("ruby").contains("joblet-exec list"));
    }

    #[test]
    fn a_version_appears_whole_and_is_never_replaced() {
        let (base, store) = store();
        let prepare = || {
            let lock = store.lock(&"demo".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap();
            let (staging, _) = store.stage(&lock).unwrap();
            put(staging.path(), "any", "");
            let prepared = staging.path().join("any");
            (lock, store.publish(staging, &prepared, &receipt(), None))
        };
        let (lock, published) = prepare();
        assert_eq!(published.unwrap(), base.path().join("store/demo-1.0.0"));
        drop(lock);
        let (lock, published) = prepare();
        assert!(published.unwrap_err().to_string().starts_with("cannot rename"));
        drop(lock);
        let work =
            |part| fs::read_dir(base.path().join("store/.joblet").join(part)).unwrap().count();
        assert_eq!((work("staging"), work("locks"), work("receipts")), (0, 0, 1));
        let installed = store.expect(&"demo".parse().unwrap()).unwrap();
        store.remove(&installed).unwrap();
        assert_eq!(store.installed().unwrap(), []);
        assert_eq!((work("staging"), work("locks"), work("receipts")), (0, 0, 0));
    }

    #[test]
    fn leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not() {
        let (base, store) = store();
        let lock = store.lock(&"live".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap();
        let (staging, _) = store.stage(&lock).unwrap();
        let dead = base.path().join("store/.joblet/staging/dead-1.0.0");
        fs::create_dir(&dead).unwrap();
        store.clean();
        assert!(!dead.exists() && staging.path().exists());
    }

    #[test]
    fn the_system_store_is_not_changed() {
        let (base, store) = store();
        put(&base.path().join("system"), "tool-1.0.0", "");
        let tool = store.expect(&"tool".parse().unwrap()).unwrap();
        let error = store.remove(&tool).unwrap_err().to_string();
        assert!(error.contains("which is not changed"), "{error}");
    }
}
