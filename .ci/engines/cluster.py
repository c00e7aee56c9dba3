"""A running cluster, and the counter of checks."""

import os
import pathlib
import shutil
import subprocess
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SLURM = ROOT / ".ci/slurm"
RUN = pathlib.Path(os.environ.get("JX_RUN", "/tmp/joblet-cluster"))
# The shared file system, on this machine and on the nodes.
SHARED, MOUNTED = RUN / "shared", "/mnt/shared"
USER = "nobody"
REGISTRY = "http://127.0.0.1:8123"

SERVER = r"""
import http.server, os, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, form, *args):
        with open(sys.argv[2], "a") as log:
            log.write(self.path + "\n")
os.chdir(sys.argv[1])
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8123), Handler)
open(sys.argv[2], "w").close()
server.serve_forever()
"""


class Checks:
    """Counts checks and failures."""

    def __init__(self):
        self.failed, self.count, self.began = [], 0, time.monotonic()
        self.last = self.began

    def check(self, name, good, detail=""):
        """Counts and prints a check, with the seconds since the previous one, and details if it failed."""
        self.count += 1
        took, self.last = time.monotonic() - self.last, time.monotonic()
        print(f"{'ok' if good else 'not ok'} {took:4.0f} s  {name}", flush=True)
        if not good:
            self.failed.append(name)
            print(textwrap.indent(shown(detail), "    "), flush=True)

    def summary(self):
        took = time.monotonic() - self.began
        return f"{self.count - len(self.failed)} of {self.count} checks hold, {took:.0f} s"


def shown(detail):
    """A command's result, or other details, as text, shortened in the middle."""
    if isinstance(detail, subprocess.CompletedProcess):
        detail = f"status {detail.returncode}\n{detail.stdout}\n{detail.stderr}"
    text = str(detail)
    return text if len(text) < 4000 else f"{text[:2000]}\n…\n{text[-2000:]}"


CHECKS = Checks()
check = CHECKS.check


def example(name, changed=()):
    """Copies a shipped example (executor/engines) into the home directory of the nodes, with a site's changes; returns its
    name there."""
    text = (ROOT / "executor/engines" / name).read_text()
    for before, after in dict(changed).items():
        if before not in text:
            raise SystemExit(f"cluster: {name} has no {before!r}")
        text = text.replace(before, after)
    to = SHARED / "home" / name.replace("/", "-")
    to.write_text(text)
    to.chmod(0o755)
    return to.name


def wait_for(done, seconds=60):
    """Waits until `done()` is true, and returns whether it is; long enough for a busy machine."""
    for _ in range(10 * seconds):
        if done():
            return True
        time.sleep(0.1)
    return False


class Cluster:
    """A running cluster: `with Cluster(JX_GPUS=4) as cluster`."""

    def __init__(self, nodes=3, **settings):
        self.nodes, self.servers = nodes, []
        self.env = {**os.environ, "JX_RUN": str(RUN), "JX_USER": USER, "JX_CPUS": "8", "JX_KILLWAIT": "15",
                    "JX_ENV": f"HOME={MOUNTED}/home XDG_CACHE_HOME=/mnt/local/cache PATH={MOUNTED}/bin:{os.environ['PATH']} "
                              f"JX={MOUNTED}/jx", **settings}

    def __enter__(self):
        started = subprocess.run([SLURM, "start", str(self.nodes)], env=self.env, stderr=subprocess.PIPE, text=True)
        if started.returncode:
            raise SystemExit(f"cluster: Slurm does not start: {started.stderr}")
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.kill()
            server.wait()
        subprocess.run([SLURM, "stop"], env=self.env, stderr=subprocess.DEVNULL)

    def run(self, host, *command, who="user", limit=300, cwd=MOUNTED):
        """Runs a command on a host; its result, with status 137 after the time limit."""
        line = ["timeout", "-s", "KILL", str(limit), SLURM, who, host, "env", "-C", cwd, *command]
        return subprocess.run(line, env=self.env, capture_output=True, text=True, cwd="/", stdin=subprocess.DEVNULL)

    def sh(self, script, **more):
        """Runs a script of the user on the head node."""
        return self.run("head", "bash", "-c", script, **more)

    def srun(self, options, words, store=f"{MOUNTED}/store", **more):
        """Runs `joblet-exec run` with these arguments by srun."""
        return self.sh(f"export JOBLET_EXEC_STORE={store} JOBLET_EXEC_REGISTRY={MOUNTED}/registry; "
                       f"srun {options} $JX run {words}", **more)

    def here(self, script, **more):
        """Runs a script of the user in the home directory that the nodes share, with a store there."""
        before = f"export JOBLET_EXEC_STORE={MOUNTED}/store JOBLET_EXEC_REGISTRY={MOUNTED}/registry; "
        return self.sh(before + script, cwd=f"{MOUNTED}/home", **more)

    def batch(self, name, options, script):
        """Submits a script; the job's number."""
        (SHARED / name).write_text(f"#!/bin/bash\n#SBATCH --output=/dev/null --mem=50 {options}\n{script}\n")
        return self.here(f"sbatch --parsable {MOUNTED}/{name}").stdout.strip()

    def wipe(self, store):
        """Empties a store, on every node."""
        for node in range(self.nodes):
            self.run(f"n{node + 1}", "rm", "-rf", store, who="exec")

    def serve(self):
        """Serves the registry at port 8123 of each node, and counts requests."""
        if self.servers:
            return
        (RUN / "server.py").write_text(SERVER)
        logs = [SHARED / f"requests-n{node + 1}" for node in range(self.nodes)]
        for node, log in enumerate(logs):
            log.unlink(missing_ok=True)
            line = [SLURM, "exec", f"n{node + 1}", "python3", str(RUN / "server.py"), f"{MOUNTED}/registry",
                    f"{MOUNTED}/{log.name}"]
            self.servers.append(subprocess.Popen(line, env=self.env, stderr=subprocess.DEVNULL))
        if not wait_for(lambda: all(log.exists() for log in logs)):
            raise SystemExit("cluster: the server of the registry does not start")

    def archives(self):
        """Requests for the archive on all nodes, since the previous call."""
        total = 0
        for log in SHARED.glob("requests-*"):
            total += sum(".tar." in line and ".index" not in line for line in log.read_text().splitlines())
            log.write_text("")
        return total

    def array(self, tasks, store, command, registry=REGISTRY):
        """Runs an array: the number of successful tasks, the messages of the others, and the seconds from submission to the end
        of the last task."""
        out = SHARED / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(mode=0o777)
        out.chmod(0o777)
        (SHARED / "array.sh").write_text(textwrap.dedent(f"""\
            #!/bin/bash
            #SBATCH --array=1-{tasks} --output=/dev/null --mem=50
            export JOBLET_EXEC_STORE={store} JOBLET_EXEC_REGISTRY={registry}
            {command} 2>{MOUNTED}/out/$SLURM_ARRAY_TASK_ID && echo done >{MOUNTED}/out/$SLURM_ARRAY_TASK_ID
            """))
        start = time.time()
        ended = self.sh(f"sbatch --wait {MOUNTED}/array.sh", limit=600)
        # sbatch --wait polls only every ten seconds.
        seconds = max((each.stat().st_mtime for each in out.iterdir()), default=start) - start
        texts = [(out / str(task)).read_text() if (out / str(task)).exists() else "did not begin\n"
                 for task in range(1, tasks + 1)]
        wrong = [text for text in texts if text != "done\n"]
        return tasks - len(wrong), "".join(sorted(set(wrong))) + (ended.stderr if wrong else ""), seconds
