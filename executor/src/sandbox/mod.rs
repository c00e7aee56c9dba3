//! Runs one job in a runtime, in namespaces of its own.
//!
//! In: a [`Runtime`] and a [`Job`]. Out: the job's exit status, or the error that prevented its start.
//!
//! [`plan()`] converts a [`Runtime`], a [`Job`] and the properties of the host into [`Step`]s, without side
//! effects. [`run`] applies them in order, in a child that starts in new namespaces and at last executes the
//! job, while this process waits for it.

mod launcher;
mod plan;
mod setup;
mod sys;

use crate::error::Error;
use crate::runtime::Runtime;
use rustix::process;
use std::{fs::File, io};

pub use launcher::{
    child::Exit,
    relay::is_in_foreground,
    results::{Found, Given, Results},
};
pub(crate) use launcher::{helper, signals::wait_for};
pub use plan::{
    host::{Cwd, Host},
    job::{Bind, CreatedDir, Device, Ids, Job, Limits, Network, Terminal, Tmpfs, Upload},
    plan, served_owner,
    step::{Origin, Step},
};
pub(crate) use setup::fd_passing;
pub use setup::seccomp;

/// Whether this process, and so its job, has a limit of CPU time (`ulimit -t`).
pub(crate) fn has_cpu_limit() -> bool {
    process::getrlimit(process::Resource::Cpu).current.is_some()
}

/// Duplicates the descriptor `fd` inherited from the caller; the duplicate is close-on-exec.
///
/// # Errors
/// `EBADF` if it is not open.
pub(crate) fn duplicate_descriptor(fd: i32) -> io::Result<File> {
    Ok(sys::duplicate(fd)?.into())
}

/// A job to test the sandbox with. Its command does not exist: [`Error::NoCommand`] means that all steps work.
pub(crate) fn probe_job() -> Job {
    Job { share_cwd: false, ..Job::new(vec!["/nothing".into()]) }
}

/// The kind of control groups by which a job can have these limits.
///
/// # Errors
/// The reason why it cannot, and a remedy.
pub fn can_limit(limits: Limits) -> Result<&'static str, String> {
    launcher::cgroup::Cgroup::make(limits).map(|group| group.kind())
}

/// Runs `job` in `runtime` and waits for its end. Returns the content of its private `/work` too, if
/// [`Job::results`].
///
/// Signals to this process are forwarded to the job. Panics if this process has more than one thread.
///
/// # Errors
/// [`Error::Launch`] and [`Error::Config`] if the sandbox cannot be set up, [`Error::NoCommand`]
/// and [`Error::NotExecutable`]; in all of these cases the job was not started.
pub fn run(runtime: &Runtime, job: &Job) -> Result<(Exit, Option<Results>), Error> {
    let host = Host::observe(job.user);
    let steps = plan(runtime, job, &host)?;
    launcher::launch::run(runtime, &steps, job, &host)
}
