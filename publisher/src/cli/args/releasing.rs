//! `plan`, `release` and `reconcile`, which publish versions.

use super::Command as Parsed;
use super::options::{HOST, KEY, OUT, PASSWORD_FILE, RECORDS, SOURCES, Signing, TAG, signing};
use crate::release::Tag;
use joblet_cli::{Action, Command, Complete, Operands, Opt, Status, utf8};
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
    /// Where it will be released, to look at what is there already.
    pub host: Option<String>,
    /// What will sign `registry.json`.
    pub signing: Signing,
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
    /// What signs `registry.json`.
    pub signing: Signing,
}

static RELEASE_BRANCH: Opt<String> =
    Opt::value("--branch", "REF", Complete::Nothing, utf8, "the branch that releases come from")
        .or("origin/main");

pub(super) static PLAN: Command<Parsed> = Command {
    name: "plan",
    also: &[],
    operands: Operands::new("--tag=TAG", Complete::Nothing),
    help: "say what a tag releases, checked, as JSON",
    about: "It runs in a git checkout of the tag. What release and reconcile would refuse when everything \
            is built is refused here: with --host also what is released already, and a key that does not \
            sign.",
    options: &[
        &TAG.row,
        &SOURCES.row,
        &RECORDS.row,
        &RELEASE_BRANCH.row,
        &HOST.row,
        &KEY.row,
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
    Opt::value("--repository", "URL", Complete::Files, utf8, "the git repository of the registry");
static BRANCH: Opt<String> =
    Opt::value("--branch", "NAME", Complete::Nothing, utf8, "its branch").or("main");

pub(super) static RECONCILE: Command<Parsed> = Command {
    name: "reconcile",
    also: &[],
    operands: Operands::new("--host=HOST --repository=URL", Complete::Nothing),
    help: "record what is published and push registry.json, of one tag or of all",
    about: "It can be run again at any time: what is recorded already is left alone. Where registry.json is \
            signed, it is signed again when it changes or its signature does not fit; without the key, \
            that is refused.",
    options: &[
        &TAG.row,
        &HOST.row,
        &REPOSITORY.row,
        &BRANCH.row,
        &RECORDS.row,
        &KEY.row,
        &PASSWORD_FILE.row,
    ],
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
            signing: signing(call)?,
        }))
    }),
};
