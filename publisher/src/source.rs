//! `runtimes-src/NAME/manifest.yaml`: what a runtime is made of.

use crate::{error::Error, fsx};
use joblet_format::{Arch, Checksum, Platform, RuntimeName, Version, nearest, unique_map};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.yaml";

/// Packages that every Debian tree gets: nothing else pulls them in when no package is installed yet.
pub const BASE_PACKAGES: [&str; 17] = [
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
    "curl",
    "wget",
    "ca-certificates",
    "libc-bin",
    "libstdc++6",
    "tzdata",
    "netbase",
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
/// links: { usr/bin/python3: python3.11 }    # "{deb_arch}", "{multiarch}" are replaced, here,
/// environment: { PATH: "/usr/bin:/bin" }    # here
/// allow_missing: [libcuda.so.1]             # and here
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
    /// Sonames that the host brings.
    #[serde(default)]
    pub allow_missing: BTreeSet<String>,
    /// Commands that must succeed in the packed runtime.
    #[serde(default)]
    pub check: Vec<Vec<String>>,
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
    /// Nothing uploaded on or after this day is used: `YYYY-MM-DD`.
    pub before: String,
    /// Whether `.pyc` files are made.
    #[serde(default)]
    pub compile: bool,
    /// Requirements, such as `numpy==1.26.2`.
    pub packages: Vec<String>,
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
    pub fn promised(&self, arch: Arch) -> Option<Checksum> {
        self.sha256.get(&arch).and_then(|hex| Checksum::from_hex(hex).ok())
    }
}

/// Reads the manifest of `name` below `sources`.
///
/// # Errors
/// [`Error::NotFound`] with the nearest name; [`Error::Config`] as [`parse`] says.
pub fn read(sources: &Path, name: &RuntimeName) -> Result<Source, Error> {
    let path = manifest_path(sources, name);
    let Some(bytes) = fsx::read_if_there(&path)? else {
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

/// Every runtime below `sources`, sorted.
///
/// # Errors
/// [`Error::File`]; [`Error::Usage`] for a directory whose name is none.
pub fn names(sources: &Path) -> Result<Vec<RuntimeName>, Error> {
    let mut names = Vec::new();
    for dir in fsx::list(sources)?.iter().filter(|dir| dir.join(MANIFEST).is_file()) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        names.push(name.parse().map_err(|error| Error::config(dir, format!("{error}")))?);
    }
    Ok(names)
}

/// Parses and checks a manifest.
///
/// # Errors
/// The line and the rule it breaks, with the nearest known key for an unknown one.
pub fn parse(text: &str) -> Result<Source, String> {
    let source: Source = serde_yaml::from_str(text).map_err(|error| explain(&error))?;
    check(&source)?;
    Ok(source)
}

/// Rewords what the YAML engine says about a key, and puts the line first.
fn explain(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let line = error.location().map_or_else(String::new, |at| format!("line {}: ", at.line()));
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    // serde's words: "debian: unknown field `x`, expected one of `suite`, `packages`"
    let Some((place, rest)) = text.split_once("unknown field `") else {
        // A rule of ours (`"1.0" is not a version`) is reported at the start of the whole map.
        let line = if text.contains(" is not a ") { String::new() } else { line };
        return format!("{line}{}", text.replace("duplicate field", "duplicate key"));
    };
    let mut quoted = rest.split('`');
    let key = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let hint = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    format!("{line}{place}unknown key `{key}`; {hint}")
}

/// The rules that types alone do not express.
fn check(source: &Source) -> Result<(), String> {
    if source.platforms.is_empty() {
        return Err("platforms: at least one is needed, such as ubuntu-amd64".into());
    }
    if source.description.contains('\n') {
        return Err("description: must be one line".into());
    }
    if let Some(debian) = &source.debian {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if debian.suite.is_empty() || !debian.suite.bytes().all(plain) {
            return Err(format!("debian.suite: {:?} is no code name", debian.suite));
        }
        for package in &debian.packages {
            if !is_package(package) {
                return Err(format!(
                    "debian.packages: {package:?} is neither NAME nor NAME=VERSION"
                ));
            }
        }
    }
    source.python.as_ref().map_or(Ok(()), check_python)?;
    source.urls.iter().try_for_each(check_url)?;
    let paths = source.links.keys().map(|path| ("links", path));
    let paths = paths.chain(source.urls.iter().map(|url| ("urls.into", &url.into)));
    for (key, path) in paths.chain(source.files.iter().map(|path| ("files", path))) {
        check_path(path.trim_end_matches('/')).map_err(|rule| format!("{key}: {path:?} {rule}"))?;
    }
    if let Some((path, _)) = source.links.iter().find(|(_, target)| target.is_empty()) {
        return Err(format!("links: {path:?} has no target"));
    }
    if source.check.iter().any(|command| command.first().is_none_or(String::is_empty)) {
        return Err("check: each command is a list of words, such as [python3, --version]".into());
    }
    for text in source.links.iter().flat_map(|(path, target)| [path, target]) {
        expand(text, Arch::Amd64).map_err(|rule| format!("links: {rule}"))?;
    }
    for text in source.environment.values() {
        expand(text, Arch::Amd64).map_err(|rule| format!("environment: {rule}"))?;
    }
    Ok(())
}

fn check_python(python: &Python) -> Result<(), String> {
    if python.minor() == 0 {
        return Err(format!("python.version: {:?} is not a version like 3.11", python.version));
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let lengths: Vec<usize> = python.before.split('-').map(str::len).collect();
    if lengths != [4, 2, 2] || !python.before.split('-').all(digits) {
        return Err(format!("python.before: {:?} is not a day like 2024-01-01", python.before));
    }
    // A name and what restricts it; no option of uv, no path, no address.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"@/\\#".contains(&byte) || byte == b' ';
    let begins = |text: &str| text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match python.packages.iter().find(|text| !begins(text) || !text.bytes().all(plain)) {
        Some(package) => {
            Err(format!("python.packages: {package:?} is not a requirement like numpy==1.26.2"))
        }
        None => Ok(()),
    }
}

fn check_url(url: &Url) -> Result<(), String> {
    let addresses = [&url.amd64, &url.arm64].into_iter().flatten();
    for address in addresses {
        if !is_address(address) {
            return Err(format!("urls: {address:?} is not an http or https address"));
        }
        if archive_suffix(address).is_none() {
            let known = ARCHIVES.map(|(suffix, _)| suffix).join(", ");
            return Err(format!("urls: {address:?} is no archive; known: {known}"));
        }
    }
    match url.sha256.values().find(|hex| Checksum::from_hex(hex).is_err()) {
        Some(hex) => Err(format!("urls.sha256: {hex:?} is not 64 hex digits")),
        None => Ok(()),
    }
}

/// What the names of archives end with, and how they are compressed, as `data.tar` of a deb says it.
const ARCHIVES: [(&str, &str); 7] = [
    (".tar.gz", ".gz"),
    (".tgz", ".gz"),
    (".tar.xz", ".xz"),
    (".txz", ".xz"),
    (".tar.zst", ".zst"),
    (".tar", ""),
    (".zip", ".zip"),
];

/// How the archive at `address` is compressed: `.gz`, `.xz`, `.zst`, `.zip` or nothing.
pub fn archive_suffix(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    ARCHIVES.iter().find(|(suffix, _)| path.ends_with(suffix)).map(|(_, kind)| *kind)
}

/// Whether it is an http or https address with a host.
pub fn is_address(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_package(text: &str) -> bool {
    let (name, version) = text.split_once('=').unwrap_or((text, "0"));
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let version_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte);
    begins
        && name.len() > 1
        && name.bytes().all(plain)
        && !version.is_empty()
        && version.bytes().all(version_byte)
}

/// Whether `path` stays below the root, by its text alone.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.starts_with('/') {
        return Err("is absolute: it is meant below the root");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err("contains `.`, `..` or an empty component");
    }
    Ok(())
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
mod tests {
    use super::*;

    const FULL: &str = r#"
name: python-3.11-ml
version: 1.4.0
description: Python 3.11 with NumPy
platforms: [ubuntu-amd64, ubuntu-arm64, rhel-amd64]
debian: { suite: bookworm, packages: [python3.11, libstdc++6, "tzdata=2024a-0+deb12u1"] }
python: { version: "3.11", before: 2024-01-01, compile: true, packages: [numpy==1.26.2] }
urls:   [{ into: usr/lib/jvm/graalvm-21, strip: 1, amd64: "https://example.org/a.tar.gz" }]
files:  files/
links:  { usr/bin/python3: python3.11 }
environment: { PATH: "/usr/local/bin:/usr/bin:/bin", THREADS: 1 }
allow_missing: [libcuda.so.1]
check:  [[python3, -c, "import numpy"], [echo, 1]]
"#;

    const SMALL: &str = "name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\n";

    #[test]
    fn every_field_is_read() {
        let source = parse(FULL).unwrap();
        assert_eq!(source.directory(), "python-3.11-ml-1.4.0");
        assert_eq!(source.arches(), BTreeSet::from([Arch::Amd64, Arch::Arm64]));
        assert!(source.packages().contains("python3.11") && source.packages().contains("dash"));
        assert_eq!(source.python.as_ref().unwrap().before, "2024-01-01");
        assert_eq!(source.urls[0].strip, 1);
        assert_eq!(source.links["usr/bin/python3"], "python3.11");
        assert_eq!(source.environment["THREADS"], "1");
        assert_eq!(source.check[1], ["echo", "1"]);
    }

    #[test]
    fn faults_name_line_and_remedy() {
        for (more, message) in [
            ("pakages: []\n", "line 4: unknown key `pakages`; known here: name, version, "),
            ("enviroment: {}\n", "line 4: unknown key `enviroment`; did you mean `environment`?"),
            (
                "debian: { suite: bookworm, pakages: [] }\n",
                "line 4: debian: unknown key `pakages`; did you mean `packages`?",
            ),
            ("version: 1.0.1\n", "duplicate key `version`"),
            ("links: { a: b, a: c }\n", "line 4: links: duplicate key \"a\""),
            ("links: { /a: b }\n", "links: \"/a\" is absolute: it is meant below the root"),
            (
                "links: { a/../b: c }\n",
                "links: \"a/../b\" contains `.`, `..` or an empty component",
            ),
            ("links: { a: '' }\n", "links: \"a\" has no target"),
            ("links: { a: '{arch}' }\n", "links: unknown placeholder {arch}; known: {deb_arch}, "),
            ("files: ../x\n", "files: \"../x\" contains `.`, `..` or an empty component"),
            ("check: [[]]\n", "check: each command is a list of words"),
            ("debian: { suite: ../x, packages: [] }\n", "debian.suite: \"../x\" is no code name"),
            (
                "debian: { suite: b, packages: ['-oX=y'] }\n",
                "debian.packages: \"-oX=y\" is neither NAME nor NAME=VERSION",
            ),
            ("description: \"a\\nb\"\n", "description: must be one line"),
            (
                "python: { version: '2.7', before: 2024-01-01, packages: [] }\n",
                "python.version: \"2.7\" is not a version like 3.11",
            ),
            (
                "python: { version: '3.11', before: 2024-1-1, packages: [] }\n",
                "python.before: \"2024-1-1\" is not a day like 2024-01-01",
            ),
            (
                "python: { version: '3.11', before: 2024-01-01, packages: ['--pre'] }\n",
                "python.packages: \"--pre\" is not a requirement like numpy==1.26.2",
            ),
            (
                "python: { version: '3.11', before: 2024-01-01, packages: ['a @ https://x'] }\n",
                "is not a requirement like numpy==1.26.2",
            ),
            (
                "urls: [{ into: opt, amd64: 'ftp://x/a.tar.gz' }]\n",
                "urls: \"ftp://x/a.tar.gz\" is not an http or https address",
            ),
            (
                "urls: [{ into: opt, amd64: 'https://x/a.7z' }]\n",
                "urls: \"https://x/a.7z\" is no archive; known: .tar.gz, .tgz, .tar.xz",
            ),
            ("urls: [{ into: opt, sha256: { amd64: 00 } }]\n", "is not 64 hex digits"),
        ] {
            let error = parse(&format!("{SMALL}{more}")).unwrap_err();
            assert!(error.contains(message), "{more}: {error}");
        }
        for (from, to, message) in [
            ("1.0.0", "1.0", "\"1.0\" is not a version like 1.4.0"),
            ("ubuntu-amd64", "ubuntu", "\"ubuntu\" is not a platform"),
            ("[ubuntu-amd64]", "[]", "platforms: at least one is needed"),
            ("name: d", "name: D", "\"D\" is not a runtime name"),
        ] {
            let error = parse(&SMALL.replace(from, to)).unwrap_err();
            assert!(error.contains(message), "{to}: {error}");
        }
    }

    #[test]
    fn placeholders_follow_the_architecture() {
        let text = "lib/{multiarch}/x-{deb_arch}";
        assert_eq!(expand(text, Arch::Amd64).unwrap(), "lib/x86_64-linux-gnu/x-amd64");
        assert_eq!(expand(text, Arch::Arm64).unwrap(), "lib/aarch64-linux-gnu/x-arm64");
    }

    #[test]
    fn a_missing_runtime_is_answered_with_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("python-3.11");
        std::fs::create_dir(&made).unwrap();
        std::fs::write(made.join(MANIFEST), SMALL).unwrap();
        let error = read(dir.path(), &"pyhton-3.11".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("did you mean `python-3.11`?"), "{error}");
        let error = read(dir.path(), &"python-3.11".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("says name `d`; it must be the directory's"), "{error}");
    }
}
