//! `run`.

use super::Session;
use crate::args::{self, Run};
use crate::error::Error;
use crate::runtime::{self, Runtime};
use crate::sandbox::{self, Bind, Ids, Job, Limits, Network, Tmpfs};
use crate::ui::Ui;
use crate::{list, store};
use joblet_format::Spec;
use std::time::Duration;

/// How often to look again while a runtime is being moved away, and how long to wait in between.
/// Nobody of ours needs that long: who does holds a lock to stop jobs, and is not waited for.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

impl Session<'_> {
    pub(crate) fn run(&self, run: Run, ui: &mut Ui<'_>) -> Result<u8, Error> {
        let runtime = self.hold(&run.spec, ui)?;
        let dry_run = run.dry_run;
        let job = job(run);
        if dry_run {
            let steps = sandbox::plan(&runtime, &job, &sandbox::Host::observe())?;
            ui.data(&list::plan(&steps, self.global.json))?;
            return Ok(0);
        }
        let exit = sandbox::run(&runtime, &job)?;
        if exit == sandbox::Exit::OutOfMemory {
            let memory = Limits { memory: job.limits.memory, ..Limits::default() };
            ui.note(&format!("the job was killed: it needed more than its {memory} (--memory)"));
        }
        Ok(exit.status())
    }

    /// The runtime that a job asked for, installed if need be, which stays as long as it is open.
    fn hold(&self, spec: &Spec, ui: &mut Ui<'_>) -> Result<Runtime, Error> {
        let mut tries = 0;
        loop {
            let path = self.provide(spec, ui)?.path;
            let loaded = runtime::load(&path);
            tries += 1;
            match loaded {
                Ok(runtime) if tries > TRIES || store::hold(&runtime.dir, &path) => {
                    return Ok(runtime);
                }
                // Found and gone: it is looked for again.
                Err(error) if tries > TRIES || path.exists() => return Err(error),
                _ => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// What the sandbox is asked for. Variables that are passed on are looked up here.
fn job(run: Run) -> Job {
    let env = run.env.into_iter().filter_map(|(name, value)| {
        let value = value.or_else(|| std::env::var_os(&name))?;
        Some((name, value))
    });
    let bind = |bind: args::BindArg| {
        let args::BindArg { source, target, writable } = bind;
        Bind { source, target, writable }
    };
    let tmpfs = |tmpfs: args::TmpfsArg| Tmpfs { target: tmpfs.target, size: tmpfs.size };
    Job {
        env: env.collect(),
        network: if run.host_network { Network::Host } else { Network::None },
        workdir: run.workdir,
        binds: run.binds.into_iter().map(bind).collect(),
        tmpfs: run.tmpfs.into_iter().map(tmpfs).collect(),
        hostname: run.hostname,
        user: run.user.map(|(uid, gid)| Ids { uid, gid }),
        timeout: run.timeout,
        limits: Limits { memory: run.memory, cpu: run.cpu, pids: run.pids },
        ..Job::new(run.argv)
    }
}
