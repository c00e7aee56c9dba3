//! `verify`, `zstd` and `diff`, which read published versions.

use super::making::PART_SIZE;
use super::options::{
    CACHE, JOBLET_EXEC, JOBS, JSON, MIRROR, OFFLINE, OUT, RECORDED, RECORDS, arch,
};
use super::{Command as Parsed, Making, making};
use joblet_cli::{Action, Call, Command, Complete, Operands, Opt, Status, Usage, utf8};
use joblet_format::{Arch, Spec};
use std::num::NonZero;
use std::path::PathBuf;

/// `verify`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verify {
    /// The version to rebuild; the latest if none is given.
    pub specs: Vec<Spec>,
    /// Only these architectures; all that were published if empty.
    pub arches: Vec<Arch>,
    /// The directory of records.
    pub records: PathBuf,
    /// The registry to compare with, an address or a directory; default the record.
    pub against: Option<String>,
    /// Compress the zstd frames again, too.
    pub zstd: bool,
    /// Options for building trees.
    pub making: Making,
}

/// `diff`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diff {
    /// The first version.
    pub before: Spec,
    /// The second version.
    pub after: Spec,
    /// Only these architectures; all of both versions if empty.
    pub arches: Vec<Arch>,
    /// The directory of records.
    pub records: PathBuf,
    /// Report as JSON.
    pub json: bool,
}

static AGAINST: Opt<String> = Opt::value(
    "--against",
    "REGISTRY",
    Complete::Files,
    utf8,
    "a registry to compare with: its registry.json, its archive and the content of its .tar.zst",
);
static ZSTD: Opt<()> = Opt::switch(
    "--zstd",
    "compress its .tar.zst again, too, and compare; about 2.5 MB/s a processor",
);
static PUBLISHED: Opt<Vec<Arch>> = arch("which of the published architectures");

pub(super) static VERIFY: Command<Parsed> = Command {
    name: "verify",
    also: &[],
    operands: Operands::new("NAME[@VERSION]…", RECORDED),
    help: "rebuild a published version and compare every entry",
    about: "",
    options: &[
        &AGAINST.row, &ZSTD.row, &PUBLISHED.row, &CACHE.row, &JOBS.row, &OFFLINE.row,
        &JOBLET_EXEC.row, &MIRROR.row, &RECORDS.row,
    ],
    examples: &[
        ("joblet-publish verify python-3.11@1.0.0", "by its record"),
        (
            "joblet-publish verify python-3.11 --against dist",
            "the latest, with the registry in dist",
        ),
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
            zstd: call.switch(&ZSTD),
            making: making::making(call)?,
        }))
    }),
};

/// `zstd`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddZstd {
    /// The versions; all without a `.tar.zst` if empty.
    pub specs: Vec<Spec>,
    /// Only these architectures; all that were published if empty.
    pub arches: Vec<Arch>,
    /// The directory of records.
    pub records: PathBuf,
    /// The directory to write to.
    pub out: PathBuf,
    /// Largest size of a part, in bytes.
    pub part_size: u64,
    /// Number of threads; one per processor if absent.
    pub jobs: Option<NonZero<usize>>,
}

static EVERY: Opt<()> = Opt::switch("--all", "every version without a .tar.zst");

pub(super) static ADD_ZSTD: Command<Parsed> = Command {
    name: "zstd",
    also: &[],
    operands: Operands::new("NAME[@VERSION]…|--all", RECORDED),
    help: "add the .tar.zst to published versions that have none, and to their records",
    about: "The archive is read from OUT if its index is there, else from the address in its record; relative addresses are \
            below the parent directory of the records. Upload the new files beside the archives, then commit the \
            records and run index.",
    options: &[&EVERY.row, &PUBLISHED.row, &OUT.row, &PART_SIZE.row, &JOBS.row, &RECORDS.row],
    examples: &[
        ("joblet-publish zstd python-3.11@1.0.0", "dist/python-3.11-1.0.0-amd64.tar.zst, recorded"),
        ("joblet-publish zstd --all --records dist/records", "of a registry in dist"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let (specs, every) = (specs(call)?, call.switch(&EVERY));
        if specs.is_empty() != every {
            return Err(Usage("zstd needs either NAME or NAME@VERSION, or --all".into()));
        }
        Ok(Parsed::Zstd(AddZstd {
            specs,
            arches: call.needed(&PUBLISHED)?,
            records: call.needed(&RECORDS)?,
            out: call.needed(&OUT)?,
            part_size: call.needed(&PART_SIZE)?,
            jobs: call.value(&JOBS)?,
        }))
    }),
};

static COMMON: Opt<Vec<Arch>> = arch("which of those that both have");

pub(super) static DIFF: Command<Parsed> = Command {
    name: "diff",
    also: &[],
    operands: Operands::new("A[@VERSION] B[@VERSION]", RECORDED),
    help: "list packages that were added, removed and changed, with their sizes",
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
