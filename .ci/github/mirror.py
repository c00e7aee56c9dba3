"""A Debian mirror with the packages of one lock and security updates of them, signed by its own key."""

import gzip
import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse

SUITES = (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security"))
ARCHES = ("amd64", "arm64")
CHANGELOG = """{package} ({version}) bookworm-security; urgency=high

  * Fix a name that is too long ({cve}).

 -- Some One <one@example.org>  Sun, 01 Mar 2026 10:00:00 +0000

"""


def output(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, **more).stdout


class Mirror:
    """The directory `place`, with an archive for each of SUITES; `keyring` has the public key of its lists."""

    def __init__(self, place):
        self.place, self.keyring = pathlib.Path(place), pathlib.Path(place) / "keyring.gpg"
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        self.debs = {suite: [] for _, suite in SUITES}

    def take(self, lock, cache):
        """Adds the packages of `lock` from joblet-publish's cache of inputs."""
        inputs = json.loads(pathlib.Path(lock).read_text())["inputs"].values()
        for entry in {it["sha256"]: it for arch in inputs for it in arch}.values():
            if entry["kind"] == "deb":
                to = self.place / urllib.parse.unquote(entry["name"])
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(pathlib.Path(cache) / "sha256" / entry["sha256"].removeprefix("sha256:"), to)
                archive = entry["name"].split("/")[0]
                self.debs["bookworm-security" if archive == "debian-security" else "bookworm"].append(to)
        self.publish()

    def fix(self, package, cve):
        """Adds a security update of a package; returns its version."""
        found = [it for debs in self.debs.values() for it in debs if it.name.startswith(f"{package}_")]
        for deb in found:
            to, version = self.updated(deb, package, cve)
            self.debs["bookworm-security"].append(to)
        self.publish()
        return version

    def updated(self, deb, package, cve):
        """Makes the next version of a package; returns file and version."""
        with tempfile.TemporaryDirectory() as work:
            tree = pathlib.Path(work) / "tree"
            output("dpkg-deb", "--raw-extract", deb, tree)
            control = tree / "DEBIAN/control"
            fields = control.read_text()
            before = next(it for it in fields.splitlines() if it.startswith("Version: "))
            control.write_text(fields.replace(before, f"{before}+deb12u99"))
            version = before.removeprefix("Version: ") + "+deb12u99"
            changes = next(it for it in (tree / "usr/share/doc" / package).glob("changelog*gz"))
            entry = CHANGELOG.format(package=package, version=version, cve=cve).encode()
            changes.write_bytes(gzip.compress(entry + gzip.decompress(changes.read_bytes()), mtime=0))
            (tree / "DEBIAN/md5sums").unlink(missing_ok=True)
            arch = deb.stem.rsplit("_", 1)[1]
            to = self.place / f"debian-security/pool/updates/main/f/{package}/{package}_{version}_{arch}.deb"
            to.parent.mkdir(parents=True, exist_ok=True)
            output("dpkg-deb", "--root-owner-group", "--build", tree, to)
        return to, version

    def publish(self):
        """Writes the lists of all suites, and signs them."""
        for archive, suite in SUITES:
            lists = self.place / archive / "dists" / suite
            release = (f"Origin: Field\nSuite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: {' '.join(ARCHES)}\n"
                       "Date: Sun, 01 Mar 2026 10:00:00 UTC\nSHA256:\n")
            for arch in ARCHES:
                path = f"main/binary-{arch}/Packages"
                packages = "".join(self.entry(archive, it) for it in self.debs[suite] if it.stem.endswith((f"_{arch}", "_all")))
                (lists / path).parent.mkdir(parents=True, exist_ok=True)
                (lists / path).write_text(packages)
                found = packages.encode()
                release += f" {hashlib.sha256(found).hexdigest()} {len(found)} {path}\n"
            (lists / "Release").write_text(release)
        self.sign()

    def entry(self, archive, deb):
        """The entry of a package in a list."""
        data = deb.read_bytes()
        return output("dpkg-deb", "--field", deb, text=True) + (
            f"Filename: {deb.relative_to(self.place / archive)}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n")

    def sign(self):
        with tempfile.TemporaryDirectory() as home:
            gpg = ["gpg", "--batch", "--quiet", "--yes", "--homedir", home]
            try:
                output(*gpg, "--passphrase", "", "--quick-gen-key", "field@example.org", "ed25519", "sign", "never")
                output(*gpg, "--export", "--output", self.keyring)
                for archive, suite in SUITES:
                    lists = self.place / archive / "dists" / suite
                    output(*gpg, "--clearsign", "--output", lists / "InRelease", lists / "Release")
            finally:
                subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
