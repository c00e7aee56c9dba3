//! Commands and options of Docker, Apptainer, package managers and Joblet's `rnx`: synonyms, or advice.

use super::{jobs, values};
use joblet_cli::Habit;
use joblet_cli::Meaning::{Advice, Implied, Same, SameBefore};

/// Commands with the options of jobs.
const JOBS: &[&str] = &["run", "shell"];

const SERVER: &str =
    "it needs a Joblet server and its rnx; joblet-exec runs jobs on this host alone";

pub(super) static HABITS: [Habit; 40] = [
    Habit::option(JOBS, &["-v"], SameBefore(&jobs::VOLUME.row, values::is_volume)),
    Habit::option(JOBS, &["-B"], Same(&jobs::VOLUME.row)),
    Habit::option(JOBS, &["--net"], Same(&jobs::NETWORK.row)),
    Habit::option(JOBS, &["--gpus"], Same(&jobs::GPU.row)),
    Habit::option(JOBS, &["--cpus"], Same(&jobs::CPU.row)),
    Habit::option(JOBS, &["--pids-limit"], Same(&jobs::PIDS.row)),
    Habit::option(JOBS, &["--pwd"], Same(&jobs::WORKDIR.row)),
    Habit::option(
        JOBS,
        &["--rm", "-i", "--interactive", "--read-only", "--cleanenv", "--contain", "--containall"],
        Implied,
    ),
    Habit::option(JOBS, &["-p", "--publish"], Advice(PORTS)),
    Habit::option(
        JOBS,
        &["--name"],
        Advice("jobs have no name; --hostname NAME sets the job's host name"),
    ),
    Habit::option(JOBS, &["-d", "--detach"], Advice(DETACH)),
    Habit::option(JOBS, &["--entrypoint"], Advice("the command after the options is run")),
    Habit::option(
        JOBS,
        &["--mount"],
        Advice("use --bind SRC:DST, or SRC:DST:rw for a writable one"),
    ),
    Habit::option(JOBS, &["--privileged", "--cap-add"], Advice(PRIVILEGES)),
    Habit::option(
        JOBS,
        &["--restart"],
        Advice("jobs are not restarted; use systemd-run or a batch system"),
    ),
    Habit::option(
        JOBS,
        &["--shm-size"],
        Advice("a job's /dev/shm may take half of the host's memory"),
    ),
    Habit::option(JOBS, &["--platform"], Advice("jobs run on this host's architecture")),
    Habit::option(JOBS, &["--with"], Advice(PACKAGES)),
    Habit::option(JOBS, &["--python"], Advice("the runtime says which: run python-3.11 COMMAND")),
    Habit::option(JOBS, &["--nv"], Advice("use --gpu all")),
    Habit::option(&["prune"], &["-f", "--force"], Same(&super::runtimes::YES.row)),
    Habit::option(&["install", "remove", "upgrade"], &["-y", "--yes"], Implied),
    Habit::option(&["remove"], &["--all"], Advice("use joblet-exec prune --keep 0 --yes")),
    Habit::command(&["df"], "use joblet-exec info SPEC, or du -sh of the store's directory"),
    Habit::option(&["install"], &["-r"], Advice(PACKAGES)),
    Habit::command(&["exec"], "use joblet-exec run --runtime=SPEC COMMAND"),
    Habit::command(&["ps"], "jobs are processes of this host; ps shows them"),
    Habit::command(&["stop", "kill"], "jobs are processes of this host; kill ends them"),
    Habit::command(&["logs"], "a job writes to the output of joblet-exec"),
    Habit::command(&["system"], "use joblet-exec prune, or list"),
    Habit::command(&["cache"], "use joblet-exec prune"),
    Habit::command(&["env"], "use joblet-exec list, or shell SPEC"),
    Habit::command(&["sync"], PACKAGES),
    Habit::command(&["build", "runtime build"], "runtimes are built with joblet-publish build"),
    Habit::command(&["push"], "runtimes are published with joblet-publish"),
    Habit::command(&["create"], "runtimes are built with joblet-publish, see joblet-publish new"),
    Habit::command(&["activate"], "use joblet-exec shell SPEC"),
    Habit::command(&["login"], "a registry's token is named in the configuration, as auth"),
    Habit::command(
        &["job list", "job", "volume", "network", "monitor", "node", "workflow", "schedule"],
        SERVER,
    ),
    Habit::command(&["runtime test", "runtime validate"], "use joblet-exec verify SPEC"),
];

const PORTS: &str = "ports need no publishing: with --network host the job listens on this host's";
const PRIVILEGES: &str = "jobs never have privileges; use --bind, --device or --gpu";
const PACKAGES: &str =
    "a runtime's packages are fixed; install a runtime that contains those that you need";
const DETACH: &str = "a job ends with joblet-exec; end the line with & or use systemd-run";
