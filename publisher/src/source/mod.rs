//! `runtimes-src/NAME/manifest.yaml`: what a runtime is made of.
//!
//! In: a manifest in YAML. Out: a checked [`Source`].

pub mod import;
mod rules;
pub mod template;

pub use rules::{archive_suffix, is_address};

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

/// Most bytes that `files` may have: they are kept beside each record. More belongs into an archive.
const MAX_FILES: u64 = 1 << 30;

/// Packages that every Debian tree gets: nothing else pulls them in when no package is installed yet.
pub const BASE_PACKAGES: [&str; 27] = [
    "bash",
    "dash",
    "coreutils",
    "grep",
    "sed",
    "gawk",
    "findutils",
    "diffutils",
    "tar",
    "gzip",
    "xz-utils",
    "bzip2",
    "curl",
    "wget",
    "ca-certificates",
    "libc-bin",
    "libstdc++6",
    "tzdata",
    "netbase",
    "util-linux",
    "hostname",
    "procps",
    "perl-base",
    "ncurses-base",
    "ncurses-bin",
    "less",
    "usr-is-merged", // instead of a program that merges them, in Perl
];

/// A manifest that keeps every rule.
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
/// urls: [{ into: opt/x, strip: 1, amd64: "https://….tar.gz", arm64: "https://…",
///          sha256: { amd64: … } }]  # as upstream says it, for what cannot be reached everywhere
/// files: files/                  # a directory beside the manifest, copied last
/// links: { usr/bin/python3: python3.11 }    # "{deb_arch}", "{multiarch}" are replaced, here
/// environment: { PATH: "/usr/bin:/bin" }    # and here
/// exclude: ["usr/share/doc/**"]  # what of the packages is left out
/// run: [[dot, -c]]               # finishes the tree, as a job; what it changes becomes part of it
/// postinst: { git: ignore }      # what a maintainer script would do is not missed, or done by `run`
/// allow_missing: [libcuda.so.1]
/// check: [[python3, -c, "import numpy"]]
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The runtime.
    pub name: RuntimeName,
    /// The version that a build makes.
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
    /// Upstream archives.
    #[serde(default)]
    pub urls: Vec<Url>,
    /// A directory beside the manifest that is copied over everything else.
    pub files: Option<String>,
    /// Symbolic links: path below the root → target.
    #[serde(default, deserialize_with = "unique_map")]
    pub links: BTreeMap<String, String>,
    /// Variables of every job.
    #[serde(default, deserialize_with = "unique_map")]
    pub environment: BTreeMap<String, String>,
    /// Patterns of paths of packages that are left out: `*` and `?` within a component, `**` across them.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Commands that finish the tree, as jobs that may change it.
    #[serde(default)]
    pub run: Vec<Vec<String>>,
    /// Debian packages whose maintainer scripts do what no build does → why that is right.
    #[serde(default, deserialize_with = "unique_map")]
    pub postinst: BTreeMap<String, Postinst>,
    /// Sonames that the host brings, and interpreters of scripts that may be missing.
    #[serde(default)]
    pub allow_missing: BTreeSet<String>,
    /// Commands that must succeed in the packed runtime.
    #[serde(default)]
    pub check: Vec<Vec<String>>,
}

/// What becomes of a maintainer script that no build does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Postinst {
    /// No job misses it.
    Ignore,
    /// The manifest's `run`, `links` or `files` do it.
    Run,
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

/// Wheels for one Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// `MAJOR.MINOR` of the interpreter.
    pub version: String,
    /// Nothing uploaded on or after this day is used: `YYYY-MM-DD`. Needed with `packages` alone.
    #[serde(default)]
    pub before: String,
    /// Whether `.pyc` files are made.
    #[serde(default)]
    pub compile: bool,
    /// Requirements, such as `numpy==1.26.2`.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Projects whose files stay where another project's have the same names. No lock depends on it.
    #[serde(default, skip_serializing)]
    pub prefer: Vec<String>,
}

/// One upstream archive per architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Url {
    /// Where its files go, below the root.
    pub into: String,
    /// How many leading path components are dropped.
    #[serde(default)]
    pub strip: u32,
    /// The archive for amd64.
    pub amd64: Option<String>,
    /// The archive for arm64.
    pub arm64: Option<String>,
    /// The hash that upstream says each has: architecture → 64 hex digits. So it can be locked where
    /// it cannot be reached.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique_map")]
    pub sha256: BTreeMap<Arch, String>,
}

impl Python {
    /// The second number of its version.
    pub fn minor(&self) -> u32 {
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

    /// What upstream says its hash is.
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
        return Err(refused(format!("says name `{}`; it must be the directory's", source.name)));
    }
    Ok(source)
}

/// The manifest's path.
pub fn manifest_path(sources: &Path, name: &RuntimeName) -> PathBuf {
    sources.join(name.as_str()).join(MANIFEST)
}

/// Every runtime below `sources`, sorted. What is not a directory is none, but a link that has the name
/// of a runtime is refused where that is read.
///
/// # Errors
/// [`Error::File`]; [`Error::Config`] for a directory with a manifest whose name is none.
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

/// What is in the directory `files` beside the manifest in `source_dir`, in a fixed order. No link is
/// followed: one on the way is refused, those inside are part of the runtime.
///
/// # Errors
/// [`Error::Config`] for what is not a file, directory or link, or too much; [`Error::File`].
pub fn own_files(source_dir: &Path, files: &str) -> Result<Vec<(PathBuf, below::Node)>, Error> {
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
/// The placeholder that is not known.
pub fn expand(text: &str, arch: Arch) -> Result<String, String> {
    let text = text.replace("{deb_arch}", arch.as_str()).replace("{multiarch}", multiarch(arch));
    match text.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        Some((unknown, _)) => {
            Err(format!("unknown placeholder {{{unknown}}}; known: {{deb_arch}}, {{multiarch}}"))
        }
        None => Ok(text),
    }
}

/// Debian's name for the directory of an architecture's libraries.
pub fn multiarch(arch: Arch) -> &'static str {
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
