//! From the job's command to a running program.

use super::apply::{Failure, Kind};
use nix::{errno::Errno, unistd::execve};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    ffi::{CString, OsStr, OsString},
    fs::{self, File},
    io::Read,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Executes `argv` with the environment `env`. Comes back only if that fails.
///
/// A command with a `/` is a path; any other is looked for along the job's own `PATH`, as
/// execvp(3) does: a file without permission does not end the search.
pub(super) fn execute(argv: &[OsString], env: &BTreeMap<OsString, OsString>) -> Failure {
    match try_all(argv, env) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn try_all(argv: &[OsString], env: &BTreeMap<OsString, OsString>) -> Result<Infallible, Failure> {
    let name = argv.first().ok_or(Errno::EINVAL)?;
    let words = argv.iter().map(|word| c_string(word.clone())).collect::<Result<Vec<_>, _>>()?;
    let variables = env
        .iter()
        .map(|(name, value)| c_string([name.as_os_str(), value.as_os_str()].join(OsStr::new("="))));
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    let mut denied = None;
    for file in candidates(name, &path) {
        let c_file = c_string(file.clone().into_os_string())?;
        let Err(errno) = execve(&c_file, &words, &variables);
        match errno {
            Errno::ENOENT | Errno::ENOTDIR if fs::metadata(&file).is_err() => {}
            Errno::EACCES => denied = denied.or(Some(file)),
            _ => return Err(not_executable(&reason(errno, &file))),
        }
    }
    match denied {
        Some(file) => Err(not_executable(&reason(Errno::EACCES, &file))),
        None => Err(Failure {
            kind: Kind::NoCommand,
            errno: 0,
            detail: path.to_string_lossy().into_owned(),
        }),
    }
}

fn c_string(text: OsString) -> Result<CString, Errno> {
    CString::new(text.into_vec()).map_err(|_| Errno::EINVAL)
}

/// The files that `name` may mean, in order.
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

fn not_executable(reason: &str) -> Failure {
    Failure { kind: Kind::NotExecutable, errno: 0, detail: reason.to_owned() }
}

/// Why `file`, which exists, was not executed.
fn reason(errno: Errno, file: &Path) -> String {
    let shown = file.display();
    match errno {
        Errno::EACCES if file.is_dir() => format!("{shown} is a directory"),
        Errno::EACCES if is_executable(file) => {
            format!(
                "{shown} lies on a file system mounted noexec, or below a directory it cannot enter"
            )
        }
        Errno::EACCES => format!("{shown} has no execute permission (chmod +x)"),
        Errno::ENOENT => match interpreter(file) {
            Some(interpreter) => format!("its interpreter {interpreter} is not in the runtime"),
            None => format!("the interpreter of {shown} is not in the runtime"),
        },
        Errno::ENOEXEC => format!("{shown} is no program of this machine, and has no #! line"),
        Errno::E2BIG => "its arguments and environment are too long".into(),
        errno => errno.desc().into(),
    }
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The interpreter that `file` asks for.
fn interpreter(file: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(4096).read_to_end(&mut head).ok()?;
    parse_interpreter(&head)
}

/// The interpreter that a file beginning with `head` asks for, by `#!` or as a 64-bit ELF.
fn parse_interpreter(head: &[u8]) -> Option<String> {
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
        const INTERP: usize = 3;
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
    fn where_a_command_is_looked_for() {
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
