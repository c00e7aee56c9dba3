//! Shared by the end-to-end tests: the program, archives, a registry, a server.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub mod keep_alive;
pub mod layout;
pub mod members;
pub mod server;
pub mod shells;
pub mod skip;
pub mod tar;
pub mod victim;

/// The program under test: the shipped binary where `make test` names it, else cargo's own build.
pub fn program() -> PathBuf {
    std::env::var_os("JOBLET_EXEC_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_joblet-exec").into(), PathBuf::from)
}

/// Copies a program by another process. If this one wrote the copy, children started by other
/// threads would inherit its descriptor, and executing it would fail ("text file busy").
pub fn copy_program(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) {
    let copied = Command::new("cp").arg("--preserve=mode").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// A directory with a store, a cache and a registry.
pub struct World {
    pub base: tempfile::TempDir,
    registry: BTreeMap<String, BTreeMap<String, Value>>,
}

/// The result of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        for directory in ["registry", "home", "cache"] {
            fs::create_dir(base.path().join(directory)).unwrap();
        }
        let world = Self { base, registry: BTreeMap::new() };
        world.write_registry();
        world
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.base.path().join(below)
    }

    /// The program with this world's directories and nothing of the caller's environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("JOBLET_EXEC_STORE", self.path("store"))
            .env("JOBLET_EXEC_REGISTRY", self.path("registry"))
            .env("JOBLET_EXEC_LOCK_TIMEOUT", "30")
            .current_dir(self.base.path());
        command
    }

    /// Runs the program. The world's own directory is written as `~` in what it printed.
    pub fn exec<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        self.outcome(self.command().args(args).output().unwrap())
    }

    pub fn outcome(&self, output: Output) -> Outcome {
        let base = self.base.path().to_str().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(base, "~");
        Outcome {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Publishes a runtime whose only file says its version, for this host's architecture.
    pub fn publish(&mut self, name: &str, version: &str) -> PathBuf {
        self.publish_archive(name, version, &runtime_archive(name, version))
    }

    /// Publishes bytes as the archive of a version.
    pub fn publish_archive(&mut self, name: &str, version: &str, archive: &[u8]) -> PathBuf {
        let file = format!("{name}-{version}.tar.gz");
        let path = self.path("registry").join(&file);
        fs::write(&path, archive).unwrap();
        let entry = json!({
            "version": version, "description": format!("{name} for tests"),
            "download_url": file, "checksum": checksum(archive), "size": archive.len(),
            "platforms": ["ubuntu-amd64", "ubuntu-arm64"],
        });
        self.registry.entry(name.to_owned()).or_default().insert(version.to_owned(), entry);
        self.write_registry();
        path
    }

    /// Splits the archive of a version into parts of these sizes and the rest, in bytes.
    pub fn part(&mut self, name: &str, version: &str, sizes: &[usize]) {
        let file = format!("{name}-{version}.tar.gz");
        let path = self.path("registry").join(&file);
        let archive = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        let mut rest = archive.as_slice();
        let mut parts = Vec::new();
        for size in sizes.iter().copied().chain([usize::MAX]) {
            let (bytes, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            if bytes.is_empty() {
                break;
            }
            let url = format!("{file}.part{}", parts.len());
            fs::write(self.path("registry").join(&url), bytes).unwrap();
            let part =
                json!({ "download_url": url, "size": bytes.len(), "checksum": checksum(bytes) });
            parts.push(part);
        }
        self.edit(name, version, |entry| {
            let whole = json!({
                "download_url": file, "size": archive.len(), "checksum": checksum(&archive),
            });
            for arch in ["amd64", "arm64"] {
                if entry["artifacts"][arch].is_null() {
                    entry["artifacts"][arch] = whole.clone();
                }
                entry["artifacts"][arch]["parts"] = parts.clone().into();
            }
        });
    }

    /// Changes the registry's entry of a version.
    pub fn edit(&mut self, name: &str, version: &str, edit: impl FnOnce(&mut Value)) {
        edit(self.registry.get_mut(name).unwrap().get_mut(version).unwrap());
        self.write_registry();
    }

    fn write_registry(&self) {
        // Joblet's client does not read versions in parts.
        let listed = |in_parts: bool| {
            let mut listed = self.registry.clone();
            for versions in listed.values_mut() {
                versions
                    .retain(|_, entry| entry["artifacts"]["amd64"]["parts"].is_array() == in_parts);
            }
            listed
        };
        let document = json!({
            "version": "1", "updated_at": "2025-10-20T23:56:08Z",
            "runtimes": listed(false), "extended": listed(true),
        });
        fs::write(self.path("registry/registry.json"), document.to_string()).unwrap();
    }

    /// Ten processes install `demo` from the server at once: all succeed, and one downloads.
    pub fn assert_installed_once(&self, server: &server::Server) {
        let children: Vec<_> = (0..10)
            .map(|_| {
                let mut command = self.command();
                command.args(["install", "demo", "-q", "--registry", &server.address]);
                command.spawn().unwrap()
            })
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let requests = server.requests();
        let archives = requests.iter().filter(|path| path.ends_with(".tar.gz")).count();
        assert_eq!(archives, 1);
    }

    /// Asserts that the store contains only the runtimes `names`.
    pub fn assert_store(&self, names: &[&str]) {
        let store = self.path("store");
        let mut found = list(&store);
        found.retain(|name| name != ".joblet");
        assert_eq!(found, names);
        for part in ["staging", "downloads", "locks"] {
            let mut left = list(&store.join(".joblet").join(part));
            if part == "downloads" {
                // Interrupted downloads may remain, named by their digest.
                let digest = |name: &str| name.len() >= 64 && hex::decode(&name[..64]).is_ok();
                let before = left.len();
                left.retain(|name| !digest(name));
                assert!(before - left.len() <= 1, "{before} downloads");
            }
            assert_eq!(left, Vec::<String>::new(), "{part}");
        }
    }
}

/// The names in a directory, sorted; none if it does not exist.
pub fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether the file system of `directory` shares the blocks of copies (FICLONE): then equal files
/// of a store are clones, else they are hard links.
pub fn clones(directory: &Path) -> bool {
    let (from, to) = (directory.join("clone-from"), directory.join("clone-to"));
    fs::write(&from, "x").unwrap();
    let mut copy = Command::new("cp");
    copy.arg("--reflink=always").args([&from, &to]).stderr(std::process::Stdio::null());
    let cloned = copy.status().unwrap().success();
    fs::remove_file(from).unwrap();
    _ = fs::remove_file(to); // made only where it was cloned
    cloned
}

pub fn checksum(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A tar stream of files in directories.
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = ::tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The archive of a runtime that holds one file.
pub fn runtime_archive(name: &str, version: &str) -> Vec<u8> {
    let yml = format!(
        "name: {name}\nversion: {version}\nmounts:\n  - {{ source: isolated/etc, target: /etc }}\n"
    );
    let directory = format!("{name}-{version}");
    gzip(&tar(&[
        (&format!("{directory}/runtime.yml"), &yml),
        (&format!("{directory}/isolated/etc/version"), version),
    ]))
}

/// The properties of a tree that an installation determines.
pub fn snapshot(root: &Path) -> BTreeMap<String, (u32, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let data = path.symlink_metadata().unwrap();
        let content = if data.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if data.is_dir() {
            left.extend(list(&path).iter().map(|name| path.join(name)));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        found.insert(name, (data.mode(), data.mtime(), data.mtime_nsec(), content));
    }
    found
}
