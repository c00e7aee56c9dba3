//! Installs Joblet runtimes and runs jobs in them.
//!
//! One straight line: args → spec → registry (cache) → fetch and verify → unpack → store →
//! `runtime.yml` → sandbox plan → apply → exec. A module imports only what stands to its left;
//! this file alone joins them.

pub mod args;
mod cache;
mod catalog;
mod cli;
pub mod env;
pub mod error;
mod fetch;
mod http;
mod install;
mod list;
mod location;
mod members;
mod progress;
mod registry;
mod reuse;
mod roots;
pub mod runtime;
pub mod sandbox;
mod store;
pub mod ui;
mod unpack;
mod within;

use args::{Cli, Command, Global, Run};
use catalog::{Catalog, Policy};
use env::Environment;
use error::Error;
use joblet_format::{Spec, Wanted};
use location::{DEFAULT_REGISTRY, Location};
use rustix::fs::Mode;
use sandbox::{Bind, Ids, Job, Network, Tmpfs};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;
use store::{Installed, Store};
use ui::Ui;

/// Does what the command line says and returns the status of the program.
///
/// # Errors
/// [`Error`]; its class decides the status.
pub fn run(args: Vec<OsString>, env: &Environment, ui: &mut Ui<'_>) -> Result<u8, Error> {
    let Cli { global, command } = args::parse(args)?;
    ui.set(&global, env);
    // What is installed must be readable as its archive says, whatever the caller's umask.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let session = Session { global: &global, env };
    match command {
        Command::Help(None) => ui.data(&cli::help())?,
        Command::Help(Some(name)) => {
            let command = cli::COMMANDS.iter().find(|command| command.name == name);
            ui.data(&command.map(cli::command_help).unwrap_or_default())?;
        }
        Command::Version => ui.data(concat!("joblet-exec ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Command::Install(specs) => session.install(&specs, ui)?,
        Command::Remove(specs) => session.remove(&specs, ui)?,
        Command::List { available: false, .. } => session.list(ui)?,
        Command::List { available: true, all_versions } => {
            session.list_available(all_versions, ui)?;
        }
        Command::Path(spec) => {
            let path = session.store()?.expect(&spec)?.path;
            ui.data(&format!("{}\n", path.display()))?;
        }
        Command::Verify { specs, repair } => session.verify(&specs, repair, ui)?,
        Command::Run(run) => return session.run(*run, ui),
    }
    Ok(0)
}

/// The options and the environment of one call.
struct Session<'a> {
    global: &'a Global,
    env: &'a Environment,
}

impl Session<'_> {
    fn store(&self) -> Result<Store, Error> {
        let named = self.global.store.clone().or_else(|| self.env.store.clone());
        let (root, system) = match named {
            Some(root) => (root, None),
            None => (self.default_store()?, Some(PathBuf::from(env::SYSTEM_STORE))),
        };
        // Mounts and receipts need a path that means the same from everywhere.
        let root = std::path::absolute(&root).map_err(Error::file("find", &root))?;
        Ok(Store::new(root, system, self.env.lock_timeout))
    }

    fn default_store(&self) -> Result<PathBuf, Error> {
        self.env.default_store().ok_or_else(|| {
            Error::Usage("HOME is not set; name the store with --store DIR".to_owned())
        })
    }

    fn catalog(&self, ui: &mut Ui<'_>) -> Result<Catalog, Error> {
        let named = self.global.registry.as_ref().or(self.env.registry.as_ref());
        let location = Location::of_registry(named.map_or(DEFAULT_REGISTRY, String::as_str))?;
        let policy = Policy {
            offline: self.global.offline || self.env.offline,
            refresh: self.global.refresh,
            now: SystemTime::now(),
        };
        catalog::load(location, self.env.cache().as_deref(), policy, ui)
    }

    fn install(&self, specs: &[Spec], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        let mut catalog = None;
        let mut rows = Vec::new();
        for spec in specs {
            let (runtime, did) = self.install_one(spec, &store, &mut catalog, ui)?;
            ui.note(&did);
            rows.push(runtime);
        }
        if self.global.json {
            ui.data(&list::installed(&rows, true))?;
        }
        Ok(())
    }

    /// Installs one runtime and says what was done. The registry is read when first needed.
    fn install_one(
        &self,
        spec: &Spec,
        store: &Store,
        catalog: &mut Option<Catalog>,
        ui: &mut Ui<'_>,
    ) -> Result<(Installed, String), Error> {
        if let (Wanted::Exact(_), Some(found)) = (&spec.wanted, store.find(spec)?) {
            return Ok((found, format!("{spec} is installed already")));
        }
        let catalog = match catalog {
            Some(catalog) => catalog,
            None => catalog.insert(self.catalog(ui)?),
        };
        let outcome = install::install(spec, catalog, store, ui)?;
        let runtime = outcome.runtime;
        let version = runtime.version.as_ref().map(ToString::to_string).unwrap_or_default();
        let did = match outcome.cost {
            None => format!("{}@{version} is installed already", runtime.name),
            Some(cost) => format!(
                "installed {}@{version} ({}{} in {:.1} s)",
                runtime.name,
                list::size(cost.fetched),
                match cost.reused {
                    0 => String::new(),
                    reused => format!(" fetched, {} reused,", list::size(reused)),
                },
                outcome.seconds
            ),
        };
        Ok((runtime, did))
    }

    fn remove(&self, specs: &[Spec], ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        store.clean();
        for spec in specs {
            let runtime = store.expect_one(spec)?;
            store.remove(&runtime)?;
            ui.note(&format!("removed {}", runtime.path.display()));
        }
        Ok(())
    }

    /// Compares runtimes with what was published, and repairs them if asked to.
    fn verify(&self, specs: &[Spec], repair: bool, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        let mut runtimes = Vec::new();
        for spec in specs {
            runtimes.push(store.expect(spec)?);
        }
        if specs.is_empty() {
            runtimes = store.installed()?;
        }
        let (mut catalog, mut found) = (None, Vec::new());
        for runtime in runtimes {
            let (index, version) = (store.index(&runtime), &runtime.version);
            let index = index.as_deref().and_then(members::parse_index);
            let (Some(index), Some(version)) = (index, version) else {
                ui.note(&format!(
                    "{}: nothing is known to compare it with",
                    runtime.path.display()
                ));
                continue;
            };
            let exact = Spec { name: runtime.name.clone(), wanted: Wanted::Exact(version.clone()) };
            let differences = members::verify(&index, &runtime.path)?.differences;
            let repaired = repair && !differences.is_empty();
            if repaired {
                let catalog = match &mut catalog {
                    Some(catalog) => catalog,
                    none => none.insert(self.catalog(ui)?),
                };
                let cost = install::repair(&runtime, &exact, catalog, &store, ui)?;
                ui.note(&format!("repaired {exact} ({} fetched)", list::size(cost.fetched)));
            }
            found.push(list::Verified { runtime: exact.to_string(), differences, repaired });
        }
        ui.data(&list::verified(&found, self.global.json))?;
        let bad = found.iter().filter(|it| !it.differences.is_empty() && !it.repaired);
        let bad: Vec<_> = bad.map(|it| it.runtime.as_str()).collect();
        if bad.is_empty() { Ok(()) } else { Err(Error::Damaged(bad.join(", "))) }
    }

    fn list(&self, ui: &mut Ui<'_>) -> Result<(), Error> {
        let store = self.store()?;
        let runtimes = store.installed()?;
        if runtimes.is_empty() && !self.global.json {
            ui.note(&format!(
                "no runtime is installed in {}; joblet-exec list --available shows what there is",
                store.root().display()
            ));
            return Ok(());
        }
        ui.data(&list::installed(&runtimes, self.global.json))
    }

    fn list_available(&self, all_versions: bool, ui: &mut Ui<'_>) -> Result<(), Error> {
        let catalog = self.catalog(ui)?;
        // Without a store nothing is installed: the list is useful all the same.
        let here = self.store().and_then(|store| store.installed()).unwrap_or_default();
        ui.data(&list::available(&catalog.registry, &here, all_versions, self.global.json))
    }

    /// The runtime that a job asked for: one that is installed, else it is installed now.
    fn provide(&self, spec: &Spec, ui: &mut Ui<'_>) -> Result<Installed, Error> {
        let store = self.store()?;
        let found = store.find(spec)?;
        match (&spec.wanted, found) {
            (Wanted::Any | Wanted::Exact(_), Some(found)) => Ok(found),
            // Nobody can be asked which version is the latest: the highest one here is.
            (Wanted::Latest, Some(found)) if self.global.offline || self.env.offline => Ok(found),
            _ => {
                let (runtime, did) = self.install_one(spec, &store, &mut None, ui)?;
                ui.detail(&did);
                Ok(runtime)
            }
        }
    }

    fn run(&self, run: Run, ui: &mut Ui<'_>) -> Result<u8, Error> {
        let installed = self.provide(&run.spec, ui)?;
        let runtime = runtime::load(&installed.path)?;
        let dry_run = run.dry_run;
        let job = job(run);
        if dry_run {
            let steps = sandbox::plan(&runtime, &job, &sandbox::Host::observe())?;
            ui.data(&list::plan(&steps, self.global.json))?;
            return Ok(0);
        }
        sandbox::run(&runtime, &job).map(sandbox::Exit::status)
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
        ..Job::new(run.argv)
    }
}
