"""What a task of an array costs, in sandboxes and without, interleaved."""

import shutil
import statistics

import runs

from .cluster import MOUNTED, SHARED, check

BWRAP = ("bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc "
         "--dev /dev --unshare-all true")


def ways():
    """How a task may be started."""
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
    """Whether joblet-exec takes at most `most` times what plain `true` takes, by the medians or by the fastest rounds: what is
    slower is so by both, and other work of the machine, which comes and goes, seldom shows in both."""
    ours, plain = times["joblet-exec"], times["true"]
    return any(of(ours) <= most * of(plain) for of in (statistics.median, min))


def cost(cluster, tasks, rounds, most, only=()):
    """Milliseconds a task, of an array on node-local stores, against `most` times what plain `true` takes. Where that does not
    hold, two rounds more decide."""
    store = "/mnt/local/store"
    cluster.here(f"srun -N{cluster.nodes} $JX install -q --store={store} tools")
    chosen = {way: command for way, command in ways().items() if not only or way in only}
    times = {way: [] for way in chosen}
    for round_ in range(rounds + 2):
        if round_ >= rounds and holds(times, most):
            break
        # Not always in the same order: what is first finds another cache.
        order = list(chosen.items())
        for way, command in order if round_ % 2 == 0 else order[::-1]:
            good, wrong, seconds = cluster.array(tasks, store, command)
            if good != tasks:
                check(f"cost of {way}", False, wrong)
            times[way].append(1000 * seconds / tasks)
    nodes = "one node" if cluster.nodes == 1 else f"{cluster.nodes} nodes"
    runs.write({"table": f"an array of {tasks} tasks on {nodes}", "unit": "ms a task", "samples": times})
    medians = {way: statistics.median(found) for way, found in times.items()}
    text = ", ".join(f"{way} {found:.1f}" for way, found in medians.items())
    check(f"milliseconds a task of an array of {tasks} on {nodes}: {text}",
          holds(times, most), times)
