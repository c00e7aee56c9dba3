//! Runs a program and keeps the end of its output.

use std::{
    io::{self, Read},
    process::{Command, ExitStatus, Stdio},
    thread,
};

/// Length of the output that is kept, in bytes.
const KEPT: usize = 64 << 10;

/// Reads `from` to its end, or to an error, and returns its last bytes.
pub(crate) fn read_end(mut from: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; KEPT]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return kept,
            Ok(read) => {
                kept.extend_from_slice(&buffer[..read]);
                let beyond = kept.len().saturating_sub(KEPT);
                kept.drain(..beyond);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return kept, // the writer has failed, too; its status says why
        }
    }
}

/// Number of its last lines that are shown.
const SHOWN: usize = 20;

/// Runs `command` and waits for it. Returns its exit status and the last lines of its standard output and
/// standard error, indented.
pub(crate) fn run(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = thread::scope(|scope| {
        let stdout = scope.spawn(|| stdout.map(read_end).unwrap_or_default());
        let stderr = stderr.map(read_end).unwrap_or_default();
        (stdout.join().unwrap_or_default(), stderr)
    });
    let status = child.wait()?;
    let text = [stdout, stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    Ok((status, lines[lines.len().saturating_sub(SHOWN)..].join("\n  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-E12
    #[test]
    fn the_end_of_long_output_is_kept() {
        let much = std::io::repeat(b'x').take(10 << 20).chain(&b"the end"[..]);
        let kept = read_end(much);
        assert_eq!((kept.len(), kept.ends_with(b"xthe end")), (KEPT, true));
        assert_eq!(read_end(&b"little"[..]), b"little");
    }
}
