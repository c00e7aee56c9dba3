"""Shared by .ci/images-in, .ci/images-out and .ci/images-guide: checks, trees, servers."""

import contextlib
import hashlib
import json
import os
import pathlib
import socket
import stat
import subprocess
import sys
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = pathlib.Path(os.environ.get("SOURCES", ROOT / "runtimes-src")).resolve()
DIST = pathlib.Path(os.environ.get("DIST", ROOT / "dist")).resolve()
PUBLISH = os.environ.get("JOBLET_PUBLISH", str(ROOT / "target/release/joblet-publish"))
EXEC = os.environ.get("JOBLET_EXEC", str(ROOT / "dist/bin/joblet-exec"))
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
# Directories that an image adds to the runtime.
PLACES = {"dev", "home", "proc", "root", "run", "sys", "tmp", "var", "var/tmp", "work"}
failed, passed = [], []


def check(name, good, detail=""):
    """Counts and prints a check, with details if it failed."""
    (passed if good else failed).append(name)
    print(f"{'ok' if good else 'not ok'} {name}", flush=True)
    if not good:
        print(textwrap.indent(str(detail)[-1500:], "    "), flush=True)


def run(*words, **more):
    """The output of a program. Raises CalledProcessError if it fails."""
    more = {"check": True, "stdout": subprocess.PIPE, "text": True, **more}
    return subprocess.run([str(word) for word in words], **more).stdout


def tree(root):
    """Each path below `root` with mode, owner, and content or target; without times, which some engines change."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = pathlib.Path(directory, name)
            data = path.lstat()
            if stat.S_ISLNK(data.st_mode):
                what = os.readlink(path)
            elif stat.S_ISREG(data.st_mode):
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                what = stat.S_IFMT(data.st_mode)
            mode = 0 if stat.S_ISLNK(data.st_mode) else data.st_mode
            found[str(path.relative_to(root))] = (mode, data.st_uid, what)
    return found


def differences(found, want):
    names = [name for name in found.keys() | want.keys() if found.get(name) != want.get(name)]
    return [(name, found.get(name), want.get(name)) for name in sorted(names) if name not in PLACES]


def digests(layout):
    """The blobs of a layout."""
    return sorted(path.name for path in pathlib.Path(layout, "blobs/sha256").iterdir())


def write_layout(layout, layers, tag, settings):
    """Writes an OCI layout with one image of `layers`, uncompressed tar streams; `settings` are those of containers."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(kind, data):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    made = [blob("layer.v1.tar", layer) for layer in layers]
    config = blob("config.v1+json", {"architecture": ARCH, "os": "linux", "config": settings,
                                     "rootfs": {"type": "layers", "diff_ids": [it["digest"] for it in made]}})
    image = blob("manifest.v1+json", {"schemaVersion": 2, "config": config, "layers": made})
    image["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


@contextlib.contextmanager
def serving(words, log, ready):
    """Runs a server, with its output in `log`, after it is `ready`."""
    with open(log, "w") as file:
        server = subprocess.Popen([str(word) for word in words], stdout=file, stderr=file)
    try:
        for _ in range(100):
            if ready():
                break
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def succeeds(*words):
    return subprocess.run([str(word) for word in words], capture_output=True).returncode == 0


@contextlib.contextmanager
def registry(work, port=0):
    """Starts Debian's registry on loopback, by default at any port; its address."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    config = work / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n")
    ready = lambda: not socket.socket().connect_ex(("127.0.0.1", port))
    with serving(["docker-registry", "serve", config], work / "registry.log", ready):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def dockerd(work):
    """Starts a Docker daemon; its address."""
    host = f"unix://{work}/docker.sock"
    words = ["dockerd", "--data-root", work / "docker", "--exec-root", work / "docker-run", "--host", host,
             "--pidfile", work / "docker.pid", "--iptables=false", "--bridge=none", "--storage-driver", "vfs"]
    with serving(words, work / "docker.log", lambda: succeeds("docker", "-H", host, "version")):
        yield host


def begin(script):
    """Executes this script again in a new mount namespace with cgroup version 2 alone: crun refuses a mixture."""
    if os.geteuid() != 0:
        sys.exit(f"{script}: needs root, since engines mount")
    if "JOBLET_IMAGES_INSIDE" not in os.environ:
        os.environ["JOBLET_IMAGES_INSIDE"] = "1"
        inside = ("if mountpoint -q /sys/fs/cgroup/unified; then export JOBLET_IMAGES_COVERED=1; "
                  "mount -t cgroup2 none /sys/fs/cgroup; fi; exec \"$0\" \"$@\"")
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", "sh", "-c", inside, script, *sys.argv[1:]])


def end():
    print(f"{len(passed)} passed, {len(failed)} failed", flush=True)
    sys.exit(bool(failed))
