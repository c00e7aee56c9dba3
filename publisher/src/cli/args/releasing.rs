//! `plan`, `release` and `reconcile`, which publish versions.

use super::Command as Parsed;
use super::options::{HOST, OUT, RECORDS, SOURCES, TAG};
use crate::release::Tag;
use joblet_cli::{Action, Command, Complete, Operands, Opt, Status, text};
use std::path::PathBuf;

/// `plan`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What is to be released.
    pub tag: Tag,
    /// Where runtimes lie.
    pub sources: PathBuf,
    /// Where the records lie, from the top of the repository.
    pub records: PathBuf,
    /// The branch that releases come from.
    pub branch: String,
}

/// `release`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// What is released.
    pub tag: Tag,
    /// Where to.
    pub host: String,
    /// Where `build` wrote, on one machine or more.
    pub outs: Vec<PathBuf>,
}

/// `reconcile`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reconcile {
    /// This release alone.
    pub tag: Option<Tag>,
    /// Where releases are.
    pub host: String,
    /// The repository of the registry.
    pub repository: String,
    /// Its branch.
    pub branch: String,
    /// Where the records lie in it.
    pub records: PathBuf,
    /// The secret key that signs `registry.json`.
    pub key: Option<PathBuf>,
}

static RELEASE_BRANCH: Opt<String> =
    Opt::value("--branch", "REF", Complete::Nothing, text, "the branch that releases come from")
        .or("origin/main");

pub(super) static PLAN: Command<Parsed> = Command {
    name: "plan",
    also: &[],
    operands: Operands::new("--tag=TAG", Complete::Nothing),
    help: "say what a tag releases, checked, as JSON",
    about: "It runs in a git checkout of the tag.",
    options: &[&TAG.row, &SOURCES.row, &RECORDS.row, &RELEASE_BRANCH.row],
    examples: &[("joblet-publish plan --tag python-3.11@1.4.0", "one version of one runtime")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Plan(Plan {
            tag: call.needed(&TAG)?,
            sources: call.needed(&SOURCES)?,
            records: call.needed(&RECORDS)?,
            branch: call.needed(&RELEASE_BRANCH)?,
        }))
    }),
};

pub(super) static RELEASE: Command<Parsed> = Command {
    name: "release",
    also: &[],
    operands: Operands::new("--tag=TAG --host=HOST", Complete::Nothing),
    help: "publish what was built: draft, upload, download, compare, publish",
    about: "--out may be given more than once, for what was built on several machines.",
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
    Opt::value("--repository", "URL", Complete::Files, text, "the git repository of the registry");
static BRANCH: Opt<String> =
    Opt::value("--branch", "NAME", Complete::Nothing, text, "its branch").or("main");
static KEY: Opt<PathBuf> = Opt::path("--key", "FILE", "sign registry.json with this minisign key");

pub(super) static RECONCILE: Command<Parsed> = Command {
    name: "reconcile",
    also: &[],
    operands: Operands::new("--host=HOST --repository=URL", Complete::Nothing),
    help: "record what is published and push registry.json, of one tag or of all",
    about: "It can be run again at any time: what is recorded already is left alone.",
    options: &[&TAG.row, &HOST.row, &REPOSITORY.row, &BRANCH.row, &RECORDS.row, &KEY.row],
    examples: &[(
        "joblet-publish reconcile --host github:owner/repo --repository https://github.com/owner/repo",
        "all that is published there",
    )],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        Ok(Parsed::Reconcile(Reconcile {
            tag: call.value(&TAG)?,
            host: call.needed(&HOST)?,
            repository: call.needed(&REPOSITORY)?,
            branch: call.needed(&BRANCH)?,
            records: call.needed(&RECORDS)?,
            key: call.value(&KEY)?,
        }))
    }),
};
