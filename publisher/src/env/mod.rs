//! The environment, the clock and the processors. Each variable's name is written here alone.
//!
//! In: this process's environment. Out: values of variables, default paths, the time, work on all processors.

pub(crate) mod cores;
pub mod terminal;

use std::{
    env::var_os,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// Address below which `debian/` and `debian-security/` are.
pub(crate) const DEBIAN_MIRROR: &str = "JOBLET_PUBLISH_DEBIAN_MIRROR";
/// Address of a snapshot service: `ADDRESS/archive/ARCHIVE/TIME/pool/…`. Tried after the mirror.
pub(crate) const DEBIAN_SNAPSHOT: &str = "JOBLET_PUBLISH_DEBIAN_SNAPSHOT";
/// Address of a store of inputs, each named by its sha256 in hex. Tried last.
pub(crate) const INPUT_STORE: &str = "JOBLET_PUBLISH_INPUT_STORE";
/// Address of the package index of Python, the first that is set.
pub(crate) const INDEX: [&str; 3] = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"];
/// Addresses of more indexes.
pub(crate) const MORE_INDEXES: [&str; 3] =
    ["UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"];
/// Directories with wheels.
pub(crate) const FIND_LINKS: [&str; 2] = ["UV_FIND_LINKS", "PIP_FIND_LINKS"];
/// A configuration file of pip.
pub(crate) const PIP_CONFIG_FILE: &str = "PIP_CONFIG_FILE";
/// The password of the key that `sign` uses.
pub(crate) const SIGN_PASSWORD: &str = "JOBLET_PUBLISH_SIGN_PASSWORD";
/// The `joblet-exec` that `check` and `build` run.
pub(crate) const JOBLET_EXEC: &str = "JOBLET_EXEC";

/// Makes `joblet-exec` use runtimes of another architecture.
pub(crate) const JOBLET_EXEC_ARCH: &str = "JOBLET_EXEC_ARCH";

/// Variables that users may set, and what they mean, for the manual page.
pub(crate) const VARIABLES: [(&str, &str); 13] = [
    (DEBIAN_MIRROR, "as --mirror"),
    (DEBIAN_SNAPSHOT, "a snapshot service of Debian, for packages that no mirror has any more"),
    (INPUT_STORE, "an address below which inputs lie, each named by its sha256; tried last"),
    (JOBLET_EXEC, "as --joblet-exec"),
    (SIGN_PASSWORD, "the password of the key that sign and reconcile use"),
    ("UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL", "the package index of Python"),
    ("UV_INDEX, UV_EXTRA_INDEX_URL, PIP_EXTRA_INDEX_URL", "more indexes"),
    ("UV_FIND_LINKS, PIP_FIND_LINKS", "directories with wheels"),
    (PIP_CONFIG_FILE, "a configuration file of pip"),
    ("HOME", "below it are the cache and the configuration of pip and uv"),
    ("XDG_CACHE_HOME", "fetched inputs are in joblet-publish below it"),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "the proxy to use, and where to use none"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "the certificates to trust instead of the host's"),
];

/// Files that are read or written unless something else is said, for the manual page.
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

/// Where fetched inputs are kept unless `--cache` says otherwise.
pub(crate) fn default_cache() -> Option<PathBuf> {
    let cache = match var("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(cache) => cache,
        None => PathBuf::from(var("HOME")?).join(".cache"),
    };
    Some(cache.join("joblet-publish"))
}

/// Where the configuration `file` of `program` may be: the user's, then the system's.
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

/// The time now: RFC 3339, in UTC, whole seconds.
pub(crate) fn now() -> String {
    rfc3339(seconds())
}

/// The time now, in seconds since 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `seconds` since 1970 as RFC 3339 in UTC, such as `2025-10-20T23:56:08Z`.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days: years begin in March, eras are 400 years of 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (315_532_800, "1980-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_761_004_568, "2025-10-20T23:56:08Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
