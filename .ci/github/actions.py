"""Stand-ins for the actions that the workflows use, each for one commit: other commits and actions are errors. A
stand-in gets the step's `with` and a `Job`, and returns outputs."""

import glob
import os
import pathlib
import shutil


# Suffix of further artifacts of the same name.
MORE = "~"


class Refused(Exception):
    """An error of GitHub."""


def need(job, **wanted):
    for name, how in wanted.items():
        name = name.replace("_", "-")
        if job.permissions.get(name) != how:
            raise Refused(f"needs permission {name}: {how}")


def copied(job, patterns, to):
    """Copies the files that match the patterns into an artifact: no hidden files, no modes, relative to their common
    directory."""
    files = []
    for pattern in patterns.splitlines():
        for found in glob.glob(str(job.outside(pattern.strip())), recursive=True):
            found = pathlib.Path(found)
            files += [it for it in found.rglob("*") if it.is_file()] if found.is_dir() else [found]
    roots = [job.outside(it.strip()) for it in patterns.splitlines()]
    if len(roots) > 1 or "*" in patterns:
        root = pathlib.Path(os.path.commonpath([it.parent for it in files])) if files else None
    else:
        root = roots[0] if roots[0].is_dir() else roots[0].parent
    copied = 0
    for file in files:
        name = file.relative_to(root)
        if any(part.startswith(".") for part in name.parts):
            continue
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to / name)
        (to / name).chmod(0o644)
        copied += 1
    return copied


def upload_artifact(given, job):
    place = job.artifacts / given["name"]
    if place.exists():
        if given.get("overwrite") not in (True, "true"):
            raise Refused(f"an artifact with this name already exists: {given['name']}")
        shutil.rmtree(place)
    if not copied(job, given["path"], place) and given.get("if-no-files-found") == "error":
        raise Refused(f"No files were found with the provided path: {given['path']}")
    return {}


def download_artifact(given, job):
    to = job.outside(given.get("path", "."))
    if "name" in given:
        chosen, flat = [job.artifacts / given["name"]], True
    else:
        chosen, flat = sorted(job.artifacts.glob(given.get("pattern", "*"))), given.get("merge-multiple") is True
    if not chosen or not chosen[0].exists():
        raise Refused(f"Artifact not found: {given}")
    for artifact in chosen:
        shutil.copytree(artifact, to if flat else to / artifact.name, dirs_exist_ok=True)
    job.owned(to)
    return {"download-path": str(to)}


def upload_pages_artifact(given, job):
    """Does not overwrite: the artifact of an earlier attempt is kept, with the same name."""
    name = given.get("name", "github-pages")
    while (job.artifacts / name).exists():
        name += MORE
    return upload_artifact({"name": name, "path": given["path"], "if-no-files-found": "error"}, job)


def deploy_pages(given, job):
    need(job, pages="write", id_token="write")
    if job.environment != "github-pages":
        raise Refused("deploys from a job of the environment github-pages")
    name = given.get("artifact_name", "github-pages")
    site = job.artifacts / name
    if not site.exists():
        raise Refused(f'No artifacts named "{name}" were found for this workflow run')
    if (job.artifacts / (name + MORE)).exists():
        raise Refused(f'Multiple artifacts named "{name}" were unexpectedly found for this workflow run')
    pages = job.state / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(site, pages)
    return {"page_url": f"{job.server}/pages/"}


def attest(given, job):
    need(job, id_token="write", attestations="write")
    if job.contexts["github"]["event"]["repository"]["private"]:
        raise Refused("Feature not available for a private repository")
    subjects = glob.glob(str(job.outside(given["subject-path"])))
    if not subjects:
        raise Refused(f"Could not find subject at path {given['subject-path']}")
    with open(job.state / "attested", "a") as file:
        file.writelines(pathlib.Path(it).name + "\n" for it in sorted(subjects))
    return {}


# By commit; all run on Node 24.
ACTIONS = {
    "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f": upload_artifact,  # v7.0.0
    "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c": download_artifact,  # v8.0.1
    "actions/upload-pages-artifact@fc324d3547104276b827a68afc52ff2a11cc49c9": upload_pages_artifact,  # v5.0.0
    "actions/deploy-pages@cd2ce8fcbc39b97be8ca5fce6e763baed58fa128": deploy_pages,  # v5.0.0
    "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6": attest,  # v4.2.2
}


def run(uses, given, job):
    if uses not in ACTIONS:
        raise Refused(f"there is no stand-in of {uses} (.ci/github/actions.py)")
    return ACTIONS[uses](given, job)
