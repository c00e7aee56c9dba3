//! The sandbox as a value: what is to be done, in which order.

use super::{Cwd, Host, Ids, Job, Network, Origin, Step};
use crate::{
    error::Error,
    runtime::{Runtime, Source},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// The directory that is a job's own, and where it starts.
const WORK: &str = "/work";

/// The host name of a job that was not given one.
const HOSTNAME: &str = "joblet";

/// `PATH` of a job whose runtime sets none: what a shell uses without one.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `HOME` of every job: private, empty and writable. `/work` would show programs the dot files
/// of the caller's directory, so that a job depended on them.
const HOME: &str = "/tmp";

/// Plans the sandbox of `job`. Reads and changes nothing.
///
/// # Errors
/// [`Error::Usage`] for an option that cannot be met.
pub fn plan(runtime: &Runtime, job: &Job, host: &Host) -> Result<Vec<Step>, Error> {
    check(job)?;
    let ids = job.user.unwrap_or(host.ids);
    let network = job.network == Network::None;
    let mut steps = vec![Step::Namespaces { user: !host.privileged, network }];
    if !host.privileged {
        steps.push(Step::MapIds { inside: ids, outside: host.ids });
    }
    steps.push(Step::PrivateMounts);
    if network {
        steps.push(Step::Loopback);
    }
    steps.push(Step::Hostname { name: job.hostname.as_deref().unwrap_or(HOSTNAME).to_owned() });
    steps.push(Step::Root);
    // First of all mounts: later steps look into it.
    steps.push(Step::Proc { protect: host.privileged });
    steps.push(Step::Dev { make_nodes: host.privileged });
    steps.extend(mounts(runtime, ids));
    let work = PathBuf::from(WORK);
    steps.push(if job.share_cwd && host.cwd == Cwd::Files {
        Step::Overlay { source: Origin::Cwd, target: work.clone(), owner: ids }
    } else {
        Step::Tmpfs { target: work.clone(), mode: 0o755, size: None, owner: ids }
    });
    for tmpfs in &job.tmpfs {
        let (target, size) = (tmpfs.target.clone(), tmpfs.size);
        steps.push(Step::Tmpfs { target, mode: 0o755, size, owner: ids });
    }
    for bind in &job.binds {
        let (source, target) = (Origin::Host(bind.source.clone()), bind.target.clone());
        steps.push(Step::Bind { source, target, writable: bind.writable });
    }
    let path = job.workdir.clone().unwrap_or(work);
    steps.extend([Step::SealRoot, Step::EnterRoot, Step::CloseFiles, Step::Workdir { path }]);
    steps.push(Step::DropPrivileges { user: host.privileged.then_some(ids) });
    steps.push(Step::Seccomp);
    steps.push(Step::Exec { argv: job.argv.clone(), env: environment(runtime, job, host) });
    Ok(steps)
}

/// The rules for options that no later step would refuse with a better message.
fn check(job: &Job) -> Result<(), Error> {
    let usage = |reason: String| Err(Error::Usage(reason));
    if job.argv.is_empty() {
        return usage("no command given".into());
    }
    if job.argv.iter().any(|word| word.as_encoded_bytes().contains(&0)) {
        return usage("the command contains a NUL byte".into());
    }
    let binds = job.binds.iter().map(|bind| &bind.target);
    for target in binds.chain(job.tmpfs.iter().map(|tmpfs| &tmpfs.target)) {
        if let Err(rule) = check_target(target) {
            return usage(format!("target {} {rule}", target.display()));
        }
    }
    if let Some(path) = job.workdir.as_ref().filter(|path| !path.is_absolute()) {
        return usage(format!("workdir {} is not absolute", path.display()));
    }
    let name = job.hostname.as_deref().unwrap_or(HOSTNAME);
    if name.is_empty() || name.len() > 64 || name.contains('\0') {
        return usage(format!("hostname {name:?} is empty, longer than 64 bytes or holds a NUL"));
    }
    for (name, value) in &job.env {
        let (name, value) = (name.as_encoded_bytes(), value.as_encoded_bytes());
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0) {
            return usage(format!("{:?} cannot be a variable", String::from_utf8_lossy(name)));
        }
    }
    Ok(())
}

fn check_target(target: &Path) -> Result<(), &'static str> {
    if !target.is_absolute() {
        return Err("is not absolute");
    }
    if target.components().any(|part| part == Component::ParentDir) {
        return Err("contains `..`");
    }
    if target == Path::new("/") {
        return Err("is the root itself");
    }
    if ["/proc", "/dev", "/sys"].iter().any(|reserved| target.starts_with(reserved)) {
        return Err("is one that every job gets fresh");
    }
    Ok(())
}

/// The mounts of `runtime.yml`, parents first, and a private `/tmp` in any case.
fn mounts(runtime: &Runtime, owner: Ids) -> Vec<Step> {
    let mut found: Vec<_> = runtime.config.mounts().iter().zip(&runtime.sources).collect();
    // A mount hides what was mounted below its target before. The sort is stable.
    found.sort_by_key(|(mount, _)| mount.target.split('/').count());
    let tmp = Step::Tmpfs { target: "/tmp".into(), mode: 0o1777, size: None, owner };
    let fills_tmp = |source: &Source| !matches!(source, Source::Missing | Source::Empty(_));
    let mut steps = Vec::new();
    if !found.iter().any(|(mount, source)| mount.target == "/tmp" && fills_tmp(source)) {
        steps.push(tmp);
    }
    for (mount, source) in found {
        let target = PathBuf::from(&mount.target);
        let origin = Origin::Runtime((&mount.source).into());
        match source {
            Source::Missing => {}
            Source::Empty(_) if mount.target == "/tmp" => {}
            _ if mount.readonly => {
                steps.push(Step::Bind { source: origin, target, writable: false });
            }
            Source::Empty(mode) => {
                steps.push(Step::Tmpfs { target, mode: *mode, size: None, owner });
            }
            Source::Directory | Source::File => {
                steps.push(Step::Overlay { source: origin, target, owner });
            }
        }
    }
    steps
}

/// All variables of the job: defaults, then the runtime's, then the job's own.
fn environment(runtime: &Runtime, job: &Job, host: &Host) -> BTreeMap<OsString, OsString> {
    let defaults = [("PATH", PATH), ("HOME", HOME)];
    let mut env: BTreeMap<OsString, OsString> =
        defaults.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    env.extend(host.term.iter().map(|term| ("TERM".into(), term.clone())));
    env.extend(runtime.config.environment().iter().map(|(k, v)| (k.into(), v.into())));
    env.extend(job.env.iter().cloned());
    env
}
