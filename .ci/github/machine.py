"""Machines that run jobs, each a fresh Debian 12.

    runner      stands for ubuntu-24.04: user `runner`, uid 1001, with sudo; git, make, curl, Python and pip
    container   stands for the workflow's image: plain Debian; steps are root, and uid 1001 owns the workspace
"""

import os
import pathlib
import shutil
import subprocess

UID = 1001
RUNNER_PACKAGES = "git make curl ca-certificates sudo python3 python3-pip gcc libc6-dev"
SYSTEM = ".ci/system"
HERE = pathlib.Path(__file__).parent


def output(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


def base(work, kind):
    """The base directory of all machines of a kind, made once."""
    place = work / f"base-{kind}"
    if not place.exists():
        new = work / f"new-{kind}"
        subprocess.run(["rm", "-rf", "--one-file-system", new], check=True)
        subprocess.run([SYSTEM, "install_system", new], check=True)
        if kind == "runner":
            with Machine(work, new, kind, []) as machine:
                machine.root("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy "
                             f"--no-install-recommends {RUNNER_PACKAGES}")
                machine.root(f"useradd --create-home --uid {UID} --shell /bin/bash runner && "
                             "echo 'runner ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/runner")
        new.rename(place)
    return place


class Machine:
    """A running system at `top`: an overlay over `lower`, or without `lower` the directory itself."""

    def __init__(self, work, top, kind, places, lower=None):
        self.work, self.top, self.kind, self.lower = work, pathlib.Path(top), kind, lower
        self.places = places

    def __enter__(self):
        if self.lower:
            subprocess.run(["rm", "-rf", "--one-file-system", self.top, f"{self.top}.layers"], check=True)
            layers = pathlib.Path(f"{self.top}.layers")
            for name in ("upper", "work"):
                (layers / name).mkdir(parents=True)
            self.top.mkdir()
            options = f"lowerdir={self.lower},upperdir={layers}/upper,workdir={layers}/work"
            subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", self.top], check=True)
        # Keeps downloaded packages, and the programs of the stand-in for make.
        for name, place in (("archives", "/var/cache/apt/archives"), ("programs", "/field-programs")):
            (self.work / name).mkdir(exist_ok=True)
            self.places = [*self.places, f"{self.work / name}={place}"]
        words = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", SYSTEM, "hold", self.top]
        self.holder = subprocess.Popen([*words, *self.places], stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            raise SystemExit("field: the system cannot be entered")
        self.first = output("cat", f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").split()[0]
        return self

    def __exit__(self, *_):
        # Its namespaces and mounts end with their first process.
        self.holder.kill()
        self.holder.wait()
        if self.lower:
            subprocess.run(["umount", "--lazy", self.top], check=True)
            subprocess.run(["rm", "-rf", "--one-file-system", f"{self.top}.layers"], check=True)

    def inside(self, user, words, environment, directory, **more):
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--ipc", "--uts", "--root", "--wd=/"]
        group = "root" if user == "root" else user
        become = ["setpriv", "--reuid", user, "--regid", group, "--init-groups"]
        variables = [f"{name}={value}" for name, value in environment.items()]
        command = [*enter, *become, "env", "-i", "-C", directory, *variables, *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, **more)

    def root(self, script):
        """Runs a script as root, outside any step. Its output is shown if it fails."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **host_variables()}
        done = self.inside("root", ["sh", "-ec", script], environment, "/", capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"field: {script}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def host_variables():
    """The host's variables for mirrors, without those that name directories of the host."""
    lines = output(SYSTEM, "of_host").splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return {name: value for name, value in found.items() if not name.endswith("FIND_LINKS")}


def give(place):
    """Makes the runner's user the owner of a tree."""
    for directory, _, files in os.walk(place):
        os.chown(directory, UID, UID)
        for name in files:
            os.chown(os.path.join(directory, name), UID, UID, follow_symlinks=False)


def put_programs(top):
    """Installs the stand-ins, which precede installed programs in PATH."""
    directory = pathlib.Path(top) / "usr/local/bin"
    for name in ("gh", "make"):
        shutil.copy(HERE / name, directory / name)
