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

/// What an installation did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The runtime, as it is in the store now.
    pub runtime: Installed,
    /// What it took; none if it was there already.
    pub cost: Option<Cost>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What an installation read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Of the archive and its index, in bytes.
    pub fetched: u64,
    /// Content taken from another version, in bytes.
    pub reused: u64,
}

/// A runtime in staging.
struct Fetched {
    staging: Staging,
    /// Its archive's index, as it was fetched.
    index: Option<Vec<u8>>,
    /// The space that it takes, in bytes.
    needed: u64,
    cost: Cost,
}

/// Installs what `spec` means in `catalog`, unless it is there already.
///
/// # Errors
/// Any class but those of a job; the store is then as it was before.
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
        ui.warning(&format!("{exact} is yanked: {reason}"));
    }
    store.clean()?;
    let outcome = |runtime, cost| Outcome { runtime, cost, seconds: start.elapsed().as_secs_f64() };
    if let Some(runtime) = same(store, &exact, catalog, &choice)? {
        return Ok(outcome(runtime, None));
    }
    let lock = store.lock(&spec.name, &choice.release.version)?;
    // Another process may have installed it while this one waited.
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
        // Another process, or machine, whose lock was not seen: it must be of the same archive.
        same(store, &exact, catalog, &choice)?;
    }
    let version = Some(choice.release.version.clone());
    Ok(outcome(Installed { name: spec.name.clone(), version, path }, Some(cost)))
}

/// Makes what is in `staging` the runtime of `receipt`; its directory, and whether it was not there before.
///
/// `index` is its archive's, as it was fetched. What it took is `needed` bytes; files that other runtimes
/// have are shared with them if it is `new`.
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
        None => (Kept::Files, Listing::scan(directory, place)?.to_bytes()),
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
    store.forget_interrupted(&receipt.name.directory(&receipt.version))?;
    Ok(done)
}

/// The files of a runtime, by what was kept of it.
fn lists(kind: Kept, kept: &[u8]) -> Option<Listing> {
    match kind {
        Kept::Index => members::parse_index(kept).map(|index| Listing::of_index(&index)),
        Kept::Files => Listing::parse(kept),
    }
}

/// The files of every runtime in the store that is changed, each of which is open.
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

/// What `spec` means for `arch`.
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

/// The version that was chosen, if it is installed.
///
/// # Errors
/// [`Error::Changed`] when it was installed from another archive than the registry has now.
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

/// Makes an installed version what the registry says it is, fetching only what is damaged.
///
/// # Errors
/// As [`install`]; the runtime is then as it was. Processes that use the damaged one are named.
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

/// The files that are the chosen archive.
///
/// # Errors
/// As [`address`].
pub(crate) fn parts(catalog: &Catalog, choice: &Choice<'_>, exact: &Spec) -> Result<Parts, Error> {
    Parts::of_artifact(&choice.artifact, |url| address(catalog, url, exact))
}

/// Where `url` of the registry leads.
///
/// # Errors
/// [`Error::Registry`] if it must not lead there.
pub(crate) fn address(catalog: &Catalog, url: &str, exact: &Spec) -> Result<Location, Error> {
    catalog.location.of_archive(url).map_err(|reason| Error::Registry {
        registry: catalog.location.to_string(),
        reason: format!("the address {:?} of {exact} is refused: {reason}", shown(url)),
    })
}

/// One way to make the tree of a version.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    /// The archive's index, as it was fetched.
    packed: &'a [u8],
    /// What is fetched for it, in bytes.
    fetched: u64,
    /// The space that it takes, in bytes.
    needed: u64,
}

/// One version that is being installed.
pub(super) struct Work<'a> {
    pub(super) exact: &'a Spec,
    pub(super) choice: &'a Choice<'a>,
    pub(super) catalog: &'a Catalog,
    pub(super) store: &'a Store,
    pub(super) lock: &'a Lock,
}

impl Work<'_> {
    /// Fetches an archive of any make, then unpacks it.
    fn whole(&self, source: &Parts, ui: &Ui<'_>) -> Result<Fetched, Error> {
        let artifact = &self.choice.artifact;
        // One local file is read where it is.
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

    /// Unpacks an archive in members while it arrives, or what of it is not here.
    fn members(
        &self,
        source: &Parts,
        promise: &IndexFile,
        ui: &mut Ui<'_>,
    ) -> Result<Fetched, Error> {
        let artifact = &self.choice.artifact;
        let frames = artifact.zstd.as_ref();
        let frames = frames.map(|zstd| self.frames(zstd).map(|parts| (zstd, parts))).transpose()?;
        // Without an older version all of it is fetched.
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
                // The next call goes on from here.
                Err(error @ Error::Net { status: None, .. }) => return Err(error),
                // Whatever it was, a whole archive may do: no ranges, a disk that lost a file.
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

    /// Does `unpack` in an empty staging directory. What it leaves when the network fails is set aside.
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

    /// An empty directory to prepare the version in, and a descriptor of it.
    fn stage(&self) -> Result<(Staging, OwnedFd), Error> {
        let staging = self.store.stage(self.lock)?;
        let directory = staging.directory();
        let into = directory.as_fd().try_clone_to_owned();
        let into = into.map_err(Error::file("open", directory.path()))?;
        Ok((staging, into))
    }

    /// Makes an archive in members out of the damaged `runtime` and what of it is lost.
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

    /// The archive's index; also as it was fetched.
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

    /// The installed version of the same runtime out of which `index` is made for the least, or what an
    /// interrupted installation of `version` has left.
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
            "{}: going on where an installation was interrupted, {} of {} are to be fetched",
            self.exact,
            size(update.fetched()),
            size(index.archive_size())
        ));
        Ok(Some(update))
    }
}

/// What a gzip file says at its end of the length that it unpacks to, in bytes: a guess, since only
/// its last member is meant, and only the length's last 32 bits.
fn unpacked(archive: &File) -> u64 {
    let mut length = [0; 4];
    let end = archive.metadata().map(|data| data.len()).unwrap_or_default();
    // Without it the guess is 0, and nothing is refused early.
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
