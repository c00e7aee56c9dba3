"""The scenes of `make field`: a version is released, published on the site, updated and yanked; the programs are
released; another repository uses the same workflows."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from . import machine
from .expression import Unknown
from .mirror import Mirror
from .workflow import Failed, Run, say
from .world import World

RUNTIME = """name: field-1
version: 1.0.0
description: Python with one wheel
platforms: [ubuntu-amd64, ubuntu-arm64]
debian: { suite: bookworm, packages: [python3.11-minimal] }
python: { version: "3.11", before: 2024-01-01, packages: [six] }
check: [[python3.11, -c, import six]]
"""
TAG = "field-1@1.0.0"


def need(holds, what):
    if not holds:
        raise Failed(what)


def first_version(world):
    """Makes a repository with a key, and pushes a tag."""
    world.new()
    world.maintainer("a key, a runtime, its lock and its tag", f"""
        echo 'correct horse' >/field/maintainer/password
        joblet-publish keygen $KEY --password-file /field/maintainer/password
        rm -rf runtimes-src/*; mkdir -p runtimes-src/field-1 registry-site/records; touch registry-site/records/.keep
        cat >runtimes-src/field-1/manifest.yaml <<'END'\n{RUNTIME}END
        python3 -m pip install --quiet --user --break-system-packages uv
        ../programs/.ci/deps inputs
        joblet-publish lock field-1
        git add --all; git commit -qm 'field-1'; git push -q origin HEAD:main
        git tag '{TAG}'; git push -q origin '{TAG}'
        """)


def released(world, started):
    need("1.0.0" in world.registry()["runtimes"]["field-1"], "the version is not in the registry")
    need(not (world.state / f"releases/{TAG}/.draft").exists(), "the release is a draft")
    seen = (world.state / "started").read_text()
    need(seen == json.dumps({"workflow": started, "ref": "main"}) + "\n", f"{started} was not started: {seen!r}")


def runtime(world):
    first_version(world)
    Run(world, "release-runtime.yml", world.event("push", f"refs/tags/{TAG}"), world.secrets()).jobs()
    released(world, "pages.yml")
    archives = [it for it in (world.state / f"releases/{TAG}").iterdir() if ".tar." in it.name and it.name.startswith("field-1-1.0.0-")]
    attested = (world.state / "attested").read_text().split()
    need({it.name for it in archives if it.name.endswith((".gz", ".zst"))} <= set(attested), "an archive is not attested")


def pages(world):
    run = Run(world, "pages.yml", world.event("workflow_dispatch", "refs/heads/main"), {})
    run.jobs()
    world.registry()
    world.shown()
    # Repeats all jobs, then some, as a maintainer would after a failure.
    for jobs in ((), ("deploy", "smoke")):
        shutil.rmtree(world.state / "pages")
        run.again(*jobs)
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


def other(world):
    """The site's example workflow, in a repository that contains only runtimes."""
    first_version(world)
    world.private = True
    page = pathlib.Path("registry-site/templates/host-your-own.html").read_text()
    text = "name: registry" + page.split("<code>name: registry")[1].split("</code>")[0]
    world.commit = machine.output("git", f"--git-dir={world.state}/programs.git", "rev-parse", "main").strip()
    text = text.replace("ehsaniara/joblet-runtimes", world.programs).replace("@COMMIT", f"@{world.commit}")
    world.own = world.state / "workflows"
    world.own.mkdir(exist_ok=True)
    (world.own / "registry.yml").write_text(text)
    Run(world, "registry.yml", world.event("push", f"refs/tags/{TAG}"), world.secrets()).jobs()
    released(world, "registry.yml")
    need(not (world.state / "attested").read_text(), "a release of a private repository was attested")
    Run(world, "registry.yml", world.event("workflow_dispatch", "refs/heads/main"), world.secrets()).jobs()
    world.registry()
    world.shown()
    shown = (world.state / "pages/runtimes/field-1/1.0.0.html").read_text()
    need(f" --registry={world.server}/{world.repository}/" in shown, "the pages name another registry")


def refresh(world):
    """A package of the released version gets a security update: the scheduled run opens a pull request."""
    version = max(world.registry()["runtimes"].get("field-1", {}), default=None)
    need(version, "there is no version that is not yanked: the scene `runtime` makes one")
    pulls = world.state / "pulls"
    shutil.rmtree(pulls, ignore_errors=True)
    pulls.mkdir()
    world.git("update-ref", "-d", "refs/heads/refresh/field-1")
    world.maintainer("the packages of the version, for a test mirror", """
        for arch in amd64 arm64; do
            joblet-publish build field-1 --arch $arch --cache /field/maintainer/cache --out out
        done
        cp runtimes-src/field-1/versions.lock /field/maintainer/
        """)
    mirror = Mirror(world.state / "mirror")
    mirror.take(world.state / "maintainer/versions.lock", world.state / "maintainer/cache")
    fixed = mirror.fix("hostname", "CVE-2026-13176")
    world.mirrors = {"JOBLET_PUBLISH_DEBIAN_MIRROR": f"{world.server}/mirror",
                     "JOBLET_PUBLISH_DEBIAN_KEYRING": "/field/mirror/keyring.gpg"}
    world.variables = {"REFRESH_MERGE": "security"}
    Run(world, "refresh.yml", world.event("schedule", "refs/heads/main"), world.secrets()).jobs()
    opened = [json.loads(it.read_text()) for it in pulls.iterdir()]
    need(len(opened) == 1, f"not one pull request: {opened}")
    pull, = opened
    need(pull["head"] == "refresh/field-1" and pull["title"].endswith(": security fixes"), f"its title: {pull}")
    need("Fixes CVE-2026-13176." in pull["body"] and f"→ {fixed} (security, urgency high)" in pull["body"], f"its words: {pull}")
    need(pull.get("merge") == "auto", "it is not set to merge automatically, although REFRESH_MERGE says so")
    changed = world.git("diff", "--name-only", "main...refresh/field-1").split()
    need(changed == [f"runtimes-src/field-1/{it}" for it in ("CHANGELOG.md", "manifest.yaml", "versions.lock")], f"{changed}")
    world.registry()
    world.shown()
    need(world.git("show", "main:freshness.json.minisig"), "freshness.json is not signed")
    page = (world.state / f"pages/runtimes/field-1/{version}.html").read_text()
    need("security fixes that no version has yet.</strong> Fixed since: CVE-2026-13176." in page,
         "the site does not say what is fixed")
    merged(world, version, fixed)
    world.mirrors, world.variables = {}, {}


def merged(world, version, fixed):
    """Runs the checks of that pull request on its merge commit, and compares the versions after the merge."""
    tree = world.git("merge-tree", "--write-tree", "main", "refresh/field-1")
    author = ["-c", "user.name=GitHub", "-c", "user.email=noreply@example.org"]
    merge = world.git(*author, "commit-tree", "-p", "main", "-p", "refresh/field-1", "-m", "merge", tree)
    world.git("update-ref", "refs/pull/1/merge", merge)
    Run(world, "refresh.yml", world.event("pull_request", "refs/pull/1/merge"), {}).jobs()
    world.git("update-ref", "refs/heads/main", merge)
    world.maintainer("the differences of the merged version", f"""
        joblet-publish build field-1 --arch amd64 --cache /field/maintainer/cache --out out
        cp -rn registry-site/records/. out/records
        new=$(sed -n 's/^version: *//p' runtimes-src/field-1/manifest.yaml)
        joblet-publish diff field-1@{version} "field-1@$new" --arch amd64 --records out/records >/field/maintainer/diff
        """)
    diff = (world.state / "maintainer/diff").read_text()
    need("~ hostname" in diff and fixed in diff, f"the new version's diff: {diff}")


# `reconcile` yanks the version that `refresh` uses.
SCENES = {"runtime": runtime, "pages": pages, "refresh": refresh, "reconcile": reconcile, "executor": executor,
          "other": other}


def main():
    root = pathlib.Path.cwd()
    world = World(root)
    for name in os.environ.get("WORKFLOWS", " ".join(SCENES)).split():
        try:
            if name == "other":
                other(World(root, "other", "somebody/programs"))
            else:
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
