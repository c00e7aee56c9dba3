//! Environment variables, clock and processors. Each variable's name is declared only here.
//!
//! In: this process's environment. Out: values of variables, default paths, the time, parallel work.

pub(crate) mod cores;
pub mod terminal;

use joblet_format::Timestamp;
use std::{
    env::var_os,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// Base address of the mirrors `debian/` and `debian-security/`.
pub(crate) const DEBIAN_MIRROR: &str = "JOBLET_PUBLISH_DEBIAN_MIRROR";
/// Address of a snapshot service: `ADDRESS/archive/ARCHIVE/TIME/pool/…`. Tried after the mirror.
pub(crate) const DEBIAN_SNAPSHOT: &str = "JOBLET_PUBLISH_DEBIAN_SNAPSHOT";
/// A file with the public keys of a mirror that signs its package lists itself.
pub(crate) const DEBIAN_KEYRING: &str = "JOBLET_PUBLISH_DEBIAN_KEYRING";
/// Address of a store of inputs, each named by its SHA-256 in hex. Tried last.
pub(crate) const INPUT_STORE: &str = "JOBLET_PUBLISH_INPUT_STORE";
/// Variables with the address of the Python package index; the first that is set counts.
pub(crate) const INDEX: [&str; 3] = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"];
/// Variables with addresses of more indexes.
pub(crate) const MORE_INDEXES: [&str; 3] =
    ["UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"];
/// Variables with directories of wheels.
pub(crate) const FIND_LINKS: [&str; 2] = ["UV_FIND_LINKS", "PIP_FIND_LINKS"];
/// pip's configuration file.
pub(crate) const PIP_CONFIG_FILE: &str = "PIP_CONFIG_FILE";
/// The secret key that signs a registry, as text, for example from a secret of a CI workflow.
pub(crate) const SIGN_KEY: &str = "JOBLET_PUBLISH_SIGN_KEY";
/// The password of the key that signs a registry.
pub(crate) const SIGN_PASSWORD: &str = "JOBLET_PUBLISH_SIGN_PASSWORD";
/// The `joblet-exec` that `check` and `build` run.
pub(crate) const JOBLET_EXEC: &str = "JOBLET_EXEC";

/// Makes `joblet-exec` use runtimes of another architecture.
pub(crate) const JOBLET_EXEC_ARCH: &str = "JOBLET_EXEC_ARCH";
/// Makes `joblet-exec` write what a served job reads.
pub(crate) const JOBLET_EXEC_READS: &str = "JOBLET_EXEC_READS";
/// The profile of a host's jobs, which would give those of a build a network and the host's files.
pub(crate) const JOBLET_EXEC_PROFILE: &str = "JOBLET_EXEC_PROFILE";

/// Environment variables, for the manual page.
pub(crate) const VARIABLES: [(&str, &str); 16] = [
    (DEBIAN_MIRROR, "as --mirror"),
    (DEBIAN_SNAPSHOT, "a Debian snapshot service, for packages that the mirror no longer has"),
    (
        DEBIAN_KEYRING,
        "a file with the keys that sign the mirror's package lists, instead of Debian's",
    ),
    (INPUT_STORE, "the address of a store of inputs, each named by its SHA-256; tried last"),
    (JOBLET_EXEC, "as --joblet-exec"),
    (SIGN_KEY, "the secret key that signs registry.json, as text, instead of --key"),
    (SIGN_PASSWORD, "its password"),
    ("UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL", "the package index of Python"),
    ("UV_INDEX, UV_EXTRA_INDEX_URL, PIP_EXTRA_INDEX_URL", "more indexes"),
    ("UV_FIND_LINKS, PIP_FIND_LINKS", "directories with wheels"),
    (PIP_CONFIG_FILE, "a configuration file of pip"),
    ("HOME", "below it are the cache and the configuration of pip and uv"),
    ("XDG_CACHE_HOME", "fetched inputs are in joblet-publish below it"),
    ("LC_ALL, LC_CTYPE, LANG", "a terminal gets ASCII if they name a locale without UTF-8"),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "the proxy to use, and where to use none"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "the certificates to trust instead of the host's"),
];

/// Files that are read or written by default, for the manual page.
pub(crate) const FILES: [(&str, &str); 6] = [
    ("runtimes-src/NAME/manifest.yaml", "what a runtime is made of"),
    ("runtimes-src/NAME/versions.lock", "the exact files that it is made of, as lock wrote them"),
    ("dist", "archives, their indexes and records, as build wrote them"),
    ("registry-site/records", "records of what is published"),
    ("registry.json", "the registry, and registry.json.minisig its signature"),
    ("$XDG_CACHE_HOME/joblet-publish, ~/.cache/joblet-publish", "fetched inputs, by sha256"),
];

/// The value of a variable; an empty one counts as unset.
pub(crate) fn var(name: &str) -> Option<String> {
    var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

/// The directory of fetched inputs without `--cache`.
pub(crate) fn default_cache() -> Option<PathBuf> {
    let cache = match var("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(cache) => cache,
        None => PathBuf::from(var("HOME")?).join(".cache"),
    };
    Some(cache.join("joblet-publish"))
}

/// Paths of the configuration `file` of `program`: the user's, then the system's.
pub(crate) fn config_files(program: &str, file: &str) -> Vec<PathBuf> {
    let user = var("XDG_CONFIG_HOME").map(PathBuf::from);
    let user = user.or_else(|| Some(PathBuf::from(var("HOME")?).join(".config")));
    let system = ["/etc/xdg", "/etc"].map(PathBuf::from);
    let dirs = user.into_iter().chain(system);
    dirs.map(|dir| dir.join(program).join(file)).collect()
}

/// The directories of `PATH`.
pub(crate) fn path() -> Vec<PathBuf> {
    var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The day after this one, `YYYY-MM-DD`: everything that was uploaded until now is from before it.
pub(crate) fn tomorrow() -> String {
    let day: Timestamp = (SystemTime::now() + Duration::from_secs(24 * 60 * 60)).into();
    day.to_string().chars().take(10).collect()
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}
