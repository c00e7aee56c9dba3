//! `run --lazy`: a job in a runtime that is being installed.

use super::Session;
use crate::cli::args::Start;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::lazy::{self, Client, Serving};
use crate::net;
use crate::runtime::Runtime;
use crate::sandbox::{self, Exit, Job, Results};
use crate::store::{Begun, Instead, Store};
use joblet_format::{Spec, Wanted};
use std::fs::File;

impl Session<'_> {
    /// The runtime that a job asked for, served while it is being installed; none where it is installed first.
    ///
    /// # Errors
    /// As an installation; [`Error::NotServed`] where that is what was asked for, and cannot be.
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
            return Err(Error::NotServed("--gpu and --dry-run look into its files".to_owned()));
        }
        lazy::is_possible().map_err(Error::NotServed)?;
        let catalog = self.registries()?.serving(spec, ui)?;
        let begun = Begun::new(spec, &catalog, store, ui)?;
        let begun = match begun {
            Ok(begun) => begun,
            Err(Instead::Nothing(reason)) => return Err(Error::NotServed(reason.to_owned())),
            Err(Instead::Installation(reason)) => {
                ui.detail(&format!("{spec}: {reason}; waiting for that"));
                return Ok(None);
            }
        };
        let owner = sandbox::owner(job, &sandbox::Host::observe(job.user));
        let (owner, terminal) = ((owner.uid, owner.gid), self.env.terminals.error);
        let reads = self.env.reads.as_ref();
        let reads = reads.map(|path| File::create(path).map_err(Error::file("create", path)));
        let client = Client { owner, arch: store.arch(), terminal, reads: reads.transpose()? };
        let served = lazy::start(begun, client, ui)?;
        // The other process has them, too.
        net::disconnect();
        Ok(Some(served))
    }
}

/// Runs a job in a runtime that is served, and waits until that is installed: how the job ended, and whether it
/// is. If it is not, that is said: the job's end is its own.
pub(super) fn run(
    runtime: &Runtime,
    job: &Job,
    serving: Serving,
    ui: &mut Ui<'_>,
) -> (Result<(Exit, Option<Results>), Error>, bool) {
    let ended = sandbox::run(runtime, job);
    let served = !matches!(ended, Err(Error::NotServed(_)));
    let why = served.then(|| serving.finish(ui)).flatten();
    if let Some(why) = &why {
        ui.warning(why);
    }
    (ended, why.is_none())
}
