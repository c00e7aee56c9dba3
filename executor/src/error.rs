//! Why `joblet-exec` gave up.

use joblet_format::Checksum;
use std::{io, path::PathBuf, time::Duration};

/// The classes of failure. Each is an exit status of the commands that run no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The command line is wrong; nothing was touched.
    Usage,
    /// No answer, TLS, timeout, 5xx.
    Net,
    /// The registry's document was refused.
    Registry,
    /// A name, version or platform that the registry does not have.
    NotFound,
    /// Size, checksum or signature differs.
    Integrity,
    /// The archive was refused by the extraction policy.
    Archive,
    /// No space, read-only, no permission.
    Store,
    /// Waiting for a lock took too long.
    Busy,
    /// `runtime.yml` or the configuration was refused.
    Config,
    /// The sandbox could not be set up as it must be.
    Launch,
    /// The job's command exists but cannot be executed.
    NotExecutable,
    /// The job's command does not exist in the runtime.
    NoCommand,
}

impl Class {
    /// Every class: name in messages, status of commands that run no job, status of `run`, meaning.
    ///
    /// This one table is tested, printed by `--help`, and decides every status of ours.
    pub const TABLE: [(Self, &'static str, u8, u8, &'static str); 12] = [
        (Self::Usage, "USAGE", 2, 125, "the command line is wrong"),
        (Self::Net, "NET", 10, 125, "no answer, TLS, timeout, server error"),
        (Self::Registry, "REGISTRY", 11, 125, "the registry's document was refused"),
        (Self::NotFound, "NOTFOUND", 12, 125, "no such name, version or platform"),
        (Self::Integrity, "INTEGRITY", 13, 125, "size, checksum or signature differs"),
        (Self::Archive, "ARCHIVE", 14, 125, "refused by the extraction policy"),
        (Self::Store, "STORE", 15, 125, "no space, read-only, no permission"),
        (Self::Busy, "BUSY", 16, 125, "lock wait timed out, or in use by a job"),
        (Self::Config, "CONFIG", 17, 125, "runtime.yml or configuration refused"),
        (Self::Launch, "LAUNCH", 125, 125, "the sandbox could not be set up"),
        (Self::NotExecutable, "COMMAND", 126, 126, "the command cannot be executed"),
        (Self::NoCommand, "COMMAND", 127, 127, "the command was not found"),
    ];

    fn row(self) -> &'static (Self, &'static str, u8, u8, &'static str) {
        Self::TABLE.iter().find(|row| row.0 == self).expect("every class has a row")
    }

    /// The word in `error[WORD]`.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// Exit status; `runs_job` for `run` and `shell`, whose low statuses belong to the job.
    pub fn exit_code(self, runs_job: bool) -> u8 {
        if runs_job { self.row().3 } else { self.row().2 }
    }
}

/// Why `joblet-exec` gave up. Each variant names the step and the object it failed on.
///
/// Messages are lower case without a full stop: what, which object; what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong; nothing was touched.
    #[error("{0}")]
    Usage(String),
    /// No usable answer from `url`.
    #[error("{url}: {reason}")]
    Net {
        /// What was asked for.
        url: String,
        /// What happened, and what to do.
        reason: String,
        /// The status of the answer that was not used.
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
    /// The registry or the store does not have what was asked for.
    #[error("{0}")]
    NotFound(String),
    /// `object` has other bytes than the registry promised.
    #[error("{object}: checksum differs: expected {expected}, got {actual}; {}", TRY_AGAIN)]
    Checksum {
        /// The archive's address.
        object: String,
        /// What the registry says.
        expected: Checksum,
        /// What arrived.
        actual: Checksum,
    },
    /// `object` has another length than the registry promised.
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
    /// A registry offers other bytes under the name of an installed version.
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
    /// Installed runtimes are not what was published.
    #[error("{0} differ from what was published; joblet-exec verify --repair fetches that again")]
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
    #[error("cannot {verb} {}: {source}{}", path.display(), store_hint(source))]
    File {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// `path` is a place where others than this program and its user decide what is there.
    #[error("{} is refused: {reason}, or name another place with {}", path.display(), option)]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
        /// What names another place.
        option: &'static str,
    },
    /// There is not enough room for what was to be written to `path`.
    #[error("{}: {needed} bytes are needed and {free} are free; free some space or choose another store with --store DIR", path.display())]
    Full {
        /// The store.
        path: PathBuf,
        /// For what was to be installed, in bytes.
        needed: u64,
        /// For this user, in bytes.
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
    /// Jobs run in the runtime that was to be moved away.
    #[error("{what} is used by running jobs (process {holders}); try again when they have ended")]
    InUse {
        /// The runtime's directory.
        what: String,
        /// Their launchers' process ids.
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
    /// The sandbox could not be set up as it must be; no job was started.
    #[error("{step}: {reason}")]
    Launch {
        /// What was to be done, and to which object.
        step: String,
        /// Why it failed, and what to do.
        reason: String,
    },
    /// The job's command exists in the runtime but cannot be executed.
    #[error("{command}: {reason}")]
    NotExecutable {
        /// The command as typed.
        command: String,
        /// Why it cannot be executed.
        reason: String,
    },
    /// The job's command does not exist in the runtime.
    #[error("{command}: not found in the runtime; PATH there is {path}")]
    NoCommand {
        /// The command as typed.
        command: String,
        /// The `PATH` that was searched.
        path: String,
    },
}

/// Advice for bytes that are not the promised ones.
const TRY_AGAIN: &str =
    "nothing was installed; if it happens again, tell the registry's maintainer";

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
            Self::Launch { .. } => Class::Launch,
            Self::NotExecutable { .. } => Class::NotExecutable,
            Self::NoCommand { .. } => Class::NoCommand,
        }
    }

    /// Makes an [`Error::Net`] where there is no answer.
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

/// How to fix the file errors that new users meet first.
fn store_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; choose a store of your own with --store DIR",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a writable store with --store DIR",
        io::ErrorKind::StorageFull => "; free some space or choose another store with --store DIR",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_status() {
        let statuses = Class::TABLE.map(|(class, word, plain, run, _)| {
            assert_eq!(class.word(), word);
            (class.exit_code(false), class.exit_code(true), plain, run)
        });
        assert!(statuses.iter().all(|&(a, b, plain, run)| (a, b) == (plain, run)));
        assert_eq!(statuses.map(|row| row.0), [2, 10, 11, 12, 13, 14, 15, 16, 17, 125, 126, 127]);
    }
}
