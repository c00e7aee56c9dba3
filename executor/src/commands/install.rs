//! `install`, and the installation that `run` begins with.

use super::Session;
use super::output;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::registry::{Catalog, Registries};
use crate::store::install;
use crate::store::{Installed, Store};
use joblet_format::{Spec, Wanted};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Runtimes that are installed at once.
const AT_ONCE: usize = 4;

impl Session<'_> {
    pub(crate) fn install(&self, specs: &[Spec], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let rows = install_all(specs, &store, &mut self.registries()?, ui)?;
        if self.global.json {
            ui.data(&output::installed(&rows, true))?;
        }
        Ok(())
    }

    /// The runtime that a job asked for: one that is installed, else it is installed now.
    pub(crate) fn provide(
        &self,
        spec: &Spec,
        store: &Store,
        ui: &mut Ui<'_>,
    ) -> Result<Installed, Error> {
        store.clean_if_needed()?;
        let found = store.find(spec)?;
        match (&spec.wanted, found) {
            (Wanted::Any | Wanted::Exact(_), Some(found)) => Ok(found),
            // Nobody can be asked which version is the latest: the highest one here is.
            (Wanted::Latest, Some(found)) if self.offline() => Ok(found),
            _ => {
                let mut registries = self.registries()?;
                let (runtime, did) = install_one(spec, store, &mut registries, ui)?;
                ui.detail(&did);
                Ok(runtime)
            }
        }
    }
}

/// Installs what was asked for, several at once, and says what was done, in the order of `specs`.
///
/// # Errors
/// The first one in that order; the others are warnings. Whatever can be installed is.
pub(super) fn install_all(
    specs: &[Spec],
    store: &Store,
    registries: &mut Registries,
    ui: &mut Ui<'_>,
) -> Result<Vec<Installed>, Error> {
    if let [spec] = specs {
        let (runtime, did) = install_one(spec, store, registries, ui)?;
        ui.note(&did);
        return Ok(vec![runtime]);
    }
    // Versions of one runtime go one after the other: the later is made out of the earlier.
    let mut lanes: Vec<Vec<(_, &Spec, _)>> = Vec::new();
    let (mut count, mut silent) = (0, Vec::new());
    for spec in specs {
        // Nobody answered to ask this of: it would be waited for and told once more.
        if silent.contains(&&spec.origin) {
            continue;
        }
        let catalog = serving(spec, store, registries, ui);
        if matches!(catalog, Err(Error::Net { .. })) {
            silent.push(&spec.origin);
        }
        let job = (count, spec, catalog);
        count += 1;
        match lanes.iter_mut().find(|lane| lane[0].1.name == spec.name) {
            Some(lane) => lane.push(job),
            None => lanes.push(vec![job]),
        }
    }
    let (threads, voice) = (lanes.len().min(AT_ONCE), ui.voice());
    let (lanes, report) = (Mutex::new(lanes.into_iter()), Mutex::new(Report::new(count, ui)));
    let work = || loop {
        let next = lock(&lanes).next();
        let Some(lane) = next else { return };
        for (at, spec, catalog) in lane {
            let (mut out, mut said) = (Vec::new(), Vec::new());
            let mut ui = Ui::with(voice, &mut out, &mut said);
            let done = catalog.and_then(|catalog| carry_out(spec, catalog, store, &mut ui));
            lock(&report).put(at, said, done);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Fewer do, where the number of threads is limited.
            _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failed.map_or(Ok(report.rows), Err)
}

/// A thread that panics takes the others along: no one sees what it left behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of each spec, told in order, as soon as those before it are done.
struct Report<'u, 'a> {
    ui: &'u mut Ui<'a>,
    /// What was said, and the end.
    done: Vec<Option<(Vec<u8>, Done)>>,
    /// How many were told.
    told: usize,
    rows: Vec<Installed>,
    failed: Option<Error>,
}

impl<'u, 'a> Report<'u, 'a> {
    fn new(count: usize, ui: &'u mut Ui<'a>) -> Self {
        let done = (0..count).map(|_| None).collect();
        Self { ui, done, told: 0, rows: Vec::new(), failed: None }
    }

    fn put(&mut self, at: usize, said: Vec<u8>, done: Done) {
        self.done[at] = Some((said, done));
        while let Some((said, done)) = self.done.get_mut(self.told).and_then(Option::take) {
            self.told += 1;
            self.ui.pass(&said);
            match done {
                Ok((runtime, did)) => {
                    self.ui.note(&did);
                    self.rows.push(runtime);
                }
                Err(error) if self.failed.is_none() => self.failed = Some(error),
                Err(error) => self.ui.warning(&error.to_string()),
            }
        }
    }
}

/// A runtime that is installed now, and what was done for it.
type Done = Result<(Installed, String), Error>;

/// Installs one runtime and says what was done.
fn install_one(spec: &Spec, store: &Store, registries: &mut Registries, ui: &mut Ui<'_>) -> Done {
    let catalog = serving(spec, store, registries, ui)?;
    carry_out(spec, catalog, store, ui)
}

/// What the registry that serves `spec` has of it; none is needed for what is here.
fn serving(
    spec: &Spec,
    store: &Store,
    registries: &mut Registries,
    ui: &mut Ui<'_>,
) -> Result<Option<Catalog>, Error> {
    match (&spec.wanted, store.find(spec)?) {
        (Wanted::Exact(_), Some(_)) => Ok(None),
        _ => registries.serving(spec, ui).map(Some),
    }
}

fn carry_out(spec: &Spec, catalog: Option<Catalog>, store: &Store, ui: &mut Ui<'_>) -> Done {
    let Some(catalog) = catalog else {
        return Ok((store.expect(spec)?, format!("{spec} is installed already")));
    };
    let outcome = install::install(spec, &catalog, store, ui)?;
    let runtime = outcome.runtime;
    let version = runtime.version.as_ref().map(ToString::to_string).unwrap_or_default();
    let did = match outcome.cost {
        None => format!("{}@{version} is installed already", runtime.name),
        Some(cost) => format!(
            "installed {}@{version} ({}{} in {:.1} s)",
            runtime.name,
            output::size(cost.fetched),
            match cost.reused {
                0 => String::new(),
                reused => format!(" fetched, {} reused,", output::size(reused)),
            },
            outcome.seconds
        ),
    };
    Ok((runtime, did))
}
