//! A small runtime of the host's own tools, and functions that run commands in it.

pub(crate) mod attack;
pub(crate) mod fuse;
pub(crate) mod pty;
pub(crate) mod tmux;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    panic::Location,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub(crate) use crate::common::skip::{not_applicable, note, skip};

/// The user of the second half of each test, when the tests run as root.
pub(crate) const NOBODY: u32 = 65534;

/// Programs for jobs of the tests.
const TOOLS: &str = "bash cat chmod chroot cp env grep head id ln ls mkdir mount mv nsenter rm sleep stat stty tar touch tty unshare";

/// A directory with a runtime, a current directory, and the program under test.
pub(crate) struct World {
    dir: tempfile::TempDir,
    /// Results of [`World::once`], by name.
    made: Mutex<BTreeMap<&'static str, bool>>,
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: Option<i32>,
}

impl World {
    /// The world of the calling test file; reports a skip if nothing can be tested.
    #[track_caller]
    pub(crate) fn get() -> Option<&'static Self> {
        static WORLDS: Mutex<BTreeMap<&str, Option<&World>>> = Mutex::new(BTreeMap::new());
        let mut worlds = WORLDS.lock().unwrap_or_else(PoisonError::into_inner);
        *worlds.entry(Location::caller().file()).or_insert_with(|| {
            let world = Box::leak(Box::new(Self::make()));
            remove_at_exit(world.dir.path());
            let probe = world.run(None, &[], ":");
            if probe.status == Some(0) {
                return Some(world);
            }
            skip(&format!("no sandbox here: {}", probe.stderr));
            None
        })
    }

    /// The result of `make`, which is called once for each `name`.
    pub(crate) fn once(&self, name: &'static str, make: impl FnOnce() -> bool) -> bool {
        let mut known = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(name).or_insert_with(make)
    }

    fn make() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), made: Mutex::default() };
        open_to_all(world.dir.path());
        let usr = world.path("store/demo/isolated/usr");
        fs::create_dir_all(usr.join("bin")).unwrap();
        for tool in TOOLS.split(' ') {
            Self::copy_program(&usr, tool);
        }
        symlink("bash", usr.join("bin/sh")).unwrap();
        for dir in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{dir}"), world.path("store/demo/isolated").join(dir)).unwrap();
        }
        fs::create_dir(world.path("store/demo/isolated/tmp")).unwrap();
        fs::create_dir_all(world.path("store/demo/isolated/var/lib")).unwrap();
        fs::write(world.path("store/demo/isolated/var/lib/state"), "old\n").unwrap();
        fs::write(world.path("store/demo/runtime.yml"), include_str!("runtime.yml")).unwrap();
        for dir in ["cwd", "outside"] {
            fs::create_dir(world.path(dir)).unwrap();
            fs::set_permissions(world.path(dir), fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::write(world.path("cwd/in.txt"), "hello\n").unwrap();
        fs::set_permissions(world.path("cwd/in.txt"), fs::Permissions::from_mode(0o666)).unwrap();
        if nix::unistd::geteuid().is_root() {
            // Without a mapping of the owner a user could not change the file, even in a copy.
            std::os::unix::fs::chown(world.path("cwd/in.txt"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // Copies that another user can reach.
        crate::common::copy_program(crate::common::program(), world.path("joblet-exec"));
        let built = std::env::current_exe().unwrap();
        let examples = built.parent().unwrap().parent().unwrap().join("examples");
        for name in ["without", "weakened"] {
            if examples.join(name).exists() {
                crate::common::copy_program(examples.join(name), world.path(name));
            }
        }
        world
    }

    /// Copies a program of the host and its libraries to the paths where its loader looks for them.
    pub(crate) fn copy_program(usr: &Path, tool: &str) {
        let found = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|dir| Path::new(dir).join(tool));
        let Some(found) = found.iter().find(|path| path.exists()) else { return };
        crate::common::copy_program(found, usr.join("bin").join(tool));
        let libraries = Command::new("ldd").arg(found).output().unwrap().stdout;
        for word in String::from_utf8(libraries).unwrap().split_whitespace() {
            let Some(below) = word.strip_prefix('/') else { continue };
            let to = usr.join(below.strip_prefix("usr/").unwrap_or(below));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            crate::common::copy_program(word, to);
        }
    }

    /// Copies the runtime `demo` as `name`; returns its directory.
    pub(crate) fn copy_runtime(&self, name: &str) -> PathBuf {
        let to = self.path("store").join(name);
        let copied = Command::new("cp").arg("-r").arg(self.path("store/demo")).arg(&to).status();
        assert!(copied.unwrap().success());
        to
    }

    /// A path in the world's directory.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The users to test as: the caller, and a second one if the caller is root.
    pub(crate) fn users() -> Vec<Option<u32>> {
        let root = nix::unistd::geteuid().is_root();
        if root { vec![None, Some(NOBODY)] } else { vec![None] }
    }

    /// The beginning of a command line with the program under test.
    pub(crate) fn program(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        // The whole suite as on a kernel without these calls: `mount_setattr,close_range`.
        if let Some(calls) = std::env::var_os("JOBLET_TEST_WITHOUT") {
            words.extend([self.path("without").into(), calls]);
        }
        words.push(self.path("joblet-exec").into());
        words.extend(["run", "--store"].map(OsString::from));
        words.push(self.path("store").into());
        words
    }

    /// `joblet-exec run` as `user` in the directory `cwd`, with `options`, which end with the command.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, user: Option<u32>, options: &[S]) -> Command {
        let program = self.program();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(options).current_dir(self.path("cwd")).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command
    }

    /// The arguments for `script` in a shell in the runtime `demo`.
    pub(crate) fn shell(options: &[&str], script: &str) -> Vec<String> {
        let words = options.iter().copied().chain(["--runtime=demo", "--", "bash", "-c", script]);
        words.map(str::to_owned).collect()
    }

    /// Whether `user` can limit jobs here, as `doctor` reports it. Root always can if a version of
    /// control groups has the controllers: a `doctor` that finds none would be a fault.
    pub(crate) fn can_limit(&self, user: Option<u32>) -> bool {
        let mut command = Command::new(self.path("joblet-exec"));
        command.args(["doctor", "--json", "--offline"]).current_dir(self.path("cwd"));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let report = command.output().unwrap().stdout;
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let row = report.as_array().unwrap().iter().find(|row| row["check"] == "limits").unwrap();
        let can = row["status"] == "PASS";
        if user.is_none() && nix::unistd::geteuid().is_root() {
            let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
            let controllers = controllers.unwrap_or_default();
            let there = |name| controllers.contains(name) || hierarchy(name).is_some();
            let all = ["memory", "cpu", "pids"].into_iter().all(there);
            assert_eq!(can, all, "{row}");
        }
        can
    }

    /// Runs `script` in the runtime `demo`.
    pub(crate) fn run(&self, user: Option<u32>, options: &[&str], script: &str) -> Output {
        finish(self.command(user, &Self::shell(options, script)).spawn().unwrap())
    }
}

/// The caller's own group of the controller `name` of version 1.
pub(crate) fn hierarchy(name: &str) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own.lines().find_map(|line| line.split_once(&format!(":{name}:")).map(|it| it.1))?;
    let directory = Path::new("/sys/fs/cgroup").join(name).join(path.trim_start_matches('/'));
    directory.exists().then_some(directory)
}

/// Removes `dir` when this process ends, since statics are not dropped.
#[allow(unsafe_code, reason = "the standard library has no atexit(3)")]
fn remove_at_exit(dir: &Path) {
    static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    extern "C" fn remove() {
        for dir in MADE.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            _ = fs::remove_dir_all(dir);
        }
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.is_empty() {
        // SAFETY: `remove` is a function of this program, which is never unloaded.
        unsafe { nix::libc::atexit(remove) };
    }
    made.push(dir.to_owned());
}

/// Waits for a command.
pub(crate) fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    Output {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code(),
    }
}

fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Number of processes with this argument.
pub(crate) fn processes(mark: &str) -> usize {
    let has = |path: &Path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| has(&entry.path())).count()
}

/// Waits at most `limit` until `count` processes have this argument; returns whether they do.
pub(crate) fn becomes(mark: &str, count: usize, limit: Duration) -> bool {
    let begin = Instant::now();
    while processes(mark) != count {
        if begin.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Kills every process `sleep MARK`.
pub(crate) fn kill_sleepers(mark: &str) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line == format!("sleep\0{mark}\0").as_bytes() {
            let pid = Pid::from_raw(entry.file_name().to_str().unwrap().parse().unwrap());
            kill(pid, Signal::SIGKILL).unwrap();
        }
    }
}

/// Gives `user` all permissions of the file at `path` by an access control list, acl(5); whether its file system has them.
pub(crate) fn give_by_list(path: &Path, user: u32) -> bool {
    let none = u32::MAX;
    // Of the owner, the user, the group, at most and of others; posix_acl_xattr.h.
    let entries = [(1_u16, 7_u16, none), (2, 7, user), (4, 5, none), (16, 7, none), (32, 5, none)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(path, "system.posix_acl_access", &list, flags) {
        Err(rustix::io::Errno::OPNOTSUPP) => {
            not_applicable("access control lists");
            false
        }
        done => done.is_ok(),
    }
}
