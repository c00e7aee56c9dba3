//! `run` and `shell`.

use super::Session;
use crate::args::{self, Run};
use crate::error::Error;
use crate::sandbox::{self, Bind, Exit, Ids, Job, Network, Tmpfs, Upload};
use crate::ui::Ui;
use crate::{list, runtime};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

impl Session<'_> {
    pub(crate) fn run(&self, run: Run, ui: &mut Ui<'_>) -> Result<u8, Error> {
        let status = run.status_fd.map(status_file).transpose()?;
        let result = self.start(run, ui);
        if let Some(mut file) = status {
            // Whoever asked for it may have gone; the job's end is not undone by that.
            _ = file.write_all(ended(&result).as_bytes());
        }
        result.map(|exit| exit.map_or(0, Exit::status))
    }

    /// How the job ended; nothing if it was not to be run.
    fn start(&self, run: Run, ui: &mut Ui<'_>) -> Result<Option<Exit>, Error> {
        let installed = self.provide(&run.spec, ui)?;
        let runtime = runtime::load(&installed.path)?;
        let dry_run = run.dry_run;
        let job = job(run)?;
        if dry_run {
            let steps = sandbox::plan(&runtime, &job, &sandbox::Host::observe())?;
            ui.data(&list::plan(&steps, self.global.json))?;
            return Ok(None);
        }
        sandbox::run(&runtime, &job).map(Some)
    }
}

fn status_file(fd: i32) -> Result<File, Error> {
    sandbox::descriptor(fd)
        .map_err(|error| Error::Usage(format!("--status-fd {fd} cannot be written to: {error}")))
}

/// The line for `--status-fd`: a JSON object.
///
/// `status` is this program's exit status, `by` whose it is: `job` (with the job's own `code`, or
/// the `signal` that ended it), `timeout`, or `joblet-exec` (with the `class` of the failure; no
/// job was run). Readers ignore members that they do not know.
fn ended(result: &Result<Option<Exit>, Error>) -> String {
    let (status, by, more) = match result {
        Ok(None) => (0, "joblet-exec", String::new()),
        Ok(Some(exit)) => match exit {
            Exit::Code(code) => (exit.status(), "job", format!(",\"code\":{code}")),
            Exit::Signal(signal) => (exit.status(), "job", format!(",\"signal\":{signal}")),
            Exit::TimedOut => (exit.status(), "timeout", String::new()),
        },
        Err(error) => {
            let class = error.class();
            (class.exit_code(true), "joblet-exec", format!(",\"class\":\"{}\"", class.word()))
        }
    };
    format!("{{\"by\":\"{by}\",\"status\":{status}{more}}}\n")
}

/// What the sandbox is asked for. Variables and files that are passed on are looked up here.
fn job(run: Run) -> Result<Job, Error> {
    let bind = |bind: args::BindArg| {
        let args::BindArg { source, target, writable } = bind;
        Bind { source, target, writable }
    };
    let tmpfs = |tmpfs: args::TmpfsArg| Tmpfs { target: tmpfs.target, size: tmpfs.size };
    let mut env = Vec::new();
    for path in &run.env_files {
        let text = fs::read(path).map_err(unreadable("--env-file", path))?;
        for (line, index) in text.split(|&byte| byte == b'\n').zip(1..) {
            let refuse = |reason| Error::Config {
                path: path.clone(),
                reason: format!("line {index}: {reason}"),
            };
            env.extend(args::env_line(OsStr::from_bytes(line)).map_err(refuse)?);
        }
    }
    env.extend(run.env);
    let env = env.into_iter().filter_map(|(name, value): (OsString, Option<OsString>)| {
        let value = value.or_else(|| std::env::var_os(&name))?;
        Some((name, value))
    });
    Ok(Job {
        env: env.collect(),
        network: if run.host_network { Network::Host } else { Network::None },
        workdir: run.workdir,
        uploads: run.uploads.into_iter().map(upload).collect::<Result<_, _>>()?,
        binds: run.binds.into_iter().map(bind).collect(),
        tmpfs: run.tmpfs.into_iter().map(tmpfs).collect(),
        hostname: run.hostname,
        user: run.user.map(|(uid, gid)| Ids { uid, gid }),
        timeout: run.timeout,
        init: run.init,
        terminal: terminal(run.terminal)?,
        ..Job::new(run.argv)
    })
}

fn unreadable(option: &str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::Usage(format!("{option} {}: {error}", path.display()))
}

/// Looks at what is to be put into the job's directory.
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
        here: lies_here(&path).unwrap_or(false),
        source: path,
    })
}

/// Whether `path` is an entry of the current directory itself: no link, no other file system.
fn lies_here(path: &Path) -> std::io::Result<bool> {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let (found, here) = (fs::symlink_metadata(path)?, fs::metadata(".")?);
    Ok(plain && !found.is_symlink() && found.dev() == here.dev())
}

fn terminal(asked: args::Terminal) -> Result<bool, Error> {
    let here = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    match asked {
        args::Terminal::Must if !here => {
            Err(Error::Usage("--tty needs a terminal as standard input and output".into()))
        }
        args::Terminal::None => Ok(false),
        _ => Ok(here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_ended_is_one_line() {
        for (result, want) in [
            (Ok(None), r#"{"by":"joblet-exec","status":0}"#),
            (Ok(Some(Exit::Code(125))), r#"{"by":"job","status":125,"code":125}"#),
            (Ok(Some(Exit::Signal(9))), r#"{"by":"job","status":137,"signal":9}"#),
            (Ok(Some(Exit::TimedOut)), r#"{"by":"timeout","status":124}"#),
            (
                Err(Error::NotFound("x".into())),
                r#"{"by":"joblet-exec","status":125,"class":"NOTFOUND"}"#,
            ),
        ] {
            let line = ended(&result);
            assert_eq!(line.trim_end(), want);
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }
}
