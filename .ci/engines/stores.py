"""Stores of a cluster: cold arrays, removal, killed installers, a registry on another machine."""

import json
import re
import shutil
import subprocess

from .cluster import MOUNTED, RUN, SHARED, check

# Shell commands that wait for a file, and fail after a minute.
WAIT = "for i in $(seq 240); do [ ! -e {file} ] || break; sleep 0.25; done; [ -e {file} ]"


def arrays(cluster, tasks, kinds):
    """A cold array: every task succeeds, and the archive is fetched once for each place with locks."""
    cluster.serve()
    job = "$JX run --runtime=tools@1.0.0 true"
    nolocks = f"python3 {MOUNTED}/without_locks.py {job}"
    for kind in kinds:
        store, command, most = {
            "shared": (f"{MOUNTED}/store", job, 1),
            "node-local": ("/mnt/local/store", job, cluster.nodes),
            "shared, locks of each node": (f"{MOUNTED}/store", job, cluster.nodes),
            "shared, without locks": (f"{MOUNTED}/store", nolocks, tasks),
        }[kind]
        cluster.wipe(store)
        good, wrong, seconds = cluster.array(tasks, store, command)
        asked = cluster.archives()
        check(f"a cold array of {tasks} tasks, store {kind}: all succeed ({asked} archives, {seconds:.1f} s)",
              good == tasks and 1 <= asked <= most, wrong or f"{asked} archives, at most {most}")
        if most > 1 and kind.startswith("shared"):
            left = cluster.sh(f"ls -A {store}/.joblet/staging {store}/.joblet/downloads")
            check(f"no temporary files are left ({kind})", not re.search(r"@|\.tmp", left.stdout), left.stdout)


def removal(cluster):
    """Removes a runtime that a job on another node uses."""
    store = f"{MOUNTED}/store2"
    cluster.wipe(store)
    for name in ("begun", "removed"):
        (SHARED / "home" / name).unlink(missing_ok=True)
    job = ("echo >begun; " + WAIT.format(file="removed") + " && python3 -c \"import json, csv; print('whole')\"")
    done = cluster.here(
        f"export JOBLET_EXEC_STORE={store}; $JX install -q tools; "
        f"(srun -w n1 $JX run --here tools sh -c {sh_quoted(job)}) & {WAIT.format(file='begun')}; "
        "srun -w n2 $JX remove tools; echo >removed; wait")
    check("a runtime that another node uses is removed, and the job continues",
          "whole" in done.stdout and "removed" in done.stderr, done)


def sh_quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def stays(cluster):
    """On a shared file system files are kept after a removal, as jobs on other machines cannot be seen."""
    store = f"{MOUNTED}/store"
    done = cluster.sh(f"export JOBLET_EXEC_STORE={store}; $JX doctor --offline | grep store; $JX remove tools; "
                      f"ls {store}/.joblet/removed; sleep 2; $JX prune --older-than 1s -q; ls {store}/.joblet/removed")
    check("a shared file system is named, and files are kept after a removal until --older-than",
          ", on fuse: " in done.stdout and done.stdout.count("tools-1.0.0@") == 1 and "for 7 days" in done.stderr, done)


def killed(cluster):
    """Killed installers do not block later ones."""
    store = f"{MOUNTED}/store3"
    cluster.wipe(store)
    done = cluster.here(
        f"export JOBLET_EXEC_STORE={store}; for i in 1 2 3 4 5 6; do "
        "(srun -w n$((i % 3 + 1)) timeout -s KILL 0.0$((i * 2)) $JX install tools) & done; wait; srun -N3 $JX run tools echo up")
    check("after installers that were killed, all nodes install", done.stdout == "up\nup\nup\n", done)


def layers(cluster):
    """A read-only shared store, and a writable store of the node."""
    cluster.wipe("/mnt/local/own")
    cluster.here("$JX install -q tools")
    script = ("export JOBLET_EXEC_STORE=/mnt/local/own JOBLET_EXEC_SHARED_STORES={shared}; "
              "$JX run tools echo ran; ls /mnt/local/own 2>/dev/null")
    done = cluster.run("n2", "bash", "-c", "export JOBLET_EXEC_REGISTRY=/no/such; " + script.format(shared=f"{MOUNTED}/store"))
    check("a runtime of a shared store runs, and the node's own store stays empty", done.stdout == "ran\n", done)
    done = cluster.run("n2", "bash", "-c", f"export JOBLET_EXEC_REGISTRY={MOUNTED}/registry; " +
                       script.format(shared=f"{MOUNTED}/none"))
    check("a runtime that no shared store has is installed into the node's own", done.stdout == "ran\ntools-1.0.0\n", done)


def insecure(cluster):
    """A registry on another machine by plain http: refused, unless it is marked insecure and signed."""
    cluster.serve()
    place = SHARED / "home/signed"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    key = RUN / "signing"
    subprocess.run(["minisign", "-G", "-W", "-f", "-p", f"{key}.pub", "-s", f"{key}.sec"], check=True, capture_output=True)
    subprocess.run(["minisign", "-S", "-W", "-s", f"{key}.sec", "-m", SHARED / "registry/registry.json"], check=True,
                   capture_output=True)
    public = (RUN / "signing.pub").read_text().splitlines()[1]
    url = "http://n1:8123/registry.json"
    results = []
    for name, more in (("plain", ""), ("unsigned", ", insecure: true"), ("marked", f", insecure: true, public_key: {json.dumps(public)}")):
        (place / f"{name}.yaml").write_text(f"runtimes:\n  registries:\n    - {{ name: a, url: \"{url}\"{more} }}\n")
        done = cluster.sh(f"unset JOBLET_EXEC_REGISTRY; srun -w n2 $JX run --config={MOUNTED}/home/signed/{name}.yaml "
                          f"--store={MOUNTED}/store-{name} --runtime=tools echo ran")
        results.append(done)
    (SHARED / "registry/registry.json.minisig").unlink()
    plain, unsigned, marked = results
    check("plain http to another machine is refused", plain.returncode == 125 and "https" in plain.stderr, plain)
    check("insecure: true without a key is refused",
          unsigned.returncode == 125 and "insecure is only for a registry with a public_key" in unsigned.stderr, unsigned)
    check("insecure: true with a key is used", marked.stdout == "ran\n", marked)
