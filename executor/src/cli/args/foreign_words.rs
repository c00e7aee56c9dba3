//! Commands and options of Docker, Apptainer, package managers and Joblet's `rnx`: synonyms, or advice.

use super::{jobs, values};
use joblet_cli::ForeignWords;
use joblet_cli::Meaning::{Advice, Implied, Same, SameBefore};

/// Commands with the options of jobs.
const JOBS: &[&str] = &["run", "shell"];

const SERVER: &str =
    "it needs a Joblet server and its rnx; joblet-exec runs jobs on this host alone";

pub(super) static FOREIGN: [ForeignWords; 44] = [
    ForeignWords::option(JOBS, &["-v"], SameBefore(&jobs::VOLUME.row, values::is_volume)),
    ForeignWords::option(JOBS, &["-B"], Same(&jobs::VOLUME.row)),
    ForeignWords::option(JOBS, &["--net"], Same(&jobs::NETWORK.row)),
    ForeignWords::option(JOBS, &["--gpus"], Same(&jobs::GPU.row)),
    ForeignWords::option(JOBS, &["--cpus"], Same(&jobs::CPU.row)),
    ForeignWords::option(JOBS, &["--pids-limit"], Same(&jobs::PIDS.row)),
    ForeignWords::option(JOBS, &["--pwd"], Same(&jobs::WORKDIR.row)),
    ForeignWords::option(
        JOBS,
        &["--rm", "-i", "--interactive", "--read-only", "--cleanenv", "--contain", "--containall"],
        Implied,
    ),
    ForeignWords::option(JOBS, &["-p", "--publish"], Advice(PORTS)),
    ForeignWords::option(
        JOBS,
        &["--name"],
        Advice("jobs have no name; --hostname NAME sets the job's host name"),
    ),
    ForeignWords::option(JOBS, &["-d", "--detach"], Advice(DETACH)),
    ForeignWords::option(JOBS, &["--entrypoint"], Advice("the command after the options is run")),
    ForeignWords::option(
        JOBS,
        &["--mount"],
        Advice("use --bind SRC:DST, or SRC:DST:rw for a writable one"),
    ),
    ForeignWords::option(JOBS, &["--privileged", "--cap-add"], Advice(PRIVILEGES)),
    ForeignWords::option(
        JOBS,
        &["--restart"],
        Advice("jobs are not restarted; use systemd-run or a batch system"),
    ),
    ForeignWords::option(
        JOBS,
        &["--shm-size"],
        Advice("a job's /dev/shm may take half of the host's memory"),
    ),
    ForeignWords::option(JOBS, &["--platform"], Advice("jobs run on this host's architecture")),
    ForeignWords::option(JOBS, &["--with"], Advice(PACKAGES)),
    ForeignWords::option(
        JOBS,
        &["--python"],
        Advice("the runtime says which: run python-3.11 COMMAND"),
    ),
    ForeignWords::option(JOBS, &["--nv"], Advice("use --gpu all")),
    ForeignWords::option(&["prune"], &["-f", "--force"], Same(&super::runtimes::YES.row)),
    ForeignWords::option(&["install", "remove", "upgrade"], &["-y", "--yes"], Implied),
    ForeignWords::option(&["remove"], &["--all"], Advice("use joblet-exec prune --keep 0 --yes")),
    ForeignWords::command(&["df"], "use joblet-exec info SPEC, or du -sh of the store's directory"),
    ForeignWords::option(&["install"], &["-r"], Advice(PACKAGES)),
    ForeignWords::option(
        &["list", "search", "outdated", "info"],
        &["--format", "-o"],
        Advice("use --json"),
    ),
    ForeignWords::option(&["upgrade"], &["--all"], Advice("without NAME it upgrades all")),
    ForeignWords::option(&["shell"], &["-c"], Advice("use joblet-exec run SPEC COMMAND")),
    ForeignWords::command(&["cp"], "use --upload and --output of joblet-exec run"),
    ForeignWords::command(&["exec", "start"], "use joblet-exec run --runtime=SPEC COMMAND"),
    ForeignWords::command(&["ps", "container"], "jobs are processes of this host; ps shows them"),
    ForeignWords::command(&["stop", "kill"], "jobs are processes of this host; kill ends them"),
    ForeignWords::command(&["logs"], "a job writes to the output of joblet-exec"),
    ForeignWords::command(&["system"], "use joblet-exec prune, or list"),
    ForeignWords::command(&["cache"], "use joblet-exec prune"),
    ForeignWords::command(&["env"], "use joblet-exec list, or shell SPEC"),
    ForeignWords::command(&["sync", "pip", "conda", "venv", "uv", "npm"], PACKAGES),
    ForeignWords::command(
        &["build", "runtime build"],
        "runtimes are built with joblet-publish build",
    ),
    ForeignWords::command(&["push"], "runtimes are published with joblet-publish"),
    ForeignWords::command(
        &["create"],
        "runtimes are built with joblet-publish, see joblet-publish new",
    ),
    ForeignWords::command(&["activate"], "use joblet-exec shell SPEC"),
    ForeignWords::command(&["login"], "a registry's token is named in the configuration, as auth"),
    ForeignWords::command(
        &["job list", "job", "volume", "network", "monitor", "node", "workflow", "schedule"],
        SERVER,
    ),
    ForeignWords::command(&["runtime test", "runtime validate"], "use joblet-exec verify SPEC"),
];

const PORTS: &str = "ports need no publishing: with --network host the job listens on this host's";
const PRIVILEGES: &str = "jobs never have privileges; use --bind, --device or --gpu";
const PACKAGES: &str =
    "a runtime's packages are fixed; install a runtime that contains those that you need";
const DETACH: &str = "a job ends with joblet-exec; end the line with & or use systemd-run";
