"""python3 -m engines short|full [CHECK]: one line per check. Needs root; the program is $JOBLET_EXEC, by default
dist/bin/joblet-exec. CHECK runs only that function, such as `ranks.torch`."""

import fcntl
import importlib
import os
import pathlib
import shutil
import subprocess
import sys

import runs

from . import cost, jobs, others, ranks, stores
from .cluster import CHECKS, MOUNTED, ROOT, RUN, SHARED, SLURM, USER, Cluster
from .runtime import make_registry

SIGNALS = {"short": ["TERM", "USR1"], "full": ["TERM", "USR1", "XCPU", "ALRM", "RTMIN+3"]}


def prepare():
    """Makes the directory that all clusters of a run share."""
    # Left by a killed run.
    subprocess.run([SLURM, "stop"], env={**os.environ, "JX_RUN": str(RUN)}, stderr=subprocess.DEVNULL)
    shutil.rmtree(RUN, ignore_errors=True)
    SHARED.mkdir(parents=True)
    make_registry(SHARED / "registry", RUN)
    program = pathlib.Path(os.environ.get("JOBLET_EXEC", ROOT / "dist/bin/joblet-exec"))
    shutil.copy(program, SHARED / "jx")
    runs.start(program)
    shutil.copy(ROOT / ".ci/engines/without_locks.py", SHARED)
    (SHARED / "bin").mkdir()
    for name in ("joblet-exec", "singularity", "apptainer"):
        (SHARED / "bin" / name).symlink_to("../jx")
    (SHARED / "home").mkdir()
    RUN.chmod(0o755)
    SHARED.chmod(0o1777)
    shutil.chown(SHARED / "home", USER)


def all_checks(kind):
    full = kind == "full"
    tasks = 200 if full else 60
    with Cluster() as cluster:
        stores.arrays(cluster, tasks, ["node-local", "shared, without locks", "shared"])
        limited = jobs.time_limit(cluster) if full else lambda: None
        jobs.ends(cluster)
        jobs.signals(cluster, SIGNALS[kind])
        jobs.world(cluster)
        jobs.examples(cluster)
        stores.removal(cluster)
        stores.killed(cluster)
        stores.layers(cluster)
        stores.insecure(cluster)
        ranks.mpi(cluster)
        others.by_shell(cluster)
        if full:
            ranks.rates(cluster)
            ranks.torch(cluster)
            others.by_python(cluster)
            others.ray(cluster)
            others.by_apptainer(cluster)
            cost.cost(cluster, 200, rounds=3, most=1.15)
        limited()
    with Cluster(JX_LOCKS="local") as cluster:
        stores.arrays(cluster, tasks, ["shared, locks of each node"])
        stores.stays(cluster)
        stores.killed(cluster)
    if full:
        with Cluster(nodes=1) as cluster:
            cost.cost(cluster, 1000, rounds=2, most=1.1, only=["true", "joblet-exec"])
    with Cluster(nodes=1, JX_GPUS="4") as cluster:
        jobs.gpus(cluster, False)
    if pathlib.Path("/sys/fs/cgroup/devices").exists():
        with Cluster(nodes=1, JX_GPUS="4", JX_TRACK="cgroup1", JX_TASK="cgroup") as cluster:
            jobs.gpus(cluster, True)
            jobs.memory(cluster)
            if full:
                jobs.ends(cluster)
                jobs.signals(cluster, SIGNALS[kind])
        if full:
            with Cluster(nodes=1, JX_TRACK="cgroup1") as cluster:
                jobs.ends(cluster)
                jobs.signals(cluster, SIGNALS[kind])
                jobs.refused(cluster)


def one_check(name):
    """Runs the check of this name, on a cluster with the settings it needs."""
    module, _, function = name.partition(".")
    settings = {"jobs.gpus": {"nodes": 1, "JX_GPUS": "4"}, "stores.stays": {"JX_LOCKS": "local"},
                "jobs.memory": {"nodes": 1, "JX_TRACK": "cgroup1", "JX_TASK": "cgroup"},
                "jobs.refused": {"nodes": 1, "JX_TRACK": "cgroup1"}, "cost.cost": {"nodes": 1}}
    more = {"jobs.gpus": [False], "jobs.signals": [SIGNALS["full"]], "cost.cost": [1000, 2, 1.1, ["true", "joblet-exec"]],
            "stores.arrays": [200, ["shared"]]}
    with Cluster(**settings.get(name, {})) as cluster:
        cluster.here("$JX install -q tools")
        later = getattr(importlib.import_module(f".{module}", __package__), function)(cluster, *more.get(name, []))
        if later:
            later()


def main(kind, only=""):
    # One cluster at a time on a machine.
    lock = os.open(RUN.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        prepare()
        if only:
            one_check(only)
        else:
            all_checks(kind)
    finally:
        shutil.rmtree(RUN, ignore_errors=True)
    print(CHECKS.summary())
    return 1 if CHECKS.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or ["short"]))
