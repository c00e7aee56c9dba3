//! Runs one job in a runtime, in namespaces of its own.
//!
//! In: a [`Runtime`] and a [`Job`]. Out: how the job ended, or why it never began.
//!
//! A sandbox is first a value: [`plan()`] turns a [`Runtime`], a [`Job`] and the properties of the
//! host into [`Step`]s, without touching anything. [`run`] then applies them in order, in a child
//! that begins in new namespaces and ends as the job, while this process waits for it.

mod launcher;
mod plan;
mod setup;
mod sys;

use crate::error::Error;
use crate::runtime::Runtime;
use rustix::process;
use std::{fs::File, io};

pub(crate) use launcher::apart;
pub use launcher::{
    relay::is_in_foreground,
    results::{Found, Given, Results},
    supervise::Exit,
};
pub use plan::{
    host::{Cwd, Host},
    job::{Bind, Device, Ids, Job, Limits, Network, Terminal, Tmpfs, Upload},
    owner, plan,
    step::{Origin, Step},
};
pub(crate) use setup::descriptors;
pub use setup::seccomp;

/// Whether this process, and so its job, may use only so much CPU time (`ulimit -t`).
pub fn has_cpu_limit() -> bool {
    process::getrlimit(process::Resource::Cpu).current.is_some()
}

/// A second descriptor for what the caller left open as number `fd`, which no job inherits.
///
/// # Errors
/// `EBADF` if there is none.
pub fn descriptor(fd: i32) -> io::Result<File> {
    Ok(sys::duplicate(fd)?.into())
}

/// A job whose command does not exist: it fails with [`Error::NoCommand`] where all else works.
pub fn nothing() -> Job {
    Job { share_cwd: false, ..Job::new(vec!["/nothing".into()]) }
}

/// By what a job can have these limits.
///
/// # Errors
/// Why it cannot, and how to fix it.
pub fn can_limit(limits: Limits) -> Result<&'static str, String> {
    launcher::cgroup::Cgroup::make(limits).map(|group| group.kind())
}

/// Runs `job` in `runtime` and waits for its end; what it left in its private directory, if that is
/// wanted.
///
/// While the job runs, signals to this process go on to it. Panics if this process has more than
/// one thread.
///
/// # Errors
/// [`Error::Launch`] and [`Error::Config`] if the sandbox cannot be set up, [`Error::NoCommand`]
/// and [`Error::NotExecutable`]; in none of these cases has the job begun.
pub fn run(runtime: &Runtime, job: &Job) -> Result<(Exit, Option<Results>), Error> {
    let host = Host::observe(job.user);
    let steps = plan(runtime, job, &host)?;
    launcher::launch::run(runtime, &steps, job, &host)
}
