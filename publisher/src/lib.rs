//! Builds Joblet runtimes from locked inputs and publishes their registry.
//!
//! Data flows in a straight line, and a module imports only modules to its left:
//!
//! error, shown, env, tail, fsx, cores → verbs → args → roots → http → content → tree → exec → tarball, zip → source → lock → mirror → apt →
//! python → places → inputs, room → deb → assemble → package → cacerts → fixups → gate → `runtime_yml` → pack → licence →
//! components → contents, sbom, provenance → record → built → index → sign → emulator, check, new, field,
//! compare, changes → site → release
//!
//! This file and `commands` alone join the stages, one function per command.
#![forbid(unsafe_code)]

pub mod apt;
pub mod args;
pub mod assemble;
pub mod built;
mod cacerts;
pub mod changes;
pub mod check;
mod commands;
pub mod compare;
pub mod components;
pub mod content;
pub mod contents;
mod cores;
pub mod deb;
mod emulator;
pub mod env;
pub mod error;
pub mod exec;
pub mod field;
pub mod fixups;
pub mod fsx;
pub mod gate;
mod http;
pub mod index;
pub mod inputs;
pub mod licence;
pub mod lock;
pub mod mirror;
pub mod new;
pub mod pack;
pub mod package;
pub mod places;
pub mod provenance;
pub mod python;
pub mod record;
pub mod release;
pub mod room;
mod roots;
pub mod runtime_yml;
pub mod sbom;
pub mod serve;
pub mod shown;
pub mod sign;
pub mod site;
pub mod source;
mod tail;
mod tarball;
pub mod tree;
mod verbs;
mod zip;

use args::Command;
use error::Error;
use std::ffi::OsString;

/// Tells people about progress. Data never goes this way.
pub type Note<'n> = &'n (dyn Fn(&str) + Sync);

/// What is left to do when a command has done its work.
pub enum Outcome {
    /// Print this on stdout.
    Text(String),
    /// Print this on stdout, then say what failed all the same.
    Partly(String, Error),
    /// Print its address, and run it.
    Serve(serve::Server),
}

/// Does what the arguments after the program's name say.
///
/// # Errors
/// The first fault; nothing half-written is left.
pub fn run(args: Vec<OsString>, note: Note) -> Result<Outcome, Error> {
    let text = match args::parse(args)? {
        Command::Serve { root, port } => {
            return serve::Server::open(&root, port).map(Outcome::Serve);
        }
        Command::Help(text) => Ok(text),
        Command::Version => Ok(concat!("joblet-publish ", env!("CARGO_PKG_VERSION"), "\n").into()),
        Command::Lock(options) => commands::lock(&options, note),
        Command::Build(options) => return commands::build(&options, note),
        Command::Check(options) => commands::check(&options, note),
        Command::Sign(options) => commands::sign(&options),
        Command::Keygen(options) => commands::keygen(&options),
        Command::Index(options) => commands::index(&options),
        Command::Site(options) => commands::site(&options),
        Command::Plan(options) => commands::plan(&options),
        Command::Release(options) => commands::release(&options, note),
        Command::Reconcile(options) => commands::reconcile(&options, note),
        Command::Verify(options) => commands::verify(&options, note),
        Command::Diff(options) => commands::diff(&options),
        Command::New { name, sources } => {
            let path = new::write(&sources, &name)?.display().to_string();
            Ok(format!("{path}\nnext: joblet-publish lock {name}\n"))
        }
    };
    text.map(Outcome::Text)
}
