//! `run` and `shell`, and the options of jobs.

use super::runtimes::INSTALLED;
use super::shared::{self, DEVICE, IPC, KEEP_FD, PROFILE, TMP};
use super::{BindArg, Command as Parsed, Run, Start, Terminal, TmpfsArg, one_spec, values};
use crate::error::interpreter;
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
    "instead of a runtime, an image: an OCI layout, its tar file, or a file of docker save",
)
.about("It is unpacked into the store when it is first run. skopeo copies images from registries.");
static ENV: Opt<(OsString, Option<OsString>)> = Opt::value(
    "--env",
    "K[=V]",
    Complete::Nothing,
    values::variable,
    "set a variable, or inherit the caller's; 'SLURM_*' inherits all with this prefix",
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
    "mount a file or directory of the host in the job, read-only without :rw",
);
pub(super) static VOLUME: Opt<BindArg> = Opt::value(
    "--volume",
    "SRC:DST[:ro]",
    Complete::Files,
    values::volume,
    "the same, but writable without :ro; also -v SRC:DST",
);
static HERE: Opt<()> = Opt::switch(
    "--here",
    "mount the current directory in the job, writable, at its own path, and start there",
)
.about("Files that the job writes there are kept. Without --here, /work is a private copy of the directory.");
static OUTPUT: Opt<PathBuf> = Opt::path(
    "--output",
    "DIR",
    "copy the files that the job creates or changes in /work to DIR at its end",
);
static TMPFS: Opt<TmpfsArg> = Opt::value(
    "--tmpfs",
    "DST[:SIZE]",
    Complete::Nothing,
    values::tmpfs,
    "mount an empty writable directory, of at most SIZE (64M, 2G)",
);
pub(super) static WORKDIR: Opt<PathBuf> = Opt::value(
    "--workdir",
    "DIR",
    Complete::Files,
    path,
    "start the job in this directory of its own instead of /work",
)
.short("-w");
static USER: Opt<(u32, u32)> = Opt::value(
    "--user",
    "UID[:GID]",
    Complete::Nothing,
    values::user,
    "run as this user ID and group ID",
)
.short("-u");
static HOSTNAME: Opt<String> =
    Opt::value("--hostname", "NAME", Complete::Nothing, utf8, "host name of the job");
pub(super) static NETWORK: Opt<bool> = Opt::choice(
    "--network",
    "none|host",
    values::shares_host,
    "none: loopback only (default); host: the host's network",
);
static TIMEOUT: Opt<Duration> = Opt::value(
    "--timeout",
    "TIME",
    Complete::Nothing,
    values::duration,
    "send SIGTERM after TIME (90, 30s, 5m, 2h), SIGKILL 10 s later; status 124",
);
static MEMORY: Opt<u64> = Opt::value(
    "--memory",
    "SIZE",
    Complete::Nothing,
    values::memory,
    "limit its memory: 8192 (MiB), 512M, 8G",
)
.short("-m");
pub(super) static CPU: Opt<u32> = Opt::value(
    "--cpu",
    "N",
    Complete::Nothing,
    values::processors,
    "limit its processor time to that of N processors: 2, 1.5, 0.25",
);
pub(super) static PIDS: Opt<u32> = Opt::value(
    "--pids",
    "N",
    Complete::Nothing,
    values::positive,
    "limit the number of its processes and threads",
);
pub(super) static GPU: Opt<Wanted> = Opt::value(
    "--gpu",
    "N|all",
    Complete::Nothing,
    values::gpus,
    "give the job N GPUs of the host, or all, with the driver's libraries",
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
    "run the job in a terminal of its own; --tty is --tty=always",
)
.optional()
.short("-t")
.or("auto")
.about("auto: if standard input and output are a terminal.");
static STATUS_FD: Opt<i32> = Opt::value(
    "--status-fd",
    "N",
    Complete::Nothing,
    values::descriptor,
    "write the job's result to descriptor N, as a line of JSON",
);
static LAZY: Opt<()> = Opt::switch(
    "--lazy",
    "start while the runtime is still being installed, or fail with the reason",
);
static WAIT: Opt<()> = Opt::switch("--wait", "start when the runtime is installed");
static DRY_RUN: Opt<()> =
    Opt::switch("--dry-run", "print the steps that would start the job, and stop");

/// Options of the commands that run jobs. `shell`, whose operand is the runtime, lacks the first one.
static JOB: [&Row; 30] = [
    &RUNTIME.row, &IMAGE.row, &ENV.row, &ENV_FILE.row, &UPLOAD.row, &BIND.row, &VOLUME.row,
    &HERE.row, &OUTPUT.row, &TMP.row, &TMPFS.row, &WORKDIR.row, &USER.row, &HOSTNAME.row,
    &NETWORK.row, &IPC.row, &TIMEOUT.row, &MEMORY.row, &CPU.row, &PIDS.row, &GPU.row, &DEVICE.row,
    &KEEP_FD.row, &INIT.row, &TTY.row, &STATUS_FD.row, &PROFILE.row, &LAZY.row, &WAIT.row,
    &DRY_RUN.row,
];

pub(super) static RUN: Command<Parsed> = Command {
    name: "run",
    also: &["job run"],
    operands: Operands {
        usage: "--runtime=SPEC [OPTION…] [--] COMMAND [ARG…]",
        complete: INSTALLED,
        end_options: true,
        instead: "--runtime|--runtime=*|--image|--image=*",
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
        // Before the operands: an option that took the runtime as its value is the better error.
        let run = job(call)?;
        let mut argv = call.operands();
        // `-v` without a colon in its value is --verbose.
        if let (None, Some(path)) = (&named, argv.first().filter(|_| image.is_none()))
            && matches!(path.as_encoded_bytes(), [b'.' | b'/' | b'~', ..])
        {
            let path = Path::new(path).display();
            return Err(Usage(format!(
                "{path} is not a runtime, which comes before the command; to show a path of the host to the job, \
                 use -v {path}:/data"
            )));
        }
        let spec = match named {
            Some(_) if image.is_some() => {
                return Err(Usage("--runtime and --image exclude each other".into()));
            }
            Some(spec) => spec,
            None if image.is_some() => run.spec.clone(),
            None => first_operand(&mut argv)?,
        };
        // The message names the command of the image itself.
        if argv.is_empty() && image.is_none() {
            let name = spec.name.as_str();
            let hint = match interpreter(name) {
                Some(with) => format!("a script is run by: joblet-exec run RUNTIME {with} {name}"),
                None => format!("joblet-exec shell {spec} gives you a shell"),
            };
            return Err(Usage(format!("run needs a COMMAND after the runtime; {hint}")));
        }
        Ok(Parsed::Run(Box::new(Run { spec, image, argv, ..run })))
    }),
};

pub(super) static SHELL: Command<Parsed> = Command {
    name: "shell",
    also: &[],
    operands: Operands::new("SPEC [OPTION…]", INSTALLED),
    help: "run a shell in a runtime, with a terminal of its own",
    about: "It runs bash if the runtime has it, else sh.",
    options: JOB.split_at(1).1,
    examples: &[
        ("joblet-exec shell python-3.11", "an interactive shell"),
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
            one_spec(call).map_err(|Usage(reason)| {
                Usage(reason + "; joblet-exec run SPEC COMMAND runs a command")
            })?
        };
        let argv = SHELL_ARGV.map(Into::into).into();
        Ok(Parsed::Run(Box::new(Run { spec, image, argv, ..run })))
    }),
};

/// The command of `shell`: bash, or else sh.
pub(super) const SHELL_ARGV: [&str; 3] =
    ["sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"];

/// Removes the runtime of `run SPEC COMMAND…` from the job's command line.
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
                "{word} is after the runtime {spec}, where the job's command begins; options \
                 come before it"
            )));
        }
        _ => {}
    }
    Ok(spec)
}

/// A job with the options of the call. The caller sets its command and its runtime.
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
