"""Other engines, by the shipped examples (executor/engines)."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from .cluster import MOUNTED, ROOT, SHARED, USER, check, example

# The tested versions; executor/engines/README.md names the same.
SUBMITIT, DASK, SNAKEMAKE, PARSL, RAY, HTCONDOR = ("submitit==1.5.4", "dask-jobqueue==0.9.0", "snakemake==9.27.1",
                                                  "parsl==2026.10.26", "ray==2.60.0", "htcondor==24.0.24")

# HTCondor's reading of a submit file: the image's path, the transferred files, and the requirement on machines.
SUBMITTED = """
import sys, htcondor
job, = htcondor.Submit(open(sys.argv[1]).read()).jobs(count=1, clusterid=1)
print(job["ContainerImage"], job.get("TransferInput", "nothing"), "TARGET.HasSandboxImage" in str(job["Requirements"]))
for name in sys.argv[2:]:
    print(htcondor.param[name])
"""


def packages(name, *wanted):
    """Installs packages for this host's Python, once, below target/; returns their directory on the nodes."""
    place = ROOT / "target" / f"cluster-{name}"
    complete = place / "complete"
    if not complete.exists() or complete.read_text() != " ".join(wanted):
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        "--root-user-action=ignore", "--target", str(place), *wanted], check=True)
        # Scripts use the Python of their environment.
        for script in filter(pathlib.Path.is_file, place.glob("bin/*")):
            lines = script.read_bytes().split(b"\n", 1)
            if lines[0].startswith(b"#!") and b"python" in lines[0]:
                script.write_bytes(b"#!/usr/bin/env python3\n" + lines[1])
        complete.write_text(" ".join(wanted))
    shutil.copytree(place, SHARED / name, symlinks=True, copy_function=linked)
    return f"{MOUNTED}/{name}"


def linked(source, to):
    """Hard-links a file, or copies it where that is not possible."""
    try:
        os.link(source, to, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, to)


def run_of(place, *options):
    """The command by which examples start tasks, with packages that a site's runtime would contain."""
    return " ".join([f"{MOUNTED}/jx run --profile=slurm --bind={place}:{place} --env=PYTHONPATH={place} "
                     f"--env=PATH={place}/bin:/usr/bin:/bin", *options, "--runtime=tools"])


def by_python(cluster):
    """Engines that start Python: submitit, dask-jobqueue, Parsl."""
    place = packages("python", SUBMITIT, DASK, PARSL)
    run = run_of(place, "--env=SUBMITIT*", "--env=DASK*")
    before = (f"export PATH={MOUNTED}/bin:{place}/bin:/usr/bin:/bin PYTHONPATH={place} RUN_OF_TASKS='{run}' "
              f"PYTHON_OF_TASKS='{run} python3' MEMORY_OF_TASKS=")
    done = cluster.here(f"{before}400M; python3 {example('submitit/work.py')}")
    check(f"{SUBMITIT}: three tasks", done.stdout.endswith("[11, 22, 33]\n"), done)
    done = cluster.here(f"{before}400MB; python3 {example('dask/work.py')}")
    check(f"{DASK}: two workers", done.stdout == "285\n", done)
    done = cluster.here(f"{before}1; python3 {example('parsl/work.py')}")
    check(f"{PARSL}: ten calls", done.stdout.endswith("285\n"), done)


def ray(cluster):
    """Ray, in one sandbox on each node."""
    place = packages("ray", RAY)
    example("ray/work.py")
    name = example("ray/ray.sbatch", {"joblet-exec run --profile=slurm --runtime=python-3.11": run_of(place, "--env=RAY*"),
                                      "work.py": "ray-work.py", "--mem=8G": "--mem=3000 --output=ray.out"})
    # Ray's other nodes would wait a minute for a head that has ended.
    done = cluster.here(f"export RAY_gcs_rpc_server_reconnect_timeout_s=5; sbatch --wait {name}; cat ray.out")
    check(f"{RAY}: two nodes, each in a sandbox", "285 by 2 nodes" in done.stdout, done)


def by_shell(cluster):
    """The shell of a workflow of GitHub Actions, as a runner calls it: with the path of a script, in the workspace."""
    text = (ROOT / "executor/engines/github/workflow.yml").read_text()
    shell = re.search(r'shell: "([^"]*)"', text)[1].replace("python-3.11", "tools")
    profile = re.search(r"JOBLET_EXEC_PROFILE: (\w+)", text)[1]
    for name in ("temp", "workspace"):
        (SHARED / "home" / name).mkdir()
        shutil.chown(SHARED / "home" / name, USER)
    script = SHARED / "home/temp/step.sh"
    script.write_text("python3 -c 'import os; print(os.environ[\"GITHUB_SHA\"], os.getcwd())'\necho made >made\nfalse\necho on\n")
    there = f"{MOUNTED}/home"
    done = cluster.here(f"export JOBLET_EXEC_PROFILE={profile} RUNNER_TEMP={there}/temp GITHUB_SHA=abc; cd workspace; "
                        + shell.replace("{0}", f"{there}/temp/step.sh"))
    check("the shell of a workflow: variables, workspace, and the first failure ends it",
          (done.returncode, done.stdout) == (1, f"abc {there}/workspace\n") and (SHARED / "home/workspace/made").exists(), done)


def by_apptainer(cluster):
    """Engines that call Singularity or Apptainer."""
    snakemake = packages("snakemake", SNAKEMAKE)
    done = cluster.here(f"export PYTHONPATH={snakemake}; $JX install -q tools; "
                        f"/usr/bin/python3 -m snakemake -s {example('snakemake/Snakefile')} --cores 1 "
                        f"--software-deployment-method apptainer --config runtime={MOUNTED}/store/tools-1.0.0")
    made = SHARED / "home/squares.txt"
    check(f"{SNAKEMAKE}: a rule in a runtime, by Singularity's command line",
          made.exists() and made.read_text() == "[0, 1, 4, 9]\n", done)
    htcondor(cluster)


def htcondor(cluster):
    """HTCondor's own library reads the shipped submit file and configuration; the engine is not available."""
    place = packages("htcondor", HTCONDOR)
    (SHARED / "home/submitted.py").write_text(SUBMITTED)
    work, config = example("htcondor/work.sub"), example("htcondor/joblet.config")
    image = "/shared/joblet/python-3.11-1.0.0"
    sandbox = "/usr/local/lib/joblet/condor-test-1.0.0"
    call = (f"touch work.py; export PYTHONPATH={place}; "
            f"{{}} /usr/bin/python3 submitted.py {work} SINGULARITY_TEST_SANDBOX")
    done = cluster.here(call.format(f"CONDOR_CONFIG=$PWD/{config}"))
    check(f"{HTCONDOR}, its library alone: the runtime is used where it is, and is a directory",
          done.stdout == f"{image} nothing True\n{sandbox}\n", done)
    done = cluster.here(call.format("CONDOR_CONFIG=ONLY_ENV"))
    check(f"{HTCONDOR}, its library alone: without the shipped configuration it would be copied",
          done.stdout.startswith(f"python-3.11-1.0.0 {image} True\n"), done)
