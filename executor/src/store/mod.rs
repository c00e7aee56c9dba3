//! The directory where runtimes are installed.
//!
//! In: a spec and a catalogue, or the name of an installed runtime. Out: a complete version, with a receipt
//! of its origin.
//!
//! `NAME-VERSION/` is complete whenever it exists: it is prepared in `.joblet/` beside it, synced, and
//! renamed without replacing anything.
//!
//! ```text
//! STORE/python-3.11-1.0.0/                  runtime.yml, isolated/
//! STORE/python-3.11/1.0.0/                  the same where Joblet has installed it; never changed
//! STORE/.joblet/lock                        see `fs/lock.rs`: one process at a time works on a version
//! STORE/.joblet/staging/python-3.11-1.0.0@HOST@BOOT@N/  being prepared; see `unique_name`
//! STORE/.joblet/staging/…/.joblet-progress  what is written, for jobs that use it meanwhile; see `shared_installation`
//! STORE/.joblet/interrupted/python-3.11-1.0.0/  preparation interrupted, to be resumed; see `interrupted`
//! STORE/.joblet/removed/python-3.11-1.0.0@DEVICE@INODE/  removed, still used by jobs; see `in_use`
//! STORE/.joblet/downloads/SHA256…           a partial download; see `net/transfer/download.rs`
//! STORE/.joblet/receipts/python-3.11-1.0.0.json    its origin; see `receipt`
//! STORE/.joblet/receipts/python-3.11-1.0.0.index   the index of its archive, as fetched; or, without one:
//! STORE/.joblet/receipts/python-3.11-1.0.0.files   the list of its files; see `file_list`
//! ```

use crate::error::Error;
use crate::fs::directory::Directory;
use crate::fs::free_space::free;
use crate::fs::kind;
use crate::fs::lock::Lock;
use directories::Subdirectory;
use joblet_format::{Arch, Registry, RuntimeName, Spec, Version, Wanted, nearest};
use rustix::fd::OwnedFd;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

mod change;
mod clean;
mod dedup;
mod directories;
pub(crate) mod file_list;
pub(crate) mod image;
mod in_progress;
mod in_use;
pub(crate) mod install;
mod installed;
mod interrupted;
mod receipt;
mod shared_installation;
mod single_top_dir;
mod unique_name;
mod usage;

pub(crate) use change::{Prepared, Staging};
pub(crate) use in_progress::{InProgress, Instead, TakeOver};
pub(crate) use in_use::hold;
pub(crate) use installed::Installed;
pub(crate) use receipt::{Kept, Receipt};
pub(crate) use usage::Usage;

/// The directory of this program's own files in a store.
const WORK: &str = ".joblet";

/// The extension of a file beside a receipt: why its version is yanked.
const YANKED: &str = "yanked";

/// The stores of this host: one that is changed, and others that are only read.
#[derive(Debug)]
pub(crate) struct Store {
    /// The writable store.
    root: PathBuf,
    /// Read-only stores, each opened at first use.
    others: Vec<(PathBuf, OnceLock<Directory>)>,
    /// How long to wait for a lock, in seconds.
    lock_timeout: u64,
    /// The architecture that its runtimes are installed for.
    arch: Arch,
    /// How long the files of removed runtimes are kept in a store that machines share.
    kept: Duration,
    /// The writable store's directory, opened at first use.
    opened: OnceLock<Directory>,
}

impl Store {
    /// The store at `root`, and the read-only stores `others`; a lock is waited for `lock_timeout` seconds.
    pub(crate) fn new(root: &Path, others: Vec<PathBuf>, lock_timeout: u64, arch: Arch) -> Self {
        // With a trailing slash, a link would be followed.
        let root: PathBuf = root.components().collect();
        let mut read_only = Vec::new();
        for other in others {
            let other: PathBuf = other.components().collect();
            if other != root {
                read_only.push((other, OnceLock::new()));
            }
        }
        let (kept, opened) = (in_use::KEPT_FOR, OnceLock::new());
        Self { root, others: read_only, lock_timeout, arch, kept, opened }
    }

    /// Sets how long the files of removed runtimes are kept in a store that machines share.
    pub(crate) fn keeping(self, kept: Duration) -> Self {
        Self { kept, ..self }
    }

    /// A message on its file system; empty unless it is one that machines share.
    pub(crate) fn sharing(&self) -> String {
        let Some(kind) = self.open_root().ok().flatten().and_then(kind::shared) else {
            return String::new();
        };
        let work = self.open_own_work().ok().flatten();
        let lock = work.and_then(|work| Lock::try_now(&work, "doctor").ok().flatten());
        let locks = if lock.is_some_and(|lock| lock.holds()) {
            "locks hold on this machine, elsewhere perhaps not"
        } else {
            "there are no locks"
        };
        format!(
            ", on {kind}: {locks}, so machines may fetch a runtime once each; files stay for 7 days \
             after a removal"
        )
    }

    /// The architecture that its runtimes are installed for.
    pub(crate) fn arch(&self) -> Arch {
        self.arch
    }

    /// The writable store's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The runtimes of all directories, sorted by name and version; of equal ones only that of the first directory, the
    /// store's own before the others.
    ///
    /// # Errors
    /// When a directory that exists cannot be read.
    pub(crate) fn installed(&self) -> Result<Vec<Installed>, Error> {
        self.with_prefix("")
    }

    /// The runtimes whose directory's name begins with `prefix`.
    fn with_prefix(&self, prefix: &str) -> Result<Vec<Installed>, Error> {
        let scan = |root: Option<&Directory>| {
            root.map_or(Ok(Vec::new()), |root| installed::scan(root, prefix))
        };
        let mut all = scan(self.open_root()?)?;
        for other in &self.others {
            for runtime in scan(directories::opened(&other.1, &other.0)?)? {
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

    /// The installed runtime that `spec` selects, if there is one: a yanked one only if no other fits.
    ///
    /// # Errors
    /// As [`Store::installed`].
    pub(crate) fn find(&self, spec: &Spec) -> Result<Option<Installed>, Error> {
        let mut fitting = self.with_prefix(spec.name.as_str())?;
        fitting.retain(|runtime| runtime.name == spec.name && self.has_origin_of(runtime, spec));
        if let Wanted::Exact(version) = &spec.wanted {
            return Ok(fitting.into_iter().find(|found| found.version.as_ref() == Some(version)));
        }
        if let Wanted::Series(series) = spec.wanted {
            fitting.retain(|found| found.version.as_ref().is_some_and(|it| series.has(it)));
        }
        let is_good = |found: &Installed| self.yanked(found).is_none();
        if fitting.len() > 1 && fitting.iter().any(is_good) {
            fitting.retain(is_good);
        }
        let latest = Version::latest(fitting.iter().filter_map(|found| found.version.as_ref()));
        let latest = latest.cloned();
        Ok(fitting.into_iter().find(|found| found.version == latest))
    }

    /// As [`Store::find`], for a command that needs one.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the installed versions.
    pub(crate) fn require(&self, spec: &Spec) -> Result<Installed, Error> {
        if let Some(found) = self.find(spec)? {
            return Ok(found);
        }
        let all = self.installed()?;
        let same: Vec<_> = all.iter().filter(|runtime| runtime.name == spec.name).collect();
        let hint = if same.is_empty() {
            match nearest(spec.name.as_str(), all.iter().map(|found| found.name.as_str())) {
                Some(near) => format!("did you mean {near}?"),
                None => "joblet-exec list shows the installed ones".to_owned(),
            }
        } else {
            let version = |found: &Installed| found.version.as_ref().map(Version::to_string);
            let versions: Vec<_> = same.iter().filter_map(|found| version(found)).collect();
            format!("installed: {}", versions.join(", "))
        };
        Err(Error::NotFound(format!("{spec} is not installed; {hint}")))
    }

    /// As [`Store::require`], but fails if several versions match.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Usage`] with the specs to choose from.
    pub(crate) fn require_one(&self, spec: &Spec) -> Result<Installed, Error> {
        let found = self.require(spec)?;
        let mut same = self.installed()?;
        same.retain(|runtime| runtime.name == spec.name);
        if let Wanted::Series(series) = spec.wanted {
            same.retain(|found| found.version.as_ref().is_some_and(|it| series.has(it)));
        }
        if matches!(spec.wanted, Wanted::Exact(_)) || same.len() == 1 {
            return Ok(found);
        }
        let versions = same.iter().filter_map(|found| found.version.as_ref());
        let specs: Vec<_> = versions.map(|version| spec.exactly(version).to_string()).collect();
        Err(Error::Usage(format!(
            "{} versions of {} are installed; name those to remove: joblet-exec remove {}",
            specs.len(),
            spec.name,
            specs.join(" ")
        )))
    }

    /// Takes the lock of this version, waiting for its holder, and cleans up after one that was killed.
    ///
    /// # Errors
    /// [`Error::Busy`] after the timeout, [`Error::Untrusted`], [`Error::File`] when the store cannot
    /// be written.
    pub(crate) fn lock(&self, name: &RuntimeName, version: &Version) -> Result<Lock, Error> {
        let work = self.open_or_create_work()?;
        let lock = Lock::wait(&work, &name.directory(version), self.lock_timeout)?;
        self.clean_holding(Some(&lock))?;
        Ok(lock)
    }

    /// As [`Store::lock`] of `version` (`NAME-VERSION`), without waiting; none if another process has it.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::File`].
    pub(crate) fn try_lock(&self, version: &str) -> Result<Option<Lock>, Error> {
        Lock::try_now(&self.open_or_create_work()?, version)
    }

    /// The installed versions of `name` with a recorded index: the index and the open directory.
    ///
    /// # Errors
    /// As [`Store::installed`].
    pub(crate) fn indexes(&self, name: &RuntimeName) -> Result<Vec<(Vec<u8>, OwnedFd)>, Error> {
        let Some(own) = self.open_root()? else { return Ok(Vec::new()) };
        let mut found = installed::scan(own, name.as_str())?;
        found.retain(|runtime| runtime.name == *name);
        let index = |runtime: Installed| {
            Some((self.kept(&runtime, Kept::Index)?, self.open(&runtime).ok()?))
        };
        Ok(found.into_iter().filter_map(index).collect())
    }

    /// The recorded index or file list of an installed runtime.
    pub(crate) fn kept(&self, runtime: &Installed, kind: Kept) -> Option<Vec<u8>> {
        self.read_receipt_file(runtime, kind.extension())
    }

    /// Whether the runtime was installed from the registry that `spec` names, if it names one.
    fn has_origin_of(&self, runtime: &Installed, spec: &Spec) -> bool {
        let from = || self.receipt(runtime).and_then(|receipt| receipt.origin);
        spec.origin.is_none() || from() == spec.origin
    }

    /// The receipt of an installed runtime.
    pub(crate) fn receipt(&self, runtime: &Installed) -> Option<Receipt> {
        serde_json::from_slice(&self.read_receipt_file(runtime, "json")?).ok()
    }

    /// Why an installed version is yanked, if that is recorded.
    pub(crate) fn yanked(&self, runtime: &Installed) -> Option<String> {
        // Jobs wait for this: one call shows that nothing is recorded.
        let (around, name) = self.directory_of(runtime).ok()??;
        let file = format!("{WORK}/receipts/{}.{YANKED}", name.to_str()?);
        let reason = around.has(&file).then(|| self.read_receipt_file(runtime, YANKED))??;
        Some(String::from_utf8_lossy(&reason).into_owned())
    }

    /// Records which installed versions of `name` that are from `registry` it has yanked, as far as this store can be read
    /// and written: informative, like a receipt.
    pub(crate) fn record_yanked(&self, name: &RuntimeName, registry: &Registry) {
        let Some(releases) = registry.runtimes.get(name) else { return };
        let all = self.with_prefix(name.as_str()).unwrap_or_default();
        for runtime in all.into_iter().filter(|it| it.name == *name) {
            let Some(version) = &runtime.version else { continue };
            let Some(release) = releases.get(version) else { continue };
            let Some(receipt) = self.receipt(&runtime) else { continue };
            // Another registry's version of this name is another one.
            let same =
                release.artifact(receipt.arch).is_some_and(|it| it.checksum == receipt.checksum);
            if same
                && release.yanked != self.yanked(&runtime)
                && runtime.path.starts_with(&self.root)
            {
                let receipts = self.subdirectory(Subdirectory::Receipts);
                let file = format!("{}.{YANKED}", name.directory(version));
                _ = receipts.and_then(|receipts| match &release.yanked {
                    Some(reason) => receipts.write(&file, reason.as_bytes()),
                    None => receipts.remove_file(&file),
                });
            }
        }
    }

    /// Reads the file with the extension `kind` about an installed runtime, from the store that it is in.
    fn read_receipt_file(&self, runtime: &Installed, kind: &str) -> Option<Vec<u8>> {
        let (around, name) = self.directory_of(runtime).ok()??;
        let name = name.to_str().filter(|name| !name.contains('/'))?;
        let receipts = directories::open_trusted_work(around).ok()??.enter("receipts").ok()??;
        receipts.read(&format!("{name}.{kind}")).ok()
    }

    /// Fails early unless `needed` bytes are free.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::File`] when the store cannot be made.
    pub(crate) fn require_space(&self, needed: u64) -> Result<(), Error> {
        let free = free(&self.subdirectory(Subdirectory::Staging)?)?;
        if free < needed {
            return Err(Error::Full { path: self.root.clone(), needed, free });
        }
        Ok(())
    }

    /// If the disk is full, adds to `error` what was `needed` and what is free, in bytes.
    pub(crate) fn explain(&self, error: Error, needed: u64) -> Error {
        let full = |source: &std::io::Error| {
            matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        };
        let available = || self.open_root()?.map_or(Ok(u64::MAX), free);
        match (error, available()) {
            // Files take whole blocks, more than their lengths.
            (Error::File { source, .. }, Ok(free)) if full(&source) => {
                let needed = needed.max(free + 1);
                Error::Full { path: self.root.clone(), needed, free }
            }
            (error, _) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use joblet_format::Checksum;
    use std::fs;

    fn store() -> (tempfile::TempDir, Store) {
        let base = tempfile::tempdir().unwrap();
        let store = Store::new(
            &base.path().join("store"),
            vec![base.path().join("system"), base.path().join("more")],
            1,
            Arch::NATIVE,
        );
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
    fn installed_runtimes_are_found() {
        let (base, store) = store();
        assert_eq!(store.installed().unwrap(), []);
        for name in ["demo-1.9.0", "demo-1.10.0", "demo-2.0.0-rc.1", ".joblet", "Odd"] {
            put(&base.path().join("store"), name, "");
        }
        put(&base.path().join("store"), "hand", "name: hand\nversion: 3.1.0\nmounts: []\n");
        put(&base.path().join("store"), "bare", "name: bare\nversion: 3.1\nmounts: []\n");
        for nested in ["rnx/1.2.0", "rnx/1.10.0", "rnx/notes", "demo/1.10.0", "demo/1.8.0"] {
            put(&base.path().join("store"), nested, "");
        }
        put(&base.path().join("elsewhere"), "9.0.0", "");
        std::os::unix::fs::symlink("../elsewhere", base.path().join("store/linked")).unwrap();
        put(&base.path().join("system"), "demo-1.9.0", "");
        put(&base.path().join("system"), "tool-1.0.0", "");
        put(&base.path().join("more"), "tool-1.0.0", "");
        put(&base.path().join("more"), "extra-1.0.0", "");
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
            ("demo@1", Some("store/demo-1.10.0")),
            ("demo@1.9", Some("store/demo-1.9.0")),
            ("demo@3.0.0", None),
            ("demo@3", None),
            ("hand@3.1.0", Some("store/hand")),
            ("bare", Some("store/bare")),
            ("tool", Some("system/tool-1.0.0")),
            ("extra", Some("more/extra-1.0.0")),
            ("rnx", Some("store/rnx/1.10.0")),
            ("rnx@1.2.0", Some("store/rnx/1.2.0")),
            ("demo@1.8.0", Some("store/demo/1.8.0")),
            ("linked", None),
            ("empty", None),
        ] {
            assert_eq!(path(spec).as_deref(), want, "{spec}");
        }
        assert_eq!(store.installed().unwrap().len(), 10);
        let missing = |spec: &str| store.require(&spec.parse().unwrap()).unwrap_err().to_string();
        assert!(missing("demo@3.0.0").contains("installed: 1.8.0, 1.9.0, 1.10.0, 2.0.0-rc.1"));
        assert!(missing("dmeo").contains("did you mean demo?"));
        assert!(missing("ruby").contains("joblet-exec list"));
        let nested = store.require(&"rnx".parse().unwrap()).unwrap();
        assert!(store.open(&nested).is_ok() && store.receipt(&nested).is_none());
        let error = store.remove(&nested).unwrap_err().to_string();
        assert!(
            error.contains("installed by Joblet; remove it with `rnx runtime remove`"),
            "{error}"
        );
        assert!(nested.path.join("runtime.yml").exists());
    }

    #[test]
    fn a_version_is_published_complete_and_never_replaced() {
        let (base, store) = store();
        let prepare = || {
            let lock = store.lock(&"demo".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap();
            let staging = store.stage(&lock).unwrap();
            put(staging.directory().path(), "any", "");
            let prepared = staging.prepared(Some("any".into())).unwrap();
            store.publish(&prepared, &receipt(), (Kept::Files, b""))
        };
        let target = base.path().join("store/demo-1.0.0");
        assert_eq!(prepare().unwrap(), (target.clone(), true));
        // A process whose lock was not visible was first: its runtime stays.
        fs::write(target.join("first"), "").unwrap();
        assert_eq!(prepare().unwrap(), (target.clone(), false));
        assert!(target.join("first").exists());
        let work =
            |part| fs::read_dir(base.path().join("store/.joblet").join(part)).unwrap().count();
        assert_eq!((work("staging"), work("receipts")), (0, 2));
        let installed = store.require(&"demo".parse().unwrap()).unwrap();
        assert_eq!(store.remove(&installed).unwrap(), None);
        assert_eq!(store.installed().unwrap(), []);
        assert_eq!((work("staging"), work("removed"), work("receipts")), (0, 0, 0));
        // A directory that is not a runtime is not replaced either.
        fs::create_dir(&target).unwrap();
        fs::write(target.join("precious"), "").unwrap();
        assert!(prepare().unwrap_err().to_string().starts_with("cannot rename"));
        assert!(target.join("precious").exists());
        assert_eq!((work("staging"), work("receipts")), (0, 0));
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed_and_directories_in_use_are_not() {
        let (base, store) = store();
        let lock = store.lock(&"live".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap();
        let staging = store.stage(&lock).unwrap();
        let dead = base.path().join("store/.joblet/staging/dead-1.0.0");
        fs::create_dir(&dead).unwrap();
        store.clean().unwrap();
        assert!(!dead.exists() && staging.directory().path().exists());
    }

    /// The rest of a removal in place, too, which would be in the way of the installation.
    #[test]
    fn a_lock_is_taken_with_the_leftovers_of_its_version_removed() {
        let (base, store) = store();
        let (name, version) = ("half".parse().unwrap(), "1.0.0".parse().unwrap());
        drop(store.lock(&name, &version).unwrap());
        let at = |path: &str| base.path().join("store").join(path);
        let left = [".joblet/staging/half-1.0.0", ".joblet/receipts/half-1.0.0.json", "half-1.0.0"];
        for path in [left[0], ".joblet/receipts", "half-1.0.0/lib"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at(left[1]), "").unwrap();
        let _lock = store.lock(&name, &version).unwrap();
        assert_eq!(left.map(|path| at(path).exists()), [false; 3]);
    }

    #[test]
    fn the_system_store_is_not_changed() {
        let (base, store) = store();
        put(&base.path().join("system"), "tool-1.0.0", "");
        let tool = store.require(&"tool".parse().unwrap()).unwrap();
        let error = store.remove(&tool).unwrap_err().to_string();
        assert!(error.contains("which is only read"), "{error}");
    }
}
