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
    /// The runtimes; all if empty.
    pub names: Vec<RuntimeName>,
    /// The directory of sources.
    pub sources: PathBuf,
    /// The directory of records, to report on published versions instead.
    pub published: Option<PathBuf>,
    /// Output file of `freshness.json`, for published versions.
    pub save: Option<PathBuf>,
    /// Whether only security fixes count for the exit status.
    pub security: bool,
    /// Address of the Debian mirror.
    pub mirror: Option<String>,
    /// Directory of the cache; default the user's.
    pub cache: Option<PathBuf>,
    /// Report as JSON.
    pub json: bool,
}

/// `bump`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bump {
    /// The runtimes.
    pub selection: Selection,
    /// The directory of sources.
    pub sources: PathBuf,
    /// Address of the Debian mirror.
    pub mirror: Option<String>,
    /// Directory of the cache; default the user's.
    pub cache: Option<PathBuf>,
}

static PUBLISHED: Opt<()> =
    Opt::switch("--published", "report on published versions instead of runtimes-src");
static SAVE: Opt<PathBuf> =
    Opt::path("--save", "FILE", "write the report on published versions as freshness.json");
static SECURITY: Opt<()> = Opt::switch(
    "--security",
    "exit with status 1 for security fixes only, not for every newer version",
);

pub(super) static OUTDATED: Command<Parsed> = Command {
    name: "outdated",
    also: &[],
    operands: Operands::new("[NAME…]", NAMES),
    help: "list locked packages with newer versions, and the vulnerabilities that these fix",
    about: "Everything is resolved again, as lock does, and nothing is written. Urgency \
            and CVE numbers are from the changelogs of newer Debian packages. The status is 1 if anything is newer, \
            else 0.",
    options: &[
        &PUBLISHED.row, &SECURITY.row, &SOURCES.row, &RECORDS.row, &SAVE.row, &CACHE.row,
        &MIRROR.row, &JSON.row,
    ],
    examples: &[
        ("joblet-publish outdated python-3.11", "the inputs that lock would resolve to today"),
        ("joblet-publish outdated --security", "status 1 if any runtime lacks a security fix"),
        (
            "joblet-publish outdated --published --save freshness.json",
            "on every published version, for the site and joblet-exec",
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
    help: "make the next version of outdated runtimes: raise PATCH, lock, write CHANGELOG.md",
    about: "A runtime without newer packages is not changed. In runtimes-src/NAME, one line of the manifest and the \
            lock are changed, and CHANGELOG.md lists the changed packages and the fixed vulnerabilities.",
    options: &[&ALL.row, &SOURCES.row, &CACHE.row, &MIRROR.row],
    examples: &[("joblet-publish bump python-3.11", "1.0.0 becomes 1.0.1, with today's packages")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let sources = call.needed(&SOURCES)?;
        Ok(Parsed::Bump(Bump {
            selection: making::selection(call, &sources)?,
            sources,
            mirror: call.value(&MIRROR)?,
            cache: call.value(&CACHE)?,
        }))
    }),
};
