"""Runs a workflow: its jobs in order, their steps by their shells, and their outputs."""

import itertools
import json
import pathlib
import shutil
import time

import yaml

from . import actions, machine
from .expression import evaluate, filled, shown
from .server import token

SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"],
    "sh": ["sh", "-e"],
    # The defaults, on a runner and in a container.
    "runner": ["bash", "-e"],
    "container": ["sh", "-e"],
}
# Labels of runners, with a note: one of this machine's architecture stands for arm64, with an emulator for arm64
# programs.
RUNNERS = {"ubuntu-24.04": "", "ubuntu-24.04-arm": ", of this machine's architecture, with an emulator"}
EMULATOR = "apt-get update -q && apt-get install -qy --no-install-recommends qemu-user-static"
DEFAULT_BRANCH = "main"


class Failed(Exception):
    """A failed job."""


def say(text):
    print(f"field: {text}", flush=True)


class Run:
    """A run of a workflow, with those that it calls."""

    def __init__(self, world, name, event, secrets, inputs=None, caller=None, permissions=None):
        self.world, self.name, self.event, self.caller = world, name, event, caller
        self.secrets, self.inputs = secrets, inputs or {}
        self.allowed = permissions
        self.attempt, self.done = caller.attempt if caller else 1, {}
        # Called workflows are those of the programs' repository.
        self.file = yaml.safe_load(((world.workflows if caller else world.own) / name).read_text())
        self.artifacts = caller.artifacts if caller else world.work / "artifacts"
        if not caller:
            shutil.rmtree(self.artifacts, ignore_errors=True)
            self.artifacts.mkdir()
        triggers = self.file[True]  # `on`, as YAML 1.1 reads it
        wanted = "workflow_call" if caller else event["name"]
        if wanted not in triggers:
            raise Failed(f"{name} is not started by {wanted}")

    def github(self):
        event = self.event
        kind, _, name = event["ref"].removeprefix("refs/").partition("/")
        payload = dict(event.get("payload", {}))
        if event["name"] != "schedule":  # whose payload is the line of the schedule
            payload["repository"] = {"default_branch": DEFAULT_BRANCH, "private": self.world.private}
        return {
            "ref": event["ref"], "ref_name": name, "ref_type": "tag" if kind == "tags" else "branch",
            "sha": event["sha"], "repository": self.world.repository, "event_name": event["name"],
            "server_url": self.world.server, "event": payload, "workflow": self.file["name"],
            "run_attempt": self.attempt,
        }

    def again(self, *jobs):
        """Repeats these jobs, or all, as another attempt of this run; results of the others are kept."""
        self.attempt += 1
        self.done = {name: made for name, made in self.done.items() if jobs and name not in jobs}
        say(f"{self.name}: attempt {self.attempt}")
        self.jobs()

    def jobs(self):
        done = self.done
        waiting = {name: job for name, job in self.file["jobs"].items() if name not in done}
        while waiting:
            name = next(it for it, job in waiting.items() if all(need in done for need in needs(job)))
            job = waiting.pop(name)
            before = {need: done[need] for need in needs(job)}
            contexts = {"github": self.github(), "inputs": self.inputs, "needs": before, "secrets": self.secrets,
                        "vars": self.world.variables}
            # Jobs that need a skipped job are skipped.
            left_out = any(it["result"] == "skipped" for it in before.values())
            if left_out or "if" in job and not evaluate(str(job["if"]).removeprefix("${{").removesuffix("}}"), contexts):
                say(f"{self.name}: {name} is skipped")
                done[name] = {"outputs": {}, "result": "skipped"}
                continue
            done[name] = {"outputs": self.job(name, job, contexts), "result": "success"}

    def job(self, name, job, contexts):
        asked = filled(job.get("permissions", self.file.get("permissions", {})), contexts)
        for what, how in asked.items():
            if self.allowed is not None and self.allowed.get(what) not in (how, "write"):
                raise Failed(f"{self.name}: {name} asks for {what}: {how}, which its caller does not grant")
        if "uses" in job:
            return self.call(name, job, contexts, asked)
        matrix = filled(job.get("strategy", {}).get("matrix", {}), contexts)
        outputs = {}
        for row in rows(matrix):
            title = " ".join([f"{self.name}: {name}", *map(str, row.values())])
            outputs = Job(self, name, job, {**contexts, "matrix": row}, asked, title).run()
        return outputs

    def call(self, name, job, contexts, permissions):
        place, _, commit = job["uses"].partition("@")
        repository, _, file = place.partition("/.github/workflows/")
        if (repository, commit) not in (("$", ""), (self.world.programs, self.world.commit)):
            raise Failed(f"{self.name}: {name}: {job['uses']} is not supported here")
        inputs = filled(job.get("with", {}), contexts)
        secrets = {it: value for it, value in filled(job.get("secrets", {}), contexts).items() if value is not None}
        called = Run(self.world, file, self.event, secrets, inputs, self, permissions)
        declared = called.file[True]["workflow_call"] or {}
        for kind, given in (("inputs", inputs), ("secrets", secrets)):
            if set(given) - set(declared.get(kind, {})):
                raise Failed(f"{self.name}: {name}: {file} takes none of {sorted(given)}")
        called.inputs = {it: row.get("default") for it, row in declared.get("inputs", {}).items()} | inputs
        called.jobs()
        return {}


def rows(matrix):
    """The jobs of a matrix: its `include`, or the product of its values."""
    if "include" in matrix:
        return matrix["include"]
    return [dict(zip(matrix, values)) for values in itertools.product(*matrix.values())]


def needs(job):
    needed = job.get("needs", [])
    return [needed] if isinstance(needed, str) else needed


class Job:
    """One job on one machine. Actions use `outside`, `owned`, `permissions`, `environment`."""

    def __init__(self, run, name, job, contexts, permissions, title):
        self.run_of, self.name, self.job, self.title = run, name, job, title
        self.world, self.artifacts, self.permissions = run.world, run.artifacts, permissions
        self.state, self.server = run.world.state, run.world.server
        self.kind = "container" if "container" in job else "runner"
        self.environment = job.get("environment", {}).get("name")
        may = token(permissions)
        github = {**contexts["github"], "token": may}
        # `job.workflow_…` is the repository and commit of the workflow's file.
        known = {"workflow_repository": run.world.programs, "workflow_sha": run.world.commit or github["sha"]}
        self.contexts = {**contexts, "github": github, "job": known, "steps": {}}
        self.env = self.filled_env(run.file.get("env", {}), {})
        self.env = self.filled_env(job.get("env", {}), self.env)
        self.added, self.paths = {}, []

    def filled_env(self, variables, before):
        values = filled(variables, {**self.contexts, "env": before})
        return {**before, **{name: shown(value) for name, value in values.items()}}

    def run(self):
        label = filled(self.job["runs-on"], self.contexts)
        if label not in RUNNERS:
            raise Failed(f"{self.title}: {label} is not supported here")
        say(f"{self.title} on a {self.kind}{RUNNERS[label]}")
        if self.environment == "github-pages" and self.contexts["github"]["ref"] != f"refs/heads/{DEFAULT_BRANCH}":
            reference = self.contexts["github"]["ref_name"]
            raise Failed(f'{self.title}: "{reference}" is not allowed to deploy to github-pages due to environment '
                         "protection rules")
        image = self.job.get("container", {}).get("image", "")
        if self.kind == "container" and not image.startswith("debian:bookworm"):
            raise Failed(f"{self.title}: {image} is not supported here")
        project = self.world.repository.split("/")[1]
        work, self.home = (("/__w", "/github/home") if self.kind == "container"
                           else ("/home/runner/work", "/home/runner"))
        self.workspace, self.temporary = f"{work}/{project}/{project}", f"{work}/_temp"
        lower = machine.base(self.world.work, self.kind)
        top = self.world.work / "system"
        with machine.Machine(self.world.work, top, self.kind, [f"{self.state}=/field"], lower) as self.machine:
            self.top = top
            machine.put_programs(top)
            if label.endswith("-arm"):
                self.machine.root(EMULATOR)
            for place in (self.workspace, self.temporary, self.home):
                self.inside(place).mkdir(parents=True, exist_ok=True)
            shutil.copytree(top / "etc/skel", self.inside(self.home), dirs_exist_ok=True)
            # The runner's user owns what GitHub mounts, also where steps are root.
            machine.give(self.inside(work))
            if self.kind == "runner":
                machine.give(self.inside(self.home))
            else:
                self.inside("/github").chmod(0o755)
            for number, step in enumerate(self.job["steps"]):
                if "if" in step and not evaluate(str(step["if"]).removeprefix("${{").removesuffix("}}"), self.contexts):
                    say(f"    step {number + 1} is skipped")
                    continue
                self.step(number, step)
        outputs = filled(self.job.get("outputs", {}), self.contexts)
        return {name: shown(value) for name, value in outputs.items()}

    def inside(self, path):
        return self.top / path.lstrip("/")

    def outside(self, path):
        """The host's path of a path in a step."""
        return self.inside(path if path.startswith("/") else f"{self.workspace}/{path}")

    def owned(self, place):
        if self.kind == "runner":
            machine.give(place)

    def step(self, number, step):
        unknown = set(step) - {"name", "id", "if", "run", "uses", "with", "env", "shell"}
        if unknown:
            raise Failed(f"{self.title}: step {number + 1}: {', '.join(unknown)}: not supported here")
        began = time.monotonic()
        log = self.world.work / "log" / f"{self.title}-{number + 1}.log".replace(": ", "-").replace(" ", "-")
        log.parent.mkdir(exist_ok=True)
        if "uses" in step:
            title = step["uses"].split("@")[0]
            try:
                outputs = actions.run(step["uses"], filled(step.get("with", {}), self.contexts), self)
            except actions.Refused as error:
                raise Failed(f"{self.title}: {title}: {error}") from error
        else:
            title = (step.get("name") or step["run"].strip().splitlines()[0])[:60]
            outputs = self.script(number, step, log)
        if "id" in step:
            self.contexts["steps"][step["id"]] = {"outputs": outputs}
        say(f"    {title}: {time.monotonic() - began:.0f} s")

    def script(self, number, step, log):
        commands = f"{self.temporary}/_runner_file_commands"
        self.inside(commands).mkdir(exist_ok=True)
        files = {}
        for name in ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY"):
            files[f"GITHUB_{name}"] = f"{commands}/{name}-{number}"
            self.inside(files[f"GITHUB_{name}"]).touch()
        script = f"{self.temporary}/step-{number}.sh"
        self.inside(script).write_text(filled(step["run"], self.contexts))
        machine.give(self.inside(self.temporary)) if number == 0 else None
        if self.kind == "runner":
            for path in files.values():
                machine.os.chown(self.inside(path), machine.UID, machine.UID)
        env = self.filled_env(step.get("env", {}), {**self.env, **self.added})
        shell = SHELLS[step.get("shell") or self.run_of.file.get("defaults", {}).get("run", {}).get("shell") or self.kind]
        system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {**machine.host_variables(), **self.world.mirrors, **self.given(files), **env, "PATH": ":".join([*self.paths, system])}
        with open(log, "w") as file:
            done = self.machine.inside("root" if self.kind == "container" else "runner", [*shell, script],
                                       variables, self.workspace, stdout=file, stderr=file)
        if done.returncode:
            raise Failed(f"{self.title}: step {number + 1} ended with {done.returncode}; {log}:\n{tail(log)}")
        self.added.update(self.lines(files["GITHUB_ENV"]))
        added = self.inside(files["GITHUB_PATH"]).read_text().split()
        self.paths = added[::-1] + self.paths
        return self.lines(files["GITHUB_OUTPUT"])

    def lines(self, path):
        return dict(line.split("=", 1) for line in self.inside(path).read_text().splitlines() if line)

    def given(self, files):
        """The variables that GitHub sets."""
        github = self.contexts["github"]
        event = f"{self.temporary}/event.json"
        self.inside(event).write_text(json.dumps(github["event"]))
        user = {} if self.kind == "container" else {"USER": "runner"}
        return {
            **user, **files, "HOME": self.home, "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": self.workspace,
            "GITHUB_REPOSITORY": github["repository"], "GITHUB_REPOSITORY_OWNER": github["repository"].split("/")[0],
            "GITHUB_SERVER_URL": self.server, "GITHUB_SHA": github["sha"], "GITHUB_REF": github["ref"],
            "GITHUB_REF_NAME": github["ref_name"], "GITHUB_REF_TYPE": github["ref_type"], "GITHUB_JOB": self.name,
            "GITHUB_EVENT_NAME": github["event_name"], "GITHUB_EVENT_PATH": event, "GITHUB_RUN_ID": "1",
            "GITHUB_RUN_ATTEMPT": str(self.run_of.attempt), "GITHUB_WORKFLOW": github["workflow"], "RUNNER_TEMP": self.temporary,
            "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "FIELD_KIND": self.kind, "FIELD_REUSE": self.world.reuse,
            "SMOKE_WAIT": "1",
        }


def tail(log):
    return "\n".join("    " + line for line in pathlib.Path(log).read_text(errors="replace").splitlines()[-15:])
