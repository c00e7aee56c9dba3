"""Records raw measurements of the benchmarks: RUNS=.ci/runs .ci/bench-start

One file of JSON lines per run: machine, commit and command, then every sample of each table. Without RUNS nothing is
recorded.
"""

import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

# The file's descriptor, inherited by a benchmark that executes itself again, also as another user.
VARIABLE = "JOBLET_BENCH_RUN"


def start(program):
    """Creates the file of this run, unless a parent process has."""
    if VARIABLE in os.environ or not os.environ.get("RUNS"):
        return
    script = pathlib.Path(sys.argv[0])
    called = script.parent.name if script.name == "__main__.py" else script.name
    name = f"{called}-{time.strftime('%Y-%m-%d-%H%M%S')}.jsonl"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    directory = pathlib.Path(os.environ["RUNS"])
    directory.mkdir(parents=True, exist_ok=True)
    file = os.open(directory / name, flags, 0o644)
    os.set_inheritable(file, True)
    os.environ[VARIABLE] = str(file)
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=script.resolve().parent,
                            capture_output=True, text=True).stdout.strip()
    settings = {name: os.environ[name] for name in ("ROUNDS", "START_ROUNDS", "ONLY", "BEFORE", "RTT", "MBIT", "LINES") if name in os.environ}
    write({"command": [called, *sys.argv[1:]], "settings": settings, "commit": commit,
           "program": hashlib.sha256(program.read_bytes()).hexdigest(), "date": time.strftime("%F"),
           "system": platform.platform(), "cpu": model[0] if model else platform.machine(),
           "cores": os.cpu_count(), "load": os.getloadavg()[0]})


def descriptors():
    """Descriptors that a child of the same run inherits."""
    return [int(os.environ[VARIABLE])] if VARIABLE in os.environ else []


def record(title, columns, measured):
    """Records the samples of a table: for each row a list of numbers or tuples, one per run."""
    write({"title": title, "columns": columns, "samples": measured})


def write(line):
    for file in descriptors():
        os.write(file, json.dumps(line).encode() + b"\n")
