#!/usr/bin/env python3
"""Runs joblet-exec under a real Slurm on this machine (.ci/slurm): every check is one line.

    cluster.py short|full    as root; the program is dist/bin/joblet-exec, or $JOBLET_EXEC
    cluster.py without-locks COMMAND…    used by a check: executes COMMAND where no file can be locked
"""
import ctypes, hashlib, json, os, pathlib, re, shutil, struct, subprocess, sys, tarfile, tempfile, textwrap, time

import runs

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLURM = ROOT / ".ci/slurm"
RUN = pathlib.Path(os.environ.get("JX_RUN", "/tmp/joblet-cluster"))
SHARED, MOUNTED = RUN / "shared", "/mnt/shared"
USER = "nobody"
failed, count = [], 0


def without_locks(command):
    """fcntl(2) answers ENOLCK to every lock, flock(2) ENOSYS, as file systems without them do."""
    load = lambda at: (0x20, 0, 0, at)
    jump = lambda value, yes, no: (0x15, yes, no, value)
    answer = lambda errno: (0x06, 0, 0, 0x50000 | errno)
    code = [
        load(0), jump(72, 0, 5),                                  # fcntl: of its second argument
        load(24), jump(37, 2, 0), jump(38, 1, 0), jump(6, 0, 3),  # F_OFD_SETLK, F_OFD_SETLKW, F_SETLK
        answer(37),                                               # ENOLCK
        jump(73, 0, 1), answer(38),                               # flock: ENOSYS
        (0x06, 0, 0, 0x7FFF0000),
    ]
    text = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(text)
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)


def check(name, good, detail=""):
    """Counts and prints a check; the details of one that failed."""
    global count
    count += 1
    print(f"{'ok' if good else 'not ok'} {name}", flush=True)
    if not good:
        failed.append(name)
        print(textwrap.indent(str(detail)[-1500:], "    "), flush=True)


def wait_for(done, seconds=6):
    for _ in range(10 * seconds):
        if done():
            return
        time.sleep(0.1)


def elf_with_libraries(program, usr):
    """Copies a program of this host and its libraries into the tree of a runtime."""
    found = shutil.which(program) if "/" not in program else program
    target = usr / "bin" / pathlib.Path(program).name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(found, target)
    listed = subprocess.run(["ldd", found], capture_output=True, text=True).stdout
    copy_libraries(listed, usr)


def copy_libraries(listed, usr):
    for library in re.findall(r"(/\S+)", listed):
        below = library.lstrip("/").removeprefix("usr/")
        to = usr / below
        to.parent.mkdir(parents=True, exist_ok=True)
        if not to.exists():
            shutil.copy(library, to)


def make_registry(registry):
    """A registry with one runtime: this host's shell tools and Python; and what its MPI needs."""
    work = pathlib.Path(tempfile.mkdtemp(dir=RUN))
    top = work / "tools-1.0.0"
    usr = top / "isolated/usr"
    for tool in "bash cat echo env id sleep true ls stat dd mkdir hostname seq".split():
        elf_with_libraries(tool, usr)
    python = shutil.which("python3", path="/usr/bin:/bin")
    elf_with_libraries(python, usr)
    version = subprocess.run([python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
                             capture_output=True, text=True).stdout.strip()
    ignore = shutil.ignore_patterns("__pycache__", "test", "idlelib", "lib2to3", "config-*", "*.a", "ensurepip")
    shutil.copytree(f"/usr/lib/{version}", usr / f"lib/{version}", symlinks=False, ignore=ignore,
                    ignore_dangling_symlinks=True)
    for module in (usr / f"lib/{version}/lib-dynload").glob("*.so"):
        listed = subprocess.run(["ldd", str(module)], capture_output=True, text=True).stdout
        copy_libraries(listed, usr)
    # What wheels are linked to.
    for name in ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libstdc++.so.6", "libgcc_s.so.1"):
        for found in pathlib.Path("/usr/lib").glob(f"*-linux-gnu/{name}"):
            copy_libraries(str(found), usr)
    (usr / "bin/sh").symlink_to("bash")
    for directory in ("bin", "lib", "lib64"):
        (usr / directory).mkdir(exist_ok=True)
        (top / "isolated" / directory).symlink_to(f"usr/{directory}")
    mpi = shutil.which("mpicc.mpich")
    if mpi:
        source = work / "ranks.c"
        source.write_text(RANKS)
        subprocess.run([mpi, "-O2", "-o", str(work / "ranks"), str(source)], check=True)
        elf_with_libraries(str(work / "ranks"), usr)
        for program in ("mpiexec.hydra", "hydra_pmi_proxy"):
            elf_with_libraries(shutil.which(program), usr)
        (usr / "bin/mpiexec").symlink_to("mpiexec.hydra")
    mounts = "".join(f"  - {{ source: isolated/{d}, target: /{d} }}\n" for d in ("usr", "bin", "lib", "lib64"))
    (top / "runtime.yml").write_text(
        f"name: tools\nversion: 1.0.0\nmounts:\n{mounts}environment: {{ PATH: \"/usr/bin:/bin\" }}\n")
    registry.mkdir(parents=True)
    archive = registry / "tools-1.0.0.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.USTAR_FORMAT, compresslevel=1) as tar:
        tar.add(top, "tools-1.0.0")
    shutil.rmtree(work)
    data = archive.read_bytes()
    entry = {"version": "1.0.0", "description": "the host's tools", "download_url": archive.name,
             "checksum": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data),
             "platforms": ["ubuntu-amd64", "ubuntu-arm64"]}
    document = {"version": "1", "updated_at": "2025-10-20T23:56:08Z", "runtimes": {"tools": {"1.0.0": entry}}}
    (registry / "registry.json").write_text(json.dumps(document))


RANKS = r"""
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    int rank, size, sum = 0;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    size_t bytes = 4 << 20;
    char *data = malloc(bytes);
    memset(data, rank, bytes);
    double start = MPI_Wtime();
    int rounds = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 0; i < rounds && size > 1 && rank < 2; i++) {
        if (rank == 0) MPI_Send(data, bytes, MPI_CHAR, 1, 0, MPI_COMM_WORLD);
        else MPI_Recv(data, bytes, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        printf("size %d sum %d", size, sum);
        if (rounds) printf(" MB/s %.0f", rounds * (bytes / 1e6) / (MPI_Wtime() - start));
        printf("\n");
    }
    MPI_Finalize();
}
"""

SERVER = r"""
import http.server, os, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, form, *args):
        with open(sys.argv[2], "a") as log:
            log.write(self.path + "\n")
os.chdir(sys.argv[1])
http.server.ThreadingHTTPServer(("127.0.0.1", 8123), Handler).serve_forever()
"""


class Cluster:
    """A cluster while it is used: `with Cluster(JX_GPUS=4) as cluster`."""

    def __init__(self, nodes=3, **settings):
        self.nodes, self.servers = nodes, []
        self.env = {**os.environ, "JX_RUN": str(RUN), "JX_USER": USER, "JX_CPUS": "8", "JX_KILLWAIT": "3",
                    "JX_ENV": f"HOME={MOUNTED}/home XDG_CACHE_HOME=/mnt/local/cache PATH={os.environ['PATH']} "
                              f"JX={MOUNTED}/jx", **settings}

    def __enter__(self):
        subprocess.run([SLURM, "start", str(self.nodes)], env=self.env, check=True, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.kill()
        subprocess.run([SLURM, "stop"], env=self.env, stderr=subprocess.DEVNULL)

    def run(self, host, *command, who="user", limit=120, cwd=MOUNTED):
        """Runs a command on a host; its result, with 137 after a time limit."""
        line = ["timeout", "-s", "KILL", str(limit), SLURM, who, host, "env", "-C", cwd, *command]
        return subprocess.run(line, env=self.env, capture_output=True, text=True, cwd="/")

    def sh(self, script, **more):
        """Runs a script of the user on the head node."""
        return self.run("head", "bash", "-c", script, **more)

    def serve(self):
        """A registry at 127.0.0.1:8123 of each node; what is asked for is counted."""
        (RUN / "server.py").write_text(SERVER)
        for node in (f"n{i + 1}" for i in range(self.nodes)):
            log = SHARED / f"requests-{node}"
            log.unlink(missing_ok=True)
            line = [SLURM, "exec", node, "python3", str(RUN / "server.py"), f"{MOUNTED}/registry",
                    f"{MOUNTED}/requests-{node}"]
            self.servers.append(subprocess.Popen(line, env=self.env, stderr=subprocess.DEVNULL))
        time.sleep(1)

    def archives(self):
        """How often the archive was asked for, all nodes together; the count begins again."""
        total = 0
        for log in SHARED.glob("requests-*"):
            total += sum(".tar." in line and ".index" not in line for line in log.read_text().splitlines())
            log.write_text("")
        return total

    def array(self, tasks, store, command, registry="http://127.0.0.1:8123"):
        """Runs an array; how many of its tasks succeeded, and what the others said."""
        out = SHARED / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(mode=0o777)
        out.chmod(0o777)
        script = textwrap.dedent(f"""\
            #!/bin/bash
            #SBATCH --array=1-{tasks} --output=/dev/null --mem=50
            export JOBLET_EXEC_STORE={store} JOBLET_EXEC_REGISTRY={registry}
            {command} 2>{MOUNTED}/out/$SLURM_ARRAY_TASK_ID && echo done >{MOUNTED}/out/$SLURM_ARRAY_TASK_ID
            """)
        (SHARED / "array.sh").write_text(script)
        start = time.time()
        ended = self.sh(f"sbatch --wait {MOUNTED}/array.sh", limit=300)
        # sbatch itself looks every ten seconds.
        seconds = max((each.stat().st_mtime for each in out.iterdir()), default=start) - start
        texts = [(out / str(task)).read_text() if (out / str(task)).exists() else "did not begin\n"
                 for task in range(1, tasks + 1)]
        wrong = [text for text in texts if text != "done\n"]
        return tasks - len(wrong), "".join(sorted(set(wrong))) + (ended.stderr if wrong else ""), seconds


def wipe(cluster, store):
    """An empty store, on every node."""
    for node in range(cluster.nodes):
        cluster.run(f"n{node + 1}", "rm", "-rf", store, who="exec")


def arrays(cluster, tasks, kinds):
    """A cold array: every task succeeds, and the archive is fetched once for each place with locks."""
    cluster.serve()
    job = "$JX run --runtime=tools@1.0.0 true"
    nolocks = f"python3 {MOUNTED}/cluster.py without-locks {job}"
    for kind in kinds:
        store, command, most = {
            "shared": (f"{MOUNTED}/store", job, 1),
            "node-local": ("/mnt/local/store", job, cluster.nodes),
            "shared, locks of each node": (f"{MOUNTED}/store", job, cluster.nodes),
            "shared, without locks": (f"{MOUNTED}/store", nolocks, tasks),
        }[kind]
        wipe(cluster, store)
        good, wrong, seconds = cluster.array(tasks, store, command)
        asked = cluster.archives()
        check(f"a cold array of {tasks} tasks, store {kind}: all succeed ({asked} archives, {seconds:.1f} s)",
              good == tasks and 1 <= asked <= most, wrong or f"{asked} archives, at most {most}")
        if most > 1 and kind.startswith("shared"):
            left = cluster.sh(f"ls -A {store}/.joblet/staging {store}/.joblet/downloads")
            check(f"nothing is left of it ({kind})", not re.search(r"@|\.tmp", left.stdout), left.stdout)


def srun(cluster, options, words, limit=60):
    return cluster.sh(f"export JOBLET_EXEC_STORE={MOUNTED}/store JOBLET_EXEC_REGISTRY={MOUNTED}/registry; "
                      f"srun {options} $JX run {words}", limit=limit)


def ends(cluster):
    """Exit codes, signals, what is left."""
    for script, want in (("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("no-such", 127)):
        done = srun(cluster, "", f"--init tools sh -c '{script}'")
        check(f"srun: {script} gives {want}", done.returncode == want, done)
    done = srun(cluster, "", "tools /no/such")
    check("srun: a command that is not there gives 127", done.returncode == 127, done)
    blob = "python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 4096)'"
    done = cluster.sh(f"export JOBLET_EXEC_STORE={MOUNTED}/store; srun $JX run tools {blob} | sha256sum")
    want = hashlib.sha256(bytes(range(256)) * 4096).hexdigest()
    check("srun: output is exact", want in done.stdout, done)
    done = cluster.sh(f"export JOBLET_EXEC_STORE={MOUNTED}/store; "
                      "srun --bcast=/mnt/local/jx $JX run tools echo over")
    check("srun --bcast ships the program", done.stdout == "over\n", done)
    for signal in ("TERM", "USR1", "XCPU"):
        log = SHARED / f"signal-{signal}"
        log.unlink(missing_ok=True)
        job = (f"trap 'echo caught >>{MOUNTED}/{log.name}' {signal}; echo ready >>{MOUNTED}/{log.name}; "
               "for i in 1 2 3 4 5 6 7 8; do sleep 0.5; done")
        (SHARED / "signal.sh").write_text(
            f"#!/bin/bash\n#SBATCH --output=/dev/null --mem=50\nexport JOBLET_EXEC_STORE={MOUNTED}/store\n"
            f"srun $JX run --bind={MOUNTED}:{MOUNTED}:rw tools sh -c \"{job}\"\n")
        started = cluster.sh(f"sbatch --parsable {MOUNTED}/signal.sh")
        wait_for(lambda: log.exists())
        sent = "scancel" if signal == "TERM" else f"scancel -s {signal}"
        cluster.sh(f"sleep 0.3; {sent} {started.stdout.strip()}")
        wait_for(lambda: "caught" in log.read_text())
        time.sleep(1)
        # Slurm signals every process that it sees: the job's, too, which then has it from its launcher as well.
        check(f"{sent}: the job's handler runs", 1 <= log.read_text().count("caught") <= 2, log.read_text())
    time.sleep(4)
    left = cluster.sh("squeue -h")
    alive = subprocess.run(["pgrep", "-u", USER, "-f", "[j]x run"], capture_output=True, text=True)
    check("nothing is left of what was cancelled", not alive.stdout, alive.stdout + left.stdout)


def time_limit(cluster):
    """Begins a job of a minute's time limit; a function that waits for its end and checks it."""
    job = (f"trap 'echo warned >>{MOUNTED}/home/limit; exit 0' TERM; echo begun >>{MOUNTED}/home/limit; "
           "while :; do sleep 0.5; done")
    (SHARED / "limit.sh").write_text(
        f"#!/bin/bash\n#SBATCH --output=/dev/null --mem=50 --time=1\nexport JOBLET_EXEC_STORE={MOUNTED}/store\n"
        f"cd {MOUNTED}/home\nsrun $JX run --profile=slurm tools sh -c \"{job}\"\n")
    log = SHARED / "home/limit"
    number = cluster.sh(f"sbatch --parsable {MOUNTED}/limit.sh").stdout.strip()

    def ended():
        wait_for(lambda: log.exists() and "warned" in log.read_text(), 150)
        text = log.read_text() if log.exists() else ""
        state = cluster.sh(f"sleep 1; scontrol show job {number} | grep -o JobState=.* | cut -d' ' -f1").stdout
        check("a job at its time limit is warned once", text == "begun\nwarned\n" and "TIMEOUT" in state, text + state)
    return ended


def world(cluster):
    """Names, variables, places, as --profile slurm gives them."""
    script = "echo $SLURM_JOB_ID-$SLURM_PROCID-$SLURMD_NODENAME; hostname; pwd; echo made >made-here"
    home = SHARED / "home"
    done = cluster.sh(f"cd {MOUNTED}/home; export JOBLET_EXEC_STORE={MOUNTED}/store JOBLET_EXEC_PROFILE=slurm; "
                      f"srun -w n2 $JX run tools sh -c '{script}'", cwd=f"{MOUNTED}/home")
    lines = done.stdout.split("\n")
    check("profile slurm: variables, name, directory", re.fullmatch(r"\d+-0-n2", lines[0]) and
          lines[1:3] == ["n2", f"{MOUNTED}/home"] and (home / "made-here").read_text() == "made\n", done)
    meet = ("import os, socket, sys\n"
            "names, me = sys.argv[1:], int(os.environ['SLURM_PROCID'])\n"
            "if me == 0:\n"
            "    server = socket.create_server((socket.gethostname(), 29511)); peer, _ = server.accept()\n"
            "    print(peer.recv(99).decode())\n"
            "else:\n"
            "    import time\n"
            "    for _ in range(99):\n"
            "        try: peer = socket.create_connection((names[0], 29511)); break\n"
            "        except OSError: time.sleep(0.1)\n"
            "    peer.send(('met by ' + socket.gethostname()).encode())\n")
    (home / "meet.py").write_text(meet)
    done = cluster.sh(f"cd {MOUNTED}/home; export JOBLET_EXEC_STORE={MOUNTED}/store; srun -N2 -w n1,n2 "
                      "$JX run --profile=slurm tools python3 meet.py n1", cwd=f"{MOUNTED}/home")
    check("rendezvous of two nodes by name", done.stdout == "met by n2\n", done)
    done = cluster.sh(f"export JOBLET_EXEC_STORE={MOUNTED}/store; srun $JX run --profile=slurm --dry-run tools true")
    check("--dry-run shows what a profile adds", done.stdout.startswith("profile slurm: --here --network=host"), done)


def gpus(cluster, constrained):
    """Two jobs at once on one node have different GPUs, and no others."""
    how = "by control groups" if constrained else "by CUDA_VISIBLE_DEVICES alone"
    cluster.sh(f"$JX install -q --store={MOUNTED}/store --registry={MOUNTED}/registry tools")
    for left in (SHARED / "home").glob("gpu-*"):
        left.unlink()
    # Each waits until both have begun.
    inside = ("cd /dev; echo nvidia[0-9]* $CUDA_VISIBLE_DEVICES; cd - >/dev/null; echo >gpu-$SLURM_JOB_ID; "
              "for i in $(seq 80); do set -- gpu-*; [ $# -lt 2 ] || break; sleep 0.25; done")
    job = (f"srun -w n1 --mem=50 --gres=gpu:{{n}} $JX run --profile=slurm --gpu={{n}} tools sh -c '{inside}'")
    script = (f"export JOBLET_EXEC_STORE={MOUNTED}/store; cd {MOUNTED}/home; "
              f"({job.format(n=1)}) & ({job.format(n=2)}) & wait")
    done = cluster.sh(script)
    seen = sorted(done.stdout.splitlines(), key=len)
    words = [line.split() for line in seen]
    nodes = [word for line in words for word in line if word.startswith("nvidia")]
    check(f"two jobs have other GPUs, {how}", len(nodes) == 3 and len(set(nodes)) == 3 and
          [line[-1] for line in words] == ["0", "0,1"], done)
    done = srun(cluster, "-w n1 --mem=50 --gres=gpu:1", "--gpu=2 tools true")
    check(f"more than was allotted is refused, {how}", done.returncode == 125 and "was given 1, and 2 were requested" in done.stderr, done)


def memory(cluster):
    """Limits of Slurm and of the job, where groups are Slurm's."""
    eat = "python3 -c \"x = bytearray(300 << 20); print(len(x))\""
    done = srun(cluster, "--mem=100", f"tools {eat}")
    check("out of Slurm's memory: the job is killed", done.returncode in (1, 137) and "314572800" not in done.stdout, done)
    done = srun(cluster, "--mem=600", f"tools {eat}")
    check("within Slurm's memory: it is not", done.stdout == "314572800\n", done)
    done = srun(cluster, "--mem=100", "--memory=200M tools echo on")
    check("--memory that Slurm limits more tightly is met", done.stdout == "on\n", done)
    done = srun(cluster, "--mem=600", "--memory=100M tools echo on")
    check("--memory below Slurm's: held, or refused by name", done.stdout == "on\n" or
          (done.returncode == 125 and "--memory" in done.stderr + "--memory" and "cannot limit" in done.stderr), done)
    done = cluster.sh(f"export JOBLET_EXEC_STORE={MOUNTED}/store; srun --mem=200 $JX run --tmp={MOUNTED}/home tools "
                      "dd if=/dev/zero of=/tmp/big bs=1M count=300", cwd=f"{MOUNTED}/home")
    check("300 MB into /tmp on a disk, within 200 MB of memory", done.returncode == 0, done)


def mpi(cluster):
    """One sandbox for a node, and one for each rank."""
    if not shutil.which("mpicc.mpich"):
        return check("MPI: mpicc.mpich is there", False, "apt-get install mpich libmpich-dev")
    env = f"export JOBLET_EXEC_STORE={MOUNTED}/store; cd {MOUNTED}/home; "
    done = cluster.sh(env + "srun -N1 $JX run --profile=mpi tools mpiexec -launcher fork -n 4 ranks 200", cwd=f"{MOUNTED}/home")
    check(f"MPI: one sandbox, four ranks within: {done.stdout.strip()}", "size 4 sum 6" in done.stdout, done)
    done = cluster.sh(env + "salloc -Q -N1 -n4 mpiexec -n 4 $JX run --profile=mpi tools ranks 200", cwd=f"{MOUNTED}/home")
    check(f"MPI: mpiexec, a sandbox for each rank: {done.stdout.strip()}", "size 4 sum 6" in done.stdout, done)
    done = cluster.sh(env + "srun -N2 --ntasks-per-node=2 --mpi=pmi2 $JX run --profile=mpi tools ranks 50", cwd=f"{MOUNTED}/home")
    check(f"MPI: srun --mpi=pmi2, two nodes, a sandbox for each rank: {done.stdout.strip()}",
          "size 4 sum 6" in done.stdout, done)
    done = cluster.sh(env + "salloc -Q -N1 -n2 mpiexec -n 2 $JX run --here --env=PMI* tools ranks", cwd=f"{MOUNTED}/home", limit=30)
    check("MPI: without the descriptor it is no communicator of two", "size 2" not in done.stdout, done)


def removal(cluster):
    """A runtime that a job of another node uses is removed."""
    env = f"export JOBLET_EXEC_STORE={MOUNTED}/store2 JOBLET_EXEC_REGISTRY={MOUNTED}/registry; "
    wipe(cluster, f"{MOUNTED}/store2")
    script = (env + "$JX install -q tools; "
              "(srun -w n1 $JX run tools python3 -c \"import time; time.sleep(3); import json, csv; print('whole')\") & "
              "sleep 1.5; srun -w n2 $JX remove tools; wait")
    done = cluster.sh(script)
    check("a runtime that another node uses is removed, and the job does not notice",
          "whole" in done.stdout and "removed" in done.stderr, done)


def stays(cluster):
    """Where machines share the file system, files stay after a removal: jobs elsewhere are not seen."""
    done = cluster.sh(f"export JOBLET_EXEC_STORE={MOUNTED}/store; $JX doctor --offline | grep store; $JX remove tools; "
                      f"ls {MOUNTED}/store/.joblet/removed; sleep 1; $JX prune --older-than 1s -q; ls {MOUNTED}/store/.joblet/removed")
    check("a shared file system is named, and files stay after a removal until --older-than",
          ", on fuse: " in done.stdout and done.stdout.count("tools-1.0.0@") == 1 and "for 7 days" in done.stderr, done)


def killed(cluster):
    """Installers that are killed leave nothing that keeps others from installing."""
    wipe(cluster, f"{MOUNTED}/store3")
    env = f"export JOBLET_EXEC_STORE={MOUNTED}/store3 JOBLET_EXEC_REGISTRY={MOUNTED}/registry; "
    done = cluster.sh(env + "for i in 1 2 3 4 5 6; do (srun -w n$((i % 3 + 1)) timeout -s KILL 0.0$((i * 2)) $JX install tools) & done; wait; "
                            "srun -N3 $JX run tools echo up")
    check("after installers that were killed, all nodes install", done.stdout == "up\nup\nup\n", done)


def libraries(name, *packages):
    """Packages of the Python package index for this host's Python, installed once below target/."""
    place = ROOT / "target" / f"cluster-{name}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        "--root-user-action=ignore", "--target", str(place), *packages], check=True)
        (place / "complete").touch()
    shutil.copytree(place, SHARED / name, symlinks=True)
    return f"{MOUNTED}/{name}"


def others(cluster):
    """Other engines with the shipped examples."""
    examples = ROOT / "executor/engines"
    for example in ("submitit/work.py", "dask/work.py", "snakemake/Snakefile"):
        to = SHARED / "home" / example.replace("/", "-")
        shutil.copy(examples / example, to)
        to.chmod(0o755)
    python = libraries("python", "submitit==1.5.4", "dask-jobqueue==0.9.0")
    tasks = f"{MOUNTED}/jx run --profile=slurm --bind={python}:{python} --env=PYTHONPATH --env=SUBMITIT* --env=DASK* --runtime=tools python3"
    env = (f"export JOBLET_EXEC_STORE={MOUNTED}/store PYTHONPATH={python} MEMORY_OF_TASKS=400MB "
           f"PYTHON_OF_TASKS='{tasks}'; cd {MOUNTED}/home; ")
    done = cluster.sh(env.replace("400MB", "400M") + "/usr/bin/python3 submitit-work.py", cwd=f"{MOUNTED}/home")
    check("submitit: three tasks", done.stdout.endswith("[11, 22, 33]\n"), done)
    done = cluster.sh(env + "/usr/bin/python3 dask-work.py", cwd=f"{MOUNTED}/home")
    check("dask-jobqueue: two workers", done.stdout == "285\n", done)
    snakemake = libraries("snakemake", "snakemake==9.27.1")
    (SHARED / "bin").mkdir(exist_ok=True)
    for name in ("singularity", "apptainer"):
        if not (SHARED / "bin" / name).exists():
            (SHARED / "bin" / name).symlink_to("../jx")
    done = cluster.sh(f"cd {MOUNTED}/home; export PATH={MOUNTED}/bin:$PATH PYTHONPATH={snakemake}; "
                      f"/usr/bin/python3 -m snakemake -s snakemake-Snakefile --cores 1 --software-deployment-method apptainer "
                      f"--config runtime={MOUNTED}/store/tools-1.0.0", cwd=f"{MOUNTED}/home")
    made = SHARED / "home/squares.txt"
    check("Snakemake: a rule in a runtime, by Singularity's command line",
          made.exists() and made.read_text() == "[0, 1, 4, 9]\n", done)


def cost(cluster, tasks=200):
    """An array of plain `true`, and the same in sandboxes: milliseconds a task, interleaved."""
    cluster.sh(f"export JOBLET_EXEC_STORE=/mnt/local/store JOBLET_EXEC_REGISTRY={MOUNTED}/registry; srun -N3 $JX install -q tools")
    wide = "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --unshare-all"
    ways = {"true": "true", "bwrap": f"bwrap {wide} true", "joblet-exec": "$JX run tools true"}
    image = SHARED / "image"
    if shutil.which("ch-run"):
        if not image.exists():
            shutil.copytree(next((SHARED / "store").glob("tools-*")) / "isolated", image, symlinks=True)
            for name in ("dev", "proc", "sys", "tmp", "etc", "mnt", "home", "root", "var", "run"):
                (image / name).mkdir(exist_ok=True)
            for name in ("passwd", "group", "hosts", "resolv.conf"):
                (image / "etc" / name).touch()
        ways["ch-run"] = f"ch-run {MOUNTED}/image -- true"
    times = {way: [] for way in ways}
    for _ in range(3):
        for way, command in ways.items():
            good, wrong, seconds = cluster.array(tasks, "/mnt/local/store", command)
            if good != tasks:
                check(f"cost of {way}", False, wrong)
            times[way].append(1000 * seconds / tasks)
    runs.write({"table": f"an array of {tasks} tasks", "unit": "ms a task", "samples": times})
    text = ", ".join(f"{way} {sorted(found)[1]:.1f}" for way, found in times.items())
    plain, own = sorted(times["true"])[1], sorted(times["joblet-exec"])[1]
    check(f"milliseconds a task of an array of {tasks}: {text}", own <= 1.15 * plain, times)


def main(kind, only=""):
    """`only` is the name of one check, for who works on it."""
    full = kind == "full"
    shutil.rmtree(RUN, ignore_errors=True)
    SHARED.mkdir(parents=True)
    make_registry(SHARED / "registry")
    program = os.environ.get("JOBLET_EXEC", ROOT / "dist/bin/joblet-exec")
    shutil.copy(program, SHARED / "jx")
    runs.start(pathlib.Path(program))
    for script in ("cluster.py", "runs.py"):
        shutil.copy(ROOT / ".ci" / script, SHARED / script)
    (SHARED / "home").mkdir()
    os.chmod(RUN, 0o755)
    os.chmod(SHARED, 0o1777)
    shutil.chown(SHARED / "home", USER)
    tasks = 200 if full else 60
    start = time.monotonic()
    try:
        if only:
            with Cluster() as cluster:
                cluster.sh(f"JOBLET_EXEC_STORE={MOUNTED}/store $JX install -q --registry={MOUNTED}/registry tools")
                later = globals()[only](cluster)
                _ = later and later()
            return 1 if failed else 0
        with Cluster() as cluster:
            arrays(cluster, tasks, ["node-local", "shared, without locks", "shared"])
            limited = time_limit(cluster) if full else lambda: None
            ends(cluster)
            world(cluster)
            removal(cluster)
            killed(cluster)
            mpi(cluster)
            if full:
                others(cluster)
                cost(cluster)
            limited()
        with Cluster(JX_LOCKS="local") as cluster:
            arrays(cluster, tasks, ["shared, locks of each node"])
            stays(cluster)
            killed(cluster)
        with Cluster(nodes=1, JX_GPUS="4") as cluster:
            gpus(cluster, False)
        if pathlib.Path("/sys/fs/cgroup/devices").exists():
            with Cluster(nodes=1, JX_GPUS="4", JX_TRACK="cgroup1", JX_TASK="cgroup") as cluster:
                gpus(cluster, True)
                memory(cluster)
                if full:
                    ends(cluster)
    finally:
        shutil.rmtree(RUN, ignore_errors=True)
    print(f"{count - len(failed)} of {count} checks hold, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["without-locks"]:
        without_locks(sys.argv[2:])
    sys.exit(main(*sys.argv[1:] or ["short"]))
