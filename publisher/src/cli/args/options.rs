//! Options that several commands share.

use crate::release::Tag;
use joblet_cli::{Call, Complete, Opt, Usage, positive, utf8};
use joblet_format::Arch;
use std::ffi::OsStr;
use std::num::NonZero;
use std::path::PathBuf;

/// Completion of runtimes with sources.
pub(super) const NAMES: Complete = Complete::Directory("runtimes-src");
/// Completion of runtimes with records.
pub(super) const RECORDED: Complete = Complete::Directory("registry-site/records");

pub(super) static ALL: Opt<()> = Opt::switch("--all", "every runtime below the sources directory");
pub(super) static SOURCES: Opt<PathBuf> =
    Opt::path("--sources", "DIR", "directory of NAME/manifest.yaml").or("runtimes-src");
pub(super) static OUT: Opt<PathBuf> =
    Opt::path("--out", "DIR", "directory of archives and records/").or("dist");
pub(super) static RECORDS: Opt<PathBuf> =
    Opt::path("--records", "DIR", "the published records").or("registry-site/records");
pub(super) static CACHE: Opt<PathBuf> =
    Opt::path("--cache", "DIR", "cache of fetched inputs; default: the user's");
pub(super) static OFFLINE: Opt<()> =
    Opt::switch("--offline", "fetch nothing: every input must be in the cache");
pub(super) static JSON: Opt<()> = Opt::switch("--json", "print the report as JSON");
pub(super) static JOBS: Opt<NonZero<usize>> = Opt::value(
    "--jobs",
    "N",
    Complete::Nothing,
    positive,
    "number of threads; default: the number of processors",
);
pub(super) static MIRROR: Opt<String> = Opt::value(
    "--mirror",
    "URL",
    Complete::Nothing,
    utf8,
    "base address of debian/ and debian-security/; default: that of the host's apt",
);
pub(super) static JOBLET_EXEC: Opt<PathBuf> = Opt::path(
    "--joblet-exec", "FILE", "the joblet-exec to use",
)
.about("Without it: $JOBLET_EXEC, the one beside this program, dist/bin, or the one in PATH.");
pub(super) static TAG: Opt<Tag> = Opt::value(
    "--tag",
    "TAG",
    Complete::Nothing,
    tag,
    "NAME@X.Y.Z, or vX.Y.Z for every runtime of that version",
);
pub(super) static HOST: Opt<String> = Opt::value(
    "--host",
    "HOST",
    Complete::Files,
    utf8,
    "github:OWNER/REPO, or a directory used as a release host",
);
pub(super) static KEY: Opt<PathBuf> =
    Opt::path("--key", "FILE", "the secret key, as keygen or minisign wrote it")
        .about("Without it: the key itself in $JOBLET_PUBLISH_SIGN_KEY.");
pub(super) static PASSWORD_FILE: Opt<PathBuf> =
    Opt::path("--password-file", "FILE", "the key's password")
        .about("Without it: $JOBLET_PUBLISH_SIGN_PASSWORD, or else a prompt on the terminal.");

pub(super) static EXPIRES: Opt<NonZero<u32>> = Opt::value(
    "--expires",
    "DAYS",
    Complete::Nothing,
    positive,
    "validity of the signature in days",
)
.about("Without it: that of the signature which it replaces, else unlimited.");

/// `--key`, `--password-file` and `--expires`: the key that signs a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signing {
    /// The secret key.
    pub key: Option<PathBuf>,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// Validity of signatures, in days.
    pub expires: Option<NonZero<u32>>,
}

pub(super) fn signing(call: &mut Call) -> Result<Signing, Usage> {
    let (key, password_file) = (call.value(&KEY)?, call.value(&PASSWORD_FILE)?);
    Ok(Signing { key, password_file, expires: None })
}

/// As [`signing`], with `--expires`: of the commands that write signatures.
pub(super) fn signing_until(call: &mut Call) -> Result<Signing, Usage> {
    Ok(Signing { expires: call.value(&EXPIRES)?, ..signing(call)? })
}

/// The option `--arch`, with a text for its default.
pub(super) const fn arch(help: &'static str) -> Opt<Vec<Arch>> {
    Opt::choice("--arch", "amd64|arm64|all", arches, help).or("all")
}

/// The architectures of `--arch`; empty for all.
fn arches(word: &OsStr) -> Result<Vec<Arch>, String> {
    let one = || word.to_str().and_then(|word| word.parse().ok());
    match one() {
        _ if word == "all" => Ok(Vec::new()),
        Some(arch) => Ok(vec![arch]),
        None => Err(format!("{word:?} is not one of amd64, arm64, all")),
    }
}

fn tag(word: &OsStr) -> Result<Tag, String> {
    utf8(word)?.parse()
}
