//! `verify` and `diff`, which look at what was published.

use super::options::{CACHE, JOBLET_EXEC, JOBS, JSON, MIRROR, OFFLINE, RECORDED, RECORDS, arch};
use super::{Command as Parsed, Making, making};
use joblet_cli::{Action, Call, Command, Complete, Operands, Opt, Status, Usage, utf8};
use joblet_format::{Arch, Spec};
use std::path::PathBuf;

/// `verify`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verify {
    /// What is built once more; the latest version where none is named.
    pub specs: Vec<Spec>,
    /// These alone; empty: all that were published.
    pub arches: Vec<Arch>,
    /// Where the records lie.
    pub records: PathBuf,
    /// The registry to compare with: its address, or a directory. None: the record.
    pub against: Option<String>,
    /// How trees are made.
    pub making: Making,
}

/// `diff`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diff {
    /// The older one, or any.
    pub before: Spec,
    /// What it is compared with.
    pub after: Spec,
    /// These alone; empty: all that both have.
    pub arches: Vec<Arch>,
    /// Where the records lie.
    pub records: PathBuf,
    /// Report as JSON.
    pub json: bool,
}

static AGAINST: Opt<String> = Opt::value(
    "--against",
    "REGISTRY",
    Complete::Files,
    utf8,
    "a registry to compare with: its registry.json and its archive",
);
static PUBLISHED: Opt<Vec<Arch>> = arch("which of those that were published");

pub(super) static VERIFY: Command<Parsed> = Command {
    name: "verify",
    also: &[],
    operands: Operands::new("NAME[@VERSION]…", RECORDED),
    help: "build a published version once more and compare every entry",
    about: "",
    options: &[
        &AGAINST.row,
        &PUBLISHED.row,
        &CACHE.row,
        &JOBS.row,
        &OFFLINE.row,
        &JOBLET_EXEC.row,
        &MIRROR.row,
        &RECORDS.row,
    ],
    examples: &[
        ("joblet-publish verify python-3.11@1.0.0", "by its record"),
        ("joblet-publish verify python-3.11 --against dist", "the latest, by what lies in dist"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let specs = specs(call)?;
        if specs.is_empty() {
            return Err(Usage("verify needs NAME or NAME@VERSION".into()));
        }
        Ok(Parsed::Verify(Verify {
            specs,
            arches: call.needed(&PUBLISHED)?,
            records: call.needed(&RECORDS)?,
            against: call.value(&AGAINST)?,
            making: making::making(call)?,
        }))
    }),
};

static COMMON: Opt<Vec<Arch>> = arch("which of those that both have");

pub(super) static DIFF: Command<Parsed> = Command {
    name: "diff",
    also: &[],
    operands: Operands::new("A[@VERSION] B[@VERSION]", RECORDED),
    help: "say which packages were added, removed and changed, and what they weigh",
    about: "",
    options: &[&COMMON.row, &RECORDS.row, &JSON.row],
    examples: &[("joblet-publish diff node-20@1.0.0 node-20@1.1.0", "two versions of one runtime")],
    status: Status::OfProgram,
    action: Action::Call(|call| match <[Spec; 2]>::try_from(specs(call)?) {
        Ok([before, after]) => Ok(Parsed::Diff(Diff {
            before,
            after,
            arches: call.needed(&COMMON)?,
            records: call.needed(&RECORDS)?,
            json: call.switch(&JSON),
        })),
        Err(_) => Err(Usage("diff needs two of NAME or NAME@VERSION".into())),
    }),
};

fn specs(call: &mut Call) -> Result<Vec<Spec>, Usage> {
    let specs = call.parsed::<Spec>()?;
    match specs.iter().find(|spec| spec.origin.is_some()) {
        Some(spec) => Err(Usage(format!("{spec}: a registry is named with --against here"))),
        None => Ok(specs),
    }
}
