//! Conversion of the options of `run` to a [`Job`], with lookups of the files and variables that they name.

use crate::cli::args::{self, Run};
use crate::env::{Environment, Terminals};
use crate::error::Error;
use crate::gpu::{self, Gpus};
use crate::sandbox::{self, Bind, Device, Ids, Job, Limits, Network, Terminal, Tmpfs, Upload};
use rustix::fs::{OFlags, fcntl_getfl};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// Limit for the length of a file of variables, in bytes; execve(2) accepts less.
const MAX_ENV_FILE: u64 = 8 << 20;

/// Converts the options of `run` to a job.
pub(super) fn wanted(run: Run, caller: &Environment) -> Result<Job, Error> {
    let bind = |bind: args::BindArg| {
        let args::BindArg { source, target, writable } = bind;
        Bind { source, target, writable }
    };
    let tmpfs = |tmpfs: args::TmpfsArg| Tmpfs { target: tmpfs.target, size: tmpfs.size };
    let mut env = Vec::new();
    for path in &run.env_files {
        let mut text = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_ENV_FILE).read_to_end(&mut text))
            .map_err(unreadable("--env-file", path))?;
        if text.len() as u64 == MAX_ENV_FILE {
            return Err(Error::Usage(format!("--env-file {} is too long", path.display())));
        }
        for (line, index) in text.split(|&byte| byte == b'\n').zip(1..) {
            let refuse = |reason| Error::Config {
                path: path.clone(),
                reason: format!("line {index}: {reason}"),
            };
            env.extend(args::env_line(OsStr::from_bytes(line)).map_err(refuse)?);
        }
    }
    env.extend(run.env);
    let mut variables = Vec::new();
    for (name, value) in env {
        match name.as_bytes().strip_suffix(b"*") {
            Some(prefix) if value.is_none() => variables.extend(Environment::beginning(prefix)),
            _ => {
                let value = value.or_else(|| Environment::variable(&name));
                variables.extend(value.map(|value| (name, value)));
            }
        }
    }
    let mut binds: Vec<_> = run.binds.into_iter().map(bind).collect();
    let mut workdir = run.workdir;
    if run.here {
        let here = std::env::current_dir();
        let here = here.map_err(|error| Error::Usage(format!("--here: {error}")))?;
        binds.insert(0, Bind { source: ".".into(), target: here.clone(), writable: true });
        workdir = workdir.or(Some(here));
    }
    Ok(Job {
        share_cwd: !run.here,
        env: variables,
        term: caller.term.clone(),
        network: if run.host_network == Some(true) { Network::Host } else { Network::None },
        host_ipc: run.shared.ipc == Some(true),
        devices: devices(&run.shared.devices)?,
        descriptors: run.shared.descriptors,
        workdir,
        uploads: run.uploads.into_iter().map(upload).collect::<Result<_, _>>()?,
        binds,
        tmpfs: run.tmpfs.into_iter().map(tmpfs).collect(),
        hostname: run.hostname,
        user: run.user.map(|(uid, gid)| Ids { uid, gid }),
        timeout: run.timeout,
        limits: Limits { memory: run.memory, cpu: run.cpu, pids: run.pids },
        // PID 1 ignores SIGXCPU of a limit of CPU time.
        init: run.init || sandbox::has_cpu_limit(),
        terminal: terminal(run.terminal, caller.terminals)?,
        ..Job::new(run.argv)
    })
}

/// The devices of the host at these paths: each is a node below `/dev`, or all nodes of a directory there.
fn devices(paths: &[PathBuf]) -> Result<Vec<Device>, Error> {
    let is_device = |path: &Path| {
        let kind = fs::metadata(path).map(|found| found.file_type());
        kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
    };
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        let mut all = vec![path.clone()];
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            all.push(entry.path());
        }
        for host in all {
            let below = host.strip_prefix("/dev").ok().filter(|_| is_device(&host));
            let below = below.filter(|it| it.components().all(|part| part != Component::ParentDir));
            found.extend(below.map(|below| Device { host: host.clone(), path: below.into() }));
        }
        if found.len() == before {
            let reason = "names no device below /dev";
            return Err(Error::Usage(format!("--device {} {reason}", path.display())));
        }
    }
    Ok(found)
}

/// Refuses descriptors that a job cannot inherit. To be called before any file is opened, which could get
/// the number of a descriptor that is not open.
pub(super) fn check_descriptors(kept: &[RawFd]) -> Result<(), Error> {
    for fd in kept {
        let found = sandbox::duplicate_descriptor(*fd)
            .and_then(|file| Ok((file.metadata()?, fcntl_getfl(&file)?)));
        let reason = match found {
            Ok(_) if *fd < 3 => "is open in every job",
            // `..` would lead out of it.
            Ok((found, _)) if found.is_dir() => "is a directory; use --bind",
            Ok((found, flags)) if found.is_file() && !is_writable(flags) => {
                "is a file that the job could open again for writing; make it standard input or a pipe, or use --bind"
            }
            // O_PATH: the job could open the file by it.
            Ok((_, flags)) if flags.contains(OFlags::PATH) => "is not open for reading or writing",
            Ok(_) => continue,
            Err(_) => "is not open",
        };
        return Err(Error::Usage(format!("--keep-fd {fd} {reason}")));
    }
    Ok(())
}

/// Whether a descriptor with these flags can write anywhere in its file, so that reopening it by `/proc` gives
/// no more access.
fn is_writable(flags: OFlags) -> bool {
    flags & OFlags::RWMODE == OFlags::RDWR && !flags.intersects(OFlags::APPEND | OFlags::PATH)
}

/// Adds GPUs to the job. The job's own options override the driver's.
pub(super) fn add_gpus(job: &mut Job, gpus: Gpus) {
    // Inherited values number the GPUs of the host.
    let passed_on = |(name, value): &(OsString, OsString)| {
        gpus.env.iter().any(|(own, _)| name == own.as_str())
            && Environment::variable(name).as_ref() == Some(value)
    };
    job.env.retain(|variable| !passed_on(variable));
    let device = |(host, path)| Device { host, path };
    job.devices.extend(gpus.nodes.into_iter().map(device));
    let bind = |(source, target)| Bind { source, target, writable: false };
    let mut binds: Vec<_> = gpus.files.into_iter().map(bind).collect();
    binds.append(&mut job.binds);
    job.binds = binds;
    let mut env: Vec<_> = gpus.env.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
    env.append(&mut job.env);
    job.env = env;
    for (name, directory) in [("LD_LIBRARY_PATH", gpu::LIBRARIES), ("PATH", gpu::PROGRAMS)] {
        if job.binds.iter().any(|bind| bind.target.starts_with(directory)) {
            job.search.push((name.into(), directory.into()));
        }
    }
}

fn unreadable(option: &str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::Usage(format!("{option} {}: {error}", path.display()))
}

/// Inspects a file or directory of `--upload`.
fn upload(path: PathBuf) -> Result<Upload, Error> {
    let found = fs::metadata(&path).map_err(unreadable("--upload", &path))?;
    let Some(name) = path.file_name().filter(|_| found.is_file() || found.is_dir()) else {
        let reason = "has no name, or is neither file nor directory";
        return Err(Error::Usage(format!("--upload {} {reason}", path.display())));
    };
    Ok(Upload {
        name: name.to_owned(),
        directory: found.is_dir(),
        mode: found.mode() & 0o777,
        in_cwd: is_in_cwd(&path).unwrap_or(false),
        source: path,
    })
}

/// Whether `path` is an entry of the current directory itself: no link, no other file system.
fn is_in_cwd(path: &Path) -> std::io::Result<bool> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let (found, here) = (fs::symlink_metadata(path)?, fs::metadata(".")?);
    Ok(plain && !found.is_symlink() && found.dev() == here.dev())
}

fn terminal(asked: args::Terminal, terminals: Terminals) -> Result<Terminal, Error> {
    let here = terminals.input && terminals.output;
    match asked {
        args::Terminal::Always if !here => {
            Err(Error::Usage("--tty needs a terminal as standard input and output".into()))
        }
        args::Terminal::Always => Ok(Terminal::Full),
        // In the background a job has no terminal for input.
        args::Terminal::Auto if here && sandbox::is_in_foreground(&std::io::stdin()) => {
            Ok(Terminal::Full)
        }
        args::Terminal::Auto if terminals.output || terminals.error => Ok(Terminal::Output),
        args::Terminal::Auto | args::Terminal::Never => Ok(Terminal::None),
    }
}
