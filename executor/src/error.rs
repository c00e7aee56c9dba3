//! Errors of `joblet-exec`.

pub use joblet_cli::Class;
use joblet_cli::Usage;
use joblet_format::Checksum;
use joblet_format::text::size;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// An error of `joblet-exec`. Each variant names the step and the object it failed on.
///
/// Messages are lower case without a full stop: what, which object; what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong; nothing was touched.
    #[error("{0}")]
    Usage(String),
    /// The request for `url` failed.
    #[error("{url}: {reason}")]
    Net {
        /// The requested address.
        url: String,
        /// What happened, and what to do.
        reason: String,
        /// The HTTP status, if there was a response.
        status: Option<u16>,
    },
    /// The document at `registry` was refused.
    #[error("registry {registry}: {reason}")]
    Registry {
        /// The registry's address.
        registry: String,
        /// The rule it breaks, and what to do.
        reason: String,
    },
    /// The registry or the store does not have the requested object.
    #[error("{0}")]
    NotFound(String),
    /// `object` does not have the checksum that the registry states.
    #[error("{object}: checksum differs: expected {expected}, got {actual}; {}", TRY_AGAIN)]
    Checksum {
        /// The archive's address.
        object: String,
        /// What the registry says.
        expected: Checksum,
        /// What arrived.
        actual: Checksum,
    },
    /// `object` does not have the length that the registry states.
    #[error("{object}: size differs: expected {expected} bytes, got {actual}; {}", TRY_AGAIN)]
    Size {
        /// The archive's address.
        object: String,
        /// What the registry says, in bytes.
        expected: u64,
        /// What arrived, in bytes: a count, or `more`.
        actual: String,
    },
    /// The registry's document is not signed as it must be.
    #[error("registry {registry}: its signature is refused: {reason}")]
    Signature {
        /// The registry's address.
        registry: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A registry has another archive for the name and version of an installed runtime.
    #[error(
        "{runtime} is installed with {installed}, but now there is {offered}; a published version \
         must not change: ask the maintainer, or remove the installed one to \
         take the other"
    )]
    Changed {
        /// `NAME@VERSION`.
        runtime: String,
        /// Checksum and registry of what is installed.
        installed: String,
        /// Checksum and registry of what is offered.
        offered: String,
    },
    /// Installed runtimes differ from their published archives.
    #[error("not what was published: {0}; joblet-exec verify --repair fetches that again")]
    Damaged(String),
    /// The archive breaks a rule of the extraction policy. Nothing of it was installed.
    #[error("{archive}: {rule}")]
    Archive {
        /// The archive's address or file.
        archive: String,
        /// The rule, with the member's name where one member broke it.
        rule: String,
    },
    /// `verb` ("read", "rename") failed on `path`.
    #[error("cannot {verb} {}: {source}{}", path.display(), file_hint(path, source))]
    File {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// `path` is not trusted: another user owns it or may write it.
    #[error("{} is refused: {reason}, or name another place with {}", path.display(), option)]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
        /// The option or variable that sets another path.
        option: &'static str,
    },
    /// `path` does not have enough free space.
    #[error("{}: {} are needed and {} are free; free some space or choose another store with --store DIR", path.display(), size(*needed), size(*free))]
    Full {
        /// The store.
        path: PathBuf,
        /// Space needed, in bytes.
        needed: u64,
        /// Space available to this user, in bytes.
        free: u64,
    },
    /// Another process holds the lock of `what`.
    #[error("{what} is being changed by process {holder}; waited {} s, try again later", waited.as_secs())]
    Busy {
        /// The runtime.
        what: String,
        /// The holder's process id, or `unknown`.
        holder: String,
        /// How long this process waited.
        waited: Duration,
    },
    /// Jobs run in a runtime that can only be removed in place.
    #[error("{what} is used by running jobs ({holders}); try again when they have ended")]
    InUse {
        /// The runtime's directory.
        what: String,
        /// Their launchers: `process 1, 2`.
        holders: String,
    },
    /// `path` (a `runtime.yml`, a config file) was refused.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The rule it breaks, with line or entry.
        reason: String,
    },
    /// The sandbox could not be set up; no job was started.
    #[error("{step}: {reason}")]
    Launch {
        /// The step that failed, and its object.
        step: String,
        /// Why it failed, and what to do.
        reason: String,
    },
    /// The runtime's files cannot be served while it is being installed; no job was started.
    #[error(
        "the runtime cannot be used while it is being installed: {0}; without --lazy the job waits"
    )]
    NotServed(String),
    /// The job's command exists in the runtime but cannot be executed.
    #[error("{command}: {reason}")]
    NotExecutable {
        /// The command as typed.
        command: String,
        /// Why it cannot be executed.
        reason: String,
    },
    /// The job's command does not exist in the runtime.
    #[error("{command}: not found in the {}", where_commands_are(command, path))]
    NoCommand {
        /// The command as typed.
        command: String,
        /// The `PATH` that was searched.
        path: String,
    },
}

/// The hint for a wrong checksum or size.
const TRY_AGAIN: &str =
    "nothing was installed; fetch or copy it again, or tell the registry's maintainer";

impl Error {
    /// The class, which decides the exit status.
    pub fn class(&self) -> Class {
        match self {
            Self::Usage(_) => Class::Usage,
            Self::Net { .. } => Class::Net,
            Self::Registry { .. } => Class::Registry,
            Self::NotFound(_) => Class::NotFound,
            Self::Checksum { .. }
            | Self::Size { .. }
            | Self::Signature { .. }
            | Self::Changed { .. }
            | Self::Damaged(_) => Class::Integrity,
            Self::Archive { .. } => Class::Archive,
            Self::File { .. } | Self::Full { .. } | Self::Untrusted { .. } => Class::Store,
            Self::Busy { .. } | Self::InUse { .. } => Class::Busy,
            Self::Config { .. } => Class::Config,
            Self::Launch { .. } | Self::NotServed(_) => Class::Launch,
            Self::NotExecutable { .. } => Class::NotExecutable,
            Self::NoCommand { .. } => Class::NoCommand,
        }
    }

    /// Whether the object is missing: an [`Error::File`] of kind `NotFound`, or an [`Error::Net`] with status 403, 404 or 410.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Net { status, .. } => matches!(status, Some(403 | 404 | 410)),
            Self::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Makes an [`Error::Net`] without an HTTP status.
    pub fn net(url: &impl ToString, reason: String) -> Self {
        Self::Net { url: url.to_string(), reason, status: None }
    }

    /// Makes an [`Error::File`] out of an [`io::Error`], for `map_err`.
    pub fn file<E: Into<io::Error>>(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source: source.into() }
    }
}

/// The path in an [`Error::File`] for standard output.
pub(crate) const STANDARD_OUTPUT: &str = "standard output";

impl From<Usage> for Error {
    fn from(Usage(reason): Usage) -> Self {
        Self::Usage(reason)
    }
}

/// Commands that install packages.
const INSTALLERS: [&str; 6] = ["apt", "apt-get", "apk", "conda", "dnf", "yum"];

/// Where a command was looked for, and what else could be done.
fn where_commands_are(command: &str, path: &str) -> String {
    if command.contains('/') {
        return "job, which sees the runtime and the current directory; --bind SRC:DST shows it more".into();
    }
    if command.contains(' ') {
        "runtime; a command and its arguments are words of their own, without quotes around them"
            .into()
    } else if let Some(with) = interpreter(command) {
        format!("runtime; a script is run by its interpreter: {with} {command}")
    } else if INSTALLERS.contains(&command) {
        "runtime, which no job can change; its packages are those of its manifest".into()
    } else {
        format!("runtime; PATH there is {path}")
    }
}

/// The interpreter of a file that is named as scripts are: `x.py`, `x.sh`.
pub(crate) fn interpreter(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "sh" => Some("sh"),
        "js" => Some("node"),
        end if end.bytes().all(|byte| byte.is_ascii_alphabetic()) => Some("python"),
        _ => None,
    }
}

/// The hint for file errors that new users meet first; none for standard output.
fn file_hint(path: &Path, source: &io::Error) -> &'static str {
    if path == Path::new(STANDARD_OUTPUT) {
        return "";
    }
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; choose a store of your own with --store DIR",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a writable store with --store DIR",
        io::ErrorKind::StorageFull => "; free some space or choose another store with --store DIR",
        _ => "",
    }
}
