//! Runs a command in a runtime's directory: `run-dir [OPTION…] RUNTIME_DIR -- CMD [ARG…]`.
//!
//! For tests and measurements of the sandbox alone. Options: `--network host`, `--workdir DIR`,
//! `--bind SRC:DST:ro|rw`, `--tmpfs DST`, `--user UID:GID`, `--env K=V`, `--timeout SECONDS`,
//! `--dry-run`, `--json`, and `--without CALL,…`, which makes system calls fail as on a kernel
//! that does not have them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use joblet_exec::{error::Error, runtime, sandbox};
use nix::libc;
use sandbox::{Bind, Host, Ids, Job, Network, Tmpfs, seccomp};
use std::{env, path::Path, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error[{}]: {error}", error.class().word());
            ExitCode::from(error.class().exit_code(true))
        }
    }
}

fn run() -> Result<u8, Error> {
    let mut words: Vec<_> = env::args_os().skip(1).collect();
    let cut = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let mut job = Job::new(words.drain(cut..).skip(1).collect());
    let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
    let (mut dir, mut dry, mut json) = (String::new(), false, false);
    while let Some(word) = words.next() {
        let mut value =
            || words.next().ok_or_else(|| Error::Usage(format!("{word} needs a value")));
        match word.as_str() {
            "--network" => {
                job.network = if value()? == "host" { Network::Host } else { Network::None }
            }
            "--workdir" => job.workdir = Some(value()?.into()),
            "--tmpfs" => job.tmpfs.push(Tmpfs { target: value()?.into(), size: None }),
            "--timeout" => job.timeout = value()?.parse().map(Duration::from_secs_f64).ok(),
            "--bind" => {
                let text = value()?;
                let mut parts = text.split(':').map(str::to_owned);
                let mut part = || parts.next().unwrap_or_default();
                let (source, target) = (part().into(), part().into());
                job.binds.push(Bind { source, target, writable: part() == "rw" });
            }
            "--user" => {
                let text = value()?;
                let (uid, gid) = text.split_once(':').unwrap_or((&text, &text));
                let number = |text: &str| text.parse().map_err(|_| Error::Usage(text.to_owned()));
                job.user = Some(Ids { uid: number(uid)?, gid: number(gid)? });
            }
            "--env" => {
                let text = value()?;
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                job.env.push((name.into(), value.into()));
            }
            "--without" => without(&value()?)?,
            "--dry-run" => dry = true,
            "--json" => json = true,
            _ => dir = word,
        }
    }
    let runtime = runtime::load(Path::new(&dir))?;
    if !dry {
        return Ok(sandbox::run(&runtime, &job)?.status());
    }
    for step in sandbox::plan(&runtime, &job, &Host::observe())? {
        match serde_json::to_string(&step) {
            Ok(text) if json => println!("{text}"),
            _ => println!("{step}"),
        }
    }
    Ok(0)
}

fn without(names: &str) -> Result<(), Error> {
    let calls = names.split(',').map(|name| match name {
        "mount_setattr" => Ok(libc::SYS_mount_setattr),
        "close_range" => Ok(libc::SYS_close_range),
        "openat2" => Ok(libc::SYS_openat2),
        "pidfd_open" => Ok(libc::SYS_pidfd_open),
        "fsopen" => Ok(libc::SYS_fsopen),
        "keyctl" => Ok(libc::SYS_keyctl),
        other => Err(Error::Usage(format!("unknown call {other}"))),
    });
    let calls = calls.collect::<Result<Vec<_>, _>>()?;
    seccomp::pretend_without(&calls).map_err(Error::file("filter", names))
}
