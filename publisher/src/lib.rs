//! Builds Joblet runtimes from locked inputs and publishes their registry.
//!
//! Data flows in a straight line, and a module imports only modules to its left:
//!
//! error, env, fsx → verbs → args → source → lock → mirror → apt → roots → inputs → tree → deb → assemble →
//! cacerts → fixups → gate → `runtime_yml` → pack → licence → components → contents, sbom, provenance →
//! record → index → check, new → site → release
//!
//! This file and `commands` alone join the stages, one function per command.
#![forbid(unsafe_code)]

pub mod apt;
pub mod args;
pub mod assemble;
mod cacerts;
pub mod check;
mod commands;
pub mod components;
pub mod contents;
pub mod deb;
pub mod env;
pub mod error;
pub mod fixups;
pub mod fsx;
pub mod gate;
pub mod index;
pub mod inputs;
pub mod licence;
pub mod lock;
pub mod mirror;
pub mod new;
pub mod pack;
pub mod provenance;
pub mod record;
pub mod release;
mod roots;
pub mod runtime_yml;
pub mod sbom;
pub mod site;
pub mod source;
pub mod tree;
mod verbs;

use args::Command;
use error::Error;
use std::ffi::OsString;

/// Tells people about progress. Data never goes this way.
pub type Note<'n> = &'n (dyn Fn(&str) + Sync);

/// Does what the arguments after the program's name say. Returns what belongs on stdout.
///
/// # Errors
/// The first fault; nothing half-written is left.
pub fn run(args: Vec<OsString>, note: Note) -> Result<String, Error> {
    match args::parse(args)? {
        Command::Help(text) => Ok(text),
        Command::Version => Ok(concat!("joblet-publish ", env!("CARGO_PKG_VERSION"), "\n").into()),
        Command::Lock(options) => commands::lock(&options, note),
        Command::Build(options) => commands::build(&options, note),
        Command::Check(options) => commands::check(&options, note),
        Command::Index(options) => commands::index(&options),
        Command::Site(options) => commands::site(&options),
        Command::Plan(options) => commands::plan(&options),
        Command::Release(options) => commands::release(&options, note),
        Command::Reconcile(options) => commands::reconcile(&options, note),
        Command::New { name, sources } => {
            let path = new::write(&sources, &name)?.display().to_string();
            Ok(format!("{path}\nnext: joblet-publish lock {name}\n"))
        }
    }
}
