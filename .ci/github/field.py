"""The scenario of `make field`: a version is released, shown, yanked and signed again; the programs are released."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import machine, server, workflow
from .expression import Unknown
from .workflow import Failed, Run, say

REPOSITORY = "somebody/registry"
RUNTIME = """name: field-1
version: 1.0.0
description: Python with one wheel
platforms: [ubuntu-amd64]
debian: { suite: bookworm, packages: [python3.11-minimal] }
python: { version: "3.11", before: 2024-01-01, packages: [six] }
check: [[python3.11, -c, import six]]
"""
TAG = "field-1@1.0.0"


class World:
    def __init__(self, root):
        self.work = root / "target/field"
        self.state = self.work / "github"
        self.workflows = root / ".github/workflows"
        self.repository, self.programs = REPOSITORY, None
        self.reuse = os.environ.get("REUSE", "")
        for place in (self.state / "programs", self.work / "log"):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)
        self.server = server.start(self.state, REPOSITORY)

    def git(self, *words):
        return machine.output("git", f"--git-dir={self.state}/repository.git", *words).strip()

    def new(self):
        """A repository with what is committed here, and what lies changed in the work tree."""
        for name in ("repository.git", "releases", "pages", "maintainer"):
            shutil.rmtree(self.state / name, ignore_errors=True)
        for name in ("started", "attested"):
            (self.state / name).unlink(missing_ok=True)
            (self.state / name).touch()
            (self.state / name).chmod(0o666)
        for name in ("releases", "maintainer"):
            (self.state / name).mkdir()
            (self.state / name).chmod(0o777)
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main",
                        self.state / "repository.git"], check=True)
        for name, value in {"uploadpack.allowAnySHA1InWant": "true", "http.receivepack": "true"}.items():
            self.git("config", name, value)
        changed = machine.output("git", "stash", "create").strip() or "HEAD"
        subprocess.run(["git", "push", "--quiet", self.state / "repository.git", f"{changed}:refs/heads/main"],
                       check=True)

    def renew(self):
        """Merges what is here now into main: all but what the scenes before have published."""
        changed = machine.output("git", "stash", "create").strip() or "HEAD"
        subprocess.run(["git", "push", "--quiet", "--force", self.state / "repository.git", f"{changed}:refs/heads/here"],
                       check=True)
        kept = ["runtimes-src", "registry-site/records", "registry.json", "registry.json.minisig"]
        with tempfile.TemporaryDirectory() as place:
            tree = ["--work-tree", place]
            self.git(*tree, "read-tree", "here")
            self.git(*tree, "rm", "-rq", "--cached", "--ignore-unmatch", "--", *kept)
            listed = self.git("ls-tree", "-r", "main", "--", *kept)
            subprocess.run(["git", f"--git-dir={self.state}/repository.git", "update-index", "--index-info"],
                           input=listed + "\n", text=True, check=True)
            author = ["-c", "user.name=Maintainer", "-c", "user.email=m@example.org"]
            commit = self.git(*author, "commit-tree", "-p", "main", "-m", "what is here", self.git("write-tree"))
            self.git("update-ref", "refs/heads/main", commit)

    def maintainer(self, title, script):
        """What a person does, with a clone of main and the programs."""
        say(f"maintainer: {title}")
        top = self.work / "system"
        log = self.work / "log" / "maintainer.log"
        with machine.Machine(self.work, top, "runner", [f"{self.state}=/field"],
                             machine.base(self.work, "runner")) as it:
            machine.put_programs(top)
            variables = {**machine.host_variables(), "HOME": "/home/runner", "USER": "runner", "GH_TOKEN":
                         server.token({"contents": "write"}), "FIELD_KIND": "runner", "FIELD_REUSE": self.reuse,
                         "PATH": "/home/runner/registry/dist/bin:/home/runner/.local/bin:/usr/local/bin:/usr/bin:/bin"}
            before = f"""
                git config --global user.name Maintainer; git config --global user.email m@example.org
                git config --global "credential.{self.server}.helper" \
                    '!f() {{ echo username=x-access-token; echo "password=$GH_TOKEN"; }}; f'
                git clone -q {self.server}/{REPOSITORY} registry; cd registry; make programs
                git config --global advice.detachedHead false; export KEY=/field/maintainer/key
                """
            with open(log, "w") as file:
                done = it.inside("runner", ["bash", "-euo", "pipefail", "-c", before + script], variables,
                                 "/home/runner", stdout=file, stderr=file)
        if done.returncode:
            raise Failed(f"{title}: {log}:\n{workflow.tail(log)}")

    def secrets(self):
        place = self.state / "maintainer"
        return {"MINISIGN_SECRET_KEY": (place / "key").read_text(), "MINISIGN_PASSWORD": "correct horse"}

    def event(self, name, reference, **payload):
        return {"name": name, "ref": reference, "sha": self.git("rev-parse", f"{reference}^{{commit}}"),
                "payload": payload}

    def registry(self):
        """The registry on main, whose signature is looked at as a client does."""
        checked = self.work / "checked"
        checked.mkdir(exist_ok=True)
        for name in ("registry.json", "registry.json.minisig"):
            (checked / name).write_bytes(subprocess.run(
                ["git", f"--git-dir={self.state}/repository.git", "show", f"main:{name}"], check=True,
                capture_output=True).stdout)
        subprocess.run(["minisign", "-Vqm", checked / "registry.json", "-p", self.state / "maintainer/key.pub"],
                       check=True)
        return json.loads((checked / "registry.json").read_text())

    def shown(self):
        for name in ("registry.json", "registry.json.minisig"):
            place = self.state / "pages" / name
            if not place.exists() or place.read_bytes() != (self.work / "checked" / name).read_bytes():
                raise Failed(f"{name} of the site is not that of main")


def need(holds, what):
    if not holds:
        raise Failed(what)


def runtime(world):
    world.new()
    world.maintainer("a key, a runtime, its lock and its tag", f"""
        echo 'correct horse' >/field/maintainer/password
        joblet-publish keygen $KEY --password-file /field/maintainer/password
        rm -rf runtimes-src/*; mkdir runtimes-src/field-1
        cat >runtimes-src/field-1/manifest.yaml <<'END'\n{RUNTIME}END
        python3 -m pip install --quiet --user --break-system-packages uv
        .ci/deps inputs
        joblet-publish lock field-1
        git add --all; git commit -qm 'field-1'; git push -q origin HEAD:main
        git tag '{TAG}'; git push -q origin '{TAG}'
        """)
    Run(world, "release-runtime.yml", world.event("push", f"refs/tags/{TAG}"), world.secrets()).jobs()
    need("1.0.0" in world.registry()["runtimes"]["field-1"], "the version is not in the registry")
    need(not (world.state / f"releases/{TAG}/.draft").exists(), "the release is a draft")
    started = (world.state / "started").read_text()
    need(started == '{"workflow": "pages.yml", "ref": "main"}\n', f"pages.yml was not started: {started!r}")


def pages(world):
    Run(world, "pages.yml", world.event("workflow_dispatch", "refs/heads/main"), {}).jobs()
    world.registry()
    world.shown()


def reconcile(world):
    why = f"try {os.getpid()}"
    world.maintainer("a version is yanked, as RELEASING.md says", f"""
        record=registry-site/records/field-1/1.0.0.json
        sed -i '/"yanked"/d; s/"release": {{/"release": {{\\n    "yanked": "{why}",/' $record
        git commit -qam 'yank field-1@1.0.0'; git push -q origin HEAD:main
        """)
    Run(world, "reconcile.yml", world.event("schedule", "refs/heads/main"), world.secrets()).jobs()
    need(f'"yanked": "{why}"' in json.dumps(world.registry()), "the version is not yanked")
    world.shown()


def executor(world):
    version = next(line.split('"')[1] for line in open("Cargo.toml") if line.startswith("version = "))
    tag = f"exec-v{version}"
    world.git("tag", "--force", tag, "main")
    shutil.rmtree(world.state / "releases" / tag, ignore_errors=True)
    Run(world, "release-executor.yml", world.event("push", f"refs/tags/{tag}"), {}).jobs()
    release = world.state / "releases" / tag
    programs = [f"joblet-{name}-{arch}" for name in ("exec", "publish") for arch in ("amd64", "arm64")]
    need(sorted(it.name for it in release.iterdir()) == sorted([*programs, "SHA256SUMS"]), "other files are released")
    attested = (world.state / "attested").read_text().split()
    need(set(programs) <= set(attested), "a program is not attested")


SCENES = {"runtime": runtime, "pages": pages, "reconcile": reconcile, "executor": executor}


def main():
    world = World(pathlib.Path.cwd())
    for name in os.environ.get("WORKFLOWS", " ".join(SCENES)).split():
        try:
            if name != "runtime":
                world.renew()
            SCENES[name](world)
        except (Failed, Unknown, subprocess.CalledProcessError) as error:
            print(f"field: FAILED: {error}", file=sys.stderr)
            return 1
        say(f"{name}: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
