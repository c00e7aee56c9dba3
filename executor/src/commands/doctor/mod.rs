//! `doctor`.
//!
//! In: the host. Out: one check for each requirement of jobs and installations, with a remedy.

mod checks;

use super::Session;
use crate::cli::ui::Ui;
use crate::env::Environment;
use crate::error::{Class, Error};
use crate::gpu;
use crate::lazy;
use crate::runtime;
use crate::sandbox::{self, Host, Limits};
use checks::{Check, State};
use std::fs;
use std::time::SystemTime;

impl Session<'_> {
    /// Checks the requirements of jobs and installations. The exit status is that of the first
    /// failure, or 0.
    pub(crate) fn doctor(&self, apparmor: bool, ui: &mut Ui<'_>) -> Result<u8, Error> {
        if apparmor {
            let program = std::env::current_exe().map_err(Error::file("find", "joblet-exec"))?;
            ui.data(&checks::apparmor_profile(&program))?;
            return Ok(0);
        }
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        let mut checks = vec![checks::kernel(release.as_deref())];
        let host = Host::observe(None);
        checks.extend(isolation(&host)?);
        let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let release = release.unwrap_or_default();
        checks.push(checks::overlay(&filesystems, host.privileged, &release));
        checks.push(limits());
        checks.extend(served());
        let store = self.store().and_then(|store| store.check().map(|()| store));
        checks.push(match store {
            Ok(store) => checks::store(store.root(), &store.sharing()),
            Err(error) => Check::of_error("store", &error),
        });
        checks.push(self.registry(ui));
        checks.push(checks::clock(SystemTime::now()));
        let directories = self.env.cdi.as_deref().unwrap_or(gpu::SPECIFICATIONS);
        let mut variables = Environment::gpus();
        let allotted = variables.find_map(|(name, value)| gpu::Allotted::parse(name, &value));
        let empty = runtime::empty()?;
        let found = gpu::find(gpu::Wanted::All, directories, &empty, allotted.as_ref());
        checks.push(checks::gpu(found));
        ui.data(&checks::report(&checks, self.global.json))?;
        let failed = checks.iter().find(|check| check.status == State::Fail);
        Ok(failed.map_or(0, |check| check.class.exit_code()))
    }

    fn registry(&self, ui: &mut Ui<'_>) -> Check {
        if self.offline() {
            return Check::pass("registry", "not asked: offline");
        }
        match self.registries().and_then(|mut registries| registries.count(ui)) {
            Ok((count, places)) => Check::pass("registry", {
                let runtimes = if count == 1 { "runtime" } else { "runtimes" };
                format!("{count} {runtimes} in {}", places.join(", "))
            }),
            Err(error) => Check::of_error("registry", &error),
        }
    }
}

/// Applies all steps of a job up to its program, and reports the step that failed.
fn isolation(host: &Host) -> Result<Vec<Check>, Error> {
    const STEPS: [(&str, &str); 3] = [
        ("namespaces", "cannot make namespaces,cannot map user,cannot make all mounts private"),
        ("proc", "cannot mount /proc"),
        ("sandbox", ""),
    ];
    let who = if host.privileged { "as root" } else { "as an ordinary user" };
    let failure = match sandbox::run(&runtime::empty()?, &sandbox::probe_job()) {
        Err(Error::NoCommand { .. }) => None,
        Err(error) => Some(error),
        Ok(_) => Some(Error::Launch { step: "cannot try".into(), reason: "a job ran".into() }),
    };
    let mut checks = Vec::new();
    for (name, steps) in STEPS {
        let Some(error) = &failure else {
            checks.push(Check::pass(name, who));
            continue;
        };
        let text = error.to_string();
        if !steps.split(',').any(|step| text.starts_with(step)) {
            checks.push(Check::pass(name, who));
            continue;
        }
        let mut check = Check::of_error(name, error);
        if name == "namespaces" && checks::apparmor_restricts() {
            check.remedy = Some(
                "as root: joblet-exec doctor --apparmor > /etc/apparmor.d/joblet-exec && \
                 apparmor_parser -r /etc/apparmor.d/joblet-exec"
                    .to_owned(),
            );
        }
        checks.push(check);
        break;
    }
    Ok(checks)
}

/// Whether `run --lazy` works; `None` if no job can be run.
fn served() -> Option<Check> {
    match lazy::check() {
        Ok(()) => Some(Check::pass("fuse", "run --lazy starts while a runtime is being installed")),
        Err(Error::NotServed(reason)) => {
            let message = format!("run --lazy: {reason}");
            Some(Check::bad("fuse", State::Warn, Class::Launch, &message))
        }
        Err(_) => None,
    }
}

/// Whether limits of memory, processors and processes work.
fn limits() -> Check {
    let all = Limits { memory: Some(1 << 40), cpu: Some(1000), pids: Some(1000) };
    match sandbox::can_limit(all) {
        Ok(by) => {
            let message = format!("memory, processors and processes, by {by}");
            Check::pass("limits", message)
        }
        Err(reason) => {
            let message = format!("--memory, --cpu and --pids: {reason}");
            Check::bad("limits", State::Warn, Class::Launch, &message)
        }
    }
}
