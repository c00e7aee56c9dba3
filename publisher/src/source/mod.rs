//! `runtimes-src/NAME/manifest.yaml`: the manifest of a runtime.
//!
//! In: a manifest in YAML. Out: a checked [`Source`].

pub(crate) mod edit;
pub mod import;
pub(crate) mod language;
pub mod reads;
mod rules;
pub mod template;

pub(crate) use rules::{archive_suffix, is_address};

use crate::{
    error::Error,
    fs::{
        below::{self, Below},
        paths,
    },
};
use joblet_format::{Arch, Checksum, Platform, RuntimeName, Version, nearest, unique_map};
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.yaml";

/// Largest total size of `files`, in bytes: they are kept beside each record. Larger data belongs in an
/// upstream archive.
const MAX_FILES: u64 = 1 << 30;

/// Packages of every Debian tree, which apt would assume to be installed.
pub const BASE_PACKAGES: [&str; 27] = [
    "bash", "dash", "coreutils", "grep", "sed", "gawk", "findutils", "diffutils", "tar", "gzip",
    "xz-utils", "bzip2", "curl", "wget", "ca-certificates", "libc-bin", "libstdc++6", "tzdata",
    "netbase", "util-linux", "hostname", "procps", "perl-base", "ncurses-base", "ncurses-bin",
    "less", "usr-is-merged", // instead of usrmerge, which needs Perl
];

/// A valid manifest.
///
/// Format (YAML), keys beside `name`, `version` and `platforms` optional; unknown and duplicate
/// keys are refused:
///
/// ```yaml
/// name: python-3.11              # = the directory
/// version: 1.4.0
/// description: one line for people
/// platforms: [ubuntu-amd64, ubuntu-arm64]
/// debian: { suite: bookworm, packages: [python3.11] }     # plus BASE_PACKAGES
/// python: { version: "3.11", before: 2024-01-01, compile: true, packages: [numpy==1.26.2] }
/// image: { path: ../../images:tool }         # an image of containers, below all others; see Image
/// urls: [{ into: opt/x, strip: 1, amd64: "https://….tar.gz", arm64: "https://…",
///          sha256: { amd64: … } }]  # published by upstream; locks an archive that cannot be fetched
/// files: files/                  # a directory beside the manifest, copied last
/// links: { usr/bin/python3: python3.11 }    # "{deb_arch}", "{multiarch}" are replaced, here
/// environment: { PATH: "/usr/bin:/bin" }    # and here
/// workdir: /app                  # where jobs start, instead of /work
/// exclude: ["usr/share/doc/**"]  # files of packages to leave out
/// run: [[dot, -c]]               # commands run in the tree, as jobs; their changes become part of it
/// postinst: { git: ignore }      # a maintainer script that is not needed, or done by `run`
/// allow_missing: [libcuda.so.1]
/// check: [[python3, -c, "import numpy"]]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The runtime.
    pub name: RuntimeName,
    /// The version to build.
    pub version: Version,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The hosts it is declared for; their architectures are the ones built.
    pub platforms: Vec<Platform>,
    /// Debian packages.
    pub debian: Option<Debian>,
    /// Python wheels.
    pub python: Option<Python>,
    /// An image of containers.
    pub image: Option<Image>,
    /// Upstream archives.
    #[serde(default)]
    pub urls: Vec<Url>,
    /// A directory beside the manifest that is copied over everything else.
    pub files: Option<String>,
    /// Symbolic links: path below the root → target.
    #[serde(default, deserialize_with = "unique_map")]
    pub links: BTreeMap<String, String>,
    /// Environment variables of every job.
    #[serde(default, deserialize_with = "unique_map")]
    pub environment: BTreeMap<String, String>,
    /// The directory that jobs start in, instead of `/work`.
    pub workdir: Option<String>,
    /// The image's settings of containers, during a build.
    #[serde(skip)]
    pub inherited: Inherited,
    /// Patterns of paths of packages to leave out: `*` and `?` within a component, `**` across components.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Commands that complete the tree, run as jobs that may change it.
    #[serde(default)]
    pub run: Vec<Vec<String>>,
    /// Debian packages with maintainer scripts that a build does not run → why they are not needed.
    #[serde(default, deserialize_with = "unique_map")]
    pub postinst: BTreeMap<String, Postinst>,
    /// Sonames that the host provides, and interpreters of scripts that may be missing.
    #[serde(default)]
    pub allow_missing: BTreeSet<String>,
    /// Commands that must succeed in the packed runtime.
    #[serde(default)]
    pub check: Vec<Vec<String>>,
}

/// Why a maintainer script that a build does not run is not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Postinst {
    /// Jobs do not need its effect.
    Ignore,
    /// The manifest's `run`, `links` or `files` have the same effect.
    Run,
}

/// A container image on the host that makes the lock: an OCI layout, its tar file, or an archive of
/// `docker save`.
///
/// ```yaml
/// image: { path: ../../images:tool, digest: "sha256:…", drop: [set-id] }
/// image: { amd64: tool-amd64.tar, arm64: tool-arm64.tar }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its location for all architectures, `PATH` or `PATH:TAG`: relative to the manifest's directory, or absolute.
    pub path: Option<String>,
    /// The location of the image for amd64.
    pub amd64: Option<String>,
    /// The location of the image for arm64.
    pub arm64: Option<String>,
    /// Expected digest of its index, else of its manifest; of an archive of `docker save`, of its configuration.
    pub digest: Option<Checksum>,
    /// Entries to leave out instead of refusing the image. No lock depends on it.
    #[serde(default, skip_serializing)]
    pub drop: BTreeSet<Dropped>,
}

/// Entries of images that runtimes do not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dropped {
    /// Devices and FIFOs.
    Devices,
    /// Set-id bits; the files stay.
    SetId,
    /// Names that are not UTF-8, or contain control characters.
    Names,
}

/// Settings of an image's containers that apply to the runtime, unless the manifest has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// Working directory of jobs.
    pub workdir: Option<String>,
    /// Whether there is an image.
    pub is_image: bool,
}

impl Dropped {
    /// Its word in a manifest.
    pub fn key(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::SetId => "set-id",
            Self::Names => "names",
        }
    }

    /// Its description in messages.
    pub fn what(self) -> &'static str {
        match self {
            Self::Devices => "devices or FIFOs",
            Self::SetId => "files with set-id bits",
            Self::Names => "names that are not plain UTF-8",
        }
    }
}

impl Image {
    /// The location of the image for `arch`.
    pub fn place(&self, arch: Arch) -> Option<&str> {
        let own = match arch {
            Arch::Amd64 => &self.amd64,
            Arch::Arm64 => &self.arm64,
        };
        own.as_deref().or(self.path.as_deref())
    }
}

/// Packages of one Debian suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// The suite's code name, such as `bookworm`.
    pub suite: String,
    /// Package names, `NAME` or `NAME=VERSION`.
    pub packages: Vec<String>,
}

/// Python wheels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// `MAJOR.MINOR` of the interpreter.
    pub version: String,
    /// Only packages uploaded before this day are used: `YYYY-MM-DD`. Required with `packages`.
    #[serde(default)]
    pub before: String,
    /// Whether modules are compiled to `.pyc` files.
    #[serde(default)]
    pub compile: bool,
    /// Requirements, such as `numpy==1.26.2`.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Projects whose files take precedence over equally named files of others. Does not affect locks.
    #[serde(default, skip_serializing)]
    pub prefer: Vec<String>,
}

/// One upstream archive per architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Url {
    /// Directory for its files, below the root.
    pub into: String,
    /// Number of leading path components to remove.
    #[serde(default)]
    pub strip: u32,
    /// The archive for amd64.
    pub amd64: Option<String>,
    /// The archive for arm64.
    pub arm64: Option<String>,
    /// SHA-256 published by upstream: architecture → 64 hex digits. With it, an archive can be locked
    /// without fetching it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique_map")]
    pub sha256: BTreeMap<Arch, String>,
}

impl Python {
    /// The minor version.
    pub(crate) fn minor(&self) -> u32 {
        self.version.strip_prefix("3.").and_then(|minor| minor.parse().ok()).unwrap_or_default()
    }
}

impl Url {
    /// Its address for `arch`.
    pub fn address(&self, arch: Arch) -> Option<&str> {
        match arch {
            Arch::Amd64 => self.amd64.as_deref(),
            Arch::Arm64 => self.arm64.as_deref(),
        }
    }

    /// The SHA-256 published by upstream.
    pub fn expected(&self, arch: Arch) -> Option<Checksum> {
        self.sha256.get(&arch).and_then(|hex| Checksum::from_hex(hex).ok())
    }
}

/// Reads the manifest of `name` below `sources`.
///
/// # Errors
/// [`Error::NotFound`] with the nearest name; [`Error::Config`] as [`parse`] says.
pub fn read(sources: &Path, name: &RuntimeName) -> Result<Source, Error> {
    let path = manifest_path(sources, name);
    let Some(bytes) = paths::read_below(sources, &path)? else {
        if let Some(reason) = absent(sources) {
            return Err(Error::NotFound(format!("no runtime `{name}`: {reason}")));
        }
        let all = names(sources)?;
        let hint = nearest(name.as_str(), all.iter().map(RuntimeName::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let path = path.display();
        return Err(Error::NotFound(format!("no runtime `{name}`: {path} does not exist{hint}")));
    };
    let refused = |reason: String| Error::config(&path, reason);
    let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8".into()))?;
    let source = parse(&text).map_err(refused)?;
    if source.name != *name {
        return Err(refused(format!(
            "has name `{}`; it must be the directory's name",
            source.name
        )));
    }
    Ok(source)
}

/// Why there are no sources, and what to do, if the directory `sources` does not exist.
pub fn absent(sources: &Path) -> Option<String> {
    if sources.exists() {
        return None;
    }
    let shown = sources.display();
    Some(match above(sources) {
        Some(there) => {
            format!("{shown} does not exist here, but is {0}; use --sources {0}", there.display())
        }
        None => format!(
            "{shown} does not exist here; run this in the root of the checkout, or use --sources DIR"
        ),
    })
}

/// The directory that the relative path `sources` would name in a directory above this one, if it names none here.
pub fn above(sources: &Path) -> Option<PathBuf> {
    if sources.is_absolute() || sources.exists() {
        return None;
    }
    let here = std::env::current_dir().ok()?;
    here.ancestors().skip(1).map(|dir| dir.join(sources)).find(|place| place.is_dir())
}

/// The manifest's path.
pub(crate) fn manifest_path(sources: &Path, name: &RuntimeName) -> PathBuf {
    sources.join(name.as_str()).join(MANIFEST)
}

/// The names of all runtimes below `sources`, sorted: directories, and links, which are refused when they
/// are read.
///
/// # Errors
/// [`Error::File`]; [`Error::Config`] for a directory with a manifest whose name is not valid.
pub fn names(sources: &Path) -> Result<Vec<RuntimeName>, Error> {
    let Some(root) = Below::open(sources)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for (name, kind) in root.entries()? {
        let dir = sources.join(&name);
        let parsed = name.to_string_lossy().parse::<RuntimeName>();
        match (kind, parsed) {
            (FileType::Symlink, Ok(name)) => names.push(name),
            (FileType::Directory, parsed) => {
                let below = root.dir(&dir)?;
                let has = below.map_or(Ok(false), |it| it.has(OsStr::new(MANIFEST)))?;
                if has {
                    names.push(parsed.map_err(|error| Error::config(dir, format!("{error}")))?);
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// The content of the directory `files` beside the manifest in `source_dir`, in a fixed order. No link is
/// followed: a link in the path is refused, links inside become part of the runtime.
///
/// # Errors
/// [`Error::Config`] for other kinds of files, and if it is too large; [`Error::File`].
pub(crate) fn own_files(
    source_dir: &Path,
    files: &str,
) -> Result<Vec<(PathBuf, below::Node)>, Error> {
    let dir = source_dir.join(files);
    let root = Below::open(source_dir.parent().unwrap_or(source_dir))?;
    let below = root.map_or(Ok(None), |root| root.dir(&dir))?;
    below.ok_or_else(|| Error::config(&dir, "does not exist"))?.walk(MAX_FILES)
}

/// Parses and checks a manifest.
///
/// # Errors
/// The line and the rule it breaks, with the nearest known key for an unknown one.
pub fn parse(text: &str) -> Result<Source, String> {
    rules::check_text(text)?;
    let source: Source = yaml_serde::from_str(text).map_err(|error| rules::explain(&error))?;
    rules::check(&source)?;
    Ok(source)
}

/// Replaces `{deb_arch}` (amd64) and `{multiarch}` (x86_64-linux-gnu).
///
/// # Errors
/// The unknown placeholder.
pub(crate) fn expand(text: &str, arch: Arch) -> Result<String, String> {
    let text = text.replace("{deb_arch}", arch.as_str()).replace("{multiarch}", multiarch(arch));
    match text.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        Some((unknown, _)) => {
            Err(format!("unknown placeholder {{{unknown}}}; known: {{deb_arch}}, {{multiarch}}"))
        }
        None => Ok(text),
    }
}

/// Debian's multiarch triplet, the directory of an architecture's libraries.
pub(crate) fn multiarch(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64-linux-gnu",
        Arch::Arm64 => "aarch64-linux-gnu",
    }
}

impl Source {
    /// The architectures of its platforms.
    pub fn arches(&self) -> BTreeSet<Arch> {
        self.platforms.iter().map(Platform::arch).collect()
    }

    /// `NAME-VERSION`: the directory in the archive and in a store.
    pub fn directory(&self) -> String {
        self.name.directory(&self.version)
    }

    /// The Debian packages to resolve, with the base list; sorted, each once.
    pub fn packages(&self) -> BTreeSet<&str> {
        let Some(debian) = &self.debian else { return BTreeSet::new() };
        BASE_PACKAGES.into_iter().chain(debian.packages.iter().map(String::as_str)).collect()
    }
}

#[cfg(test)]
mod tests;
