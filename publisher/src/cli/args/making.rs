//! `new`, `lock`, `build` and `check`, which make runtimes.

use super::Command as Parsed;
use super::options::{
    ALL, CACHE, JOBLET_EXEC, JOBS, JSON, MIRROR, NAMES, OFFLINE, OUT, RECORDS, SOURCES, arch,
};
use crate::error::shown;
use crate::pack::MAX_PART;
use crate::source::MANIFEST;
use joblet_cli::{Action, Call, Command, Complete, Operands, Opt, Status, Usage, utf8};
use joblet_format::{Arch, NameError, RuntimeName};
use std::ffi::OsStr;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// A selection of runtimes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Every directory with a manifest.
    All,
    /// These runtimes.
    Names(Vec<RuntimeName>),
}

/// `lock`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lock {
    /// The runtimes.
    pub selection: Selection,
    /// The directory of sources.
    pub sources: PathBuf,
    /// Resolve only these architectures and keep the others as locked; all of the manifest if empty.
    pub arches: Vec<Arch>,
    /// Address of the Debian mirror.
    pub mirror: Option<String>,
    /// Directory of the cache; default the user's.
    pub cache: Option<PathBuf>,
}

/// `build`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Build {
    /// The runtimes.
    pub selection: Selection,
    /// The directory of sources.
    pub sources: PathBuf,
    /// Build only these architectures; all of the manifest if empty.
    pub arches: Vec<Arch>,
    /// Output directory of archives and records.
    pub out: PathBuf,
    /// Directory of published records, whose times are kept.
    pub records: PathBuf,
    /// Address of the archives' directory for `download_url`; default relative to the registry.
    pub base_url: Option<String>,
    /// Maximum size of a part; larger archives are split. In bytes.
    pub part_size: u64,
    /// Whether to generate zstd frames too.
    pub zstd: bool,
    /// Options for building trees.
    pub making: Making,
    /// Report as JSON.
    pub json: bool,
    /// Refuse maintainer scripts without an answer in the manifest.
    pub release: bool,
}

/// Options for building a tree, shared by `build` and `verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Making {
    /// Directory of the cache; default the user's.
    pub cache: Option<PathBuf>,
    /// Number of threads; default the number of processors.
    pub jobs: Option<NonZero<usize>>,
    /// Fetch nothing.
    pub offline: bool,
    /// Address of the Debian mirror.
    pub mirror: Option<String>,
    /// The `joblet-exec` that compiles Python modules.
    pub joblet_exec: Option<PathBuf>,
}

/// `check`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// The runtimes.
    pub selection: Selection,
    /// The directory of sources.
    pub sources: PathBuf,
    /// Check these architectures, or fail; if empty, all that were built and can run on this host.
    pub arches: Vec<Arch>,
    /// The output directory of `build`.
    pub out: PathBuf,
    /// The `joblet-exec` to use.
    pub joblet_exec: Option<PathBuf>,
    /// Record what the commands read.
    pub record: bool,
}

/// `new`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct New {
    /// The runtime.
    pub name: RuntimeName,
    /// The directory of sources.
    pub sources: PathBuf,
    /// The project's requirements or lock to import.
    pub from: Option<PathBuf>,
    /// The image to import.
    pub image: Option<PathBuf>,
}

static FROM_IMAGE: Opt<PathBuf> = Opt::path(
    "--from-image",
    "PATH[:TAG]",
    "a container image: an OCI layout, its tar file, or a file of docker save",
);
static FROM: Opt<PathBuf> = Opt::path(
    "--from",
    "FILE",
    "requirements.txt, pyproject.toml, uv.lock, pylock.toml or an old manifest.yaml",
);

pub(super) static NEW: Command<Parsed> = Command {
    name: "new",
    also: &[],
    operands: Operands::new("NAME", Complete::Nothing),
    help: "write a new runtimes-src/NAME/manifest.yaml",
    about: "Existing files are not overwritten.",
    options: &[&SOURCES.row, &FROM.row, &FROM_IMAGE.row],
    examples: &[
        ("joblet-publish new tools-1", "runtimes-src/tools-1/manifest.yaml"),
        (
            "joblet-publish new my-app --from ../app/uv.lock",
            "a runtime for a project, with the versions of its lock",
        ),
        ("joblet-publish new tool-1 --from-image images:tool", "a runtime from an image"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let (sources, from) = (call.needed(&SOURCES)?, call.value(&FROM)?);
        let image = call.value(&FROM_IMAGE)?;
        if from.is_some() && image.is_some() {
            return Err(Usage("--from and --from-image are two beginnings; name one".into()));
        }
        match <[RuntimeName; 1]>::try_from(names(call, &sources)?) {
            Ok([name]) => Ok(Parsed::New(New { name, sources, from, image })),
            Err(_) => Err(Usage("new needs one NAME".into())),
        }
    }),
};

static ARCH: Opt<Vec<Arch>> = arch("which architectures of the manifest");

pub(super) static LOCK: Command<Parsed> = Command {
    name: "lock",
    also: &[],
    operands: Operands::new("NAME…|--all", NAMES),
    help: "resolve every input and write versions.lock",
    about: "It needs apt-get and, for manifests with python, uv.",
    options: &[&ALL.row, &SOURCES.row, &ARCH.row, &CACHE.row, &MIRROR.row],
    examples: &[
        ("joblet-publish lock python-3.11", "runtimes-src/python-3.11/versions.lock"),
        ("joblet-publish lock python-3.11 --arch arm64", "the other architecture is kept"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let sources = call.needed(&SOURCES)?;
        Ok(Parsed::Lock(Lock {
            selection: selection(call, &sources)?,
            sources,
            arches: call.needed(&ARCH)?,
            mirror: call.value(&MIRROR)?,
            cache: call.value(&CACHE)?,
        }))
    }),
};

static BASE_URL: Opt<String> = Opt::value(
    "--base-url",
    "URL",
    Complete::Nothing,
    base_url,
    "address at which the archives will be published, instead of beside registry.json",
);
pub(super) static PART_SIZE: Opt<u64> = Opt::value(
    "--part-size",
    "BYTES",
    Complete::Nothing,
    part_size,
    "split larger archives into parts",
)
.or("2147483647");

static RELEASE: Opt<()> =
    Opt::switch("--release", "refuse maintainer scripts without an answer in the manifest");
static ZSTD: Opt<()> = Opt::switch(
    "--zstd",
    "also write OUT/NAME-VERSION-ARCH.tar.zst, which is smaller; about 2.5 MB/s per processor",
);

pub(super) static BUILD: Command<Parsed> = Command {
    name: "build",
    also: &[],
    operands: Operands::new("NAME…|--all", NAMES),
    help: "build OUT/NAME-VERSION-ARCH.tar.gz, its index and OUT/records/NAME/VERSION.json",
    about: "The bytes depend only on the manifest and its lock. Unchanged archives are not built again. A version that \
            OUT/registry.json offers with other bytes is not overwritten.",
    options: &[
        &ALL.row, &SOURCES.row, &ARCH.row, &OUT.row, &CACHE.row, &JOBS.row, &OFFLINE.row,
        &BASE_URL.row, &PART_SIZE.row, &ZSTD.row, &JOBLET_EXEC.row, &MIRROR.row, &RECORDS.row,
        &RELEASE.row, &JSON.row,
    ],
    examples: &[
        ("joblet-publish build python-3.11 --arch amd64", "one archive, in dist"),
        ("joblet-publish build --all --offline", "all runtimes, from cached inputs"),
    ],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let sources = call.needed(&SOURCES)?;
        Ok(Parsed::Build(Build {
            selection: selection(call, &sources)?,
            sources,
            arches: call.needed(&ARCH)?,
            out: call.needed(&OUT)?,
            records: call.needed(&RECORDS)?,
            base_url: call.value(&BASE_URL)?,
            part_size: call.needed(&PART_SIZE)?,
            zstd: call.switch(&ZSTD),
            making: making(call)?,
            json: call.switch(&JSON),
            release: call.switch(&RELEASE),
        }))
    }),
};

static RUNNABLE: Opt<Vec<Arch>> =
    arch("which architectures; all: this machine's and those that qemu-user can run");

static RECORD_READS: Opt<()> = Opt::switch(
    "--record-reads",
    "write reads.txt beside the manifest: the files that run --lazy fetches first",
);

pub(super) static CHECK: Command<Parsed> = Command {
    name: "check",
    also: &[],
    operands: Operands::new("NAME…|--all", NAMES),
    help: "run the manifest's check commands in the packed runtime",
    about: "Each runs in a sandbox without a network, as a job of joblet-exec.",
    options: &[
        &ALL.row, &SOURCES.row, &RUNNABLE.row, &OUT.row, &JOBLET_EXEC.row, &RECORD_READS.row,
    ],
    examples: &[("joblet-publish check python-3.11", "the output of build in dist")],
    status: Status::OfProgram,
    action: Action::Call(|call| {
        let sources = call.needed(&SOURCES)?;
        Ok(Parsed::Check(Check {
            selection: selection(call, &sources)?,
            sources,
            arches: call.needed(&RUNNABLE)?,
            out: call.needed(&OUT)?,
            joblet_exec: call.value(&JOBLET_EXEC)?,
            record: call.switch(&RECORD_READS),
        }))
    }),
};

pub(super) fn making(call: &mut Call) -> Result<Making, Usage> {
    Ok(Making {
        cache: call.value(&CACHE)?,
        jobs: call.value(&JOBS)?,
        offline: call.switch(&OFFLINE),
        mirror: call.value(&MIRROR)?,
        joblet_exec: call.value(&JOBLET_EXEC)?,
    })
}

fn base_url(word: &OsStr) -> Result<String, String> {
    let base = utf8(word)?;
    match shown::secret(&base) {
        Some(secret) => Err(format!("it has {secret}, and records are public")),
        None => Ok(base),
    }
}

fn part_size(word: &OsStr) -> Result<u64, String> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    let number = number.filter(|size| (1..=MAX_PART).contains(size));
    number.ok_or_else(|| format!("{word:?} is not a number from 1 to {MAX_PART}"))
}

/// The operands, names of runtimes with manifests below `sources`.
///
/// # Errors
/// The first that is not a name, with what may have been meant.
fn names(call: &mut Call, sources: &Path) -> Result<Vec<RuntimeName>, Usage> {
    let (words, command) = (call.operands(), call.command());
    let words = words.iter().map(|word| word.to_string_lossy());
    words
        .map(|word| word.parse().map_err(|error| not_a_name(command, &word, &error, sources)))
        .collect()
}

fn not_a_name(command: &str, word: &str, error: &NameError, sources: &Path) -> Usage {
    let is_name = |text: &str| text.parse::<RuntimeName>().is_ok();
    if let Some((name, _)) = word.split_once('@').filter(|(name, _)| is_name(name)) {
        return Usage(format!(
            "{word:?}: the version is that of the manifest; did you mean `{name}`?"
        ));
    }
    if !word.contains('/') {
        return Usage(error.to_string());
    }
    let path = Path::new(word);
    let dir = if path.ends_with(MANIFEST) { path.parent().unwrap_or(path) } else { path };
    let own = |path: &Path| path.strip_prefix(".").unwrap_or(path).to_owned();
    let of_sources = dir.parent().is_some_and(|parent| own(parent) == own(sources));
    let name = dir.file_name().map(|name| name.to_string_lossy()).filter(|name| is_name(name));
    Usage(match name.filter(|_| of_sources) {
        Some(name) => format!("{word:?} is a path; did you mean `{name}`?"),
        None if matches!(command, "build" | "check") => {
            format!(
                "{word:?} is not a runtime's name; archives are in --out DIR, manifests in --sources DIR"
            )
        }
        None => format!("{word:?} is not a runtime's name; manifests are in --sources DIR"),
    })
}

pub(super) fn selection(call: &mut Call, sources: &Path) -> Result<Selection, Usage> {
    match (names(call, sources)?, call.switch(&ALL)) {
        (names, true) if names.is_empty() => Ok(Selection::All),
        (_, true) => Err(Usage("give names or --all, not both".into())),
        (names, false) if names.is_empty() => {
            Err(Usage(format!("{} needs a runtime's NAME or --all", call.command())))
        }
        (names, false) => Ok(Selection::Names(names)),
    }
}
