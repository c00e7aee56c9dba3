//! `run`.

use super::Session;
use crate::args::{self, Run};
use crate::error::Error;
use crate::sandbox::{self, Bind, Ids, Job, Limits, Network, Tmpfs};
use crate::ui::Ui;
use crate::{list, runtime};

impl Session<'_> {
    pub(crate) fn run(&self, run: Run, ui: &mut Ui<'_>) -> Result<u8, Error> {
        let installed = self.provide(&run.spec, ui)?;
        let runtime = runtime::load(&installed.path)?;
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
