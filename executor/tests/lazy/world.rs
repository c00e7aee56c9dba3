//! A published runtime that is not installed, and a user who runs jobs in it.

use crate::common::members::{directory, file, link, noise, pack};
use crate::common::skip::skip;
use crate::common::{Outcome, World, checksum};
use crate::support::World as Sandbox;
use joblet_format::index::{Body, Entry, Piece};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs for jobs of these tests.
const TOOLS: &str =
    "bash cat chmod find grep kill ls od rm sha256sum sleep sort stat touch umount wc";

/// How the archive is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As members alone.
    Members,
    /// As members, and in frames.
    Frames,
}

/// A world with the runtime `demo`, which is not installed.
pub struct Cold {
    pub world: World,
    user: Option<u32>,
    /// The registry's address, if it is not the world's directory.
    pub registry: Option<String>,
}

/// The registry's description of an index of these bytes.
pub fn describe_index(bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({ "checksum": checksum(bytes), "size": bytes.len() })
}

/// The result of a command.
#[derive(Debug)]
pub struct Output {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The entries of a runtime of the host's tools.
pub fn tree(more: Vec<(Entry, Vec<u8>)>) -> Vec<(Entry, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let usr = dir.path().join("usr");
    fs::create_dir_all(usr.join("bin")).unwrap();
    for tool in TOOLS.split(' ') {
        Sandbox::copy_program(&usr, tool);
    }
    let mut all = vec![directory(""), directory("isolated"), directory("isolated/usr")];
    walk(&usr, "isolated/usr", &mut all);
    all.extend([
        link("isolated/usr/bin/sh", "bash"),
        file("isolated/usr/empty", b""),
        directory("isolated/usr/share"),
        file("isolated/usr/share/small", b"small\n"),
        directory("isolated/usr/share/none"),
        directory("isolated/var"),
        directory("isolated/var/lib"),
        file("isolated/var/lib/state", b"old\n"),
        file("isolated/usr/share/large", &noise(1 << 20)),
    ]);
    for name in ["bin", "lib", "lib64", "sbin"] {
        all.push(link(&format!("isolated/{name}"), &format!("usr/{name}")));
    }
    all.extend(more);
    all.push(file("runtime.yml", include_bytes!("../support/runtime.yml")));
    // In the archive's order: by bytes of names, each directory before its entries.
    all.sort_by_key(|(entry, _)| entry.path.split('/').map(str::to_owned).collect::<Vec<_>>());
    all
}

fn walk(from: &Path, to: &str, all: &mut Vec<(Entry, Vec<u8>)>) {
    for found in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let path = format!("{to}/{}", found.file_name().to_str().unwrap());
        if found.file_type().unwrap().is_dir() {
            all.push(directory(&path));
            walk(&found.path(), &path, all);
        } else {
            let content = fs::read(found.path()).unwrap();
            let pieces = content.chunks(256 << 10).map(|piece| Piece {
                size: piece.len() as u64,
                sha256: Sha256::digest(piece).into(),
            });
            let body = Body::File { executable: true, pieces: pieces.collect() };
            all.push((Entry { path, body }, content));
        }
    }
}

impl Cold {
    /// For `user`, or the caller; reports a skip without FUSE.
    pub fn new(user: Option<u32>, encoding: Encoding) -> Option<Self> {
        Self::with(user, encoding, Vec::new())
    }

    /// The same with `more` in the runtime.
    pub fn with(
        user: Option<u32>,
        encoding: Encoding,
        more: Vec<(Entry, Vec<u8>)>,
    ) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            skip("there is no /dev/fuse here");
            return None;
        }
        let mut world = World::new();
        let packed = pack("demo-1.0.0", tree(more), 256 << 10);
        world.publish_members("demo", "1.0.0", &packed);
        if encoding == Encoding::Frames {
            world.publish_zstd(("demo", "1.0.0"), &packed, 4, |_, _| ());
        }
        fs::create_dir(world.path("store")).unwrap();
        if let Some(user) = user {
            fs::set_permissions(world.base.path(), fs::Permissions::from_mode(0o755)).unwrap();
            for own in ["store", "home", "cache"] {
                chown(world.path(own), Some(user), Some(user)).unwrap();
            }
            crate::common::copy_program(crate::common::program(), world.path("joblet-exec"));
        }
        Some(Self { world, user, registry: None })
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.world.path(below)
    }

    /// The command line of `joblet-exec` with these arguments, as the user, with a device that everybody can open.
    fn words(&self, words: &[OsString], device: bool) -> Command {
        let mut command = self.world.command();
        if let Some(registry) = &self.registry {
            command.env("JOBLET_EXEC_REGISTRY", registry);
        }
        let Some(user) = self.user else {
            command.args(words);
            return command;
        };
        let mut other = Command::new("unshare");
        for (name, value) in command.get_envs() {
            other.env(name, value.unwrap());
        }
        let script = if device {
            "mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse && rm fuse && "
        } else {
            "chmod 600 /dev/fuse && "
        };
        let exec = "exec setpriv --reuid $0 --regid $0 --clear-groups ./joblet-exec \"$@\"";
        other.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        other.args(["-m", "sh", "-c", &format!("{script}{exec}"), &user.to_string()]);
        other.args(words).current_dir(self.world.base.path());
        other
    }

    /// A job with these arguments.
    pub fn command(&self, options: &[&str], words: &[&str]) -> Command {
        self.words(&Self::run_words(options, words), true)
    }

    fn run_words(options: &[&str], words: &[&str]) -> Vec<OsString> {
        let all = ["run"].iter().chain(options).chain(&["--runtime=demo", "--"]).chain(words);
        all.map(OsString::from).collect()
    }

    /// A script, run as a user who cannot open the device.
    pub fn without_device(&self, options: &[&str], script: &str) -> Command {
        self.words(&Self::run_words(options, &["bash", "-c", script]), false)
    }

    /// Runs a script.
    pub fn run(&self, options: &[&str], script: &str) -> Output {
        let mut command = self.command(options, &["bash", "-c", script]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        Output {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs another command of the program.
    pub fn exec(&self, words: &[&str]) -> Outcome {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        self.world.outcome(self.words(&words, true).output().unwrap())
    }

    /// Changes the registry's description of the runtime's index.
    pub fn index_is(&mut self, described: &serde_json::Value) {
        self.world.edit("demo", "1.0.0", |entry| {
            for arch in ["amd64", "arm64"] {
                entry["artifacts"][arch]["index"] = described.clone();
            }
        });
    }

    /// The names in the directories of installations.
    pub fn left(&self) -> Vec<String> {
        let places = ["staging", "interrupted", "removed", "downloads"];
        let all = places.iter().map(|place| self.path("store/.joblet").join(place));
        let names = all.filter_map(|place| fs::read_dir(place).ok()).flatten();
        names.map(|name| name.unwrap().path().display().to_string()).collect()
    }
}
