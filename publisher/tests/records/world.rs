//! Runtimes of generated packages: no mirror is used unless a test names one.

use crate::common::debs;
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The result of a command.
#[derive(Debug)]
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Its stdout, if it succeeded.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    /// The one line of its error message.
    #[track_caller]
    pub fn failed(self, status: i32) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{self:?}");
        assert!(self.stderr.ends_with('\n'), "{self:?}");
        self.stderr.trim_end().to_owned()
    }
}

/// A maintainer's directory, with a cache of inputs.
pub struct World {
    dir: tempfile::TempDir,
}

/// A locked input: its name and its bytes.
pub type Deb = (String, Vec<u8>);

/// The package `name` of `version` with a licence and these executable files.
pub fn deb(name: &str, version: &str, licence: &str, files: &[(&str, &str)]) -> Deb {
    let copyright = format!("Format: 1.0\n\nFiles: *\nLicense: {licence}\n");
    let place = format!("./usr/share/doc/{name}/copyright");
    let mut all: Vec<(&str, &[u8])> =
        files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    all.push((&place, copyright.as_bytes()));
    let control = format!(
        "Package: {name}\nSource: {name}-src (9)\nVersion: {version}\n\
         Homepage: https://example.org/{name}\n"
    );
    let pool = format!("debian/pool/main/{name}_{}_all.deb", version.replace(':', "%3a"));
    (pool, debs::deb(&control, &all))
}

pub fn sha256(bytes: &[u8]) -> Checksum {
    Checksum::of_bytes(bytes)
}

/// The path of an input in the cache.
pub fn cached(bytes: &[u8]) -> String {
    format!("cache/sha256/{}", sha256(bytes).hex())
}

impl World {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Writes a file and the directories above it.
    pub fn write(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }

    pub fn json(&self, below: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(below)).unwrap()
    }

    /// Writes the runtime `demo` with its lock of `debs`, for both architectures, and fills the cache.
    pub fn runtime(&self, version: &str, debs: &[Deb], more: &str) {
        let manifest = format!(
            "name: demo\nversion: {version}\ndescription: a demo\n\
             platforms: [ubuntu-amd64, ubuntu-arm64]\n\
             debian: {{ suite: bookworm, packages: [demo] }}\n{more}"
        );
        self.write("runtimes-src/demo/manifest.yaml", &manifest);
        let source = joblet_publish::source::parse(&manifest).unwrap();
        let digest = joblet_publish::lock::digest(&source);
        let input = |(name, bytes): &Deb| {
            self.write(&cached(bytes), bytes);
            let (size, sha256) = (bytes.len(), sha256(bytes).hex());
            serde_json::json!({ "kind": "deb", "name": name, "size": size, "sha256": sha256 })
        };
        let inputs: Vec<_> = debs.iter().map(input).collect();
        let lock = serde_json::json!({
            "format": 1, "manifest": digest, "timestamp": "2026-01-31T12:00:00Z",
            "inputs": { "amd64": inputs, "arm64": inputs },
        });
        self.write("runtimes-src/demo/versions.lock", lock.to_string());
    }

    /// Writes the runtime `demo` of this Python package, without a lock.
    pub fn python(&self, requirement: &str) {
        let manifest = format!(
            "name: demo\nversion: 1.0.0\nplatforms: [ubuntu-amd64, ubuntu-arm64]\n\
             python: {{ version: '3.11', before: 2024-01-01, packages: [{requirement}] }}\n\
             allow_missing: [/usr/bin/python3.11]\n"
        );
        self.write("runtimes-src/demo/manifest.yaml", manifest);
    }

    /// The same, locked to a wheel for both architectures.
    pub fn wheel(&self, requirement: &str, name: &str, size: usize, sha256: &str) {
        self.python(requirement);
        let source = joblet_publish::source::parse(&self.read("runtimes-src/demo/manifest.yaml"));
        let digest = joblet_publish::lock::digest(&source.unwrap());
        let inputs = serde_json::json!([
            { "kind": "wheel", "name": name, "size": size, "sha256": sha256 }
        ]);
        let lock = serde_json::json!({
            "format": 1, "manifest": digest, "timestamp": "2026-01-31T12:00:00Z",
            "inputs": { "amd64": inputs, "arm64": inputs },
        });
        self.write("runtimes-src/demo/versions.lock", lock.to_string());
    }

    /// Runs the program in this directory, with the words of `line` as arguments.
    pub fn publish(&self, line: &str) -> Outcome {
        self.publish_with(line, &[])
    }

    /// The same in the directory `below`.
    pub fn publish_in(&self, below: &str, line: &str) -> Outcome {
        self.publish_at(&self.path(below), line, &[])
    }

    /// The same with these variables.
    pub fn publish_with(&self, line: &str, variables: &[(&str, &str)]) -> Outcome {
        self.publish_at(self.dir.path(), line, variables)
    }

    fn publish_at(&self, dir: &Path, line: &str, variables: &[(&str, &str)]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_joblet-publish"));
        command.args(line.split_whitespace()).current_dir(dir).env_clear();
        command.env("HOME", self.dir.path()).env("PATH", "/usr/bin:/bin");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Outcome {
            status: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Builds from the cache alone.
    pub fn build(&self, more: &str) -> Outcome {
        self.publish(&format!("build demo --offline --cache cache {more}"))
    }

    /// Every path below a directory, sorted; nothing of a directory that does not exist.
    pub fn tree(&self, below: &str) -> Vec<String> {
        let root = self.path(below);
        let path = |entry: walkdir::DirEntry| {
            entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned()
        };
        let entries = walkdir::WalkDir::new(&root).min_depth(1).sort_by_file_name();
        entries.into_iter().flatten().map(path).collect()
    }
}

/// This number of incompressible bytes.
pub fn noise(length: usize) -> Vec<u8> {
    let block = |number: usize| <[u8; 32]>::from(Sha256::digest(number.to_le_bytes()));
    let mut bytes: Vec<u8> = (0..length.div_ceil(32)).flat_map(block).collect();
    bytes.truncate(length);
    bytes
}

/// A directory of this repository.
pub fn repository(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(below)
}

/// The program under test: the shipped binary where `make test` names it, else cargo's own build.
pub fn joblet_exec() -> PathBuf {
    std::env::var_os("JOBLET_EXEC_UNDER_TEST").map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_joblet-publish")).with_file_name("joblet-exec"),
        PathBuf::from,
    )
}
