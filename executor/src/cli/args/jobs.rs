//! `run` and `shell`, and the options of jobs.

use super::runtimes::INSTALLED;
use super::shared::{self, DEVICE, IPC, KEEP_FD, PROFILE, TMP};
use super::{BindArg, Command as Parsed, Run, Start, Terminal, TmpfsArg, one_spec, values};
use crate::gpu::Wanted;
use joblet_cli::{Action, Call, Command, Complete, Operands, Opt, Row, Status, Usage, path, utf8};
use joblet_format::Spec;
use joblet_format::image::RUNTIME as RUNTIME_OF_IMAGES;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

static RUNTIME: Opt<Spec> = Opt::value(
    "--runtime",
    "SPEC",
    INSTALLED,
    values::spec,
    "the runtime: NAME, NAME@VERSION or NAME@latest",
)
.about("NAME is the highest version that is installed, or else the latest of the registry.");
static IMAGE: Opt<OsString> = Opt::value(
    "--image",
    "PATH[:TAG]",
    Complete::Files,
    |word| Ok(word.to_owned()),
    "instead of a runtime, an image: an OCI layout, its tar file, or what docker save wrote",
)
.about("It is unpacked into the store when it is first run. skopeo copies images from registries.");
static ENV: Opt<(OsString, Option<OsString>)> = Opt::value(
    "--env",
    "K[=V]",
    Complete::Nothing,
    values::variable,
    "set a variable, or pass the caller's on; 'SLURM_*' passes all that begin so",
)
.short("-e");
static ENV_FILE: Opt<PathBuf> =
    Opt::path("--env-file", "FILE", "set the variables of FILE: lines of K=V or K");
static UPLOAD: Opt<PathBuf> =
    Opt::path("--upload", "PATH", "put a private copy of a file or directory into /work");
static BIND: Opt<BindArg> = Opt::value(
    "--bind",
    "SRC:DST[:rw]",
    Complete::Files,
    values::bind,
    "show a file or directory of the host to the job, live sockets included",
);
pub(super) static VOLUME: Opt<BindArg> = Opt::value(
    "--volume",
    "SRC:DST[:ro]",
    Complete::Files,
    values::volume,
    "the same, but writable unless :ro ends it; also -v SRC:DST",
);
static HERE: Opt<()> = Opt::switch(
    "--here",
    "show the current directory to the job, read-write at its own path, and start there",
)
.about("What the job writes there stays. Without it /work has a private copy of the directory.");
static OUTPUT: Opt<PathBuf> = Opt::path(
    "--output",
    "DIR",
    "copy the files that the job makes or changes in /work to DIR at its end",
);
static TMPFS: Opt<TmpfsArg> = Opt::value(
    "--tmpfs",
    "DST[:SIZE]",
    Complete::Nothing,
    values::tmpfs,
    "an empty writable directory, of at most SIZE (64M, 2G)",
);
static WORKDIR: Opt<PathBuf> = Opt::value(
    "--workdir",
    "DIR",
    Complete::Files,
    path,
    "directory of the job to start in, instead of /work",
)
.short("-w");
static USER: Opt<(u32, u32)> = Opt::value(
    "--user",
    "UID[:GID]",
    Complete::Nothing,
    values::user,
    "run as this user and group, by number",
)
.short("-u");
static HOSTNAME: Opt<String> = Opt::value(
    "--hostname",
    "NAME",
    Complete::Nothing,
    utf8,
    "name of the host as the job sees it",
);
pub(super) static NETWORK: Opt<bool> = Opt::choice(
    "--network",
    "none|host",
    values::of_host,
    "none: loopback only (default); host: the host's",
);
static TIMEOUT: Opt<Duration> = Opt::value(
    "--timeout",
    "TIME",
    Complete::Nothing,
    values::duration,
    "after TIME (90, 30s, 5m, 2h) TERM, 10 s later KILL; status 124",
);
static MEMORY: Opt<u64> = Opt::value(
    "--memory",
    "SIZE",
    Complete::Nothing,
    values::memory,
    "how much memory it may use: 8192 (MiB), 512M, 8G",
)
.short("-m");
pub(super) static CPU: Opt<u32> = Opt::value(
    "--cpu",
    "N",
    Complete::Nothing,
    values::processors,
    "how many processors' time it may use: 2, 1.5, 0.25",
);
pub(super) static PIDS: Opt<u32> = Opt::value(
    "--pids",
    "N",
    Complete::Nothing,
    values::positive,
    "how many processes and threads it may have at a time",
);
pub(super) static GPU: Opt<Wanted> = Opt::value(
    "--gpu",
    "N|all",
    Complete::Nothing,
    values::gpus,
    "give the job N of the host's GPUs (or all), with the driver's libraries",
);
static INIT: Opt<()> =
    Opt::switch("--init", "run an init as PID 1 that forwards signals and reaps zombies").about(
        "Without it, and without a terminal, the job is PID 1, and signals that it sends itself (raise, \
         alarm, kill $$) do nothing unless it handles them; abort is a SEGV, 139.",
    );
pub(super) static TTY: Opt<Terminal> = Opt::choice(
    "--tty",
    "auto|always|never",
    values::terminal,
    "a terminal of its own for the job; --tty is --tty=always",
)
.optional()
.short("-t")
.or("auto")
.about("auto: where input and output are a terminal here.");
static STATUS_FD: Opt<i32> = Opt::value(
    "--status-fd",
    "N",
    Complete::Nothing,
    values::descriptor,
    "write a line of JSON on how it ended to descriptor N",
);
static LAZY: Opt<()> = Opt::switch(
    "--lazy",
    "start while the runtime is still being installed, or fail with the reason",
);
static WAIT: Opt<()> = Opt::switch("--wait", "start when the runtime is installed");
static DRY_RUN: Opt<()> =
    Opt::switch("--dry-run", "print what would be done to start the job, and stop");

/// Options of the commands that run jobs. The first two are not of `shell`, which has an operand.
static JOB: [&Row; 30] = [
    &RUNTIME.row,
    &IMAGE.row,
    &ENV.row,
    &ENV_FILE.row,
    &UPLOAD.row,
    &BIND.row,
    &VOLUME.row,
    &HERE.row,
    &OUTPUT.row,
    &TMP.row,
    &TMPFS.row,
    &WORKDIR.row,
    &USER.row,
    &HOSTNAME.row,
    &NETWORK.row,
    &IPC.row,
    &TIMEOUT.row,
    &MEMORY.row,
    &CPU.row,
    &PIDS.row,
    &GPU.row,
    &DEVICE.row,
    &KEEP_FD.row,
    &INIT.row,
    &TTY.row,
    &STATUS_FD.row,
    &PROFILE.row,
    &LAZY.row,
    &WAIT.row,
    &DRY_RUN.row,
];

pub(super) static RUN: Command<Parsed> = Command {
    name: "run",
    also: &["job run"],
    operands: Operands {
        usage: "--runtime=SPEC [OPTION…] [--] COMMAND [ARG…]",
        complete: Complete::Files,
        end_options: true,
    },
    help: "run a job in a runtime; installs it first if no version is installed",
    about: "Options end at the first operand; the rest is the job's command line. Without --runtime, the \
            first operand is the runtime. The job starts in /work, a private copy of the current \
            directory; standard input and output are the caller's.",
    options: &JOB,
    examples: &[
        ("joblet-exec run --runtime=python-3.11 python3 -V", "a program of the runtime"),
        ("joblet-exec run python-3.11 python3 -V", "the same"),
        (
            "joblet-exec run --runtime=python-3.11 --upload main.py python3 main.py",
            "a script of this host",
        ),
        (
            "joblet-exec run --runtime=node-20 --bind .:/src:rw --workdir /src npm test",
            "this directory, writable",
        ),
        (
            "joblet-exec run --image alpine.tar cat /etc/os-release",
            "an image that skopeo or docker save wrote",
        ),
        (
            "joblet-exec run --runtime=openjdk-21 --memory 2G --timeout 5m java -version",
            "with limits",
        ),
    ],
    status: Status::OfJob,
    action: Action::Call(|call| {
        let (named, image) = (call.value(&RUNTIME)?, call.value(&IMAGE)?);
        // Before the operands: an option that has taken the runtime for its value says so.
        let run = job(call)?;
        let mut argv = call.operands();
        // `-v` without a colon in its value is --verbose.
        if let (None, Some(path)) = (&named, argv.first().filter(|_| image.is_none()))
            && matches!(path.as_encoded_bytes(), [b'.' | b'/' | b'~', ..])
        {
            let path = Path::new(path).display();
            return Err(Usage(format!(
                "{path} is not a runtime, which stands before the command; what the job is to see of the host \
                 is written -v {path}:/data"
            )));
        }
        let spec = match named {
            Some(_) if image.is_some() => {
                return Err(Usage("--runtime and --image are two roots; name one".into()));
            }
            Some(spec) => spec,
            None if image.is_some() => run.spec.clone(),
            None => first_operand(&mut argv)?,
        };
        // An image is asked which command it has itself, for the message.
        if argv.is_empty() && image.is_none() {
            return Err(Usage(format!(
                "run needs a COMMAND after the runtime; joblet-exec shell {spec} gives you a shell"
            )));
        }
        Ok(Parsed::Run(Box::new(Run { spec, image, argv, ..run })))
    }),
};

pub(super) static SHELL: Command<Parsed> = Command {
    name: "shell",
    also: &[],
    operands: Operands::new("SPEC [OPTION…]", INSTALLED),
    help: "run a shell in a runtime, with a terminal of its own",
    about: "bash, where the runtime has one, or else sh.",
    options: JOB.split_at(1).1,
    examples: &[
        ("joblet-exec shell python-3.11", "a look around"),
        ("joblet-exec shell --image alpine.tar", "the same in an image"),
        (
            "joblet-exec shell node-20 --network host --bind .:/src:rw",
            "this directory, and a network",
        ),
    ],
    status: Status::OfJob,
    action: Action::Call(|call| {
        let (image, run) = (call.value(&IMAGE)?, job(call)?);
        let spec = if image.is_some() {
            if call.operand().is_some() {
                return Err(Usage("a SPEC and --image are two roots; name one".into()));
            }
            run.spec.clone()
        } else {
            one_spec(call)?
        };
        let argv = SHELL_ARGV.map(Into::into).into();
        Ok(Parsed::Run(Box::new(Run { spec, image, argv, ..run })))
    }),
};

/// What `shell` runs: the shell that people expect, or the one that is there.
pub(super) const SHELL_ARGV: [&str; 3] =
    ["sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"];

/// The runtime of `run SPEC COMMAND…`, taken off the job's command line.
fn first_operand(argv: &mut Vec<OsString>) -> Result<Spec, Usage> {
    if argv.is_empty() {
        let hint = "joblet-exec list shows what is installed";
        return Err(Usage(format!("run needs --runtime=SPEC and a COMMAND; {hint}")));
    }
    let spec = argv.remove(0);
    let spec = values::spec(&spec)
        .map_err(|reason| Usage(format!("run needs --runtime=SPEC: {reason}")))?;
    match argv.first().and_then(|word| word.to_str()) {
        Some("--") => _ = argv.remove(0),
        Some(word) if word.starts_with('-') => {
            return Err(Usage(format!(
                "{word} stands after the runtime {spec}, where the job's command begins; options \
                 stand before it"
            )));
        }
        _ => {}
    }
    Ok(spec)
}

/// A job with the options of the call; what is run, and in which runtime, is for the caller to say.
fn job(call: &mut Call) -> Result<Run, Usage> {
    let mut binds = call.values(&BIND)?;
    binds.extend(call.values(&VOLUME)?);
    Ok(Run {
        spec: RUNTIME_OF_IMAGES.parse().expect("it is a name"),
        image: None,
        argv: Vec::new(),
        env: call.values(&ENV)?,
        env_files: call.values(&ENV_FILE)?,
        uploads: call.values(&UPLOAD)?,
        binds,
        here: call.switch(&HERE),
        output: call.value(&OUTPUT)?,
        tmpfs: call.values(&TMPFS)?,
        workdir: call.value(&WORKDIR)?,
        user: call.value(&USER)?,
        hostname: call.value(&HOSTNAME)?,
        host_network: call.value(&NETWORK)?,
        timeout: call.value(&TIMEOUT)?,
        memory: call.value(&MEMORY)?,
        cpu: call.value(&CPU)?,
        pids: call.value(&PIDS)?,
        gpu: call.value(&GPU)?,
        init: call.switch(&INIT),
        terminal: call.needed(&TTY)?,
        status_fd: call.value(&STATUS_FD)?,
        start: match (call.switch(&LAZY), call.switch(&WAIT)) {
            (true, true) => return Err(Usage("--lazy and --wait exclude each other".into())),
            (true, false) => Start::Lazy,
            (false, _) => Start::Installed,
        },
        dry_run: call.switch(&DRY_RUN),
        shared: shared::shared(call)?,
    })
}
