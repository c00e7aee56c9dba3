//! The two processes of a run: the launcher, and the child that becomes the job.

use super::{
    Exit, Host, Job,
    apply::{Failure, Kind, Sandbox},
    cgroup::Cgroup,
    explain::explain,
    mounts::identity,
    signals::Signals,
    step::Step,
    supervise::supervise,
    sys::{self, Clone},
    terminal::Relay,
    weaken,
};
use crate::{error::Error, runtime::Runtime};
use nix::{errno::Errno, libc};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    fs::{FileType, fstat},
    io::write,
    pipe::{PipeFlags, pipe_with},
    process::{Signal, set_parent_process_death_signal},
};
use std::{
    io::{stderr, stdin, stdout},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Starts a child that does `steps`, and waits for the end of the job.
pub(super) fn run(
    runtime: &Runtime,
    steps: &[Step],
    job: &Job,
    host: &Host,
) -> Result<Exit, Error> {
    let launch = |errno: Errno| Error::Launch {
        step: "start the job".to_owned(),
        reason: errno.desc().to_owned(),
    };
    let raw = |errno: rustix::io::Errno| launch(Errno::from_raw(errno.raw_os_error()));
    check_standard_files()?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(raw)?;
    let identity = identity(runtime.dir.as_fd()).map_err(raw)?;
    let (relay, wanted) = if job.terminal {
        let (relay, wanted) = Relay::begin().map_err(raw)?;
        (Some(relay), Some(wanted))
    } else {
        (None, None)
    };
    let signals = Signals::block().map_err(launch)?;
    let cgroup = limit(steps)?;
    let mut sandbox = Sandbox {
        runtime: (&runtime.path, identity),
        user_namespace: !host.privileged,
        ignored: &signals.ignored,
        terminal: wanted,
        report: writer.as_fd(),
        entrance: None,
        places: None,
    };
    let pid = match clone(steps, cgroup.as_ref(), &mut sandbox) {
        Ok(Clone::Child) => child(reader, &writer, sandbox, steps),
        Ok(Clone::Parent(pid)) => {
            drop(sandbox);
            pid
        }
        Err((at, errno)) => return Err(explained(steps, job, host, at, Failure::from(errno))),
    };
    drop(writer);
    let ended = supervise(&signals, pid, reader, (job.timeout, job.init), relay).map_err(launch)?;
    match Failure::decode(&ended.report) {
        Some((step, failure)) => Err(explained(steps, job, host, step, failure)),
        None => Ok(match (cgroup, ended.exit) {
            (Some(cgroup), Exit::Signal(9)) if cgroup.ran_out_of_memory() => Exit::OutOfMemory,
            (_, exit) => exit,
        }),
    }
}

/// Starts the child in its namespaces and its control group. An error tells the step it belongs to.
fn clone(
    steps: &[Step],
    cgroup: Option<&Cgroup>,
    sandbox: &mut Sandbox<'_>,
) -> Result<Clone, (usize, Errno)> {
    let begin = steps.iter().position(|step| matches!(step, Step::Namespaces { .. })).unwrap_or(0);
    let flags = steps.get(begin).map_or(0, |step| flags(step, cgroup.is_some()));
    let Some(cgroup) = cgroup else {
        return sys::clone_alone(flags, None).map_err(|errno| (begin, errno));
    };
    match sys::clone_alone(flags, Some(cgroup.dir.as_fd())) {
        // Before Linux 5.7, or in a container that knows no clone3.
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::E2BIG) => {
            let entrance = cgroup.entrance();
            let entrance = entrance.map_err(|errno| (0, Errno::from_raw(errno.raw_os_error())))?;
            sandbox.entrance = Some(entrance);
            sys::clone_alone(flags, None).map_err(|errno| (begin, errno))
        }
        // What the user may not do with groups.
        Err(errno @ (Errno::EACCES | Errno::EBUSY | Errno::EOPNOTSUPP)) => Err((0, errno)),
        other => other.map_err(|errno| (begin, errno)),
    }
}

/// Makes the control group of a plan with limits.
fn limit(steps: &[Step]) -> Result<Option<Cgroup>, Error> {
    let Some(step @ Step::Limit(limits)) = steps.first() else { return Ok(None) };
    let refuse = |reason| Error::Launch { step: format!("cannot {step}"), reason };
    Cgroup::make(*limits).map(Some).map_err(refuse)
}

/// Refuses directories as standard files: `..` leads from them to all of the host.
fn check_standard_files() -> Result<(), Error> {
    for (name, file) in
        [("input", fstat(stdin())), ("output", fstat(stdout())), ("error", fstat(stderr()))]
    {
        let refused = !weaken::without("standard-files");
        if refused
            && file.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        {
            return Err(Error::Launch {
                step: "pass on the standard files".to_owned(),
                reason: format!(
                    "standard {name} is a directory, through which a job could leave its root; use --bind"
                ),
            });
        }
    }
    Ok(())
}

/// The flags of clone(2) for the step that makes namespaces. A process that is started in another
/// control group makes the namespace for it there, when it has arrived.
fn flags(step: &Step, limited: bool) -> libc::c_int {
    let Step::Namespaces { user, network } = step else { return 0 };
    let always = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let cgroup = if limited { 0 } else { libc::CLONE_NEWCGROUP };
    let user = if *user { libc::CLONE_NEWUSER } else { 0 };
    let network = if *network && !weaken::without("network") { libc::CLONE_NEWNET } else { 0 };
    always | cgroup | user | network
}

/// The child: never returns into the code of the launcher, not even by a panic.
fn child(reader: OwnedFd, writer: &OwnedFd, mut sandbox: Sandbox<'_>, steps: &[Step]) -> ! {
    let done = catch_unwind(AssertUnwindSafe(|| {
        if let Err(failure) = follow_launcher(reader, writer) {
            return failure.encode(0);
        }
        for (index, step) in steps.iter().enumerate() {
            if weaken::leaves_out(step) {
                continue;
            }
            let done = sandbox.apply(step).and_then(|()| match step {
                // A change of user takes the death signal back; it was asked for again.
                Step::DropPrivileges { .. } => exit_if_orphaned(writer),
                _ => Ok(()),
            });
            if let Err(failure) = done {
                return failure.encode(index);
            }
        }
        Failure::launch("the plan has no command").encode(steps.len())
    }));
    if let Ok(report) = done {
        // The launcher may be gone; then nobody is left to be told.
        _ = write(writer, &report);
    }
    sys::exit_now(125)
}

/// Makes sure that this process does not outlive the launcher.
fn follow_launcher(reader: OwnedFd, writer: &OwnedFd) -> Result<(), Failure> {
    if weaken::without("follow-launcher") {
        return Ok(());
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    drop(reader);
    exit_if_orphaned(writer)
}

/// Ends this process if the launcher ended before the death signal was asked for.
///
/// A process that ends closes its files first and sends the signals then: so either the reader of
/// the pipe is gone by now, or the signal will come. The parent's process id says nothing, being
/// outside the namespace.
fn exit_if_orphaned(writer: &OwnedFd) -> Result<(), Failure> {
    let mut fds = [PollFd::new(writer, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default()))?;
    if fds[0].revents().contains(PollFlags::ERR) {
        sys::exit_now(125);
    }
    Ok(())
}

/// The error for what went wrong in step number `at`.
fn explained(steps: &[Step], job: &Job, host: &Host, at: usize, failure: Failure) -> Error {
    let command =
        || job.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match failure.kind {
        Kind::NoCommand => Error::NoCommand { command: command(), path: failure.detail },
        Kind::NotExecutable => Error::NotExecutable { command: command(), reason: failure.detail },
        Kind::Launch => {
            let step = steps.get(at);
            let mut parts = Vec::from_iter((!failure.detail.is_empty()).then_some(failure.detail));
            if let (Some(step), true) = (step, failure.errno != 0) {
                parts.push(explain(step, Errno::from_raw(failure.errno), !host.privileged));
            }
            let step = step.map_or_else(|| "follow the plan".to_owned(), Step::to_string);
            Error::Launch { step: format!("cannot {step}"), reason: parts.join(": ") }
        }
    }
}
