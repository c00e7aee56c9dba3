//! A checkout with one runtime, and a secret beside it that nothing may show.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The content of every file and address that must not be shown.
pub const SECRET: &str = "s3cr3tOfTheHost";
/// Much longer than any of these commands takes.
const TIMEOUT: Duration = Duration::from_secs(60);

pub const MANIFEST: &str = "name: demo\nversion: 1.0.0\nplatforms: [ubuntu-amd64, ubuntu-arm64]\n\
                            description: a demo\nfiles: own/files/\n";

pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// The runtime `demo`, locked.
    pub fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        world.write("demo/own/files/bin/hello", "#!/bin/sh\n");
        world.write("demo/manifest.yaml", MANIFEST);
        fs::create_dir_all(world.path("outside/files/bin")).unwrap();
        for file in ["outside/file", "outside/manifest.yaml", "outside/files/bin/hello"] {
            fs::write(world.path(file), format!("{SECRET}\n")).unwrap();
        }
        let locked = world.run(&["lock", "demo", "--mirror", "http://127.0.0.1:9"]);
        assert!(locked.status.success(), "{locked:?}");
        world
    }

    /// Below the checkout's parent.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Below the checkout.
    pub fn main(&self, below: &str) -> PathBuf {
        self.path("main").join(below)
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.main("runtimes-src").join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_joblet-publish"));
        command.args(words).current_dir(self.path("main")).env("HOME", self.path("home"));
        command.env_remove("XDG_CACHE_HOME").env("JOBLET_EXEC", "/bin/true");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        finished(&mut self.command(words))
    }

    /// Runs a command that must be refused with this message, and must not show or keep a secret of the host.
    pub fn refused(&self, words: &[&str], status: i32, message: &str) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
        assert!(said.contains(message), "{words:?}: {said}");
        assert!(!format!("{output:?}").contains(SECRET), "{words:?}: {output:?}");
        self.keeps_nothing();
        said
    }

    /// Fails if a file of the checkout contains the secret.
    pub fn keeps_nothing(&self) {
        for entry in walkdir::WalkDir::new(self.path("main")) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let bytes = fs::read(entry.path()).unwrap();
                let secret = bytes.windows(SECRET.len()).any(|it| it == SECRET.as_bytes());
                assert!(!secret, "{}", entry.path().display());
            }
        }
    }
}

/// The output of a command, which is killed after the timeout.
pub fn finished(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + TIMEOUT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("hangs: {command:?}: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// Objects in place of a file or a directory: their names in messages, and functions that make them.
pub type Kind = (&'static str, fn(&Path, &Path));

/// The kinds, with a link to `outside`. Only root can make a device.
pub fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = vec![
        ("is a link, which is not followed", |place, outside| {
            symlink(outside, place).unwrap();
        }),
        ("is a FIFO", |place, _| {
            assert!(Command::new("mkfifo").arg(place).status().unwrap().success());
        }),
        ("is a socket", |place, _| {
            // The path of a socket must be short: it is moved afterwards.
            let dir = tempfile::tempdir_in(place.ancestors().nth(3).unwrap()).unwrap();
            drop(UnixListener::bind(dir.path().join("s")).unwrap());
            fs::rename(dir.path().join("s"), place).unwrap();
        }),
    ];
    let probe = tempfile::tempdir().unwrap();
    let device = |place: &Path| {
        Command::new("mknod").arg(place).args(["c", "1", "5"]).stderr(Stdio::null()).status()
    };
    if device(&probe.path().join("zero")).unwrap().success() {
        kinds.push(("is a device", |place, _| {
            assert!(
                Command::new("mknod").arg(place).args(["c", "1", "5"]).status().unwrap().success()
            );
        }));
    }
    kinds
}

/// Replaces `path` by another object until it is dropped.
pub struct Instead {
    path: PathBuf,
    kept: PathBuf,
}

impl Instead {
    pub fn of(path: PathBuf, make: impl FnOnce(&Path)) -> Self {
        let kept = path.with_extension("kept");
        fs::rename(&path, &kept).unwrap();
        make(&path);
        Self { path, kept }
    }
}

impl Drop for Instead {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap();
        fs::rename(&self.kept, &self.path).unwrap();
    }
}
