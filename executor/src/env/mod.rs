//! Environment variables, user and default paths. Each name is declared only here.
//!
//! In: the process's variables, user and host. Out: an [`Environment`], passed to the other stages.

pub(crate) mod weaken;

use joblet_format::Arch;
use joblet_format::text::{LOCALE, has_utf8};
use std::{
    env,
    ffi::{OsStr, OsString},
    io::{IsTerminal, stderr, stdin, stdout},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

/// The architecture of runtimes, if not this machine's: the kernel runs their programs in an emulator.
pub const ARCH: &str = "JOBLET_EXEC_ARCH";
/// The registry to use, as `--registry`.
pub(crate) const REGISTRY: &str = "JOBLET_EXEC_REGISTRY";
/// The store to use, as `--store`.
pub const STORE: &str = "JOBLET_EXEC_STORE";
/// The configuration to use, as `--config`.
pub const CONFIG: &str = "JOBLET_EXEC_CONFIG";
/// As `--offline`, if set to anything but `0`.
pub(crate) const OFFLINE: &str = "JOBLET_EXEC_OFFLINE";
/// Directories with CDI specifications of devices, separated by `:`.
pub const CDI: &str = "JOBLET_EXEC_CDI";
/// How long to wait for another process's lock, in seconds.
pub(crate) const LOCK_TIMEOUT: &str = "JOBLET_EXEC_LOCK_TIMEOUT";
/// Timeout for the next bytes of a server, in seconds.
pub(crate) const TIMEOUT: &str = "JOBLET_EXEC_TIMEOUT";

/// A log of the reads of a job with `--lazy`.
pub(crate) const READS: &str = "JOBLET_EXEC_READS";
/// The profile of all jobs, as `--profile`.
pub(crate) const PROFILE: &str = "JOBLET_EXEC_PROFILE";
/// Read-only stores, separated by `:`.
pub(crate) const SHARED_STORES: &str = "JOBLET_EXEC_SHARED_STORES";
/// Variables by which workload managers assign GPUs to a process, the most exact first.
const GPUS: [&str; 4] =
    ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "SLURM_STEP_GPUS"];
/// Variables that no pattern matches: the host's paths.
const OF_HOST: [&str; 8] = ["PATH", "HOME", "PWD", "OLDPWD", "TMPDIR", "SHELL", "SHLVL", "_"];

const HOME: &str = "HOME";
const LOGNAME: &str = "LOGNAME";
const USER: &str = "USER";
const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
const DBUS_SESSION_BUS_ADDRESS: &str = "DBUS_SESSION_BUS_ADDRESS";
const NO_COLOR: &str = "NO_COLOR";
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
const SSL_CERT_DIR: &str = "SSL_CERT_DIR";
const TERM: &str = "TERM";

/// The environment variables that this program reads, for the manual page.
pub(crate) const VARIABLES: [(&str, &str); 21] = [
    (REGISTRY, "as --registry"),
    (STORE, "as --store"),
    (CONFIG, "as --config"),
    (PROFILE, "as --profile"),
    (SHARED_STORES, "read-only stores beside the one that is installed to, separated by :"),
    (OFFLINE, "as --offline, if it is neither empty nor 0"),
    (
        ARCH,
        "the architecture of runtimes, if an emulator runs their programs (default: this machine's)",
    ),
    (LOCK_TIMEOUT, "how long to wait for another process's lock, in seconds (default: 600)"),
    (READS, "a log of what a job of run --lazy reads of its runtime"),
    (TIMEOUT, "how long to wait for the next bytes of a server, in seconds (default: 60)"),
    (HOME, "an ordinary user's store, cache and configuration are below it"),
    (XDG_DATA_HOME, "an ordinary user's store is in joblet/runtimes below it"),
    (XDG_CACHE_HOME, "cached registry documents are in joblet below it"),
    (
        "DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR",
        "the bus of an ordinary user's systemd manager, for a scope with the limits",
    ),
    ("LOGNAME, USER", "the user's name in jobs, if /etc/passwd has none"),
    (
        "CUDA_VISIBLE_DEVICES, NVIDIA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES, SLURM_STEP_GPUS",
        "which GPUs --gpu may give to a job",
    ),
    (NO_COLOR, "no colours, unless --color overrides it"),
    (TERM, "no progress is shown if it is dumb"),
    ("LC_ALL, LC_CTYPE, LANG", "a terminal gets ASCII if they name a locale without UTF-8"),
    ("HTTPS_PROXY, NO_PROXY", "the proxy to use, and hosts that are reached without it"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "the certificates to trust instead of the host's"),
];

/// Default paths, for the manual page.
pub const FILES: [(&str, &str); 6] = [
    (SYSTEM_STORE, "root's store, which every user may run jobs from"),
    ("$XDG_DATA_HOME/joblet/runtimes, ~/.local/share/joblet/runtimes", "an ordinary user's store"),
    (
        "~/.rnx/config.yaml",
        "runtimes.registries: a list of name, url, order, public_key, auth, insecure",
    ),
    (SYSTEM_CONFIG, "the same for the host, for users without one"),
    ("$XDG_CACHE_HOME/joblet, ~/.cache/joblet", "an ordinary user's cached registry documents"),
    (SYSTEM_CACHE, "root's cached registry documents"),
];

/// Root's store, which every user may read.
pub(crate) const SYSTEM_STORE: &str = "/opt/joblet/runtimes";

/// The configuration of Joblet's client below the home directory, and that of the host.
const USER_CONFIG: &str = ".rnx/config.yaml";
const SYSTEM_CONFIG: &str = "/etc/joblet/config.yaml";

/// Root's cache, unless `XDG_CACHE_HOME` is set.
const SYSTEM_CACHE: &str = "/var/cache/joblet";

/// Seconds to wait for a lock: longer than the download of a large runtime usually takes.
const DEFAULT_LOCK_TIMEOUT: u64 = 600;

/// Default of [`TIMEOUT`], in seconds.
const DEFAULT_TIMEOUT: u64 = 60;
/// Largest accepted [`TIMEOUT`], in seconds: a year.
const MAX_TIMEOUT: u64 = 365 * 24 * 60 * 60;

/// Timeout for the next bytes of a response, head or body.
pub fn timeout() -> Duration {
    static READ: OnceLock<u64> = OnceLock::new();
    let read = || env::var(TIMEOUT).ok()?.parse().ok().filter(|&seconds| seconds > 0);
    // A longer timeout could overflow an Instant.
    let read = || read().unwrap_or(DEFAULT_TIMEOUT).min(MAX_TIMEOUT);
    Duration::from_secs(*READ.get_or_init(read))
}

/// Whether `SSL_CERT_FILE` or `SSL_CERT_DIR` is set.
pub(crate) fn sets_certificates() -> bool {
    [SSL_CERT_FILE, SSL_CERT_DIR].iter().any(|name| env::var_os(name).is_some())
}

/// The value of an environment variable; `None` if it is empty, not set or not UTF-8.
pub(crate) fn nonempty_var(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Which of the standard files are terminals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminals {
    /// Standard input.
    pub input: bool,
    /// Standard output.
    pub output: bool,
    /// Standard error.
    pub error: bool,
}

/// The environment as read once at start.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The architecture that runtimes are for: this machine's unless `JOBLET_EXEC_ARCH` names another.
    pub arch: Arch,
    /// Which of the standard files are terminals.
    pub terminals: Terminals,
    /// `TERM`, if one of them is a terminal.
    pub term: Option<OsString>,
    /// `JOBLET_EXEC_REGISTRY`
    pub registry: Option<String>,
    /// `JOBLET_EXEC_STORE`
    pub store: Option<PathBuf>,
    /// `JOBLET_EXEC_CONFIG`
    pub config: Option<PathBuf>,
    /// `JOBLET_EXEC_PROFILE`
    pub profile: Option<String>,
    /// `JOBLET_EXEC_SHARED_STORES`, absolute paths only.
    pub shared_stores: Vec<PathBuf>,
    /// `JOBLET_EXEC_OFFLINE`
    pub offline: bool,
    /// `JOBLET_EXEC_READS`
    pub reads: Option<PathBuf>,
    /// `JOBLET_EXEC_CDI`
    pub cdi: Option<String>,
    /// How long to wait for a lock, in seconds.
    pub lock_timeout: u64,
    /// Whether `NO_COLOR` asks for plain text.
    pub no_color: bool,
    /// Whether `TERM` is `dumb`: lines cannot be redrawn.
    pub dumb: bool,
    /// Whether the locale is set to one without UTF-8.
    pub ascii: bool,
    /// Whether the effective user is root.
    pub root: bool,
    home: Option<PathBuf>,
    data_home: Option<PathBuf>,
    cache_home: Option<PathBuf>,
}

impl Environment {
    /// Reads the variables and the effective user of this process.
    pub fn read() -> Self {
        let text = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
        // XDG Base Directory Specification: relative paths are ignored.
        let directory = |name| text(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let terminals = Terminals {
            input: stdin().is_terminal(),
            output: stdout().is_terminal(),
            error: stderr().is_terminal(),
        };
        let arch = env::var(ARCH).ok().and_then(|arch| arch.parse().ok());
        Self {
            arch: arch.unwrap_or(Arch::NATIVE),
            terminals,
            term: env::var_os(TERM).filter(|_| {
                let Terminals { input, output, error } = terminals;
                input || output || error
            }),
            registry: text(REGISTRY).and_then(|value| value.into_string().ok()),
            store: text(STORE).map(PathBuf::from),
            config: text(CONFIG).map(PathBuf::from),
            profile: text(PROFILE).and_then(|value| value.into_string().ok()),
            shared_stores: text(SHARED_STORES).map_or_else(Vec::new, |value| {
                env::split_paths(&value).filter(|path| path.is_absolute()).collect()
            }),
            reads: text(READS).map(PathBuf::from),
            cdi: text(CDI).and_then(|value| value.into_string().ok()),
            offline: text(OFFLINE).is_some_and(|value| value != "0"),
            lock_timeout: text(LOCK_TIMEOUT)
                .and_then(|value| value.to_str()?.parse().ok())
                .unwrap_or(DEFAULT_LOCK_TIMEOUT),
            no_color: text(NO_COLOR).is_some(),
            dumb: text(TERM).is_some_and(|term| term == "dumb"),
            ascii: LOCALE
                .into_iter()
                .find_map(text)
                .is_some_and(|it| !has_utf8(&it.to_string_lossy())),
            root: rustix::process::geteuid().is_root(),
            home: directory(HOME),
            data_home: directory(XDG_DATA_HOME),
            cache_home: directory(XDG_CACHE_HOME),
        }
    }

    /// User names from the caller's environment, the most reliable first.
    pub(crate) fn user_names() -> impl Iterator<Item = OsString> {
        [LOGNAME, USER].into_iter().filter_map(env::var_os)
    }

    /// Possible sockets of this user's bus, the most likely first.
    pub(crate) fn user_buses() -> impl Iterator<Item = PathBuf> {
        let named = nonempty_var(DBUS_SESSION_BUS_ADDRESS);
        let named = named
            .and_then(|all| Some(all.strip_prefix("unix:path=")?.split([',', ';']).next()?.into()));
        let user = rustix::process::geteuid().as_raw();
        let usual = nonempty_var(XDG_RUNTIME_DIR).unwrap_or_else(|| format!("/run/user/{user}"));
        named.into_iter().chain([Path::new(&usual).join("bus")])
    }

    /// The value of a variable that the caller names (`--env NAME`).
    pub fn variable(name: &OsStr) -> Option<OsString> {
        env::var_os(name)
    }

    /// The variables whose names begin with `prefix`, except for [`OF_HOST`] and `LD_*`.
    pub(crate) fn beginning(prefix: &[u8]) -> Vec<(OsString, OsString)> {
        let mut all: Vec<_> = env::vars_os().collect();
        all.retain(|(name, _)| {
            let bytes = name.as_encoded_bytes();
            let of_host = OF_HOST.iter().any(|own| name == *own) || bytes.starts_with(b"LD_");
            bytes.starts_with(prefix) && !of_host
        });
        all
    }

    /// The variables by which a workload manager has assigned GPUs to this process, and their values.
    pub(crate) fn gpus() -> impl Iterator<Item = (&'static str, String)> {
        GPUS.into_iter().filter_map(|name| Some((name, env::var(name).ok()?)))
    }

    /// The home directory.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The default store of this user; `None` without a home directory.
    pub(crate) fn default_store(&self) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from(SYSTEM_STORE));
        }
        let data = self.data_home.clone();
        let data = data.or_else(|| Some(self.home.as_ref()?.join(".local/share")))?;
        Some(data.join("joblet/runtimes"))
    }

    /// The default configuration files, the first that exists counts.
    pub(crate) fn configs(&self) -> Vec<PathBuf> {
        let own = self.home.iter().map(|home| home.join(USER_CONFIG));
        own.chain([SYSTEM_CONFIG.into()]).collect()
    }

    /// The cache directory; `None` without a home directory.
    pub fn cache(&self) -> Option<PathBuf> {
        if let Some(cache) = &self.cache_home {
            return Some(cache.join("joblet"));
        }
        if self.root {
            return Some(PathBuf::from(SYSTEM_CACHE));
        }
        Some(self.home.as_ref()?.join(".cache/joblet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_the_user_and_xdg() {
        let home = Some(PathBuf::from("/home/u"));
        let user = Environment { home: home.clone(), ..Environment::default() };
        let store = user.default_store().unwrap();
        assert_eq!(store, PathBuf::from("/home/u/.local/share/joblet/runtimes"));
        assert_eq!(user.cache().unwrap(), PathBuf::from("/home/u/.cache/joblet"));
        let root = Environment { root: true, home, ..Environment::default() };
        assert_eq!(root.default_store().unwrap(), PathBuf::from(SYSTEM_STORE));
        assert_eq!(root.cache().unwrap(), PathBuf::from(SYSTEM_CACHE));
        let homeless = Environment::default();
        assert_eq!((homeless.default_store(), homeless.cache()), (None, None));
        let xdg = Some(PathBuf::from("/x"));
        let xdg = Environment { data_home: xdg.clone(), cache_home: xdg, ..homeless };
        assert_eq!(xdg.default_store().unwrap(), PathBuf::from("/x/joblet/runtimes"));
        assert_eq!(xdg.cache().unwrap(), PathBuf::from("/x/joblet"));
    }
}
