//! Builds Joblet runtimes from locked inputs and publishes their registry.
//!
//! A folder for each stage. A folder imports only itself and folders above it in the table of ARCHITECTURE.md, which
//! `tests/order.rs` checks; the table has what goes into each and what comes out.
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]

mod check;
mod cli;
mod commands;
pub mod env;
pub mod error;
mod fs;
mod inputs;
pub mod lock;
mod net;
pub mod pack;
pub mod record;
mod registry;
mod release;
pub mod site;
pub mod source;
pub mod tree;
mod unpack;

pub use commands::Outcome;
pub use error::Note;

use cli::args::{self, Command};
use error::Error;
use registry::serve;
use std::ffi::OsString;

/// Does what the arguments after the program's name say.
///
/// # Errors
/// The first fault; nothing half-written is left.
pub fn run(args: Vec<OsString>, note: Note) -> Result<Outcome, Error> {
    let text = match args::parse(args)? {
        Command::Serve { root, port } => {
            return serve::Server::open(&root, port).map(Outcome::Serve);
        }
        Command::Print(text) => Ok(text),
        Command::Lock(options) => commands::lock(&options, note),
        Command::Outdated(options) => return commands::outdated(&options, note),
        Command::Bump(options) => commands::bump(&options, note),
        Command::Build(options) => return commands::build(&options, note),
        Command::Check(options) => return commands::check(&options, note),
        Command::Sign(options) => commands::sign(&options),
        Command::Keygen(options) => commands::keygen(&options),
        Command::Index(options) => commands::index(&options),
        Command::Adopt(options) => commands::adopt(&options),
        Command::Site(options) => commands::site(&options),
        Command::Plan(options) => commands::plan(&options),
        Command::Release(options) => commands::release(&options, note),
        Command::Reconcile(options) => commands::reconcile(&options, note),
        Command::Verify(options) => commands::verify(&options, note),
        Command::Zstd(options) => commands::zstd(&options, note),
        Command::Diff(options) => commands::diff(&options),
        Command::Oci(options) => commands::oci(&options, note),
        Command::New(options) => return commands::new(&options, note),
    };
    text.map(Outcome::Text)
}
