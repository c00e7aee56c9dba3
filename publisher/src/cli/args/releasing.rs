//! `plan`, `release` and `reconcile`, which publish versions.

use super::Command as Parsed;
use super::options::{
    EXPIRES, HOST, KEY, OUT, PASSWORD_FILE, RECORDS, SOURCES, Signing, TAG, signing, signing_until,
};
use crate::release::Tag;
use joblet_cli::{Action, Command, Complete, Operands, Opt, Status, utf8};
use std::path::PathBuf;

/// `plan`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The tag.
    pub tag: Tag,
    /// The directory of sources.
    pub sources: PathBuf,
    /// The directory of records, relative to the top of the repository.
    pub records: PathBuf,
    /// The branch that releases come from.
    pub branch: String,
    /// The release host, to check for existing releases.
    pub host: Option<String>,
    /// The key that will sign `registry.json`.
    pub signing: Signing,
}

/// `release`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// The tag.
    pub tag: Tag,
    /// The release host.
    pub host: String,
    /// Output directories of `build`, of one or more machines.
    pub outs: Vec<PathBuf>,
}

/// `reconcile`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reconcile {
    /// Only this release.
    pub tag: Option<Tag>,
    /// The release host.
    pub host: String,
    /// The repository of the registry.
    pub repository: String,
    /// Its branch.
    pub branch: String,
    /// The directory of records in it.
    pub records: PathBuf,
    /// The key of `registry.json`.
    pub signing: Signing,
}

static RELEASE_BRANCH: Opt<String> =
    Opt::value("--branch", "REF", Complete::Nothing, utf8, "the branch that releases come from")
        .or("origin/main");

pub(super) static PLAN: Command<Parsed> = Command {
    name: "plan",
    also: &[],
    operands: Operands::new("--tag=TAG", Complete::Nothing),
    help: "plan and check the release of a tag; prints JSON",
    about: "It runs in a git checkout of the tag. What release and reconcile would refuse after the \
            builds is refused here; with --host also a version that is released already, and a key that does \
            not sign.",
    options: &[
        &TAG.row, &SOURCES.row, &RECORDS.row, &RELEASE_BRANCH.row, &HOST.row, &KEY.row,
        &PASSWORD_FILE.row,
    ],
    examples: &[("joblet-publish plan --tag python-3.11@1.4.0", "one version of one runtime")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Plan(Plan {
            tag: call.needed(&TAG)?,
            sources: call.needed(&SOURCES)?,
            records: call.needed(&RECORDS)?,
            branch: call.needed(&RELEASE_BRANCH)?,
            host: call.value(&HOST)?,
            signing: signing(call)?,
        }))
    }),
};

pub(super) static RELEASE: Command<Parsed> = Command {
    name: "release",
    also: &[],
    operands: Operands::new("--tag=TAG --host=HOST", Complete::Nothing),
    help: "publish the builds of a tag: draft, upload, download, compare, publish",
    about: "--out may be repeated, for builds of several machines.",
    options: &[&TAG.row, &HOST.row, &OUT.row],
    examples: &[(
        "joblet-publish release --tag python-3.11@1.4.0 --host github:owner/repo",
        "a release on GitHub, by gh",
    )],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Release(Release {
            tag: call.needed(&TAG)?,
            host: call.needed(&HOST)?,
            outs: call.values(&OUT)?,
        }))
    }),
};

static REPOSITORY: Opt<String> =
    Opt::value("--repository", "URL", Complete::Files, utf8, "the git repository of the registry");
static BRANCH: Opt<String> =
    Opt::value("--branch", "NAME", Complete::Nothing, utf8, "its branch").or("main");

pub(super) static RECONCILE: Command<Parsed> = Command {
    name: "reconcile",
    also: &[],
    operands: Operands::new("--host=HOST --repository=URL", Complete::Nothing),
    help: "record published releases, of one tag or all, and push registry.json",
    about: "It can be run again at any time: recorded releases are not changed. A signed registry.json is \
            signed again when it changes, its signature does not match, or half of its validity is over; without the \
            key, that is refused.",
    options: &[
        &TAG.row, &HOST.row, &REPOSITORY.row, &BRANCH.row, &RECORDS.row, &KEY.row,
        &PASSWORD_FILE.row, &EXPIRES.row,
    ],
    examples: &[(
        "joblet-publish reconcile --host github:o/r --repository https://github.com/o/r",
        "all releases there",
    )],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Reconcile(Reconcile {
            tag: call.value(&TAG)?,
            host: call.needed(&HOST)?,
            repository: call.needed(&REPOSITORY)?,
            branch: call.needed(&BRANCH)?,
            records: call.needed(&RECORDS)?,
            signing: signing_until(call)?,
        }))
    }),
};
