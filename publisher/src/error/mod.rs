//! Errors of `joblet-publish`.
//!
//! In: what failed, on which object; untrusted text. Out: one message, its class and exit status; text that
//! is safe to print.

pub mod shown;
pub(crate) mod tail;

pub use joblet_cli::Class;
use joblet_cli::Usage;
use joblet_format::Checksum;
use std::{io, path::PathBuf};

/// Reports progress to the user, on standard error.
pub type Note<'n> = &'n (dyn Fn(&str) + Sync);

/// An error of `joblet-publish`. Each variant names the step and the object it failed on.
///
/// Messages are lower case without a full stop: what, which object; what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong; nothing was touched.
    #[error("{0}")]
    Usage(String),
    /// `what` is not available.
    #[error("{what}: {reason}")]
    Net {
        /// The requested file, package or service.
        what: String,
        /// The failure at each address, and what to do.
        reason: String,
    },
    /// Something that a command needs does not exist.
    #[error("{0}")]
    NotFound(String),
    /// `object` does not have the expected content.
    #[error("{object}: {field} differs: expected {expected}, got {actual}; {hint}")]
    Differs {
        /// The input, or the published version.
        object: String,
        /// `checksum`, `size`, …
        field: &'static str,
        /// The value in the lock or the registry.
        expected: String,
        /// The value found.
        actual: String,
        /// What to do.
        hint: &'static str,
    },
    /// A rebuild of a published version gives another archive.
    #[error("{object}: rebuilt archive differs: expected {expected}, got {actual}{reason}")]
    Rebuilt {
        /// The version and architecture.
        object: String,
        /// Checksum of the published archive.
        expected: Checksum,
        /// Checksum of the rebuilt archive.
        actual: Checksum,
        /// Which entries differ, each on a line of its own.
        reason: String,
    },
    /// The package is malformed or not allowed. Nothing of it was used.
    #[error("{archive}: {rule}")]
    Archive {
        /// The package.
        archive: String,
        /// The rule, with the member's name.
        rule: String,
    },
    /// There is not enough space for a build, which was not started.
    #[error(
        "{}: the build needs about {} MB there, {} MB are free; free some space, or use --out and --cache on another disk",
        dir.display(), needed.div_ceil(1_000_000), free / 1_000_000
    )]
    Space {
        /// The directory.
        dir: PathBuf,
        /// Estimated size of the build, from the sizes in the lock, in bytes.
        needed: u64,
        /// Available space, in bytes.
        free: u64,
    },
    /// `verb` ("read", "rename") failed on `path`.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// `path` (a manifest, a lock, a record) was refused.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The rule it breaks, and what to do.
        reason: String,
    },
    /// The assembled or packed runtime does not work.
    #[error("{runtime}: {reason}")]
    Check {
        /// `NAME-VERSION` and architecture.
        runtime: String,
        /// Each fault on a line of its own, and what to do.
        reason: String,
    },
    /// An external program is missing or failed.
    #[error("{tool}: {reason}")]
    Tool {
        /// The program.
        tool: String,
        /// What failed, the program's output, what to do.
        reason: String,
    },
    /// Several independent operations failed.
    #[error("{first}{rest}")]
    Several {
        /// The first, which decides the class.
        first: Box<Error>,
        /// Each of the others on a line of its own, as `main` prints one.
        rest: String,
    },
}

impl Error {
    /// The class, which decides the exit status.
    pub fn class(&self) -> Class {
        match self {
            Self::Several { first, .. } => first.class(),
            Self::Usage(_) => Class::Usage,
            Self::Net { .. } => Class::Net,
            Self::NotFound(_) => Class::NotFound,
            Self::Differs { .. } | Self::Rebuilt { .. } => Class::Integrity,
            Self::Archive { .. } => Class::Archive,
            Self::File { .. } | Self::Space { .. } => Class::Store,
            Self::Config { .. } => Class::Config,
            Self::Check { .. } => Class::Check,
            Self::Tool { .. } => Class::Tool,
        }
    }

    /// Makes an [`Error::File`] out of an [`io::Error`], for `map_err`.
    pub fn file<E: Into<io::Error>>(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::File { verb, path, source: source.into() }
    }

    /// Succeeds if `failed` is empty.
    ///
    /// # Errors
    /// The single error, or [`Error::Several`].
    pub(crate) fn combined(failed: Vec<Self>) -> Result<(), Self> {
        let mut failed = failed.into_iter();
        let Some(first) = failed.next() else { return Ok(()) };
        let line = |error: Self| format!("\nerror[{}]: {error}", error.class().word());
        let rest: String = failed.map(line).collect();
        if rest.is_empty() {
            return Err(first);
        }
        Err(Self::Several { first: Box::new(first), rest })
    }

    /// An [`Error::Config`].
    pub fn config(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Config { path: path.into(), reason: reason.into() }
    }

    /// An [`Error::Differs`] for two checksums.
    pub fn checksum(
        object: impl Into<String>,
        expected: Checksum,
        actual: Checksum,
        hint: &'static str,
    ) -> Self {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        Self::Differs { object: object.into(), field: "checksum", expected, actual, hint }
    }
}

impl From<Usage> for Error {
    fn from(Usage(reason): Usage) -> Self {
        Self::Usage(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_failures_are_all_reported() {
        assert!(Error::combined(Vec::new()).is_ok());
        let two = || vec![Error::Usage("a".into()), Error::NotFound("b".into())];
        let error = Error::combined(two()).unwrap_err();
        assert_eq!(error.to_string(), "a\nerror[NOTFOUND]: b");
        assert_eq!(error.class(), Class::Usage);
        assert_eq!(Error::combined(two().split_off(1)).unwrap_err().to_string(), "b");
    }

    #[test]
    fn messages() {
        let zero = Checksum::from_digest([0; 32]);
        let one = Checksum::from_digest([0x11; 32]);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        for (error, word, message) in [
            (Error::Usage("no command".into()), "USAGE", "no command".to_owned()),
            (
                Error::Net { what: "a.deb".into(), reason: "404".into() },
                "NET",
                "a.deb: 404".to_owned(),
            ),
            (Error::NotFound("no x".into()), "NOTFOUND", "no x".to_owned()),
            (
                Error::checksum("a.deb", zero, one, "lock again"),
                "INTEGRITY",
                format!("a.deb: checksum differs: expected {zero}, got {one}; lock again"),
            ),
            (
                Error::Rebuilt {
                    object: "d@1.0.0 amd64".into(),
                    expected: zero,
                    actual: one,
                    reason: "\n  a: gone".into(),
                },
                "INTEGRITY",
                format!(
                    "d@1.0.0 amd64: rebuilt archive differs: expected {zero}, got {one}\n  a: gone"
                ),
            ),
            (
                Error::Archive { archive: "a.deb".into(), rule: "`/x` is absolute".into() },
                "ARCHIVE",
                "a.deb: `/x` is absolute".to_owned(),
            ),
            (
                Error::file("read", "/x")(denied),
                "STORE",
                "cannot read /x: permission denied".to_owned(),
            ),
            (
                Error::Space { dir: "dist".into(), needed: 1_000_001, free: 999_999 },
                "STORE",
                "dist: the build needs about 2 MB there, 0 MB are free; free some space, or use \
         --out and --cache on another disk"
                    .to_owned(),
            ),
            (Error::config("m.yaml", "line 1"), "CONFIG", "m.yaml: line 1".to_owned()),
            (
                Error::Check { runtime: "x-1.0.0".into(), reason: "no".into() },
                "CHECK",
                "x-1.0.0: no".to_owned(),
            ),
            (
                Error::Tool { tool: "apt-get".into(), reason: "no".into() },
                "TOOL",
                "apt-get: no".to_owned(),
            ),
        ] {
            assert_eq!((error.class().word(), error.to_string()), (word, message));
        }
    }
}
