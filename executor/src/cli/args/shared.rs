//! Options that share more of the host with a job, and profiles.
//!
//! In: a call, or the words of a profile. Out: [`Shared`], or a [`Run`] that the command line overrides.

use super::{Cli, Command, Run, Start, Terminal, values};
use crate::error::Error;
use joblet_cli::{Call, Complete, Opt, Usage, utf8};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

pub(super) static TMP: Opt<PathBuf> = Opt::path(
    "--tmp",
    "DIR",
    "use a new directory in DIR as the job's /tmp; it is removed at the end",
);
pub(super) static IPC: Opt<bool> = Opt::choice(
    "--ipc",
    "none|host",
    values::shares_host,
    "none: shared memory of its own (default); host: the host's, with its /dev/shm",
);
pub(super) static DEVICE: Opt<PathBuf> = Opt::path(
    "--device",
    "PATH",
    "add a device of the host, or all of a directory of /dev, to the job's /dev",
);
pub(super) static KEEP_FD: Opt<RawFd> = Opt::value(
    "--keep-fd",
    "N",
    Complete::Nothing,
    values::descriptor,
    "let the job use descriptor N: no directory, and a file only if open for reading and writing",
);
pub(super) static PROFILE: Opt<String> = Opt::value(
    "--profile",
    "NAME",
    Complete::Words("slurm|mpi|ci|none"),
    utf8,
    "add the options of a profile: slurm, mpi, ci or one of the configuration; none: no profile",
)
.about(
    "Options on the command line override the profile's. slurm: --here, --network host, --init, a --tmp in \
     $TMPDIR, variables of Slurm, OpenMP, NCCL and torchrun. mpi: the same but torchrun's, and --ipc host, the \
     socket and directory of PMI, variables of MPI. ci: --here, --network host, --init, $RUNNER_TEMP, variables CI*, GITHUB_*, RUNNER_*. \
     JOBLET_EXEC_PROFILE names one for all jobs, else the one called default in the configuration is used; \
     --dry-run shows the result.",
);

/// Options that share more of the host with a job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// `--tmp`
    pub tmp: Option<PathBuf>,
    /// `--ipc`: whether it is the host's
    pub ipc: Option<bool>,
    /// `--device`
    pub devices: Vec<PathBuf>,
    /// `--keep-fd`
    pub descriptors: Vec<RawFd>,
    /// `--profile`
    pub profiles: Vec<String>,
}

/// Reads these options.
pub(super) fn shared(call: &mut Call) -> Result<Shared, Usage> {
    Ok(Shared {
        tmp: call.value(&TMP)?,
        ipc: call.value(&IPC)?,
        devices: call.values(&DEVICE)?,
        descriptors: call.values(&KEEP_FD)?,
        profiles: call.values(&PROFILE)?,
    })
}

/// Parses the options of a profile into a `Run`, whose runtime and command are placeholders.
///
/// # Errors
/// [`Error::Usage`] with the word that is not an option of `run`.
pub(crate) fn profile(words: Vec<OsString>) -> Result<Run, Error> {
    let mut line = Vec::from(["run", "--runtime=x"].map(OsString::from));
    line.extend(words);
    line.extend(["--", "x"].map(OsString::from));
    let refuse = || Error::Usage("a profile is a list of options of run, such as --here".into());
    let Cli { global, command } = super::parse(line)?;
    match command {
        Command::Run(run) if run.argv == ["x"] && global == super::Global::default() => {
            if run.shared.profiles.is_empty() { Ok(*run) } else { Err(refuse()) }
        }
        _ => Err(refuse()),
    }
}

impl Run {
    /// Adds the options of a profile. Options of the command line override them, or follow them in lists.
    pub(crate) fn add(&mut self, below: Self) {
        fn before<T>(own: &mut Vec<T>, mut below: Vec<T>) {
            below.append(own);
            *own = below;
        }
        // Without `..`, so that the compiler finds a forgotten option.
        #[rustfmt::skip]
        let Self {
            spec: _, image: _, argv: _, env, env_files, uploads, binds, here, output, tmpfs, workdir, user, hostname,
            host_network, timeout, memory, cpu, pids, gpu, init, terminal, status_fd, dry_run, start,
            shared,
        } = below;
        let Shared { tmp, ipc, devices, descriptors, profiles: _ } = shared;
        before(&mut self.env, env);
        before(&mut self.env_files, env_files);
        before(&mut self.uploads, uploads);
        before(&mut self.binds, binds);
        before(&mut self.tmpfs, tmpfs);
        before(&mut self.shared.devices, devices);
        before(&mut self.shared.descriptors, descriptors);
        self.here |= here;
        self.init |= init;
        self.dry_run |= dry_run;
        self.output = self.output.take().or(output);
        self.workdir = self.workdir.take().or(workdir);
        self.user = self.user.or(user);
        self.hostname = self.hostname.take().or(hostname);
        self.host_network = self.host_network.or(host_network);
        self.timeout = self.timeout.or(timeout);
        self.memory = self.memory.or(memory);
        self.cpu = self.cpu.or(cpu);
        self.pids = self.pids.or(pids);
        self.gpu = self.gpu.or(gpu);
        self.status_fd = self.status_fd.or(status_fd);
        self.shared.tmp = self.shared.tmp.take().or(tmp);
        self.shared.ipc = self.shared.ipc.or(ipc);
        if self.terminal == Terminal::Auto {
            self.terminal = terminal;
        }
        if self.start == Start::Installed {
            self.start = start;
        }
    }
}
