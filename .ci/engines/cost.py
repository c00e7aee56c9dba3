"""Time per task of an array, with and without sandboxes, interleaved."""

import shutil
import statistics

import runs

from .cluster import MOUNTED, SHARED, check

BWRAP = ("bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc "
         "--dev /dev --unshare-all true")


def launchers():
    """Commands that start a task."""
    found = {"true": "true", "joblet-exec": "$JX run tools true", "bwrap": BWRAP}
    image = SHARED / "image"
    if shutil.which("ch-run"):
        if not image.exists():
            shutil.copytree(next((SHARED / "store").glob("tools-*")) / "isolated", image, symlinks=True)
            for name in ("dev", "proc", "sys", "tmp", "etc", "mnt", "home", "root", "var", "run"):
                (image / name).mkdir(exist_ok=True)
            for name in ("passwd", "group", "hosts", "resolv.conf"):
                (image / "etc" / name).touch()
        found["ch-run"] = f"ch-run {MOUNTED}/image -- true"
    return found


def holds(times, most):
    """Whether joblet-exec takes at most `most` times as long as plain `true`, by the medians or by the fastest rounds: other
    load of the machine seldom affects both."""
    ours, plain = times["joblet-exec"], times["true"]
    return any(of(ours) <= most * of(plain) for of in (statistics.median, min))


def cost(cluster, tasks, rounds, most, only=()):
    """Checks that a task on node-local stores takes at most `most` times as long as plain `true`. If it does not, two more
    rounds decide."""
    store = "/mnt/local/store"
    cluster.here(f"srun -N{cluster.nodes} $JX install -q --store={store} tools")
    chosen = {launcher: command for launcher, command in launchers().items() if not only or launcher in only}
    times = {launcher: [] for launcher in chosen}
    for round_ in range(rounds + 2):
        if round_ >= rounds and holds(times, most):
            break
        # In alternating order: the first finds colder caches.
        order = list(chosen.items())
        for launcher, command in order if round_ % 2 == 0 else order[::-1]:
            good, wrong, seconds = cluster.array(tasks, store, command)
            if good != tasks:
                check(f"cost of {launcher}", False, wrong)
            times[launcher].append(1000 * seconds / tasks)
    nodes = "one node" if cluster.nodes == 1 else f"{cluster.nodes} nodes"
    runs.write({"table": f"an array of {tasks} tasks on {nodes}", "unit": "ms a task", "samples": times})
    medians = {launcher: statistics.median(found) for launcher, found in times.items()}
    text = ", ".join(f"{launcher} {found:.1f}" for launcher, found in medians.items())
    check(f"milliseconds a task of an array of {tasks} on {nodes}: {text}",
          holds(times, most), times)
