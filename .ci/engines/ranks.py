"""Parallel programs: MPI and torch.distributed."""

import os
import re
import shutil
import subprocess

import runs

from .cluster import MOUNTED, ROOT, SHARED, check, example

RATE = re.compile(r"MB/s (\d+)")


def mpi(cluster):
    """One sandbox for a node, and one for each rank."""
    if not shutil.which("mpicc.mpich"):
        return check("MPI: mpicc.mpich is there", False, "apt-get install mpich libmpich-dev")
    done = cluster.here("srun -N1 $JX run --profile=mpi tools mpiexec -launcher fork -n 4 ranks 20")
    check("MPI: one sandbox, four ranks within", "size 4 sum 6" in done.stdout, done)
    done = cluster.here("salloc -Q -N1 -n4 mpiexec -n 4 $JX run --profile=mpi tools ranks 20")
    check("MPI: mpiexec, a sandbox for each rank", "size 4 sum 6" in done.stdout, done)
    name = example("slurm/mpi.sbatch", {"--ntasks-per-node=4": "--ntasks-per-node=2 --output=mpi.out", "=solver ./solver": "=tools ranks"})
    done = cluster.here(f"sbatch --wait {name}; cat mpi.out")
    check("slurm/mpi.sbatch: two nodes, a sandbox for each rank", "size 4 sum 6" in done.stdout, done)
    done = cluster.here("salloc -Q -N1 -n2 mpiexec -n 2 $JX run --here --env=PMI* tools ranks", limit=60)
    check("MPI: without PMI's descriptor the ranks do not connect", "size 2" not in done.stdout, done)
    return None


def rates(cluster):
    """The transport between two ranks of a node, each in a sandbox, and its rate in MB/s, interleaved."""
    if not shutil.which("mpicc.mpich"):
        return
    each = "salloc -Q -N1 -n2 mpiexec -n 2 $JX run --profile=mpi --env=UCX_POSIX_USE_PROC_LINK={} {} tools ranks {}"
    done = cluster.here(each.format("n", "--env=UCX_LOG_LEVEL=info", "") + " 2>&1", limit=60)
    check("MPI, a sandbox for each rank: they use shared memory",
          "size 2 sum 1" in done.stdout and re.search(r"tag\((sysv|posix)/memory", done.stdout), done)
    cases = {
        "one sandbox": "srun -N1 $JX run --profile=mpi tools mpiexec -launcher fork -n 2 ranks 100",
        "a sandbox each, --profile=mpi": each.format("n", "", 100),
        "a sandbox each, without UCX_POSIX_USE_PROC_LINK=n": each.format("y", "", 100),
    }
    found = {case: [] for case in cases}
    for _ in range(2):
        for case, command in cases.items():
            rate = RATE.search(cluster.here(command).stdout)
            found[case].append(int(rate.group(1)) if rate else 0)
    runs.write({"table": "messages of 4 MiB between two ranks of one node", "unit": "MB/s", "samples": found})
    check("MPI, MB/s: " + ", ".join(f"{case} {max(all_)}" for case, all_ in found.items()), all(map(min, found.values())), found)


TRAIN = """
import os, socket, torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
step = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    step.zero_grad()
    model(torch.full((2, 4), float(rank))).sum().backward()
    step.step()
mine = torch.cat([each.detach().flatten() for each in model.parameters()])
most, least = mine.clone(), mine.clone()
dist.all_reduce(most, dist.ReduceOp.MAX)
dist.all_reduce(least, dist.ReduceOp.MIN)
hosts = [None] * size
dist.all_gather_object(hosts, socket.gethostname())
if rank == 0:
    print(size, "ranks on", *sorted(set(hosts)), "agree:", bool(torch.equal(most, least)))
dist.destroy_process_group()
"""

MANIFEST = """name: torch-1
version: 1.0.0
description: Debian's PyTorch, for processors alone
platforms: [debian-ARCH]
debian: { suite: bookworm, packages: [python3, python3-torch] }
"""


def torch_runtime():
    """Builds a runtime with Debian's PyTorch, without GPUs, once; returns the directory of its registry."""
    place = ROOT / "target/cluster-torch"
    source = place / "sources/torch-1/manifest.yaml"
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    manifest = MANIFEST.replace("ARCH", arch)
    if source.exists() and source.read_text() == manifest and (place / "out/registry.json").exists():
        return place / "out"
    shutil.rmtree(place, ignore_errors=True)
    source.parent.mkdir(parents=True)
    publish = os.environ.get("JOBLET_PUBLISH")
    if not publish:
        subprocess.run(["cargo", "build", "--locked", "--release", "-p", "joblet-publish"], cwd=ROOT, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
        publish = f"{target}/release/joblet-publish"
    source.write_text(manifest)
    env = {"JOBLET_EXEC": str(ROOT / "dist/bin/joblet-exec"), **os.environ}
    of_source = ["--sources", place / "sources", "--cache", place / "cache"]
    for words in (["lock", "torch-1", *of_source], ["build", "torch-1", *of_source, "--out", place / "out"],
                  ["index", "--records", place / "out/records", "--out", place / "out/registry.json"]):
        done = subprocess.run([publish, *words], env=env, capture_output=True, text=True)
        if done.returncode:
            source.unlink()
            raise SystemExit(f"cluster: joblet-publish {words[0]}: {done.stderr[-3000:]}")
    shutil.rmtree(place / "cache")
    return place / "out"


def torch(cluster):
    """torchrun and torch.distributed on two nodes that meet by name."""
    registry = SHARED / "torch-registry"
    shutil.copytree(torch_runtime(), registry)
    (SHARED / "home/train.py").write_text(TRAIN)
    before = (f"export JOBLET_EXEC_REGISTRY={MOUNTED}/torch-registry JOBLET_EXEC_STORE={MOUNTED}/torch-store "
              "OMP_NUM_THREADS=1; $JX install -q torch-1; ")
    # torchrun 1.13 cannot parse its defaults of -r and -t with Python 3.11, whose empty flags list no members.
    name = example("slurm/torch.sbatch", {"--gres=gpu:4": "--mem=1500 --output=torch.out", " --gpu=4": "", "_node=4": "_node=2",
                                          "python-3.11-pytorch-cuda": "torch-1", "train.py": "-r 1 -t 1 train.py"})
    done = cluster.here(f"{before} sbatch --wait {name}; cat torch.out")
    check("slurm/torch.sbatch: torchrun on two nodes that meet by name, two ranks each",
          "4 ranks on n1 n2 agree: True" in done.stdout, done)
    done = cluster.here(before + "export MASTER_ADDR=n1 MASTER_PORT=29501; srun -N2 -w n1,n2 --ntasks-per-node=1 --mem=1500 "
                        "$JX run --profile=slurm --runtime=torch-1 "
                        "sh -c 'RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS exec python3 train.py'")
    check("torch.distributed, gloo: two nodes that meet by name, a rank each",
          "2 ranks on n1 n2 agree: True" in done.stdout, done)
