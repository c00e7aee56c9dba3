//! Installs Joblet runtimes and runs jobs in them.
//!
//! Calls go cli → registry → net → archive → store → runtime → sandbox. Which stage may import which is
//! another order: it is listed in ARCHITECTURE.md and enforced by `tests/order.rs`.
#![warn(unreachable_pub)]

mod archive;
pub mod cli;
mod commands;
pub mod env;
pub mod error;
mod fs;
pub mod fuzz;
mod gpu;
mod lazy;
mod net;
mod registry;
mod runtime;
pub mod sandbox;
mod store;
mod thread;

use cli::args::{self, Cli, Command};
use cli::ui::Ui;
use commands::Session;
use env::Environment;
use error::Error;
use rustix::fs::Mode;
use std::ffi::OsString;

/// Does what the command line says and returns the status of the program.
///
/// # Errors
/// [`Error`]; its class decides the status.
pub fn run(args: Vec<OsString>, env: &Environment, ui: &mut Ui<'_>) -> Result<u8, Error> {
    carry_out(args::parse(args)?, env, ui)
}

/// As [`run`], for the command line of the program called `name`, see [`args::apptainer`].
///
/// # Errors
/// As [`run`].
pub fn run_as(
    name: &str,
    args: Vec<OsString>,
    env: &Environment,
    ui: &mut Ui<'_>,
) -> Result<u8, Error> {
    let caller = args::apptainer::Caller {
        directory: std::env::current_dir().ok(),
        home: env.home().filter(|home| home.is_dir()).map(Into::into),
        variables: Environment::beginning(b""),
        gpu: gpu::is_there(),
        exists: Some(std::path::Path::exists),
    };
    carry_out(args::apptainer::parse(name, args, &caller)?, env, ui)
}

fn carry_out(cli: Cli, env: &Environment, ui: &mut Ui<'_>) -> Result<u8, Error> {
    let Cli { mut global, command } = cli;
    ui.set(&global, env);
    // Installed files get the modes of their archive, independent of the caller's umask.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    // `doctor` tests whether the registry can be reached: a cached document must not hide that it is unreachable.
    global.refresh |= matches!(command, Command::Doctor { .. }) && !global.offline;
    let session = Session { global: &global, env };
    session.check_json()?;
    session.name_ignored(ui);
    match command {
        Command::Print(text) => ui.data(&text)?,
        Command::Install(specs) => session.install(&specs, ui)?,
        Command::Remove(specs) => session.remove(&specs, ui)?,
        Command::List { available: false, .. } => session.list(ui)?,
        Command::List { available: true, all_versions, words } => {
            session.list_available(all_versions, &words, ui)?;
        }
        Command::Outdated => session.outdated(ui)?,
        Command::Upgrade(names) => session.upgrade(&names, ui)?,
        Command::Info(spec) => session.info(&spec, ui)?,
        Command::Export { specs, to, arch } => session.export(&specs, &to, arch, ui)?,
        Command::Import(from) => session.import(&from, ui)?,
        Command::Doctor { apparmor } => return session.doctor(apparmor, ui),
        Command::Prune(what) => session.prune(&what, ui)?,
        Command::Path(spec) => session.path(&spec, ui)?,
        Command::Verify { specs, repair } => session.verify(&specs, repair, ui)?,
        Command::Run(run) => return session.run(*run, ui),
    }
    Ok(0)
}
