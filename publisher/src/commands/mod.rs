//! The commands: one function for each, and what they share.
//!
//! In: a parsed command. Out: an [`Outcome`].
//!
//! Only this folder and `lib.rs` connect stages.

mod adopt;
mod build;
mod bump;
mod check;
mod diff;
mod lock;
mod make;
mod new;
mod oci;
mod outdated;
mod packing;
mod publish;
mod published;
mod release;
mod sign;
mod signer;
mod verify;
mod zstd;

pub(crate) use adopt::adopt;
pub(crate) use build::build;
pub(crate) use bump::bump;
pub(crate) use check::check;
pub(crate) use diff::diff;
pub(crate) use lock::lock;
pub(crate) use new::new;
pub(crate) use oci::oci;
pub(crate) use outdated::outdated;
pub(crate) use publish::{index, site};
pub(crate) use release::{plan, reconcile, release};
pub(crate) use sign::{keygen, sign};
pub(crate) use verify::verify;
pub(crate) use zstd::zstd;

use crate::cli::args::Selection;
use crate::env;
use crate::error::Error;
use crate::registry::serve::Server;
use crate::source::{self, Source};
use joblet_format::{Arch, RuntimeName};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The result of a command, for `main`.
pub enum Outcome {
    /// Print this on stdout.
    Text(String),
    /// Print the text on stdout, warnings on stderr, and then the error.
    Built {
        /// Data.
        text: String,
        /// Warnings, one line each.
        warnings: Vec<String>,
        /// The error, if a part failed.
        error: Option<Error>,
    },
    /// Print the text on stdout and exit with this status, which does not mean an error.
    Found(String, u8),
    /// Print the server's address, and run it.
    Serve(Server),
}

/// Reads and checks the selected manifests.
fn sources(dir: &Path, selection: &Selection) -> Result<Vec<Source>, Error> {
    let names: Vec<RuntimeName> = match selection {
        Selection::Names(names) => names.clone(),
        Selection::All => source::names(dir)?,
    };
    if names.is_empty() {
        if let Some(reason) = source::above(dir).and_then(|_| source::absent(dir)) {
            return Err(Error::NotFound(format!("no runtime: {reason}")));
        }
        let dir = dir.display();
        return Err(Error::NotFound(format!("no runtime in {dir}; `new NAME` makes a first one")));
    }
    let mut sources = Vec::new();
    for name in names.into_iter().collect::<BTreeSet<_>>() {
        sources.push(source::read(dir, &name)?);
    }
    Ok(sources)
}

/// The architectures of `source` among the requested ones; if none is requested, all.
fn arches(source: &Source, asked: &[Arch]) -> Result<Vec<Arch>, Error> {
    let declared = source.arches();
    if let Some(other) = asked.iter().find(|arch| !declared.contains(arch)) {
        let name = &source.name;
        return Err(Error::NotFound(format!("{name} has no platform for {other} in its manifest")));
    }
    Ok(declared.into_iter().filter(|arch| asked.is_empty() || asked.contains(arch)).collect())
}

/// The directory of the cache.
fn cache(option: Option<&Path>) -> Result<PathBuf, Error> {
    let no_cache = || Error::Usage("no cache directory: HOME is not set; use --cache DIR".into());
    option.map(Path::to_owned).or_else(env::default_cache).ok_or_else(no_cache)
}
