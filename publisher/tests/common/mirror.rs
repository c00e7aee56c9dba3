//! A Debian mirror on loopback: generated packages, lists signed by its own key.

use super::debs;
use crate::skip::skip;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The suites of bookworm: the archive's directory, the suite, and its directory in the pool.
const SUITES: [(&str, &str); 3] = [
    ("debian", "bookworm"),
    ("debian", "bookworm-updates"),
    ("debian-security", "bookworm-security"),
];

/// A package: suite, name, version, and its changelog.
struct Package {
    suite: &'static str,
    name: String,
    version: String,
    depends: String,
    changelog: String,
}

/// The mirror, which is served until the test ends.
pub(crate) struct Mirror {
    dir: tempfile::TempDir,
    packages: Vec<Package>,
    server: Child,
    /// Base address of both archives.
    pub(crate) address: String,
}

impl Mirror {
    /// A mirror with the base packages; reports a skip without apt or gpg.
    pub(crate) fn new() -> Option<Self> {
        let has = |tool: &str| Path::new("/usr/bin").join(tool).exists();
        if let Some(tool) = ["apt-get", "gpg"].into_iter().find(|tool| !has(tool)) {
            skip(&format!(
                "{tool} is missing: no local mirror can be resolved (apt-get install {tool})"
            ));
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("www")).unwrap();
        let home = dir.path().join("gpg");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_joblet-publish"))
            .args(["serve", "--port", "0"])
            .arg(dir.path().join("www"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().trim_end_matches('/').to_owned();
        let mut mirror = Self { dir, packages: Vec::new(), server, address };
        mirror.gpg(&[
            "--passphrase", "", "--quick-gen-key", "mirror@example.org", "ed25519", "sign", "never",
        ]);
        mirror.gpg(&["--export", "--output", mirror.keyring().to_str().unwrap()]);
        for name in joblet_publish::source::BASE_PACKAGES {
            mirror.add("bookworm", name, "1.0-1", "", "");
        }
        Some(mirror)
    }

    /// The public key of its lists.
    pub(crate) fn keyring(&self) -> PathBuf {
        self.dir.path().join("keyring.gpg")
    }

    /// Adds a package for every architecture; [`Mirror::publish`] makes it visible.
    pub(crate) fn add(
        &mut self,
        suite: &'static str,
        name: &str,
        version: &str,
        depends: &str,
        changelog: &str,
    ) {
        let [name, version, depends, changelog] =
            [name, version, depends, changelog].map(str::to_owned);
        self.packages.push(Package { suite, name, version, depends, changelog });
    }

    /// Writes pools, lists and signatures.
    pub(crate) fn publish(&self) {
        for (archive, suite) in SUITES {
            let mut list = String::new();
            for package in self.packages.iter().filter(|it| it.suite == suite) {
                let Package { name, version, depends, changelog, .. } = package;
                let mut control = format!(
                    "Package: {name}\nVersion: {version}\nArchitecture: all\n\
                     Maintainer: A <a@example.org>\nDescription: {name} for tests\n"
                );
                if !depends.is_empty() {
                    _ = writeln!(control, "Depends: {depends}");
                }
                let copyright = "Format: 1.0\n\nFiles: *\nLicense: MIT\n";
                let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
                gz.write_all(changelog.as_bytes()).unwrap();
                let (gz, doc) = (gz.finish().unwrap(), format!("./usr/share/doc/{name}"));
                let program = format!("{name} {version}\n");
                let files: [(&str, &[u8]); 3] = [
                    (&format!("{doc}/changelog.Debian.gz"), &gz),
                    (&format!("{doc}/copyright"), copyright.as_bytes()),
                    (&format!("./usr/share/{name}/version"), program.as_bytes()),
                ];
                let bytes = debs::deb(&control, &files);
                let place = format!("pool/main/{name}_{}_all.deb", version.replace(':', "%3a"));
                self.write(&format!("{archive}/{place}"), &bytes);
                let (size, sum) = (bytes.len(), hex::encode(Sha256::digest(&bytes)));
                _ = writeln!(list, "{control}Filename: {place}\nSize: {size}\nSHA256: {sum}\n");
            }
            let mut release = format!(
                "Origin: Tests\nSuite: {suite}\nCodename: {suite}\nComponents: main\n\
                 Architectures: amd64 arm64\nDate: Sun, 01 Mar 2026 10:00:00 UTC\nSHA256:\n"
            );
            for arch in ["amd64", "arm64"] {
                let path = format!("main/binary-{arch}/Packages");
                self.write(&format!("{archive}/dists/{suite}/{path}"), list.as_bytes());
                let sum = hex::encode(Sha256::digest(list.as_bytes()));
                _ = writeln!(release, " {sum} {} {path}", list.len());
            }
            let place = format!("{archive}/dists/{suite}/Release");
            self.write(&place, release.as_bytes());
            let (place, signed) =
                (self.path(&place), self.path(&format!("{archive}/dists/{suite}/InRelease")));
            _ = fs::remove_file(&signed); // it may not exist
            self.gpg(&[
                "--clearsign",
                "--output",
                signed.to_str().unwrap(),
                place.to_str().unwrap(),
            ]);
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("www").join(below)
    }

    fn write(&self, below: &str, bytes: &[u8]) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn gpg(&self, words: &[&str]) {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--yes", "--homedir"])
            .arg(self.dir.path().join("gpg"))
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "gpg {words:?}: {output:?}");
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        _ = self.server.kill(); // it may have ended
        _ = self.server.wait();
        // Ends gpg's agent at once; it would end some time after its home directory is removed.
        _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.dir.path().join("gpg"))
            .args(["--kill", "all"])
            .output();
    }
}
