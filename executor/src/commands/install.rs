//! `install`, and the installation of a runtime by `run`.

use super::Session;
use super::output;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::net;
use crate::registry::{Catalog, Registries};
use crate::store::install;
use crate::store::{Installed, Store};
use crate::thread;
use joblet_format::text::size;
use joblet_format::{Spec, Wanted};
use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Number of runtimes installed in parallel.
const AT_ONCE: usize = 4;

impl Session<'_> {
    pub(crate) fn install(&self, specs: &[Spec], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean()?;
        let rows = install_all(specs, &store, &mut self.registries()?, ui)?;
        if self.global.json {
            ui.data(&output::plain(&rows))?;
        } else if !rows.is_empty() && self.env.terminals.error {
            // Named with its version if it was requested: another one may be the highest installed.
            let name = match &specs[0] {
                exact @ Spec { wanted: Wanted::Exact(_), .. } => exact.to_string(),
                spec => spec.name.to_string(),
            };
            ui.note(&format!("next: joblet-exec run {name} COMMAND, or joblet-exec shell {name}"));
        }
        Ok(())
    }

    /// The installed runtime of a job; installs it if necessary.
    pub(crate) fn provide(
        &self,
        spec: &Spec,
        store: &Store,
        ui: &mut Ui<'_>,
    ) -> Result<Installed, Error> {
        store.clean_if_needed()?;
        let found = store.find(spec)?;
        let is_installed = found.is_some();
        match (&spec.wanted, found) {
            (Wanted::Any | Wanted::Series(_) | Wanted::Exact(_), Some(found)) => {
                if let (Some(version), Some(reason)) = (&found.version, store.yanked(&found)) {
                    ui.warn_of_yanked(&spec.exactly(version), &reason);
                }
                Ok(found)
            }
            // Without a registry, the latest version is the highest installed one.
            (Wanted::Latest, Some(found)) if self.offline() => Ok(found),
            _ => {
                let mut registries = self.registries()?;
                let done = install_one(spec, store, &mut registries, ui);
                let (runtime, summary) = done.map_err(|error| match error {
                    // The user requested a job, not a download.
                    Error::Net { url, reason, status } if !is_installed => {
                        let reason = format!("{spec} is not installed here, and {reason}");
                        Error::Net { url, reason, status }
                    }
                    // Nor for a change of another user's store.
                    Error::File { path, source, .. }
                        if !is_installed
                            && source.kind() == ErrorKind::PermissionDenied
                            && path.starts_with(store.root()) =>
                    {
                        let store = store.root().display();
                        Error::NotFound(format!(
                            "{spec} is not installed in {store}, which you may not change; name a store of your own with --store DIR"
                        ))
                    }
                    error => error,
                })?;
                // No connection is needed while the job runs.
                net::disconnect();
                ui.detail(&summary);
                Ok(runtime)
            }
        }
    }
}

/// Installs `specs`, several in parallel, and reports the results in their order.
///
/// # Errors
/// The first one in that order; the others are warnings. The remaining specs are installed.
pub(super) fn install_all(
    specs: &[Spec],
    store: &Store,
    registries: &mut Registries,
    ui: &mut Ui<'_>,
) -> Result<Vec<Installed>, Error> {
    if let [spec] = specs {
        let (runtime, summary) = install_one(spec, store, registries, ui)?;
        ui.note(&summary);
        return Ok(vec![runtime]);
    }
    // Versions of one runtime are installed one after the other: the later reuses files of the earlier.
    let mut queues: Vec<Vec<(_, &Spec, _)>> = Vec::new();
    let (mut count, mut unreachable) = (0, Vec::new());
    for spec in specs {
        // The registry did not respond: another attempt would only wait for the same timeout.
        if unreachable.contains(&&spec.origin) {
            continue;
        }
        let catalog = serving(spec, store, registries, ui);
        if matches!(catalog, Err(Error::Net { .. })) {
            unreachable.push(&spec.origin);
        }
        let job = (count, spec, catalog);
        count += 1;
        match queues.iter_mut().find(|queue| queue[0].1.name == spec.name) {
            Some(queue) => queue.push(job),
            None => queues.push(vec![job]),
        }
    }
    let (threads, verbosity) = (queues.len().min(AT_ONCE), ui.verbosity());
    let (queues, report) = (Mutex::new(queues.into_iter()), Mutex::new(Report::new(count, ui)));
    let work = || loop {
        let next = lock(&queues).next();
        let Some(queue) = next else { return };
        for (at, spec, catalog) in queue {
            let (mut out, mut messages) = (Vec::new(), Vec::new());
            let mut ui = Ui::with(verbosity, &mut out, &mut messages);
            let done = catalog.and_then(|catalog| carry_out(spec, catalog, store, &mut ui));
            lock(&report).put(at, messages, done);
        }
    };
    thread::parallel(threads, &work);
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failed.map_or(Ok(report.rows), Err)
}

/// Keeps the first failure, with which the command ends, and shows the others.
pub(super) fn keep_first(failed: &mut Option<Error>, error: Error, ui: &mut Ui<'_>) {
    match failed {
        None => *failed = Some(error),
        Some(_) => ui.warning(&error.to_string()),
    }
}

/// Locks `mutex`. After a panic of another thread this one panics too, since the data may be inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of each spec, reported in order as soon as the results before it are reported.
struct Report<'u, 'a> {
    ui: &'u mut Ui<'a>,
    /// Messages and result of each spec.
    done: Vec<Option<(Vec<u8>, Done)>>,
    /// Number of specs reported.
    reported: usize,
    rows: Vec<Installed>,
    failed: Option<Error>,
}

impl<'u, 'a> Report<'u, 'a> {
    fn new(count: usize, ui: &'u mut Ui<'a>) -> Self {
        let done = (0..count).map(|_| None).collect();
        Self { ui, done, reported: 0, rows: Vec::new(), failed: None }
    }

    fn put(&mut self, at: usize, messages: Vec<u8>, done: Done) {
        self.done[at] = Some((messages, done));
        while let Some((messages, done)) = self.done.get_mut(self.reported).and_then(Option::take) {
            self.reported += 1;
            self.ui.pass(&messages);
            match done {
                Ok((runtime, summary)) => {
                    self.ui.note(&summary);
                    self.rows.push(runtime);
                }
                Err(error) => keep_first(&mut self.failed, error, self.ui),
            }
        }
    }
}

/// An installed runtime and a message on how it was installed, or the error.
type Done = Result<(Installed, String), Error>;

/// Installs one runtime.
fn install_one(spec: &Spec, store: &Store, registries: &mut Registries, ui: &mut Ui<'_>) -> Done {
    let catalog = serving(spec, store, registries, ui)?;
    carry_out(spec, catalog, store, ui)
}

/// The catalogue that contains `spec`; `None` if it is not needed because `spec` is installed.
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
        return Ok((store.require(spec)?, format!("{spec} is installed already")));
    };
    let outcome = install::install(spec, &catalog, store, ui)?;
    let runtime = outcome.runtime;
    let version = runtime.version.as_ref().map(ToString::to_string).unwrap_or_default();
    let summary = match outcome.cost {
        None => format!("{}@{version} is installed already", runtime.name),
        Some(cost) => format!(
            "installed {}@{version} ({}{} in {:.1} s)",
            runtime.name,
            size(cost.fetched),
            match cost.reused {
                0 => String::new(),
                reused => format!(" fetched, {} reused,", size(reused)),
            },
            outcome.seconds
        ),
    };
    Ok((runtime, summary))
}
