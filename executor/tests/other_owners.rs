//! Runtimes that users other than root and the caller can change: their sockets and FIFOs are not connected to a job.

use crate::mounts::{DEAD, LIVE, Live, talk};
use crate::support::attack::{WEAKEN, can_weaken, probed, start, wrapper};
use crate::support::fuse::Mount;
use crate::support::{NOBODY, Output, World, finish, give_by_list, not_applicable};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The owner of the stores, neither root nor the caller.
const OWNER: u32 = 65533;

/// A user who is in no file, and whose group has the same number.
const PRIVATE: u32 = 65532;

/// A store with the runtime `demo@1.0.0`, in which processes listen, and which only its owner can write.
struct Store {
    path: PathBuf,
    _live: Live,
}

impl Store {
    fn make(world: &World, name: &str) -> Self {
        let path = world.path(name);
        fs::create_dir(&path).unwrap();
        let to = path.join("demo-1.0.0");
        let copied = Command::new("cp").arg("-r").arg(world.path("store/demo")).arg(&to).status();
        assert!(copied.unwrap().success());
        let live = Live::make(to.join("isolated/usr/share/live"));
        Self { path, _live: live }
    }

    fn give(&self, below: &str) {
        chown(self.path.join(below), Some(OWNER), Some(OWNER)).unwrap();
    }

    /// The output of `program` with `words`, called by `caller`.
    fn run(&self, world: &World, weak: bool, caller: Option<u32>, words: &[&str]) -> Output {
        finish(self.command(world, weak, caller, words).spawn().unwrap())
    }

    /// As [`Self::run`], without the protection `weak`.
    fn run_without(
        &self,
        world: &World,
        weak: &str,
        (user, group): (u32, u32),
        words: &[&str],
    ) -> Output {
        let mut command = self.command(world, !weak.is_empty(), Some(user), words);
        finish(command.env(WEAKEN, weak).gid(group).spawn().unwrap())
    }

    fn command(&self, world: &World, weak: bool, caller: Option<u32>, words: &[&str]) -> Command {
        let program = world.path(if weak { "weakened" } else { "joblet-exec" });
        let mut command = Command::new(program);
        command.args(words).current_dir(world.path("cwd")).env_clear();
        command.env("HOME", "/nonexistent").env("JOBLET_EXEC_STORE", &self.path);
        command.env(WEAKEN, if weak { "own-runtimes" } else { "" });
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = caller {
            command.uid(user).gid(user);
        }
        command
    }
}

const RUN: [&str; 5] = ["run", "--runtime=demo", "--", "bash", "-c"];

/// A job's overlay mounts, except `/work`.
const OVERLAYS: &str = "grep ' - overlay ' /proc/self/mountinfo | grep -vc ' /work '";

/// SEC-B22: another user owns or can write the store, the runtime or a mounted directory.
#[test]
fn sockets_in_a_runtime_of_another_user_are_not_connected() {
    let Some(world) = probed() else { return };
    let root = rustix::process::geteuid().is_root();
    let script = talk("/usr/share/live", "");
    let (all, runtime) = ("", "demo-1.0.0");
    let (top, source) = ("demo-1.0.0/isolated", "demo-1.0.0/isolated/usr");
    // Root refuses to run it at all.
    for (number, (object, refused)) in
        [(all, true), (runtime, true), (top, false), (source, false)].into_iter().enumerate()
    {
        for mode in [None, Some(0o777), Some(0o775)] {
            // A store that others can write, with runtimes that they cannot.
            if (mode.is_some() && object == all) || (mode.is_none() && !root) {
                continue;
            }
            for user in World::users() {
                let name = format!("others-{number}-{mode:?}-{user:?}");
                let store = Store::make(world, &name);
                match mode {
                    None => store.give(object),
                    Some(mode) => {
                        let path = store.path.join(object);
                        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                        if mode == 0o775 && chown(&path, None, Some(OWNER)).is_err() {
                            continue; // this process cannot set another group
                        }
                    }
                }
                let words = [&RUN[..], &[script]].concat();
                let output = store.run(world, false, user, &words);
                if refused && root && user.is_none() {
                    assert!(output.stderr.starts_with("error[STORE]: "), "{name}: {output:?}");
                    continue;
                }
                assert_eq!(output.stdout, DEAD, "{name}: {output:?}");
                if can_weaken(world) {
                    let output = store.run(world, true, user, &words);
                    assert_eq!(output.stdout, LIVE, "{name}: {output:?}");
                }
            }
        }
    }
}

/// Stores of root and of the caller are mounted without overlays, also if the caller's primary group can write.
#[test]
fn a_runtime_of_ones_own_needs_no_overlays() {
    let Some(world) = probed() else { return };
    for (number, user) in World::users().into_iter().enumerate() {
        let user = user.map(|_| PRIVATE);
        let store = Store::make(world, &format!("own-{number}"));
        let words = [&RUN[..], &[OVERLAYS]].concat();
        // The overlay of /var, which each job can write.
        assert_eq!(store.run(world, false, user, &words).stdout, "1\n");
        if user.is_some() {
            let owner = format!("{PRIVATE}:{PRIVATE}");
            let given = Command::new("chown").args(["-R", &owner]).arg(&store.path).status();
            assert!(given.unwrap().success());
        }
        let source = store.path.join("demo-1.0.0/isolated/usr");
        fs::set_permissions(&source, Permissions::from_mode(0o775)).unwrap();
        assert_eq!(store.run(world, false, user, &words).stdout, "1\n");
    }
}

/// SEC-B22: every path to a store of another user, and the actions of a job in its runtime.
#[test]
fn every_way_to_a_runtime_of_another_user() {
    let Some(world) = probed() else { return };
    if !rustix::process::geteuid().is_root() {
        return not_applicable("stores of three users");
    }
    let store = Store::make(world, "ways");
    let owner = format!("{OWNER}:{OWNER}");
    assert!(
        Command::new("chown").args(["-R", &owner]).arg(&store.path).status().unwrap().success()
    );
    let live = talk("/usr/share/live", "");
    let user = Some(NOBODY);
    fs::write(world.path("live.sh"), live).unwrap();
    let mut shell = store.command(world, false, user, &["shell", "demo"]);
    let output = finish(shell.stdin(File::open(world.path("live.sh")).unwrap()).spawn().unwrap());
    assert_eq!(output.stdout, DEAD, "{output:?}");
    // Mount points that the runtime lacks, in its overlays and in one with an upper layer; as in any runtime.
    let options =
        ["run", "--bind=/proc/version:/usr/share/a/v", "--tmpfs=/usr/share/b", "--tmpfs=/var/x"];
    let rest =
        "cat /usr/share/a/v > /dev/null && touch /usr/share/b/f /var/x/f && id -un; touch /usr/f";
    let words = [&options[..], &RUN[1..], &[rest]].concat();
    let output = store.run(world, false, user, &words);
    assert_eq!(output.stdout, "nobody\n", "{output:?}");
    assert!(output.stderr.ends_with("'/usr/f': Read-only file system\n"), "{output:?}");
    let mut shared = store.command(world, false, user, &[&RUN[..], &[live]].concat());
    shared.env("JOBLET_EXEC_STORE", "/nonexistent").env("JOBLET_EXEC_SHARED_STORES", &store.path);
    assert_eq!(finish(shared.spawn().unwrap()).stdout, DEAD);
    let (apptainer, image) = (world.path("apptainer"), store.path.join("demo-1.0.0"));
    symlink("joblet-exec", &apptainer).unwrap();
    let mut command = Command::new(&apptainer);
    // The probe refuses to run on the host, recognized by its name.
    command.args(["exec", "--hostname=joblet"]).arg(&image).args(["bash", "-c", live]).env_clear();
    command.current_dir(world.path("cwd")).uid(NOBODY).gid(NOBODY);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command.spawn().unwrap());
    assert_eq!(output.stdout, DEAD, "{output:?}");
}

/// SEC-B23: a FUSE file system of another user, which shows all files as root's. What users name looks like the mounter, and
/// the call that tells its kind fails.
#[test]
fn a_file_system_that_another_user_serves() {
    let Some(world) = probed() else { return };
    if !rustix::process::geteuid().is_root() {
        return not_applicable("only root mounts a file system for another user");
    }
    let store = Store::make(world, "served");
    let at = world.path("m,user_id=0 - fuse rw,user_id=0");
    let Some(mount) = Mount::make(&store.path, at.clone(), OWNER) else {
        return not_applicable("no FUSE on this host");
    };
    let own = world.path("m-own");
    let private = Mount::make(&store.path, own.clone(), NOBODY).unwrap();
    let odd = world.path("").join(OsStr::from_bytes(b"odd-\xff"));
    fs::create_dir(&odd).unwrap();
    let prepare =
        format!("mount -t tmpfs none \"$(printf '{}odd-\\377')\"", world.path("").display());
    for user in World::users() {
        for prepare in ["", &prepare] {
            let run = |weak: &str, at: &Path| {
                let words = wrapper(user, prepare, "private");
                let program = if weak.is_empty() { "joblet-exec" } else { "weakened" };
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(world.path(program)).args(RUN).arg(OVERLAYS);
                command.current_dir(world.path("cwd")).env_clear().env(WEAKEN, weak);
                command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("JOBLET_EXEC_STORE", at);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                finish(command.spawn().unwrap())
            };
            let output = run("", &at);
            if user.is_none() {
                let reason = format!("is refused: it belongs to user {OWNER}; run as that user");
                assert!(output.stderr.contains(&reason), "{output:?}");
            } else {
                let count: usize = output.stdout.trim().parse().unwrap_or_default();
                assert!(count > 1, "{output:?}");
            }
            if can_weaken(world) {
                let output = run("mounters", &at);
                assert_eq!(output.stdout, "1\n", "{output:?}");
            }
            if user.is_some() {
                assert_eq!(run("", &own).stdout, "1\n");
            }
        }
    }
    drop((mount, private));
}

/// SEC-B24, SEC-B26: a list gives write permission to another user, or the directory's group is not that of its owner alone.
#[test]
fn a_group_or_a_list_of_others_lets_nothing_live_in() {
    let Some(world) = probed() else { return };
    if !rustix::process::geteuid().is_root() {
        return not_applicable("several users and groups");
    }
    let words = [&RUN[..], &[talk("/usr/share/live", "")]].concat();
    for below in ["demo-1.0.0", "demo-1.0.0/isolated", "demo-1.0.0/isolated/usr"] {
        let store = Store::make(world, &format!("list-{}", below.len()));
        let owner = format!("{PRIVATE}:{PRIVATE}");
        let given = Command::new("chown").args(["-R", &owner]).arg(&store.path).status();
        assert!(given.unwrap().success());
        let path = store.path.join(below);
        fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
        let own = (PRIVATE, PRIVATE);
        assert_eq!(store.run_without(world, "", own, &words).stdout, LIVE, "{below}");
        if give_by_list(&path, OWNER) {
            assert_eq!(store.run_without(world, "", own, &words).stdout, DEAD, "{below}");
            if can_weaken(world) {
                let output = store.run_without(world, "access-lists", own, &words);
                assert_eq!(output.stdout, LIVE, "{below}: {output:?}");
            }
        }
        // Also the caller's group has other users, unless it is called like the caller.
        chown(&path, None, Some(OWNER)).unwrap();
        let shared = (PRIVATE, OWNER);
        assert_eq!(store.run_without(world, "", shared, &words).stdout, DEAD, "{below}");
        if can_weaken(world) {
            let output = store.run_without(world, "own-runtimes", shared, &words);
            assert_eq!(output.stdout, LIVE, "{below}: {output:?}");
        }
    }
}

/// SEC-B25: a mount of any user, whose path is not UTF-8.
#[test]
fn limits_are_set_beside_a_mount_of_any_name() {
    let Some(world) = probed() else { return };
    if !rustix::process::geteuid().is_root() || !world.can_limit(None) {
        return not_applicable("control groups of root");
    }
    let odd = world.path("").join(OsStr::from_bytes(b"limits-\xff"));
    fs::create_dir(&odd).unwrap();
    let prepare =
        format!("mount -t tmpfs none \"$(printf '{}limits-\\377')\"", world.path("").display());
    let before = wrapper(None, &prepare, "private");
    let words = World::shell(&["--memory=64M", "--pids=50"], "echo limited");
    let output = finish(start(world, &before, "", &words));
    assert_eq!(output.stdout, "limited\n", "{output:?}");
}

/// From fcntl.h; not in the crate.
const F_SETSIG: i32 = 10;

/// SEC-B22: the owner of a file that the launcher reads has a write lease on it, which delays open(2).
#[test]
#[allow(unsafe_code, reason = "leases are in no safe library here")]
fn a_lease_of_another_user_delays_no_start() {
    use rustix::fd::AsRawFd;
    let Some(world) = probed() else { return };
    let store = Store::make(world, "leased");
    let top = store.path.join("demo-1.0.0");
    let etc = top.join("isolated/etc");
    fs::create_dir(&etc).unwrap();
    let described = fs::read_to_string(top.join("runtime.yml")).unwrap();
    let mount = "mounts:\n  - { source: isolated/etc, target: /etc }";
    fs::write(top.join("runtime.yml"), described.replace("mounts:", mount)).unwrap();
    let held: Vec<File> = ["passwd", "group", "hosts"]
        .map(|name| {
            fs::write(etc.join(name), "# held\n").unwrap();
            let file = File::options().write(true).open(etc.join(name)).unwrap();
            let lease = |command, value: i32| {
                // SAFETY: both commands take a number and change no memory of this process.
                let done = unsafe { nix::libc::fcntl(file.as_raw_fd(), command, value) };
                assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            };
            // By default the holder is notified by SIGIO, which would end this process.
            lease(F_SETSIG, nix::libc::SIGURG);
            lease(nix::libc::F_SETLEASE, nix::libc::F_WRLCK);
            file
        })
        .into();
    for user in World::users() {
        let start = Instant::now();
        let output = store.run(world, false, user, &[&RUN[..], &["cat /etc/hosts"]].concat());
        assert!(output.stdout.ends_with("127.0.0.1\tjoblet\n"), "{output:?}");
        // A lease is broken after 45 seconds.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
    drop(held);
}
