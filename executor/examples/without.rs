//! Runs a program as on a kernel that lacks some system calls: `without CALL[,CALL…] PROGRAM [ARG…]`.
//!
//! For tests: the calls fail with `ENOSYS`, in the program and in all that it starts.
#![allow(clippy::print_stderr, reason = "an aid for tests")]

use joblet_exec::sandbox::seccomp;
use nix::libc;
use std::{env, os::unix::process::CommandExt, process::Command, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<_> = env::args_os().skip(1).collect();
    let [calls, program, args @ ..] = words.as_slice() else {
        eprintln!("usage: without CALL[,CALL…] PROGRAM [ARG…]");
        return ExitCode::from(2);
    };
    let names = calls.to_string_lossy();
    let Some(numbers) = names.split(',').map(number).collect::<Option<Vec<_>>>() else {
        eprintln!("without: unknown call in {names:?}");
        return ExitCode::from(2);
    };
    let error = match seccomp::pretend_without(&numbers) {
        Ok(()) => Command::new(program).args(args).exec(),
        Err(error) => error,
    };
    eprintln!("without: {}: {error}", program.to_string_lossy());
    ExitCode::FAILURE
}

fn number(name: &str) -> Option<i64> {
    Some(match name {
        "clone3" => libc::SYS_clone3,
        "close_range" => libc::SYS_close_range,
        "fsopen" => libc::SYS_fsopen,
        "keyctl" => libc::SYS_keyctl,
        "mount_setattr" => libc::SYS_mount_setattr,
        "openat2" => libc::SYS_openat2,
        "pidfd_open" => libc::SYS_pidfd_open,
        "setns" => libc::SYS_setns,
        "pidfd_send_signal" => libc::SYS_pidfd_send_signal,
        _ => return None,
    })
}
