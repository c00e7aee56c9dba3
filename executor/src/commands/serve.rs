//! `run --lazy`: starts a job while its runtime is being installed.

use super::Session;
use crate::cli::args::Start;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::lazy::{self, Client, Serving};
use crate::net;
use crate::runtime::Runtime;
use crate::sandbox::{self, Exit, Job, Results};
use crate::store::{InProgress, Instead, Store};
use joblet_format::{Spec, Wanted};
use std::fs::File;
use std::time::Instant;

impl Session<'_> {
    /// The job's runtime, served by FUSE while it is being installed; `None` if it has to be installed first.
    ///
    /// # Errors
    /// Those of an installation; [`Error::NotServed`] if `--lazy` is not possible.
    pub(super) fn serve(
        &self,
        start: Start,
        spec: &Spec,
        store: &Store,
        (job, needs_files): (&Job, bool),
        ui: &mut Ui<'_>,
    ) -> Result<Option<(Runtime, Serving)>, Error> {
        if start == Start::Installed {
            return Ok(None);
        }
        store.clean_if_needed()?;
        if store.find(spec)?.is_some() && (spec.wanted != Wanted::Latest || self.offline()) {
            return Ok(None);
        }
        if needs_files {
            return Err(Error::NotServed("--gpu and --dry-run read its files".to_owned()));
        }
        lazy::is_possible().map_err(Error::NotServed)?;
        let catalog = self.registries()?.serving(spec, ui)?;
        let installation = InProgress::new(spec, &catalog, store, ui)?;
        let installation = match installation {
            Ok(installation) => installation,
            Err(Instead::Nothing(reason)) => return Err(Error::NotServed(reason.to_owned())),
            Err(Instead::Installation(reason)) => {
                ui.detail(&format!("{spec}: {reason}; waiting for that"));
                return Ok(None);
            }
        };
        let owner = sandbox::served_owner(job, &sandbox::Host::observe(job.user));
        let (owner, terminal) = ((owner.uid, owner.gid), self.env.terminals.error);
        let reads = self.env.reads.as_ref();
        let reads = reads.map(|path| File::create(path).map_err(Error::file("create", path)));
        let client = Client { owner, arch: store.arch(), terminal, reads: reads.transpose()? };
        let served = lazy::start(installation, client, ui)?;
        // The other process has them, too.
        net::disconnect();
        Ok(Some(served))
    }
}

/// Runs a job in a served runtime, and waits for the end of the installation, within the job's time. Returns the
/// job's exit, and whether the runtime is installed; a failed installation is a warning.
pub(super) fn run(
    runtime: &Runtime,
    job: &Job,
    serving: Serving,
    ui: &mut Ui<'_>,
) -> (Result<(Exit, Option<Results>), Error>, bool) {
    let deadline = job.timeout.map(|timeout| Instant::now() + timeout);
    let ended = sandbox::run(runtime, job);
    let served = !matches!(ended, Err(Error::NotServed(_)));
    let why = served.then(|| serving.finish(deadline, ui)).flatten();
    if let Some(why) = &why {
        ui.warning(why);
    }
    (ended, why.is_none())
}
