//! The two processes of a run: the launcher, and the child that becomes the job.

use super::{
    cgroup::Cgroup,
    child::Exit,
    init,
    reader::Reader,
    relay::Relay,
    results::{Expected, Results},
    signals::Signals,
    supervise::supervise,
    terminal::Terminal,
    workload_manager,
};
use crate::env::weaken;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::sandbox::{
    plan::explain::explain,
    plan::host::Host,
    plan::job::{self, Job},
    plan::step::{Origin, Step},
    setup::apply::Sandbox,
    setup::command,
    setup::failure::{Failure, Kind},
    setup::mount_calls::identity,
    setup::mounts::RootFs,
    setup::network,
    setup::standard_files::StandardFiles,
    sys::{self, Memory},
};
use nix::{errno::Errno, libc, unistd::Pid};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::write,
    pipe::{PipeFlags, pipe_with},
    process::{Signal, set_parent_process_death_signal},
};
use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Starts a child that applies `steps`, and waits for the end of the job.
pub(crate) fn run(
    runtime: &Runtime,
    steps: &[Step],
    job: &Job,
    host: &Host,
) -> Result<(Exit, Option<Results>), Error> {
    let launch = |errno: Errno| Error::Launch {
        step: "start the job".to_owned(),
        reason: errno.desc().to_owned(),
    };
    let raw = |errno: rustix::io::Errno| launch(Errno::from_raw(errno.raw_os_error()));
    // Started first, since it takes the longest; but after the control group, which cannot be limited below a
    // group that contains another process.
    let limited = steps.iter().any(|step| matches!(step, Step::Limit(_)));
    let early = if limited { None } else { begin_network(steps, host) };
    let mut files = StandardFiles::prepare(job.terminal)?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(raw)?;
    let identity = identity(runtime.dir.as_fd()).map_err(raw)?;
    let (terminal, wanted) = match job.terminal {
        job::Terminal::None => (None, None),
        kind => {
            let (terminal, settings) = Terminal::begin(kind == job::Terminal::Full).map_err(raw)?;
            (Some(terminal), Some(settings))
        }
    };
    let expected = job.results.then(Expected::new).transpose().map_err(raw)?;
    let signals = Signals::block().map_err(launch)?;
    let cgroup = limit(steps)?;
    let network = if limited { begin_network(steps, host) } else { early };
    let sandbox = Sandbox {
        runtime: (&runtime.path, identity),
        of_others: runtime.of_others.as_deref(),
        checked: &runtime.checked,
        server: runtime.server.as_ref().map(AsFd::as_fd),
        user_namespace: !host.privileged,
        ignored: &signals.ignored,
        files: &files,
        terminal: wanted.as_ref(),
        network: network.as_ref().map(AsFd::as_fd),
        results: expected.as_ref().map(|expected| expected.far.as_fd()),
        entrances: &[],
        reader: reader.as_fd(),
        writer: writer.as_fd(),
        report: (3..=i32::MAX).find(|fd| !job.descriptors.contains(fd)).unwrap_or(3),
    };
    let pid = clone(steps, cgroup.as_ref(), sandbox)
        .map_err(|(at, errno)| explained(steps, job, host, at, Failure::from(errno)))?;
    drop((wanted, network));
    drop(writer);
    files.close_prepared();
    let init = steps.contains(&Step::Init);
    let output = Reader::new(!init && files.shares_output());
    let memory = cgroup.as_ref().and_then(Cgroup::watch_memory);
    let relays = std::mem::take(&mut files.piped).into_iter().map(Relay::new).collect();
    let ended =
        supervise(&signals, pid, reader, (job.timeout, init), (terminal, relays, output, memory));
    files.restore();
    let ended = ended.map_err(launch)?;
    match Failure::decode(&ended.report) {
        Some((step, failure)) => Err(explained(steps, job, host, step, failure)),
        None if ended.refused.is_some() => {
            let (name, errno) = ended.refused.unwrap_or(("", rustix::io::Errno::IO));
            let step = "relay the job's output".to_owned();
            let reason = Errno::from_raw(errno.raw_os_error()).desc();
            Err(Error::Launch { step, reason: format!("{name}: {reason}") })
        }
        None => {
            let exit = match (cgroup, ended.exit) {
                (Some(cgroup), Exit::Signal(9)) if cgroup.ran_out_of_memory() => Exit::OutOfMemory,
                (_, exit) => exit,
            };
            Ok((exit, expected.and_then(|expected| expected.take(signals))))
        }
    }
}

/// Starts the process that makes the network namespace, if the plan has one. `None` if the child makes it.
fn begin_network(steps: &[Step], host: &Host) -> Option<OwnedFd> {
    let wanted = steps.contains(&Step::Network) && !leaves_out(&Step::Network);
    wanted.then(|| network::start_helper(!host.privileged).ok())?
}

/// Starts the child in its namespaces and its control group. An error contains the index of the step.
fn clone(
    steps: &[Step],
    cgroup: Option<&Cgroup>,
    sandbox: Sandbox<'_>,
) -> Result<Pid, (usize, Errno)> {
    let begin = steps.iter().position(|step| matches!(step, Step::Namespaces { .. })).unwrap_or(0);
    let flags = steps.get(begin).map_or(0, |step| flags(step, cgroup.is_some()));
    let start = |group: Option<BorrowedFd<'_>>, entrances: &[OwnedFd]| {
        let sandbox = Sandbox { entrances, ..sandbox };
        let memory = memory(steps, sandbox.of_others.is_some());
        sys::clone_alone(flags, memory, group, &mut || child(sandbox, steps))
            .map_err(|errno| (begin, errno))
    };
    let Some(cgroup) = cgroup else { return start(None, &[]) };
    let join = || {
        let entrances = cgroup.entrances();
        let entrances = entrances.map_err(|errno| (0, Errno::from_raw(errno.raw_os_error())))?;
        start(None, &entrances)
    };
    let Some(dir) = cgroup.dir() else { return join() };
    match start(Some(dir), &[]) {
        // Before Linux 5.7, or with a seccomp filter that denies clone3.
        Err((_, Errno::ENOSYS | Errno::EINVAL | Errno::E2BIG)) => join(),
        // The user may not start processes in this group.
        Err((_, errno @ (Errno::EACCES | Errno::EBUSY | Errno::EOPNOTSUPP))) => Err((0, errno)),
        other => other,
    }
}

/// Whether the child of this plan shares the launcher's memory. Copying takes a twelfth of a start. While
/// it is shared, the launcher is suspended and forwards no signal, so it is copied where the child could
/// block: on files that it copies, on a network file system that the launcher has not accessed before, or on a runtime
/// `of_others`.
///
/// It is copied for a job with a memory limit too: the OOM killer kills all processes that share the
/// memory of its victim.
fn memory(steps: &[Step], of_others: bool) -> Memory {
    let own = |step: &Step| match step {
        Step::Copy { .. } | Step::Terminal { .. } | Step::Init | Step::Serve { .. } => true,
        Step::Bind { source, .. } | Step::Overlay { source, .. } => {
            matches!(source, Origin::Host(_) | Origin::CreatedDir(..))
        }
        Step::Limit(limits) => limits.memory.is_some(),
        _ => false,
    };
    if of_others || steps.iter().any(own) { Memory::Copied } else { Memory::Shared }
}

/// Makes the control group of a plan with limits, unless a workload manager's limits are as tight already.
fn limit(steps: &[Step]) -> Result<Option<Cgroup>, Error> {
    let Some(step @ Step::Limit(limits)) = steps.first() else { return Ok(None) };
    let refuse = |reason| Error::Launch { step: format!("cannot {step}"), reason };
    match Cgroup::make(*limits) {
        Err(_) if workload_manager::meets(*limits) => Ok(None),
        made => made.map(Some).map_err(refuse),
    }
}

/// The flags of clone(2) for the namespaces of `step`, except for the network's. A process that is moved to another
/// control group makes its cgroup namespace there.
fn flags(step: &Step, limited: bool) -> libc::c_int {
    let Step::Namespaces { user, ipc, .. } = step else { return 0 };
    let always = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS;
    let ipc = if *ipc { libc::CLONE_NEWIPC } else { 0 };
    let cgroup = if limited { 0 } else { libc::CLONE_NEWCGROUP };
    let user = if *user { libc::CLONE_NEWUSER } else { 0 };
    always | ipc | cgroup | user
}

/// The child: never returns into the code of the launcher.
fn child(sandbox: Sandbox<'_>, steps: &[Step]) -> Infallible {
    let mut rootfs = None;
    finish(sandbox, &mut || match follow_launcher(sandbox) {
        Ok(()) => follow(sandbox, steps, 0, &mut rootfs),
        Err(failure) => failure.encode(0),
    })
}

/// Calls `work`, which returns only if it fails, reports its result to the launcher and exits. Panics do not
/// unwind further.
fn finish(sandbox: Sandbox<'_>, work: &mut dyn FnMut() -> Vec<u8>) -> Infallible {
    if let Ok(report) = catch_unwind(AssertUnwindSafe(work)) {
        // Fails only if the launcher has ended.
        _ = write(sandbox.writer, &report);
    }
    sys::exit_now(125)
}

/// Applies the steps from index `first` on. Returns the report of the step that failed.
fn follow(
    sandbox: Sandbox<'_>,
    steps: &[Step],
    first: usize,
    rootfs: &mut Option<RootFs>,
) -> Vec<u8> {
    for (index, step) in steps.iter().enumerate().skip(first) {
        if leaves_out(step) {
            continue;
        }
        let done = match step {
            Step::Init => {
                let mut rest = || follow(sandbox, steps, index + 1, &mut *rootfs);
                let stayed = init::run_as_init(sandbox.writer, &mut || finish(sandbox, &mut rest));
                stayed.map(|never| match never {})
            }
            step => sandbox.apply(step, rootfs),
        };
        let done = done.and_then(|()| match step {
            // A change of user cleared the parent-death signal; it was set again.
            Step::DropPrivileges { .. } => exit_if_orphaned(sandbox.writer),
            _ => Ok(()),
        });
        if let Err(failure) = done {
            return failure.encode(index);
        }
    }
    Failure::launch("the plan has no command").encode(steps.len())
}

/// Whether tests omit `step`.
fn leaves_out(step: &Step) -> bool {
    let named = || Some(serde_json::to_value(step).ok()?["step"].as_str()?.to_owned());
    cfg!(feature = "weaken") && named().is_some_and(|name| weaken::without(&name))
}

/// Sets the parent-death signal: this process must not outlive the launcher.
fn follow_launcher(sandbox: Sandbox<'_>) -> Result<(), Failure> {
    if weaken::without("follow-launcher") {
        return Ok(());
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    sys::close_own(sandbox.reader);
    exit_if_orphaned(sandbox.writer)
}

/// Ends this process if the launcher ended before the parent-death signal was set.
///
/// An exiting process closes its files before it sends these signals: so either the pipe has no reader by
/// now, or the signal will arrive. getppid(2) does not help: the parent is outside the PID namespace.
fn exit_if_orphaned(writer: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut fds = [PollFd::from_borrowed_fd(writer, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default()))?;
    if fds[0].revents().contains(PollFlags::ERR) {
        sys::exit_now(125);
    }
    Ok(())
}

/// The error for the failure of the step with index `at`.
fn explained(steps: &[Step], job: &Job, host: &Host, at: usize, failure: Failure) -> Error {
    let command =
        || job.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match failure.kind {
        Kind::NoCommand => Error::NoCommand { command: command(), path: failure.detail },
        Kind::NotExecutable => Error::NotExecutable { command: command(), reason: failure.detail },
        Kind::Exec => {
            let failure = command::exec_failure(Errno::from_raw(failure.errno), &failure.detail);
            Error::NotExecutable { command: command(), reason: failure.detail }
        }
        Kind::Launch => {
            let step = steps.get(at);
            let mut parts = Vec::from_iter((!failure.detail.is_empty()).then_some(failure.detail));
            if let (Some(step), true) = (step, failure.errno != 0) {
                parts.push(explain(step, Errno::from_raw(failure.errno), !host.privileged));
            }
            if matches!(step, Some(Step::Serve { .. })) {
                return Error::NotServed(parts.join(": "));
            }
            let step = step.map_or_else(|| "apply the plan".to_owned(), Step::to_string);
            Error::Launch { step: format!("cannot {step}"), reason: parts.join(": ") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::plan::job::{Ids, Limits};

    #[test]
    fn memory_is_shared_where_nothing_blocks() {
        let bind = |source| Step::Bind { source, target: "/a".into(), writable: false };
        for (step, want) in [
            (Step::Root { size: None }, Memory::Shared),
            (bind(Origin::Runtime("a".into())), Memory::Shared),
            (Step::Limit(Limits { pids: Some(1), ..Limits::default() }), Memory::Shared),
            (bind(Origin::Host("/far".into())), Memory::Copied),
            (Step::Limit(Limits { memory: Some(1), ..Limits::default() }), Memory::Copied),
            (Step::Terminal { owner: Ids { uid: 0, gid: 0 } }, Memory::Copied),
            (Step::Init, Memory::Copied),
        ] {
            let steps = [Step::PrivateMounts, step];
            assert_eq!(memory(&steps, false), want);
            assert_eq!(memory(&steps, true), Memory::Copied);
        }
    }
}
