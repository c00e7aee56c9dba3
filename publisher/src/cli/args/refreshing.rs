//! `outdated` and `bump`, which keep runtimes fresh.

use super::Command as Parsed;
use super::making::{self, Selection};
use super::options::{ALL, CACHE, JSON, MIRROR, NAMES, RECORDS, SOURCES};
use joblet_cli::{Action, Command, Operands, Opt, Status, Usage};
use joblet_format::RuntimeName;
use std::path::PathBuf;

/// `outdated`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outdated {
    /// Which runtimes; empty: all.
    pub names: Vec<RuntimeName>,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Where the records lie, if published versions are looked at instead.
    pub published: Option<PathBuf>,
    /// Where to write what was found of published versions.
    pub save: Option<PathBuf>,
    /// Whether only security fixes count for the exit status.
    pub security: bool,
    /// Where Debian packages are.
    pub mirror: Option<String>,
    /// Where fetched inputs are kept, if not in the user's cache.
    pub cache: Option<PathBuf>,
    /// Report as JSON.
    pub json: bool,
}

/// `bump`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bump {
    /// Which runtimes.
    pub selection: Selection,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Where Debian packages are.
    pub mirror: Option<String>,
    /// Where fetched inputs are kept, if not in the user's cache.
    pub cache: Option<PathBuf>,
}

static PUBLISHED: Opt<()> =
    Opt::switch("--published", "look at the published versions instead of runtimes-src");
static SAVE: Opt<PathBuf> = Opt::path(
    "--save",
    "FILE",
    "write what was found of published versions, as freshness.json has it",
);
static SECURITY: Opt<()> = Opt::switch(
    "--security",
    "end with status 1 for security fixes alone, not for all that is newer",
);

pub(super) static OUTDATED: Command<Parsed> = Command {
    name: "outdated",
    also: &[],
    operands: Operands::new("[NAME…]", NAMES),
    help: "say which locked packages have newer versions, and what those fix",
    about: "Everything is resolved again, as lock does, and nothing is written. Of Debian packages that are newer, \
            the changelog says what is new: urgency and the numbers of vulnerabilities. The status is 1 if \
            anything is newer, 0 if nothing is.",
    options: &[
        &PUBLISHED.row,
        &SECURITY.row,
        &SOURCES.row,
        &RECORDS.row,
        &SAVE.row,
        &CACHE.row,
        &MIRROR.row,
        &JSON.row,
    ],
    examples: &[
        ("joblet-publish outdated python-3.11", "what lock would bring today"),
        ("joblet-publish outdated --security", "status 1 if any runtime lacks a security fix"),
        (
            "joblet-publish outdated --published --save freshness.json",
            "of every published version, for the site and for joblet-exec",
        ),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let (names, published) = (call.parsed::<RuntimeName>()?, call.switch(&PUBLISHED));
        let (records, save) = (call.needed(&RECORDS)?, call.value(&SAVE)?);
        if save.is_some() && !(published && names.is_empty()) {
            return Err(Usage("--save goes with --published and without names".into()));
        }
        Ok(Parsed::Outdated(Outdated {
            names,
            sources: call.needed(&SOURCES)?,
            published: published.then_some(records),
            save,
            security: call.switch(&SECURITY),
            mirror: call.value(&MIRROR)?,
            cache: call.value(&CACHE)?,
            json: call.switch(&JSON),
        }))
    }),
};

pub(super) static BUMP: Command<Parsed> = Command {
    name: "bump",
    also: &[],
    operands: Operands::new("NAME…|--all", NAMES),
    help: "make the next version of what is outdated: raise PATCH, lock, write CHANGELOG.md",
    about: "A runtime of which nothing is newer stays as it is. In runtimes-src/NAME, one line of the manifest is \
            changed, the lock is written anew, and CHANGELOG.md says which packages changed and what that fixes.",
    options: &[&ALL.row, &SOURCES.row, &CACHE.row, &MIRROR.row],
    examples: &[("joblet-publish bump python-3.11", "1.0.0 becomes 1.0.1, with today's packages")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Bump(Bump {
            selection: making::selection(call)?,
            sources: call.needed(&SOURCES)?,
            mirror: call.value(&MIRROR)?,
            cache: call.value(&CACHE)?,
        }))
    }),
};
