//! Search for the job's program, and its execution.

use super::{
    failure::{Failure, Kind},
    trampoline,
};
use crate::env::weaken;
use nix::{errno::Errno, unistd::execve};
use rustix::fd::{BorrowedFd, RawFd};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    ffi::{CString, OsStr, OsString},
    fs::{self, OpenOptions},
    io::Read,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// Executes `argv` with the environment `env` by the `trampoline`, which reports a failure on
/// `report`, a pipe and its number in the trampoline. Returns only if there is nothing to execute.
///
/// A command with a `/` is a path; any other is searched for in the job's own `PATH`, as execvp(3)
/// does: a file without execute permission does not end the search.
pub(crate) fn execute(
    argv: &[OsString],
    env: &BTreeMap<OsString, OsString>,
    trampoline: BorrowedFd<'_>,
    report: (BorrowedFd<'_>, RawFd),
) -> Failure {
    let executed = || {
        let name = argv.first().ok_or(Errno::EINVAL)?;
        let mut words =
            argv.iter().map(|word| c_string(word.clone())).collect::<Result<Vec<_>, _>>()?;
        let variables = env.iter().map(|(name, value)| {
            c_string([name.as_os_str(), value.as_os_str()].join(OsStr::new("=")))
        });
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let mut file = find_program(name, &path)?;
        let mut head = [0; 4096];
        let len = read_head(&file, &mut head);
        let named = if len.is_some_and(|len| is_plain_script(&head[..len])) {
            // As execvp(3) does: the path found becomes the shell's first argument.
            let script = c_string(std::mem::replace(&mut file, SHELL.into()).into_os_string())?;
            words.splice(..1, [c_string(SHELL.into())?, script]);
            SHELL.to_owned()
        } else {
            len.and_then(|len| parse_interpreter(&head[..len])).unwrap_or_default()
        };
        if named.starts_with("/proc/") {
            return Err(not_executable(format!(
                "its interpreter {named} is not a file of the runtime"
            )));
        }
        let named = c_string(named.into())?;
        let file = c_string(file.into_os_string())?;
        if weaken::without("trampoline") {
            return Ok(execve(&file, &words, &variables)?);
        }
        let done = trampoline::execute(trampoline, report, (file, named), words, &variables);
        done.map_err(|errno| match errno {
            Errno::E2BIG => not_executable("its arguments and environment are too long".into()),
            errno => errno.into(),
        })
    };
    executed().map_or_else(|failure| failure, |never: Infallible| match never {})
}

/// The file that the command `name` refers to.
fn find_program(name: &OsStr, path: &OsStr) -> Result<PathBuf, Failure> {
    let mut denied = None;
    for file in candidates(name, path) {
        match fs::metadata(&file) {
            Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => {
                denied = denied.or(Some(file));
            }
            Err(_) => {}
            Ok(found) if found.is_file() && may_execute(&file) => return Ok(file),
            Ok(_) => denied = denied.or(Some(file)),
        }
    }
    Err(match denied {
        Some(file) => not_executable(why_not_executable(&file).into()),
        None => {
            Failure { kind: Kind::NoCommand, errno: 0, detail: path.to_string_lossy().into_owned() }
        }
    })
}

/// Whether the kernel would let this process execute `file`: its mode and its mount.
fn may_execute(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

fn c_string(text: OsString) -> Result<CString, Errno> {
    CString::new(text.into_vec()).map_err(|_| Errno::EINVAL)
}

/// The candidates for the command `name`, in the order of the search.
fn candidates(name: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    match name.as_bytes() {
        [] => Vec::new(),
        bytes if bytes.contains(&b'/') => vec![name.into()],
        _ => {
            let directories = path.as_bytes().split(|&byte| byte == b':');
            directories.map(|dir| Path::new("./").join(OsStr::from_bytes(dir)).join(name)).collect()
        }
    }
}

fn not_executable(reason: String) -> Failure {
    Failure { kind: Kind::NotExecutable, errno: 0, detail: reason }
}

/// The reason why `file`, which exists, cannot be executed.
fn why_not_executable(file: &Path) -> &'static str {
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => "it is a directory",
        Ok(found) if !found.is_file() => "it is not a file",
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            "it has no execute permission (chmod +x); its interpreter needs none: python FILE"
        }
        _ => "it is on a file system mounted noexec, or below a directory that cannot be entered",
    }
}

/// The failure of an execve(2) reported by the trampoline: `detail` contains the program and the
/// interpreter that it names, if any, each terminated by NUL.
pub(crate) fn exec_failure(errno: Errno, detail: &str) -> Failure {
    let mut texts = detail.split('\0');
    let (file, interpreter) = (texts.next().unwrap_or(""), texts.next().unwrap_or(""));
    not_executable(match (errno, interpreter) {
        (Errno::ENOENT | Errno::ENOTDIR, "") => {
            format!("the interpreter of {file} is not in the runtime")
        }
        (Errno::ENOENT | Errno::ENOTDIR, name) => {
            format!("its interpreter {name} is not in the runtime")
        }
        (Errno::EACCES, "") => format!("{file} or its interpreter cannot be executed"),
        (Errno::EACCES, name) => format!("its interpreter {name} cannot be executed"),
        (Errno::ELIBBAD, name) => {
            format!("its interpreter {name} is not a program for this machine")
        }
        (Errno::ELOOP, name) => format!("its interpreter {name} is a loop of scripts or links"),
        (Errno::ENOEXEC, _) => {
            format!("{file} is not a program for this machine, and has no #! line")
        }
        (Errno::E2BIG, _) => "its arguments and environment are too long".into(),
        (errno, _) => errno.desc().into(),
    })
}

/// The shell that executes scripts without a `#!` line.
const SHELL: &str = "/bin/sh";

/// Reads the beginning of `file` into `head`; returns the number of bytes.
fn read_head(file: &Path, head: &mut [u8]) -> Option<usize> {
    // A file replaced by a FIFO meanwhile must not block.
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(file);
    opened.ok()?.read(head).ok()
}

/// Whether a file beginning with `head` is a script without a `#!` line. The test is that of shells: the
/// first line contains no NUL.
fn is_plain_script(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    !head.starts_with(b"#!") && !head.starts_with(b"\x7fELF") && !line.contains(&0)
}

/// The interpreter that a file beginning with `head` names, by `#!` or as a 64-bit ELF.
fn parse_interpreter(head: &[u8]) -> Option<String> {
    /// `PT_INTERP` of elf(5).
    const INTERP: usize = 3;
    let name = if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next()?.trim_ascii_start();
        line.split(|byte| matches!(byte, b' ' | b'\t')).next()?
    } else {
        let number = |at: usize, len: usize| -> Option<usize> {
            let bytes = head.get(at..at.checked_add(len)?)?;
            bytes.iter().rev().try_fold(0_usize, |sum, &byte| {
                sum.checked_mul(256)?.checked_add(usize::from(byte))
            })
        };
        head.starts_with(b"\x7fELF\x02").then_some(())?;
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let mut entries = (0..count).map_while(|index| table.checked_add(index * size));
        let entry = entries.find(|at| number(*at, 4) == Some(INTERP))?;
        let (start, len) = (number(entry.checked_add(8)?, 8)?, number(entry.checked_add(32)?, 8)?);
        head.get(start..start.checked_add(len)?)?.strip_suffix(b"\0")?
    };
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_of_a_command() {
        for (name, path, want) in [
            ("ls", "/usr/bin:/bin", vec!["/usr/bin/ls", "/bin/ls"]),
            ("ls", "", vec!["./ls"]),
            ("ls", "bin", vec!["./bin/ls"]),
            ("./ls", "/bin", vec!["./ls"]),
            ("/ls", "/bin", vec!["/ls"]),
            ("", "/bin", vec![]),
        ] {
            let want: Vec<_> = want.into_iter().map(PathBuf::from).collect();
            assert_eq!(candidates(OsStr::new(name), OsStr::new(path)), want);
        }
    }

    #[test]
    fn scripts_without_an_interpreter() {
        for (head, want) in [
            (&b"echo hello\n\0"[..], true),
            (b"", true),
            (b"#!/bin/sh\n", false),
            (b"\x7fELF\x02\n", false),
            (b"\xca\xfe\0\n", false),
        ] {
            assert_eq!(is_plain_script(head), want, "{head:?}");
        }
    }

    #[test]
    fn interpreters() {
        let mut elf = b"\x7fELF\x02".to_vec();
        elf.resize(200, 0);
        (elf[32], elf[54], elf[56]) = (64, 56, 1);
        (elf[64], elf[72], elf[96]) = (3, 150, 5);
        elf[150..155].copy_from_slice(b"/ld.\0");
        for (head, want) in [
            (b"#!/bin/sh\necho".as_slice(), Some("/bin/sh")),
            (b"#! /usr/bin/env python\n", Some("/usr/bin/env")),
            (b"#!/bin/sh\r\n", Some("/bin/sh\\r")),
            (b"#!\n", None),
            (b"echo", None),
            (b"\x7fELF\x02", None),
            (&elf, Some("/ld.")),
        ] {
            assert_eq!(parse_interpreter(head).as_deref(), want, "{head:?}");
        }
    }
}
