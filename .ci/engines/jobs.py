"""Single jobs of Slurm: exit codes, signals, limits, environment, GPUs."""

import hashlib
import re
import subprocess

from .cluster import MOUNTED, SHARED, USER, check, example, wait_for


def ends(cluster):
    """Exit codes and output."""
    for script, want in (("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("no-such", 127)):
        done = cluster.srun("", f"--init tools sh -c '{script}'")
        check(f"srun: {script} gives {want}", done.returncode == want, done)
    done = cluster.srun("", "tools /no/such")
    check("srun: a command that is not there gives 127", done.returncode == 127, done)
    blob = "tools python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 4096)' | sha256sum"
    done = cluster.srun("", blob)
    check("srun: output is exact", hashlib.sha256(bytes(range(256)) * 4096).hexdigest() in done.stdout, done)
    done = cluster.here("srun --bcast=/mnt/local/jx $JX run tools echo over")
    check("srun --bcast ships the program", done.stdout == "over\n", done)


def signals(cluster, names):
    """A job's signal handler runs, and cancelled jobs leave no process. One job per signal, all at once."""
    logs, numbers = {}, {}
    for name in names:
        log = logs[name] = SHARED / f"home/signal-{name}"
        log.unlink(missing_ok=True)
        # One more second, to see a second signal; a minute at most.
        job = (f"n=0; trap 'echo caught >>{log.name}; n=1' {name}; echo ready >>{log.name}; "
               "for i in $(seq 240); do [ $n = 0 ] || break; sleep 0.25; done; sleep 1")
        numbers[name] = cluster.batch("signal.sh", "", f"cd {MOUNTED}/home\nsrun $JX run --here tools sh -c \"{escaped(job)}\"")
    for name, log in logs.items():
        wait_for(log.exists)
        by = {"TERM": "", "RTMIN+3": "-s 37"}.get(name, f"-s {name}")
        cluster.sh(f"scancel {by} {numbers[name]}")
    for log in logs.values():
        wait_for(lambda log=log: log.exists() and "caught" in log.read_text())
    wait_for(lambda: not set(numbers.values()) & set(cluster.sh("squeue -h -o %i").stdout.split()))
    for name, log in logs.items():
        # Slurm signals every process that it sees: the job's, too, which then gets the signal also from its launcher.
        text = log.read_text() if log.exists() else ""
        check(f"scancel {name}: the job's handler runs", 1 <= text.count("caught") <= 2, text)
    # Matches the jobs of this check alone: that of the time limit continues.
    alive = ["pgrep", "-u", USER, "-f", f"^{MOUNTED}/jx run --here"]
    gone = wait_for(lambda: subprocess.run(alive, stdout=subprocess.DEVNULL).returncode == 1)
    left = subprocess.run([*alive, "-a"], capture_output=True, text=True)
    check("cancelled jobs leave no process", gone, left.stdout)


def escaped(script):
    """A script, escaped for double quotes."""
    return re.sub(r"([$`\"\\])", r"\\\1", script)


def time_limit(cluster):
    """Submits a job with a time limit of a minute; returns a function that waits for its end and checks it."""
    job = ("trap 'echo warned >>limit; exit 0' TERM; echo begun >>limit; while :; do sleep 0.5; done")
    log = SHARED / "home/limit"
    number = cluster.batch("limit.sh", "--time=1",
                           f"cd {MOUNTED}/home\nsrun $JX run --profile=slurm tools sh -c \"{job}\"")

    def ended():
        wait_for(lambda: log.exists() and "warned" in log.read_text(), 180)
        text = log.read_text() if log.exists() else ""

        def state():
            return cluster.sh(f"scontrol show job {number} | grep -o JobState=.* | cut -d' ' -f1").stdout
        wait_for(lambda: "RUNNING" not in state() and "COMPLETING" not in state())
        check("a job at its time limit is warned once", text == "begun\nwarned\n" and "TIMEOUT" in state(), text + state())
    return ended


def world(cluster):
    """Names, variables and directories under --profile slurm."""
    script = "echo $SLURM_JOB_ID-$SLURM_PROCID-$SLURMD_NODENAME; hostname; pwd; echo made >made-here"
    home = SHARED / "home"
    done = cluster.here(f"export JOBLET_EXEC_PROFILE=slurm; srun -w n2 $JX run tools sh -c '{script}'")
    lines = done.stdout.split("\n")
    check("profile slurm: variables, name, directory", re.fullmatch(r"\d+-0-n2", lines[0]) and
          lines[1:3] == ["n2", f"{MOUNTED}/home"] and (home / "made-here").read_text() == "made\n", done)
    done = cluster.here("srun $JX run tools python3 -c 'import getpass, os; print(getpass.getuser(), os.path.exists(\"/sys/fs\"))'")
    check("a job knows its user, and has /sys", done.stdout == f"{USER} True\n", done)
    (home / "meet.py").write_text(MEET)
    done = cluster.here("srun -N2 -w n1,n2 $JX run --profile=slurm tools python3 meet.py n1")
    check("rendezvous of two nodes by name", done.stdout == "met by n2\n", done)
    done = cluster.here("srun $JX run --profile=slurm --dry-run tools true")
    check("--dry-run shows what a profile adds", done.stdout.startswith("profile slurm: --here --network=host"), done)
    done = cluster.here("JOBLET_EXEC_PROFILE=slurm $JX info tools")
    check("info shows what a profile adds", "--here --network=host" in done.stdout, done)


MEET = """
import os, socket, sys, time
me = int(os.environ["SLURM_PROCID"])
if me == 0:
    server = socket.create_server((socket.gethostname(), 29511))
    peer, _ = server.accept()
    print(peer.recv(99).decode())
else:
    for _ in range(600):
        try:
            peer = socket.create_connection((sys.argv[1], 29511))
            break
        except OSError:
            time.sleep(0.1)
    peer.send(("met by " + socket.gethostname()).encode())
"""


def examples(cluster):
    """The shipped examples for Slurm, with a site's changes."""
    runtime, registry = {"python-3.11": "tools"}, {"/shared/registry": f"{MOUNTED}/registry"}
    (SHARED / "home/work.py").write_text(
        "import os, sys\nname = '-'.join(['made', *sys.argv[1:]])\n"
        "open(name, 'w').write(os.environ['SLURM_JOB_ID'])\n")
    name = example("slurm/job.sbatch", {**runtime, "--mem=8G": "--mem=50", "--cpus-per-task=4": "--output=/dev/null"})
    done = cluster.here(f"sbatch --wait {name}; cat made")
    check("slurm/job.sbatch: its result is where it was submitted", done.stdout.split()[-1:] == re.findall(r"job (\d+)", done.stdout),
          done)
    name = example("slurm/array.sbatch", {**runtime, **registry, "/local/$USER": "/mnt/local/example",
                                          "1-200 --mem=2G": "1-6 --mem=50 --output=/dev/null"})
    done = cluster.here(f"unset JOBLET_EXEC_STORE JOBLET_EXEC_REGISTRY; sbatch --wait {name}; ls made-[0-9]*")
    check("slurm/array.sbatch: six tasks", done.stdout.split()[-6:] == [f"made-{n}" for n in range(1, 7)], done)
    prolog = example("slurm/taskprolog.sh", {**registry, "/local/$SLURM_JOB_USER": "/mnt/local/prolog",
                                               "/shared/joblet": f"{MOUNTED}/store"})
    done = cluster.sh(f"srun --task-prolog={MOUNTED}/home/{prolog} joblet-exec run tools sh -c 'echo $SLURM_PROCID; pwd'",
                      cwd=f"{MOUNTED}/home")
    check("slurm/taskprolog.sh sets profile, stores and registry", done.stdout == f"0\n{MOUNTED}/home\n", done)


def gpus(cluster, constrained):
    """Two simultaneous jobs on a node have different GPUs, and see no others."""
    how = "by control groups" if constrained else "by CUDA_VISIBLE_DEVICES alone"
    cluster.here("$JX install -q tools")
    for left in (SHARED / "home").glob("gpu-*"):
        left.unlink()
    # Each waits until both have begun.
    inside = ("cd /dev; echo nvidia[0-9]* $CUDA_VISIBLE_DEVICES; cd - >/dev/null; echo >gpu-$SLURM_JOB_ID; "
              "for i in $(seq 240); do set -- gpu-*; [ $# -lt 2 ] || break; sleep 0.25; done")
    job = f"srun -w n1 --mem=50 --gres=gpu:{{n}} $JX run --profile=slurm --gpu={{n}} tools sh -c '{inside}'"
    done = cluster.here(f"({job.format(n=1)}) & ({job.format(n=2)}) & wait")
    words = [line.split() for line in sorted(done.stdout.splitlines(), key=len)]
    nodes = [word for line in words for word in line if word.startswith("nvidia")]
    check(f"two jobs have different GPUs, {how}", len(nodes) == 3 and len(set(nodes)) == 3 and
          [line[-1] for line in words] == ["0", "0,1"], done)
    done = cluster.srun("-w n1 --mem=50 --gres=gpu:1", "--gpu=2 tools true")
    check(f"more than was allotted is refused, {how}", done.returncode == 125 and
          "was given 1, and 2 were requested" in done.stderr, done)
    done = cluster.srun("-w n1 --mem=50", "--gpu=4 tools true")
    check(f"--gpu without an allotment: {'refused' if constrained else 'allowed, as Slurm sets no variable'}",
          (done.returncode == 125) == constrained, done)


def refused(cluster):
    """Limits of a job where neither Slurm nor the user has control groups."""
    done = cluster.srun("", "--memory=100M tools echo on")
    check("--memory where no group can be made: refused, and srun --mem is named",
          done.returncode == 125 and not done.stdout and "srun --mem" in done.stderr, done)


def memory(cluster):
    """Limits of Slurm and of the job, where groups are Slurm's and of version 1."""
    eat = "python3 -c \"x = bytearray(300 << 20); print(len(x))\""
    done = cluster.srun("--mem=100", f"tools {eat}")
    check("out of Slurm's memory: the job is killed", done.returncode in (1, 137) and "314572800" not in done.stdout, done)
    done = cluster.srun("--mem=600", f"tools {eat}")
    check("within Slurm's memory: it is not", done.stdout == "314572800\n", done)
    done = cluster.srun("--mem=100", "--memory=200M tools echo on")
    check("--memory above Slurm's limit: the job runs", done.stdout == "on\n", done)
    done = cluster.srun("--mem=600", "--memory=100M tools echo on")
    check("--memory below Slurm's: the job runs in a group below that of its step, which is the user's", done.stdout == "on\n", done)
    done = cluster.srun("--mem=600", f"--memory=100M tools {eat}")
    check("and is killed beyond it, with a message", done.returncode == 137 and not done.stdout and
          "(--memory)" in done.stderr, done)
    done = cluster.here(f"srun --mem=200 $JX run --tmp={MOUNTED}/home tools dd if=/dev/zero of=/tmp/big bs=1M count=300")
    check("300 MB into /tmp on a disk, within 200 MB of memory", done.returncode == 0, done)
    done = cluster.here("srun --mem=200 $JX run --tmpfs=/tmp:50M tools dd if=/dev/zero of=/tmp/big bs=1M count=300")
    check("300 MB into a /tmp of 50 MB: no space, and no kill",
          done.returncode == 1 and "No space left on device" in done.stderr, done)
