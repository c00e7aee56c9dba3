"""Validation by the specification, for .ci/images-out: oci-image-tool, and the schemas of a checkout."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import warnings

from images import check, digests, run


def validator(work, layout, name, version):
    """oci-image-tool accepts the documents and the image, and refuses the image with one byte changed."""
    def valid(kind, path):
        more = ["--ref", "name=t"] if kind == "image" else []
        return subprocess.run(["oci-image-tool", "validate", "--type", kind, *more, str(path)], capture_output=True,
                              text=True)

    kinds = {"index": "imageIndex", "manifest": "manifest", "config": "config"}
    left, seen, faults = [(layout / "index.json", "imageIndex")], 0, []
    while left:
        path, kind = left.pop()
        seen += 1
        done = valid(kind, path)
        faults += [done.stderr] if done.returncode else []
        document = json.loads(path.read_bytes())
        for part in [*document.get("manifests", []), document.get("config", {})]:
            found = re.fullmatch(r"application/vnd\.oci\.image\.(\w+)\.v1\+json", part.get("mediaType", ""))
            if found:
                left.append((layout / "blobs/sha256" / part["digest"].split(":")[1], kinds[found[1]]))
    check(f"{name}: oci-image-tool finds {seen} documents valid", seen > 3 and not faults, faults)
    # oci-image-tool does not support artifacts, such as a bill of materials: a copy without them.
    alone = work / "alone"
    run("skopeo", "copy", "-q", f"oci:{layout}:{name}:{version}", f"oci:{alone}:t")
    done = valid("image", alone)
    check(f"{name}: oci-image-tool finds the image valid, with its layers", done.returncode == 0, done.stderr)
    for blob in digests(alone):
        path = alone / "blobs/sha256" / blob
        with open(path, "r+b") as file:
            byte = file.read(1)
            file.seek(0)
            file.write(bytes([byte[0] ^ 1]))
            file.flush()
            refused = valid("image", alone).returncode != 0
            check(f"{name}: a changed byte in {blob[:12]}: oci-image-tool refuses it", refused)
            file.seek(0)
            file.write(byte)


def schemas(layout, name):
    """Validates the documents by the schemas of the specification."""
    directory = os.environ.get("IMAGE_SPEC")
    if not directory:
        print(f"left out: {name}: schemas (IMAGE_SPEC names no checkout of the specification)", flush=True)
        return
    import jsonschema

    def without_names(schema):
        """A schema without `id`, so that references are to files."""
        if isinstance(schema, dict):
            return {key: without_names(it) for key, it in schema.items() if key != "id" or not isinstance(it, str)}
        return [without_names(it) for it in schema] if isinstance(schema, list) else schema

    warnings.simplefilter("ignore", DeprecationWarning) # newer versions deprecate the only resolver that Debian's has
    files = pathlib.Path(directory, "schema").glob("*.json")
    known = {path.name: without_names(json.loads(path.read_text())) for path in files}
    kinds = {
        "application/vnd.oci.image.index.v1+json": "image-index-schema.json",
        "application/vnd.oci.image.manifest.v1+json": "image-manifest-schema.json",
        "application/vnd.oci.image.config.v1+json": "config-schema.json",
    }

    def validate(document, file):
        resolver = jsonschema.RefResolver(file, known[file], store=known)
        jsonschema.Draft4Validator(known[file], resolver=resolver).validate(document)

    def refused(document, file):
        with contextlib.suppress(jsonschema.ValidationError):
            validate(document, file)
            return False
        return True

    seen = broken = 0
    try:
        validate(json.loads((layout / "oci-layout").read_text()), "image-layout-schema.json")
        left = [(json.loads((layout / "index.json").read_text()), "image-index-schema.json")]
        while left:
            document, file = left.pop()
            validate(document, file)
            seen += 1
            # Without a required member it is invalid.
            broken += all(refused({**document, member: None}, file) for member in known[file]["required"])
            for part in [*document.get("manifests", []), document.get("config", {})]:
                if part.get("mediaType") in kinds:
                    blob = layout / "blobs/sha256" / part["digest"].split(":")[1]
                    left.append((json.loads(blob.read_bytes()), kinds[part["mediaType"]]))
        check(f"{name}: {seen} documents match the schemas of the specification, and without a member they do not",
              seen > 3 and broken == seen, broken)
    except jsonschema.ValidationError as error:
        check(f"{name}: documents match the schemas of the specification", False, error)
