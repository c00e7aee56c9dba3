"""A repository on GitHub with its releases and its site, and its maintainer."""

import json
import os
import shutil
import subprocess
import tempfile

from . import machine, server
from .workflow import Failed, say, tail

REPOSITORY = "somebody/registry"


def push_here(bare, branch):
    """Pushes the current commit, with uncommitted changes."""
    changed = machine.output("git", "stash", "create").strip() or "HEAD"
    subprocess.run(["git", "push", "--quiet", "--force", bare, f"{changed}:refs/heads/{branch}"], check=True)


class World:
    """A repository with its releases and its site. `programs` is the repository of its workflows."""

    def __init__(self, root, name="github", programs=REPOSITORY):
        self.work = root / "target/field"
        self.state = self.work / name
        self.workflows = self.own = root / ".github/workflows"
        self.repository, self.programs = REPOSITORY, programs
        self.commit = None  # of the programs, unless it is the event's
        self.variables = {}  # of the repository
        self.private = False
        self.mirrors = {}  # further variables of machines, beside the host's
        self.reuse = os.environ.get("REUSE", "")
        for place in (self.state, self.work / "programs", self.work / "log"):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)
        repositories = {REPOSITORY: "repository.git"}
        if programs != REPOSITORY:
            repositories[programs] = "programs.git"
        self.repositories = repositories
        self.server = server.start(self.state, repositories)

    def git(self, *words):
        return machine.output("git", f"--git-dir={self.state}/repository.git", *words).strip()

    def new(self):
        """Makes a repository without releases: the current checkout, or an empty one if the programs are in another."""
        for name in ("repository.git", "programs.git", "releases", "pages", "maintainer", "pulls"):
            shutil.rmtree(self.state / name, ignore_errors=True)
        for name in ("started", "attested"):
            (self.state / name).unlink(missing_ok=True)
            (self.state / name).touch()
            (self.state / name).chmod(0o666)
        for name in ("releases", "maintainer", "pulls"):
            (self.state / name).mkdir()
            (self.state / name).chmod(0o777)
        for name in self.repositories.values():
            bare = self.state / name
            subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", bare], check=True)
            for setting, value in {"uploadpack.allowAnySHA1InWant": "true", "http.receivepack": "true"}.items():
                machine.output("git", f"--git-dir={bare}", "config", setting, value)
        push_here(bare, "main")

    def renew(self):
        """Merges the current checkout into main, except for published files."""
        push_here(self.state / "repository.git", "here")
        kept = ["runtimes-src", "registry-site/records", "registry.json", "registry.json.minisig", "freshness.json",
                "freshness.json.minisig"]
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
        """Runs commands of the maintainer, with a clone of main and the programs."""
        say(f"maintainer: {title}")
        top = self.work / "system"
        log = self.work / "log" / "maintainer.log"
        with machine.Machine(self.work, top, "runner", [f"{self.state}=/field"],
                             machine.base(self.work, "runner")) as it:
            machine.put_programs(top)
            # CI: the programs are kept for the jobs, and must be those that jobs would build.
            variables = {**machine.host_variables(), **self.mirrors, "CI": "true", "HOME": "/home/runner", "USER": "runner", "GH_TOKEN":
                         server.token({"contents": "write"}), "FIELD_KIND": "runner", "FIELD_REUSE": self.reuse,
                         "PATH": "/home/runner/programs/dist/bin:/home/runner/.local/bin:/usr/local/bin:/usr/bin:/bin"}
            before = f"""
                git config --global user.name Maintainer; git config --global user.email m@example.org
                git config --global "credential.{self.server}.helper" \
                    '!f() {{ echo username=x-access-token; echo "password=$GH_TOKEN"; }}; f'
                git clone -q {self.server}/{REPOSITORY} registry; git clone -q {self.server}/{self.programs} programs
                (cd programs; make programs); cd registry
                export KEY=/field/maintainer/key
                """
            with open(log, "w") as file:
                done = it.inside("runner", ["bash", "-euo", "pipefail", "-c", before + script], variables,
                                 "/home/runner", stdout=file, stderr=file)
        if done.returncode:
            raise Failed(f"{title}: {log}:\n{tail(log)}")

    def secrets(self):
        place = self.state / "maintainer"
        return {"MINISIGN_SECRET_KEY": (place / "key").read_text(), "MINISIGN_PASSWORD": "correct horse"}

    def event(self, name, reference, **payload):
        return {"name": name, "ref": reference, "sha": self.git("rev-parse", f"{reference}^{{commit}}"),
                "payload": payload}

    def registry(self):
        """The registry on main, with its signature verified as by a client."""
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
