"""A registry with one runtime, `tools`: this host's shell tools and Python, and what its MPI needs."""

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

TOOLS = "bash cat echo env id sleep true ls stat dd mkdir hostname seq"

RANKS = r"""
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void leave(int signal) { _exit(0); }
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
    fflush(stdout);
    /* Under load MPI_Finalize of MPICH 4.0.2 over UCX may hang: one rank waits for others, which wait for it at
       PMI's barrier. The checked output is complete. */
    signal(SIGALRM, leave);
    alarm(10);
    MPI_Finalize();
}
"""


def with_libraries(program, usr):
    """Copies a program of this host and its libraries into the tree of a runtime."""
    found = shutil.which(program) if "/" not in program else program
    target = usr / "bin" / pathlib.Path(program).name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(found, target)
    libraries(found, usr)


def libraries(file, usr):
    """Copies the libraries that a program or a library loads."""
    for library in re.findall(r"(/\S+)", subprocess.run(["ldd", str(file)], capture_output=True, text=True).stdout):
        copy(library, usr)


def copy(library, usr):
    to = usr / library.lstrip("/").removeprefix("usr/")
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        shutil.copy(library, to)


def python(usr):
    """Copies this host's Python."""
    program = shutil.which("python3", path="/usr/bin:/bin")
    with_libraries(program, usr)
    version = subprocess.run([program, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
                             capture_output=True, text=True).stdout.strip()
    ignore = shutil.ignore_patterns("__pycache__", "test", "idlelib", "lib2to3", "config-*", "*.a", "ensurepip")
    shutil.copytree(f"/usr/lib/{version}", usr / f"lib/{version}", symlinks=False, ignore=ignore,
                    ignore_dangling_symlinks=True)
    for module in (usr / f"lib/{version}/lib-dynload").glob("*.so"):
        libraries(module, usr)
    # Libraries that wheels need.
    for name in ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libstdc++.so.6", "libgcc_s.so.1"):
        for found in pathlib.Path("/usr/lib").glob(f"*-linux-gnu/{name}"):
            copy(str(found), usr)


def ranks(work, usr):
    """Compiles the MPI program, and copies mpiexec."""
    compiler = shutil.which("mpicc.mpich")
    if not compiler:
        return
    source = work / "ranks.c"
    source.write_text(RANKS)
    subprocess.run([compiler, "-O2", "-o", str(work / "ranks"), str(source)], check=True)
    with_libraries(str(work / "ranks"), usr)
    for program in ("mpiexec.hydra", "hydra_pmi_proxy"):
        with_libraries(shutil.which(program), usr)
    (usr / "bin/mpiexec").symlink_to("mpiexec.hydra")


def make_registry(registry, around):
    """Makes the directory `registry`; temporary files are in `around`."""
    work = pathlib.Path(tempfile.mkdtemp(dir=around))
    top = work / "tools-1.0.0"
    usr = top / "isolated/usr"
    for tool in TOOLS.split():
        with_libraries(tool, usr)
    python(usr)
    ranks(work, usr)
    (usr / "bin/sh").symlink_to("bash")
    for directory in ("bin", "lib", "lib64"):
        (usr / directory).mkdir(exist_ok=True)
        (top / "isolated" / directory).symlink_to(f"usr/{directory}")
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
