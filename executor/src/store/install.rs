//! From a spec to an installed runtime: resolve → fetch and verify → unpack → store.

use super::dedup;
use super::file_list::Listing;
use super::single_top_dir::single_top_dir;
use crate::archive::members::{self, Update};
use crate::archive::plain;
use crate::cli::escape::shown;
use crate::cli::progress::Progress;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::fs::lock::Lock;
use crate::net::location::Location;
use crate::net::parts::{Part, Parts};
use crate::net::transfer::download;
use crate::registry::Catalog;
use crate::registry::resolve::{self, Choice};
use crate::runtime;
use crate::store::{Installed, Kept, Receipt, Staging, Store};
use joblet_format::index::Index;
use joblet_format::text::size;
use joblet_format::{Arch, IndexFile, Spec, Zstd};
use rustix::fd::{AsFd, OwnedFd};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

/// The result of an installation.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The installed runtime.
    pub runtime: Installed,
    /// Its cost; `None` if the runtime was installed already.
    pub cost: Option<Cost>,
    /// Its duration, in seconds.
    pub seconds: f64,
}

/// Data read by an installation, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Of the archive and its index.
    pub fetched: u64,
    /// Content reused from another version.
    pub reused: u64,
}

/// A runtime in staging.
struct Fetched {
    staging: Staging,
    /// Its archive's index, as fetched.
    index: Option<Vec<u8>>,
    /// Its size on disk, in bytes.
    needed: u64,
    cost: Cost,
}

/// Installs the version that `spec` selects in `catalog`, unless it is installed.
///
/// # Errors
/// Any class except those of a job; the store is then unchanged.
pub(crate) fn install(
    spec: &Spec,
    catalog: &Catalog,
    store: &Store,
    ui: &mut Ui<'_>,
) -> Result<Outcome, Error> {
    let start = Instant::now();
    let choice = choose(spec, catalog, store.arch())?;
    let exact = spec.exactly(&choice.release.version);
    if let Some(reason) = &choice.release.yanked {
        ui.warn_of_yanked(&exact, reason);
    }
    let outcome = |runtime, cost| Outcome { runtime, cost, seconds: start.elapsed().as_secs_f64() };
    let record = || store.record_yanked(&spec.name, &catalog.registry);
    if let Some(runtime) = same(store, &exact, catalog, &choice)? {
        record();
        return Ok(outcome(runtime, None));
    }
    let lock = store.lock(&spec.name, &choice.release.version)?;
    // Another process may have installed it during the wait for the lock.
    if let Some(runtime) = same(store, &exact, catalog, &choice)? {
        return Ok(outcome(runtime, None));
    }
    let source = parts(catalog, &choice, &exact)?;
    ui.detail(&format!("{exact}: fetching {source}"));
    let work = Work { exact: &exact, choice: &choice, catalog, store, lock: &lock };
    let Fetched { staging, index, needed, cost } = match &choice.artifact.index {
        Some(index) => work.members(&source, index, ui)?,
        None => work.whole(&source, ui)?,
    };
    let receipt = receipt(spec, catalog, &choice, (source.to_string(), store.arch()));
    let (path, new) = place(store, &staging, &receipt, index, (needed, cost.reused == 0))?;
    if !new {
        // Installed meanwhile without a shared lock: it must be of the same archive.
        same(store, &exact, catalog, &choice)?;
    }
    record();
    let version = Some(choice.release.version.clone());
    Ok(outcome(Installed { name: spec.name.clone(), version, path }, Some(cost)))
}

/// Publishes `staging` as the runtime of `receipt`. Returns its directory, and whether it is new.
///
/// `index` is its archive's, as fetched, and `needed` its size on disk in bytes. If it is `new`,
/// files equal to those of other runtimes are shared with them.
pub(super) fn place(
    store: &Store,
    staging: &Staging,
    receipt: &Receipt,
    index: Option<Vec<u8>>,
    (needed, new): (u64, bool),
) -> Result<(PathBuf, bool), Error> {
    let prepared = single_top_dir(staging, &receipt.url)?;
    let (directory, place) = (&prepared.directory, prepared.directory.path());
    let copy = || directory.as_fd().try_clone_to_owned();
    runtime::load_open(copy().map_err(Error::file("open", place))?, place, store.arch())?;
    let (kind, kept) = match index {
        Some(index) => (Kept::Index, index),
        None => (Kept::Files, Listing::scan(directory, place, None)?.to_bytes()),
    };
    if new {
        let own = lists(kind, &kept);
        let (around, temporary_link) = staging.beside();
        dedup::share(
            &own.unwrap_or_default(),
            directory,
            (around, &temporary_link),
            &all_lists(store)?,
        );
    }
    let done = store.publish(&prepared, receipt, (kind, &kept));
    let done = done.map_err(|error| store.explain(error, needed))?;
    store.remove_interrupted(&receipt.name.directory(&receipt.version))?;
    Ok(done)
}

/// The files of a runtime, by its recorded index or list.
fn lists(kind: Kept, kept: &[u8]) -> Option<Listing> {
    match kind {
        Kept::Index => members::parse_index(kept).map(|index| Listing::of_index(&index)),
        Kept::Files => Listing::parse(kept),
    }
}

/// The files and open directories of all runtimes in the writable store.
fn all_lists(store: &Store) -> Result<Vec<(Listing, OwnedFd)>, Error> {
    let mut all = store.installed()?;
    all.retain(|runtime| runtime.path.parent() == Some(store.root()));
    let list = |runtime: Installed| {
        let mut kinds = [Kept::Index, Kept::Files].into_iter();
        let list = kinds.find_map(|kind| lists(kind, &store.kept(&runtime, kind)?))?;
        Some((list, store.open(&runtime).ok()?))
    };
    Ok(all.into_iter().filter_map(list).collect())
}

/// The version that `spec` selects for `arch`.
pub(super) fn choose<'c>(
    spec: &Spec,
    catalog: &'c Catalog,
    arch: Arch,
) -> Result<Choice<'c>, Error> {
    let Catalog { registry, location, .. } = catalog;
    let mut choice = resolve::resolve(registry, location, spec, arch)?;
    resolve::prefer_beside(&mut choice, location, &spec.name, arch);
    Ok(choice)
}

/// The chosen version, if it is installed.
///
/// # Errors
/// [`Error::Changed`] if it was installed from another archive than the registry's.
pub(super) fn same(
    store: &Store,
    exact: &Spec,
    catalog: &Catalog,
    choice: &Choice<'_>,
) -> Result<Option<Installed>, Error> {
    let anywhere = Spec { origin: None, ..exact.clone() };
    let Some(runtime) = store.find(&anywhere)? else { return Ok(None) };
    let offered = choice.artifact.checksum;
    match store.receipt(&runtime) {
        Some(receipt) if receipt.checksum != offered => Err(Error::Changed {
            runtime: anywhere.to_string(),
            installed: format!("{} from {}", receipt.checksum, shown(&receipt.registry)),
            offered: format!("{offered} from {}", catalog.location),
        }),
        _ => Ok(Some(runtime)),
    }
}

/// Repairs an installed version, fetching only its damaged parts.
///
/// # Errors
/// As [`install`]; the runtime is then unchanged. Processes that use the damaged one are named.
pub(crate) fn repair(
    runtime: &Installed,
    exact: &Spec,
    catalog: &Catalog,
    store: &Store,
    ui: &mut Ui<'_>,
) -> Result<(Cost, Option<String>), Error> {
    let choice = choose(exact, catalog, store.arch())?;
    same(store, exact, catalog, &choice)?;
    let lock = store.lock(&exact.name, &choice.release.version)?;
    let source = parts(catalog, &choice, exact)?;
    let work = Work { exact, choice: &choice, catalog, store, lock: &lock };
    let Fetched { staging, cost, .. } = match &choice.artifact.index {
        Some(promise) => work.repaired(&source, promise, runtime, ui)?,
        None => work.whole(&source, ui)?,
    };
    let prepared = single_top_dir(&staging, &source.to_string())?;
    Ok((cost, store.replace(&prepared, runtime)?))
}

/// The files of the chosen archive.
///
/// # Errors
/// As [`address`].
pub(crate) fn parts(catalog: &Catalog, choice: &Choice<'_>, exact: &Spec) -> Result<Parts, Error> {
    Parts::of_artifact(&choice.artifact, |url| address(catalog, url, exact))
}

/// The location of the registry's `url`.
///
/// # Errors
/// [`Error::Registry`] if the location is not allowed.
pub(crate) fn address(catalog: &Catalog, url: &str, exact: &Spec) -> Result<Location, Error> {
    catalog.location.of_archive(url).map_err(|reason| Error::Registry {
        registry: catalog.location.to_string(),
        reason: format!("the address {:?} of {exact} is refused: {reason}", shown(url)),
    })
}

/// A method to make the tree of a version.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    /// The archive's index, as fetched.
    packed: &'a [u8],
    /// The data to fetch, in bytes.
    fetched: u64,
    /// Its size on disk, in bytes.
    needed: u64,
}

/// The installation of one version.
pub(super) struct Work<'a> {
    pub(super) exact: &'a Spec,
    pub(super) choice: &'a Choice<'a>,
    pub(super) catalog: &'a Catalog,
    pub(super) store: &'a Store,
    pub(super) lock: &'a Lock,
}

impl Work<'_> {
    /// Fetches an archive of any kind, then unpacks it.
    fn whole(&self, source: &Parts, ui: &Ui<'_>) -> Result<Fetched, Error> {
        let artifact = &self.choice.artifact;
        // A single local file is read in place.
        let local = matches!(source.list(), [Part { location: Location::File(_), .. }]);
        let copy = if local { 0 } else { artifact.size };
        self.store
            .require_space(artifact.unpacked_size.unwrap_or_default().saturating_add(copy))?;
        let downloads = self.store.downloads()?;
        let archive = download::archive(source, artifact, &downloads, ui.progress())
            .map_err(|error| self.store.explain(error, copy))?;
        let needed = artifact.unpacked_size.unwrap_or_else(|| unpacked(&archive));
        self.store.require_space(needed)?;
        let staging = self.store.stage(self.lock)?;
        let progress = Progress::bytes(format!("unpacking {}", self.exact), needed, ui.progress());
        plain::unpack(
            archive,
            &source.to_string(),
            artifact,
            staging.directory().as_fd(),
            |bytes| {
                progress.advance(bytes);
            },
        )
        .map_err(|error| self.store.explain(error, needed))?;
        let cost = Cost { fetched: artifact.size, reused: 0 };
        Ok(Fetched { staging, index: None, needed, cost })
    }

    /// Unpacks an archive in members during its download, or only the missing parts.
    fn members(
        &self,
        source: &Parts,
        promise: &IndexFile,
        ui: &mut Ui<'_>,
    ) -> Result<Fetched, Error> {
        let artifact = &self.choice.artifact;
        let frames = artifact.zstd.as_ref();
        let frames = frames.map(|zstd| self.frames(zstd).map(|parts| (zstd, parts))).transpose()?;
        // Without an older version the whole archive is fetched.
        let first = match &frames {
            Some((_, frames)) if self.store.indexes(&self.exact.name)?.is_empty() => frames,
            _ => source,
        };
        let (index, packed) = self.index(first, promise)?;
        let version = self.exact.name.directory(&self.choice.release.version);
        let all = frames.as_ref().map_or(artifact.size, |(zstd, _)| zstd.size);
        let update = self.update(&index, &version, &packed, ui)?;
        if let Some(update) = update.filter(|update| update.fetched() < all) {
            let attempt =
                Attempt { packed: &packed, fetched: update.fetched(), needed: update.fetched() };
            let done = self.attempt(attempt, ui, |into, progress| {
                update.unpack(source, &index, into, progress)
            });
            match done {
                Ok(staging) => {
                    let fetched = update.fetched() + promise.size;
                    let cost = Cost { fetched, reused: update.reused() };
                    let needed = update.fetched();
                    return Ok(Fetched { staging, index: Some(packed), needed, cost });
                }
                // The next call resumes it.
                Err(error @ Error::Net { status: None, .. }) => return Err(error),
                // Without ranges, or after a file was lost, the whole archive may work.
                Err(error) => ui.detail(&format!("{error}; fetching all of it")),
            }
        }
        let needed = index.unpacked_size();
        if let Some((zstd, frames)) = &frames {
            let attempt = Attempt { packed: &packed, fetched: zstd.size, needed };
            let done = self.attempt(attempt, ui, |into, progress| {
                members::unpack_frames(frames, zstd, &index, into, progress)
            });
            match done {
                Ok(staging) => {
                    let cost = Cost { fetched: zstd.size + promise.size, reused: 0 };
                    return Ok(Fetched { staging, index: Some(packed), needed, cost });
                }
                Err(error) if error.is_absence() => {
                    ui.detail(&format!("{error}; fetching {source}"));
                }
                Err(error) => return Err(error),
            }
        }
        let attempt = Attempt { packed: &packed, fetched: artifact.size, needed };
        let staging = self.attempt(attempt, ui, |into, progress| {
            members::unpack(source, artifact, &index, into, progress)
        })?;
        let cost = Cost { fetched: artifact.size + promise.size, reused: 0 };
        Ok(Fetched { staging, index: Some(packed), needed, cost })
    }

    /// Calls `unpack` with an empty staging directory, which is set aside if the network fails.
    fn attempt(
        &self,
        attempt: Attempt<'_>,
        ui: &Ui<'_>,
        unpack: impl FnOnce(OwnedFd, &Progress) -> Result<(), Error>,
    ) -> Result<Staging, Error> {
        let Attempt { packed, fetched, needed } = attempt;
        self.store.require_space(needed)?;
        let (staging, into) = self.stage()?;
        staging.mark(packed).map_err(|error| self.store.explain(error, needed))?;
        let what = format!("installing {}", self.exact);
        let progress = Progress::bytes(what, fetched, ui.progress());
        match unpack(into, &progress) {
            Ok(()) => Ok(staging),
            Err(error @ Error::Net { status: None, .. }) => {
                self.store.set_aside(&staging)?;
                Err(error)
            }
            Err(error) => Err(self.store.explain(error, needed)),
        }
    }

    /// The files of the zstd frames.
    pub(super) fn frames(&self, zstd: &Zstd) -> Result<Parts, Error> {
        Parts::of_zstd(zstd, |url| address(self.catalog, url, self.exact))
    }

    /// An empty staging directory for the version, and its descriptor.
    fn stage(&self) -> Result<(Staging, OwnedFd), Error> {
        let staging = self.store.stage(self.lock)?;
        let directory = staging.directory();
        let into = directory.as_fd().try_clone_to_owned();
        let into = into.map_err(Error::file("open", directory.path()))?;
        Ok((staging, into))
    }

    /// Makes the tree of an archive in members from the damaged `runtime` and the fetched missing parts.
    fn repaired(
        &self,
        source: &Parts,
        promise: &IndexFile,
        runtime: &Installed,
        ui: &mut Ui<'_>,
    ) -> Result<Fetched, Error> {
        let (index, packed) = self.index(source, promise)?;
        let root = self.store.open(runtime)?;
        let good = members::verify(&index, &root, &runtime.path)?.good;
        let update = Update::repair(&index, root, &good);
        let needed = update.fetched();
        let (staging, into) = self.stage()?;
        let progress = Progress::bytes(format!("repairing {}", self.exact), needed, ui.progress());
        update
            .unpack(source, &index, into, &progress)
            .map_err(|error| self.store.explain(error, needed))?;
        let cost = Cost { fetched: needed + promise.size, reused: update.reused() };
        Ok(Fetched { staging, index: Some(packed), needed, cost })
    }

    /// The archive's index, parsed and as fetched.
    pub(super) fn index(
        &self,
        source: &Parts,
        promise: &IndexFile,
    ) -> Result<(Index, Vec<u8>), Error> {
        let artifact = &self.choice.artifact;
        let archive = address(self.catalog, &artifact.download_url, self.exact)?;
        let beside = archive.beside(".index");
        let directory = self.exact.name.directory(&self.choice.release.version);
        members::index(&beside, promise, artifact, &directory, source)
    }

    /// The installed version of the same runtime from which an update to `index` fetches least, or
    /// an interrupted installation of `version`.
    fn update(
        &self,
        index: &Index,
        version: &str,
        packed: &[u8],
        ui: &mut Ui<'_>,
    ) -> Result<Option<Update>, Error> {
        let mut best: Option<Update> = None;
        for (old, root) in self.store.indexes(&self.exact.name)? {
            let Some(old) = members::parse_index(&old) else { continue };
            if let Some(update) = Update::plan(old, root, index) {
                if best.as_ref().is_none_or(|best| update.fetched() < best.fetched()) {
                    best = Some(update);
                }
            }
        }
        let Some(left) = self.store.interrupted(version, packed)? else { return Ok(best) };
        let good = members::verify(index, &left, self.store.root())?.good;
        let update = Update::repair(index, left, &good);
        if best.as_ref().is_some_and(|best| best.fetched() <= update.fetched())
            || update.fetched() * 10 > index.archive_size() * 9
        {
            return Ok(best);
        }
        ui.note(&format!(
            "{}: resuming an interrupted installation, {} of {} remain to be fetched",
            self.exact,
            size(update.fetched()),
            size(index.archive_size())
        ));
        Ok(Some(update))
    }
}

/// The uncompressed length in the trailer of a gzip file, in bytes: an estimate, since it is that
/// of the last member, modulo 2^32.
fn unpacked(archive: &File) -> u64 {
    let mut length = [0; 4];
    let end = archive.metadata().map(|data| data.len()).unwrap_or_default();
    // Without it the estimate is 0, and nothing is refused early.
    _ = archive.read_exact_at(&mut length, end.saturating_sub(4));
    u32::from_le_bytes(length).into()
}

pub(super) fn receipt(
    spec: &Spec,
    catalog: &Catalog,
    choice: &Choice<'_>,
    of: (String, Arch),
) -> Receipt {
    let (url, arch) = of;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Receipt {
        name: spec.name.clone(),
        version: choice.release.version.clone(),
        arch,
        origin: catalog.origin.clone(),
        registry: catalog.location.to_string(),
        url,
        checksum: choice.artifact.checksum,
        size: choice.artifact.size,
        installed_at: now.as_secs(),
    }
}
