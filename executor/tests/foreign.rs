//! Attacks of other users on a store: links and directories in it, locks on runtimes, renames of
//! the directory during a command.

use crate::common::server::{Reply, Server};
use crate::common::victim::Victim;
use crate::common::{Outcome, World, list};
use crate::support::{NOBODY, give_by_list, not_applicable};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A user that is neither root nor the owner of the store.
const OTHER_USER: u32 = 65533;

/// A world of `user`, which other users can reach.
struct Place {
    world: World,
    user: Option<u32>,
    victim: Victim,
    /// The weakened program, if it was built.
    weakened: Option<PathBuf>,
}

impl Place {
    /// One for each user that this process can become.
    fn all() -> Vec<Self> {
        crate::support::World::users().into_iter().map(Self::new).collect()
    }

    fn new(user: Option<u32>) -> Self {
        let mut world = World::new();
        world.publish("demo", "1.0.0");
        world.publish("demo", "1.1.0");
        fs::set_permissions(world.base.path(), Permissions::from_mode(0o755)).unwrap();
        crate::common::copy_program(crate::common::program(), world.path("joblet-exec"));
        fs::create_dir(world.path("store")).unwrap();
        for below in ["store", "home", "cache"] {
            chown(world.path(below), user, user).unwrap();
        }
        let built = std::env::current_exe().unwrap();
        let built = built.parent().unwrap().parent().unwrap().join("examples/weakened");
        let weakened = built.exists().then(|| world.path("weakened"));
        if let Some(to) = &weakened {
            crate::common::copy_program(built, to);
        } else {
            crate::support::skip(
                "negative proofs: cargo build -p joblet-exec --features weaken --example weakened",
            );
        }
        let victim = Victim::new(world.path("victim"), user);
        Self { world, user, victim, weakened }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.world.path(below)
    }

    fn command(&self, program: &Path, args: &str) -> Command {
        let inner = self.world.command();
        let mut command = Command::new(program);
        command.args(args.split(' ')).env_clear().current_dir(self.path("registry"));
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("JOBLET_EXEC_LOCK_TIMEOUT", "2");
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn exec(&self, args: &str) -> Outcome {
        let program = self.path("joblet-exec");
        self.world.outcome(self.command(&program, args).output().unwrap())
    }

    /// The same, without protections against other users' files in a store.
    fn exec_weakly(&self, args: &str) -> Option<Outcome> {
        let mut command = self.command(self.weakened.as_ref()?, args);
        command.env("JOBLET_EXEC_WEAKEN", "store-links,store-owners");
        Some(self.world.outcome(command.output().unwrap()))
    }

    /// Restores the store to its state after the installation.
    fn renew(&self) {
        fs::remove_dir_all(self.path("store")).unwrap();
        fs::create_dir(self.path("store")).unwrap();
        chown(self.path("store"), self.user, self.user).unwrap();
        let outcome = self.exec("install demo@1.0.0");
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }

    /// Gives a path to another user, if this process can.
    fn give_away(&self, path: &Path) -> bool {
        let other = if self.user.is_none() { NOBODY } else { OTHER_USER };
        lchown(path, Some(other), Some(other)).is_ok()
    }

    /// A store as [`Self::renew`] makes it, with a link to `target` in place of `object`.
    fn renew_with_link(&self, object: &str, target: &Path) {
        self.renew();
        let path = self.path(object);
        _ = fs::remove_dir_all(&path); // not every store has it
        symlink(target, &path).unwrap();
    }

    fn assert_refused(&self, args: &str, object: &str, reason: &str) {
        let outcome = self.exec(args);
        let status = if args.starts_with("run") { 125 } else { 15 };
        let message = format!("error[STORE]: ~/{object} is refused: {reason}");
        assert_eq!(outcome.status, Some(status), "{args}: {outcome:?}");
        assert!(outcome.stderr.starts_with(&message), "{args}: {message}: {outcome:?}");
        assert!(outcome.stderr.trim_end().ends_with("--store DIR"), "{outcome:?}");
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome:?}");
        self.victim.assert_untouched();
    }
}

const RUN: &str = "run --dry-run --runtime=demo@1.0.0 true";
const CHANGES: [&str; 3] = ["install demo@1.1.0", "remove demo@1.0.0", "prune"];

/// SEC-E04: a link to a directory of the same user, in place of one of the store.
#[test]
fn links_in_a_store_are_refused_and_not_followed() {
    for place in Place::all() {
        for object in [
            "store/.joblet", "store/.joblet/staging", "store/.joblet/downloads",
            "store/.joblet/receipts", "store/.joblet/removed",
        ] {
            let starts = object.ends_with(".joblet") || object.ends_with("staging");
            place.renew_with_link(object, &place.victim.path);
            for args in CHANGES.into_iter().chain(["list", "verify"]).chain(starts.then_some(RUN)) {
                place.assert_refused(args, object, "it is not a directory; ");
            }
            assert_eq!(list(&place.path("store")), [".joblet", "demo-1.0.0"]);
        }
    }
}

/// SEC-E04, the negative proof: without the protection, these links are followed.
#[test]
fn without_the_protection_links_in_a_store_are_followed() {
    for place in Place::all() {
        for (object, args) in [
            ("store/.joblet", "install demo@1.1.0"),
            ("store/.joblet/staging", "list"),
            ("store/.joblet/downloads", "list"),
            ("store/.joblet/receipts", "install demo@1.1.0"),
            ("store/.joblet/removed", "list"),
        ] {
            let victim = Victim::new(place.path("another"), place.user);
            place.renew_with_link(object, &victim.path);
            if place.exec_weakly(args).is_some() {
                let touched = std::panic::catch_unwind(|| victim.assert_untouched());
                assert!(touched.is_err(), "{object}: nothing was touched");
            }
            fs::remove_dir_all(place.path("another")).unwrap();
        }
    }
}

/// SEC-E04, SEC-B24, SEC-B26: a directory that another user owns or can write.
#[test]
fn directories_of_others_in_a_store_are_refused() {
    for place in Place::all() {
        for object in [
            "store/.joblet", "store/.joblet/staging", "store/.joblet/downloads",
            "store/.joblet/receipts",
        ] {
            let starts = object.ends_with(".joblet") || object.ends_with("staging");
            place.renew();
            let path = place.path(object);
            fs::set_permissions(&path, Permissions::from_mode(0o1777)).unwrap();
            for args in CHANGES.into_iter().chain(object.ends_with(".joblet").then_some(RUN)) {
                place.assert_refused(
                    args,
                    object,
                    "others may write it (mode 1777); chmod go-w it",
                );
            }
            // In whichever group; a list that lets others write shows in the mode, too.
            for listed in [false, true] {
                fs::set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
                if !listed || give_by_list(&path, OTHER_USER) {
                    let reason = "others may write it (mode 775); chmod go-w it";
                    for args in
                        CHANGES.into_iter().chain(object.ends_with(".joblet").then_some(RUN))
                    {
                        place.assert_refused(args, object, reason);
                    }
                }
            }
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            if place.give_away(&path) {
                let other = if place.user.is_none() { NOBODY } else { OTHER_USER };
                let reason = format!("it belongs to user {other}; run as that user");
                for args in CHANGES.into_iter().chain(starts.then_some(RUN)) {
                    place.assert_refused(args, object, &reason);
                }
                if object.ends_with("downloads") {
                    let weak = place.exec_weakly("install demo@1.1.0");
                    assert!(weak.is_none_or(|it| !it.stderr.contains("refused")));
                }
            }
        }
    }
}

/// SEC-E04: a lock that is a symlink, a FIFO, a hard link, or another user's.
#[test]
fn locks_of_others_are_refused_and_left_as_they_are() {
    for place in Place::all() {
        let (lock, file) = (place.path("store/.joblet/lock"), place.victim.path.join("f"));
        let fifo = || {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, &lock, mode).unwrap();
            chown(&lock, place.user, place.user).unwrap();
        };
        let link = || symlink(&file, &lock).unwrap();
        let kinds: [(&dyn Fn(), &str); 4] = [
            (&link, "it is not a file; move it away"),
            (&|| fs::create_dir(&lock).unwrap(), "it is not a file; move it away"),
            (&fifo, "it is not a file; move it away"),
            (&|| fs::write(&lock, "").unwrap(), "others may open it; move it away"),
        ];
        for (plant, reason) in kinds {
            place.renew();
            fs::remove_file(&lock).unwrap();
            plant();
            if !lock.is_symlink() {
                lchown(&lock, place.user, place.user).unwrap();
            }
            for args in &CHANGES[..2] {
                place.assert_refused(args, "store/.joblet/lock", reason);
            }
            // Commands without the lock work.
            assert_eq!(place.exec(RUN).status, Some(0));
        }
        // A hard link changes the link count: this file is compared by content.
        place.renew();
        let private = place.path("private");
        fs::write(&private, "private\n").unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
        chown(&private, place.user, place.user).unwrap();
        fs::remove_file(&lock).unwrap();
        fs::hard_link(&private, &lock).unwrap();
        place.assert_refused("remove demo@1.0.0", "store/.joblet/lock", "it has other names");
        assert_eq!(fs::read(&private).unwrap(), b"private\n");
        if let Some(weak) = place.exec_weakly("remove demo@1.0.0") {
            assert_eq!(weak.status, Some(0), "{weak:?}");
            assert_ne!(fs::read(&private).unwrap(), b"private\n", "the attack is one");
        }
    }
}

/// SEC-E04: no command of root uses a store that others can write.
#[test]
fn root_uses_no_store_that_others_may_write() {
    if !rustix::process::geteuid().is_root() {
        return not_applicable("only root has stores of several users");
    }
    let place = Place::new(None);
    let store = place.path("store");
    let commands = CHANGES.into_iter().chain(["list", "verify", "info demo", "path demo", RUN]);
    let commands: Vec<_> = commands.collect();
    for mode in [0o775, 0o757, 0o777, 0o1777] {
        place.renew();
        fs::set_permissions(&store, Permissions::from_mode(mode)).unwrap();
        for args in &commands {
            let reason = format!("others may write it (mode {mode:o}); chmod go-w it");
            place.assert_refused(args, "store", &reason);
        }
        let doctor = place.exec("doctor --offline");
        assert!(doctor.stdout.contains("FAIL  store       ~/store is refused: "), "{doctor:?}");
    }
    place.renew();
    chown(&store, Some(NOBODY), None).unwrap();
    for args in &commands {
        place.assert_refused(args, "store", "it belongs to user 65534; run as that user");
    }
    // Links are trusted by their owner.
    place.renew();
    fs::rename(&store, place.path("real")).unwrap();
    symlink("real", &store).unwrap();
    assert_eq!(place.exec("verify").status, Some(0));
    lchown(&store, Some(NOBODY), None).unwrap();
    for args in &commands {
        place.assert_refused(args, "store", "it is a symbolic link of user 65534; remove it");
    }
}

/// SEC-E04: an ordinary user runs from another user's store, and changes nothing in it.
#[test]
fn a_store_of_another_user_is_only_read() {
    if !rustix::process::geteuid().is_root() {
        return not_applicable("only root has stores of several users");
    }
    let mut place = Place::new(Some(OTHER_USER));
    place.renew();
    place.user = Some(NOBODY);
    assert_eq!(place.exec(RUN).status, Some(0));
    assert!(place.exec("info demo").stdout.contains("archive "), "its receipt is read");
    let reason = "it belongs to user 65533; run as that user";
    fs::set_permissions(place.path("store"), Permissions::from_mode(0o777)).unwrap();
    place.assert_refused("install demo@1.1.0", "store/.joblet", reason);
    place.assert_refused("remove demo@1.0.0", "store/.joblet", reason);
    let given = Command::new("chown").args(["-R", "0:0"]).arg(place.path("store")).status();
    assert!(given.unwrap().success());
    let outcome = place.exec("run --runtime=demo@1.1.0 true");
    let message =
        "error[NOTFOUND]: demo@1.1.0 is not installed in ~/store, which you may not change";
    assert!(outcome.stderr.starts_with(message), "{outcome:?}");
}

/// SEC-E04: a configuration that others can write is refused, unless an option names it.
#[test]
fn a_configuration_of_others_is_refused() {
    for place in Place::all() {
        let file = place.path("home/.rnx/config.yaml");
        fs::create_dir(place.path("home/.rnx")).unwrap();
        let registry = place.path("registry");
        let text = format!(
            "runtimes:\n  registries:\n    - {{ name: own, url: {} }}\n",
            registry.display()
        );
        fs::write(&file, text).unwrap();
        chown(&file, place.user, place.user).unwrap();
        assert_eq!(place.exec("list --available").status, Some(0));
        let refused = |reason: &str| {
            let outcome = place.exec("list --available");
            let want = format!("error[STORE]: ~/home/.rnx/config.yaml is refused: {reason}");
            assert_eq!(outcome.status, Some(15), "{outcome:?}");
            assert!(outcome.stderr.starts_with(&want), "{outcome:?}");
            assert!(outcome.stderr.trim_end().ends_with("with --config FILE"), "{outcome:?}");
        };
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        refused("others may write it (mode 666)");
        let named = place.exec(&format!("list --available --config {}", file.display()));
        assert_eq!(named.status, Some(0), "{named:?}");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        if place.give_away(&file) {
            refused("it belongs to user 6553");
        }
    }
}

/// SEC-B24, SEC-B26: group write permission is accepted of the caller's own group, without a list that gives it to others, and
/// not by root.
#[test]
fn a_configuration_that_a_group_may_write() {
    if !rustix::process::geteuid().is_root() {
        return not_applicable("several users and groups");
    }
    // In no file: its group is its own, by the number.
    let own = 65532;
    for user in [None, Some(own)] {
        let place = Place::new(user);
        let file = place.path("home/.rnx/config.yaml");
        fs::create_dir(place.path("home/.rnx")).unwrap();
        let url = place.path("registry");
        let entry = format!("{{ name: own, url: {} }}", url.display());
        fs::write(&file, format!("runtimes:\n  registries:\n    - {entry}\n")).unwrap();
        chown(&file, user, user).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        let status = || place.exec("list --available").status;
        assert_eq!(status(), Some(if user.is_some() { 0 } else { 15 }));
        chown(&file, None, Some(OTHER_USER)).unwrap();
        assert_eq!(status(), Some(15));
        chown(&file, None, Some(own)).unwrap();
        if user.is_none() || !give_by_list(&file, OTHER_USER) {
            continue;
        }
        let outcome = place.exec("list --available");
        let reason = "config.yaml is refused: others may write it (mode 775); chmod go-w it";
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
        if let Some(weakened) = &place.weakened {
            let mut command = place.command(weakened, "list --available");
            let output = command.env("JOBLET_EXEC_WEAKEN", "access-lists").output();
            assert!(output.unwrap().status.success());
        }
    }
}

/// Machines that share a store without shared locks: work is repeated, and all succeed.
#[test]
fn processes_that_see_no_locks_install_all_the_same() {
    for place in Place::all() {
        let Some(weakened) = &place.weakened else { continue };
        let start = |number: usize| {
            let args = ["install demo@1.0.0 -q", "install demo -q", "list -q"][number % 3];
            let mut command = place.command(weakened, args);
            command.env("JOBLET_EXEC_WEAKEN", "locks").stdout(Stdio::null()).spawn().unwrap()
        };
        let children: Vec<_> = (0..40).map(start).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        place.world.assert_store(&["demo-1.0.0", "demo-1.1.0"]);
        assert_eq!(list(&place.path("store/.joblet/receipts")).len(), 4);
        assert_eq!(place.exec("verify").stdout, "demo@1.0.0: intact\ndemo@1.1.0: intact\n");
    }
}

/// SEC-E04: another user replaces a parent directory of a store during a command, which continues
/// in the directory that it has opened.
#[test]
fn a_moved_store_is_still_used() {
    for place in Place::all() {
        let (root, release) = (place.path("registry"), place.path("release"));
        let server = Server::new(move |path, _| {
            while path.ends_with(".tar.gz") && !release.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            Reply::ok(&fs::read(root.join(path.trim_start_matches('/'))).unwrap())
        });
        place.renew();
        let args = format!("install demo@1.1.0 -q --registry {}", server.address);
        let mut installing = place.command(&place.path("joblet-exec"), &args).spawn().unwrap();
        wait_until("it fetches", || server.requests().len() == 2);
        fs::rename(place.path("store"), place.path("moved")).unwrap();
        symlink(&place.victim.path, place.path("store")).unwrap();
        fs::write(place.path("release"), "").unwrap();
        assert!(installing.wait().unwrap().success());
        place.victim.assert_untouched();
        assert_eq!(list(&place.path("moved")), [".joblet", "demo-1.0.0", "demo-1.1.0"]);
        assert_eq!(list(&place.path("moved/.joblet/staging")), Vec::<String>::new());
        for name in ["store", "moved"] {
            let path = place.path(name);
            fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
        }
        fs::create_dir(place.path("store")).unwrap();
    }
}

/// Waits until `done`, at most twenty seconds.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process of another user that locks a directory until this is dropped.
struct Holder(Child);

impl Holder {
    fn new(directory: &Path, kind: &str) -> Self {
        let mut command = Command::new("flock");
        command.args(["--nonblock", kind]).arg(directory);
        command.args(["sh", "-c", "echo held; exec sleep 1000"]).stdout(Stdio::piped());
        if rustix::process::geteuid().is_root() {
            command.uid(OTHER_USER).gid(OTHER_USER);
        }
        let mut child = command.process_group(0).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        // The whole process group: flock(1) and its command.
        _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        _ = self.0.wait();
    }
}

/// Copies the tests' runtime into a store of `user`.
fn store_of(world: &crate::support::World, user: Option<u32>, name: &str) -> PathBuf {
    let store = world.path(name);
    fs::create_dir(&store).unwrap();
    let copied = Command::new("cp").arg("-r").arg(world.path("store/demo")).arg(&store).status();
    assert!(copied.unwrap().success());
    if let Some(user) = user {
        let owner = format!("{user}:{user}");
        assert!(Command::new("chown").arg("-R").arg(owner).arg(&store).status().unwrap().success());
    }
    store
}

/// The program under test, or a weakened one, with a store.
fn with_store(program: &Path, user: Option<u32>, store: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", "/nonexistent").env("JOBLET_EXEC_STORE", store);
    command.args(args).current_dir(store.parent().unwrap().join("cwd"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

/// SEC-E05: locks of other users on a runtime neither delay starts nor prevent removals.
#[test]
fn a_lock_of_another_user_slows_no_start_and_stops_no_removal() {
    let Some(world) = crate::support::World::get() else { return };
    let program = world.path("joblet-exec");
    for (number, user) in crate::support::World::users().into_iter().enumerate() {
        for kind in ["--exclusive", "--shared"] {
            let store = store_of(world, user, &format!("lock{kind}{number}"));
            let exec = |args: &[&str]| with_store(&program, user, &store, args).output().unwrap();
            let start = || {
                let begin = Instant::now();
                let output = exec(&["run", "--runtime=demo", "bash", "-c", ":"]);
                assert!(output.status.success(), "{output:?}");
                begin.elapsed()
            };
            let fastest = || (0..8).map(|_| start()).min().unwrap();
            let alone = fastest();
            let holder = Holder::new(&store.join("demo"), kind);
            let beside = fastest();
            // A process that waits would wait half a second.
            assert!(beside < alone + Duration::from_millis(400), "{kind}: {beside:?}, {alone:?}");
            let removed = exec(&["remove", "demo"]);
            let text = String::from_utf8(removed.stderr).unwrap();
            assert!(removed.status.success(), "{text}");
            let said = "the files of demo stay on the disk as long as they are used (process ";
            assert!(text.lines().nth(1).is_some_and(|line| line.starts_with(said)), "{text}");
            let pid = holder.0.id().to_string();
            let pids = text.split("(process ").nth(1).unwrap().split(')').next().unwrap();
            assert!(pids.split(", ").any(|it| it == pid), "{text} names {pid}");
            assert_eq!(list(&store), [".joblet"]);
            assert_eq!(list(&store.join(".joblet/removed")).len(), 1);
            drop(holder);
            wait_until("its files are deleted", || {
                assert!(exec(&["list"]).status.success());
                list(&store.join(".joblet/removed")).is_empty()
            });
        }
    }
}

/// SEC-E05: `prune` and `verify --repair` under such locks, and the note of a removal.
#[test]
fn prune_and_repair_work_beside_a_lock_of_another_user() {
    for place in Place::all() {
        for kind in ["--exclusive", "--shared"] {
            place.renew();
            assert_eq!(place.exec("install demo@1.1.0").status, Some(0));
            let file = place.path("store/demo-1.1.0/isolated/etc/version");
            fs::write(&file, "odd").unwrap();
            let holders = ["demo-1.0.0", "demo-1.1.0"]
                .map(|name| Holder::new(&place.path("store").join(name), kind));
            let repaired = place.exec("verify --repair demo@1.1.0");
            assert_eq!(repaired.status, Some(0), "{repaired:?}");
            let note =
                "the files of demo-1.1.0 stay on the disk as long as they are used (process ";
            assert!(repaired.stderr.starts_with(note), "{repaired:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "1.1.0");
            let pruned = place.exec("prune");
            assert_eq!(pruned.status, Some(0), "{pruned:?}");
            assert!(
                pruned.stderr.contains("the files of demo-1.0.0 stay on the disk"),
                "{pruned:?}"
            );
            assert_eq!(list(&place.path("store")), [".joblet", "demo-1.1.0"]);
            assert_eq!(list(&place.path("store/.joblet/removed")).len(), 2);
            drop(holders);
            wait_until("their files are deleted", || {
                assert_eq!(place.exec("list").status, Some(0));
                list(&place.path("store/.joblet/removed")).is_empty()
            });
        }
    }
}

/// A job that reports its start, and on request runs a program that it has not read before.
fn job(program: &Path, user: Option<u32>, store: &Path) -> Child {
    let script =
        "echo begun; read line; exec cat /usr/bin/env /etc/nothing 2>/dev/null | head -c 4";
    let mut child =
        with_store(program, user, store, &["run", "--runtime=demo", "bash", "-c", script])
            .spawn()
            .unwrap();
    let mut said = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(&said, b"begun\n");
    child
}

/// Ends the job; its output.
fn end(mut child: Child) -> Vec<u8> {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait_with_output().unwrap().stdout
}

/// SEC-E05: under any locks of another user, a runtime is not deleted while a job of any user runs
/// in it, but afterwards.
#[test]
fn no_runtime_is_deleted_below_a_running_job() {
    let Some(world) = crate::support::World::get() else { return };
    let (program, weakened) = (world.path("joblet-exec"), world.path("weakened"));
    let users = crate::support::World::users();
    for (number, owner) in users.iter().copied().enumerate() {
        for (lock, runner) in [None, Some("--exclusive"), Some("--shared")]
            .into_iter()
            .flat_map(|lock| users.iter().copied().map(move |runner| (lock, runner)))
        {
            if owner.is_some() && runner.is_none() {
                continue; // Root uses no store of another user.
            }
            // An ordinary user does not see a job of another user if a third one holds its lock.
            let name = format!("use{number}{lock:?}{runner:?}");
            for weak in [false, true] {
                let store = store_of(world, owner, &format!("{name}{weak}"));
                let tool = if weak { &weakened } else { &program };
                if !tool.exists() {
                    crate::support::skip("negative proofs: no examples/weakened");
                    continue;
                }
                let holder = lock.map(|kind| Holder::new(&store.join("demo"), kind));
                let child = job(&program, runner, &store);
                // Only the job may keep the files.
                drop(holder);
                let mut command = with_store(tool, owner, &store, &["remove", "demo"]);
                let removed = command.env("JOBLET_EXEC_WEAKEN", "in-use").output().unwrap();
                assert!(removed.status.success(), "{removed:?}");
                assert_eq!(list(&store), [".joblet"]);
                let left = list(&store.join(".joblet/removed")).len();
                let read = end(child);
                if weak {
                    assert_ne!(read, b"\x7fELF", "{name}: the attack is one");
                } else {
                    assert_eq!((left, read.as_slice()), (1, &b"\x7fELF"[..]), "{name}");
                }
                wait_until("its files are deleted", || {
                    let mut command = with_store(&program, owner, &store, &["list"]);
                    assert!(command.status().unwrap().success());
                    list(&store.join(".joblet/removed")).is_empty()
                });
            }
        }
    }
}

/// SEC-E05: jobs that start while their runtime is repeatedly repaired and removed either run or
/// report that it is missing.
#[test]
fn jobs_start_while_their_runtime_is_replaced() {
    let Some(world) = crate::support::World::get() else { return };
    let program = world.path("joblet-exec");
    let store = store_of(world, None, "busy");
    let spare = world.path("store/demo");
    let start = Instant::now();
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            while start.elapsed() < Duration::from_secs(6) {
                let removed = with_store(&program, None, &store, &["remove", "demo"]).output();
                assert!(removed.unwrap().status.success());
                let new = store.join(".new");
                assert!(
                    Command::new("cp").arg("-r").arg(&spare).arg(&new).status().unwrap().success()
                );
                fs::rename(&new, store.join("demo")).unwrap();
            }
        });
        let mut ran = 0;
        while !changing.is_finished() {
            let args = ["run", "--offline", "--runtime=demo", "bash", "-c", "echo; env"];
            let output = with_store(&program, None, &store, &args).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ran += usize::from(output.status.success());
            assert!(output.status.success() || text.starts_with("error[NET]: "), "{text}");
        }
        assert!(ran > 3, "{ran}");
    });
}

/// SEC-E04: a runtime that was unpacked by hand, and that others can change.
#[test]
fn root_runs_no_runtime_that_others_may_write() {
    let Some(world) = crate::support::World::get() else { return };
    if !rustix::process::geteuid().is_root() {
        return not_applicable("what only root refuses");
    }
    let loose = world.copy_runtime("loose");
    let run =
        || crate::support::finish(world.command(None, &["--runtime=loose", "id"]).spawn().unwrap());
    assert_eq!(run().status, Some(0));
    for (mode, owner) in [(0o777, 0), (0o775, 0), (0o755, 65533)] {
        fs::set_permissions(&loose, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&loose, Some(owner), None).unwrap();
        let output = run();
        assert_eq!(output.status, Some(125), "{output:?}");
        assert!(
            output.stderr.contains("error[STORE]: ") && output.stderr.contains("loose"),
            "{output:?}"
        );
    }
}
