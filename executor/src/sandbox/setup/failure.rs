//! The failure of a step, and its encoding in the child's report.

use super::trampoline;
use nix::errno::Errno as NixErrno;
use rustix::io::Errno;

/// The failure of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The class of error that it is reported as.
    pub kind: Kind,
    /// The error number, or 0 where `detail` is the whole message.
    pub errno: i32,
    /// The part of the message that the step provides.
    pub detail: String,
}

/// The class of error that a [`Failure`] is reported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Error::Launch`.
    Launch = 0,
    /// `Error::NotExecutable`.
    NotExecutable = 1,
    /// `Error::NoCommand`; the detail is the `PATH`.
    NoCommand = 2,
    /// A failed execve(2) in the trampoline, interpreted by [`super::command::exec_failure`].
    Exec = trampoline::EXEC_FAILED as isize,
}

impl Failure {
    /// A failure of the launch without an error number.
    pub(crate) fn launch(detail: impl Into<String>) -> Self {
        Self { kind: Kind::Launch, errno: 0, detail: detail.into() }
    }

    /// Encodes the report to the launcher: kind, step, error number, detail; at most `PIPE_BUF` bytes.
    pub(crate) fn encode(&self, step: usize) -> Vec<u8> {
        let step = u32::try_from(step).unwrap_or(u32::MAX);
        let mut bytes = vec![self.kind as u8];
        bytes.extend(step.to_le_bytes());
        bytes.extend(self.errno.to_le_bytes());
        bytes.extend(self.detail.bytes().take(4000));
        bytes
    }

    /// Decodes the child's report into the step's index and its failure; `None` if it is incomplete.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(usize, Self)> {
        let (&[kind, s0, s1, s2, s3, e0, e1, e2, e3], detail) = bytes.split_first_chunk::<9>()?;
        let kind = match kind {
            1 => Kind::NotExecutable,
            2 => Kind::NoCommand,
            trampoline::EXEC_FAILED => Kind::Exec,
            _ => Kind::Launch,
        };
        let step = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).ok()?;
        let errno = i32::from_le_bytes([e0, e1, e2, e3]);
        Some((step, Self { kind, errno, detail: String::from_utf8_lossy(detail).into_owned() }))
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { kind: Kind::Launch, errno: errno.raw_os_error(), detail: String::new() }
    }
}

impl From<NixErrno> for Failure {
    fn from(errno: NixErrno) -> Self {
        Self { kind: Kind::Launch, errno: errno as i32, detail: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_the_pipe() {
        for failure in [
            Failure::from(Errno::PERM),
            Failure::launch("why"),
            Failure { kind: Kind::NoCommand, errno: 0, detail: "/bin".into() },
            Failure { kind: Kind::NotExecutable, errno: 8, detail: String::new() },
        ] {
            assert_eq!(Failure::decode(&failure.encode(7)), Some((7, failure)));
        }
        assert_eq!(Failure::decode(b""), None);
    }
}
