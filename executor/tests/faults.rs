//! Faults of the machine: killed processes, failing disks, power loss.
//!
//! strace kills the program at one system call after another, or makes it fail.
//! `JOBLET_TEST_FAULTS=all` tries every call instead of every tenth.

use crate::common::members::{directory, file, link, noise, pack, runtime};
use crate::common::skip::skip;
use crate::common::{Outcome, World, list, snapshot};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// The status of a shell whose command was killed.
const KILLED: i32 = 128 + 9;

/// A traced system call.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    /// Ordinal among the calls of this name in its thread, from 1.
    ordinal: usize,
    /// The line of strace, with arguments and result.
    text: String,
}

/// strace in a new PID namespace: a removal looks at all processes, so that its number of system
/// calls would depend on those of the machine.
fn strace() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-current-user"]);
    }
    // The first process of a namespace cannot kill itself, as strace does after its tracee.
    let first = "strace \"$@\"; exit $?";
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", first, "strace"]);
    command
}

/// Whether strace works; else a skip.
fn can_trace() -> bool {
    let traced = strace().args(["-o", "/dev/null", "true"]).output();
    let works = traced.is_ok_and(|output| output.status.success());
    if !works {
        skip("strace does not work in a PID namespace (.ci/deps faults)");
    }
    works
}

impl World {
    /// Runs the program with `args` under strace with `options`.
    fn traced(&self, options: &[&str], args: &str) -> Outcome {
        let mut command = strace();
        command.args(["-f", "-qq", "-o"]).arg(self.path("log")).args(options);
        let program = self.command();
        command.arg(program.get_program()).args(args.split(' ')).current_dir(self.base.path());
        command.env_clear().envs(program.get_envs().filter_map(|(k, v)| Some((k, v?))));
        self.outcome(command.output().unwrap())
    }

    /// The system calls of the program with `args`, in order.
    fn calls(&self, args: &str) -> Vec<Call> {
        let outcome = self.traced(&["-y", "-s", "256"], args);
        assert_eq!(outcome.status, Some(0), "{args}: {outcome:?}");
        let mut counts: HashMap<(String, String), usize> = HashMap::new();
        let log = fs::read_to_string(self.path("log")).unwrap();
        let calls = log.lines().filter_map(|line| {
            let (thread, text) = line.split_once(' ')?;
            let (name, _) = text.trim_start().split_once('(')?;
            // The resumed half of a call, a signal, or the exit.
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return None;
            }
            let count = counts.entry((thread.to_owned(), name.to_owned())).or_default();
            *count += 1;
            Some(Call {
                name: name.to_owned(),
                ordinal: *count,
                text: text.trim_start().to_owned(),
            })
        });
        calls.collect()
    }

    /// Runs the program with `args`, where strace injects `what` at `call`.
    fn struck(&self, args: &str, call: &Call, what: &str, options: &[&str]) -> Outcome {
        let inject = format!("inject={}:{what}:when={}", call.name, call.ordinal);
        let trace = format!("trace={}", call.name);
        self.traced(&[options, &["-e", &trace, "-e", &inject]].concat(), args)
    }

    /// Restores the store saved by `save`.
    fn restore(&self) {
        _ = fs::remove_dir_all(self.path("store"));
        copy(&self.path("saved"), &self.path("store"));
    }

    fn save(&self) {
        fs::create_dir_all(self.path("store")).unwrap();
        copy(&self.path("store"), &self.path("saved"));
    }

    /// Asserts that the store contains `trees` and nothing else.
    fn assert_clean(&self, trees: &Trees) {
        self.assert_store(&trees.keys().map(String::as_str).collect::<Vec<_>>());
        for receipt in list(&self.path("store/.joblet/receipts")) {
            let (runtime, _) = receipt.rsplit_once('.').unwrap();
            assert!(trees.contains_key(runtime), "{receipt}");
        }
    }

    fn trees(&self) -> Trees {
        let names = list(&self.path("store"));
        let names = names.into_iter().filter(|name| name != ".joblet");
        let tree = |name: &String| {
            let mut tree = snapshot(&self.path("store").join(name));
            for entry in tree.values_mut() {
                // Directories without an entry in the archive have the time of their creation.
                if entry.0 & 0o170_000 == 0o040_000 {
                    (entry.1, entry.2) = (0, 0);
                }
                // Keeps messages short.
                entry.3 = Sha256::digest(&entry.3)[..4].to_vec();
            }
            tree
        };
        names.map(|name| (name.clone(), tree(&name))).collect()
    }
}

type Trees = BTreeMap<String, BTreeMap<String, (u32, i64, i64, Vec<u8>)>>;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Interval of the calls with a fault.
fn step() -> usize {
    if std::env::var_os("JOBLET_TEST_FAULTS").is_some_and(|how| how == "all") { 1 } else { 10 }
}

/// A registry with two similar versions in members, and one ordinary archive.
fn world() -> World {
    let mut world = World::new();
    for version in ["1.0.0", "2.0.0"] {
        let more = vec![
            directory("isolated/lib"),
            file("isolated/lib/big", &noise(90_000)),
            file("isolated/lib/changed", version.repeat(300).as_bytes()),
            link("isolated/lib/link", "big"),
        ];
        let packed = pack(&format!("demo-{version}"), runtime("demo", version, more), 30_000);
        world.publish_members("demo", version, &packed);
    }
    world.publish("plain", "1.0.0");
    world
}

/// Preparation of a world before the command with a fault.
type Before<'a> = &'a dyn Fn(&World);

fn installed(world: &World, specs: &[&str]) {
    for spec in specs {
        assert_eq!(world.exec(["install", spec]).status, Some(0), "{spec}");
    }
}

/// Kills `args` at every tenth call. Asserts that installed versions are complete, and that the next command works and
/// removes all leftovers.
///
/// `options` are those of strace for every killed run.
fn kill_everywhere(before: Before<'_>, args: &str, next: &str, options: &[&str]) {
    if !can_trace() {
        return;
    }
    let world = world();
    before(&world);
    world.save();
    let old = world.trees();
    let calls = world.calls(args);
    let new = world.trees();
    let mut kills = 0;
    for call in calls.iter().step_by(step()) {
        world.restore();
        let outcome = world.struck(args, call, "signal=KILL", options);
        kills += usize::from(outcome.status == Some(KILLED));
        for (name, tree) in world.trees() {
            let whole = [&old, &new].iter().any(|trees| trees.get(&name) == Some(&tree));
            assert!(whole, "{args}, killed at {call:?}: {name} is {tree:?}");
        }
        let outcome = world.exec(next.split(' '));
        assert_eq!(outcome.status, Some(0), "{next} after {args} at {call:?}: {outcome:?}");
        assert_eq!(world.trees(), new, "{args} at {call:?}");
        world.assert_clean(&new);
    }
    assert!(kills * step() * 10 > calls.len() * 8, "{kills} kills of {} calls", calls.len());
}

/// SEC-D01: an archive in members.
#[test]
fn killed_while_installing_members() {
    kill_everywhere(&|_| (), "install demo@1.0.0", "install demo@1.0.0", &[]);
}

/// SEC-D01: an ordinary archive.
#[test]
fn killed_while_installing_an_ordinary_archive() {
    kill_everywhere(&|_| (), "install plain", "install plain", &[]);
}

/// SEC-D01: an update.
#[test]
fn killed_while_upgrading() {
    let before = |world: &World| installed(world, &["demo@1.0.0"]);
    kill_everywhere(&before, "upgrade demo", "upgrade", &[]);
}

/// SEC-D01: a removal.
#[test]
fn killed_while_removing() {
    let before = |world: &World| installed(world, &["demo@1.0.0", "demo@2.0.0"]);
    kill_everywhere(&before, "remove demo@1.0.0", "prune", &[]);
}

/// One file of the runtime has other content.
fn damaged(world: &World) {
    installed(world, &["demo@1.0.0"]);
    damage(&world.path("store/demo-1.0.0/isolated/lib/changed"));
}

/// Changes a byte of a file, but not its attributes.
fn damage(file: &Path) {
    let mut content = fs::read(file).unwrap();
    content[7] ^= 1;
    let time = file.metadata().unwrap().modified().unwrap();
    fs::write(file, content).unwrap();
    File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

/// SEC-D01, SEC-D02: an interrupted repair leaves the damaged or the repaired version, also without
/// RENAME_EXCHANGE.
#[test]
fn killed_while_repairing() {
    let args = "verify --repair demo";
    kill_everywhere(&damaged, args, args, &[]);
    let slowly = ["-e", "trace=renameat2", "-e", "inject=renameat2:error=EINVAL"];
    let world = world();
    damaged(&world);
    if can_trace() {
        world.save();
        world.calls(args);
        let new = world.trees();
        for number in 1..=3 {
            world.restore();
            let call = Call { name: "renameat".to_owned(), ordinal: number, text: String::new() };
            world.struck(args, &call, "signal=KILL", &slowly);
            assert_eq!(world.exec(args.split(' ')).status, Some(0), "{number}");
            assert_eq!(world.trees(), new, "{number}");
            world.assert_clean(&new);
        }
    }
}

/// SEC-D02: without RENAME_NOREPLACE.
#[test]
fn file_systems_without_new_kinds_of_rename() {
    if !can_trace() {
        return;
    }
    let world = world();
    let old = ["-e", "trace=renameat2", "-e", "inject=renameat2:error=EINVAL"];
    for (args, there) in [
        ("install demo@1.0.0", &["demo-1.0.0"][..]),
        ("upgrade", &["demo-1.0.0", "demo-2.0.0"]),
        ("remove demo@1.0.0", &["demo-2.0.0"]),
    ] {
        let outcome = world.traced(&old, args);
        assert_eq!(outcome.status, Some(0), "{args}: {outcome:?}");
        world.assert_store(there);
    }
    assert_eq!(world.exec(["verify"]).stdout, "demo@2.0.0: intact\n");
}

/// Makes each call of `args` on files of the store fail, one per run.
///
/// Asserts that the command either changed nothing and exited with the status of the class STORE, or succeeded. `must_fail`
/// names calls without which it cannot succeed.
fn fail_everywhere(before: Before<'_>, args: &str, must_fail: &[&str]) {
    const CALLS: [&str; 19] = [
        "write", "pwrite64", "close", "fsync", "syncfs", "rename", "renameat2", "mkdir", "mkdirat",
        "openat", "open", "symlinkat", "linkat", "utimensat", "fchmodat", "chmod", "unlink",
        "unlinkat", "ftruncate",
    ];
    if !can_trace() {
        return;
    }
    let world = world();
    before(&world);
    world.save();
    let old = world.trees();
    let calls = world.calls(args);
    let new = world.trees();
    let store = world.path("store").into_os_string().into_string().unwrap();
    let (mut failed, mut written) = (0, BTreeSet::new());
    for call in calls.iter().filter(|call| CALLS.contains(&call.name.as_str())) {
        let file = call.text.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        if call.name.contains("write") {
            // The content of a lock is for messages only.
            if file.ends_with("/.joblet/lock") {
                continue;
            }
            written.insert(file.clone());
        }
        // Closing a file that was only read loses nothing.
        if !call.text.contains(&store) || (call.name == "close" && !written.remove(&file)) {
            continue;
        }
        let mut call = call.clone();
        let mut only = Vec::new();
        if call.name == "close" || call.name.contains("write") {
            // The thread that writes a file varies, and so do the numbers of other reads and closes.
            call.ordinal = 1;
            only = vec!["-P", &file];
        }
        world.restore();
        let outcome = world.struck(args, &call, "error=EIO", &only);
        let must = must_fail.contains(&call.name.as_str());
        let seen = world.trees();
        match outcome.status {
            Some(0) if !must => assert_eq!(seen, new, "{args}: {call:?}"),
            status => {
                assert_eq!((status, &seen), (Some(15), &old), "{args}: {call:?}: {outcome:?}");
                assert!(outcome.stderr.contains("error[STORE]: "), "{call:?}: {outcome:?}");
                failed += 1;
            }
        }
        // Threads open files in any order: the failed call may belong to the cleanup.
        let cleaning = call.name.starts_with("unlink") || call.name.starts_with("open");
        if outcome.status == Some(0) || cleaning {
            // The next command removes what this one could not.
            assert_eq!(world.exec(["list"]).status, Some(0));
        }
        world.assert_clean(&seen);
    }
    assert!(failed > 20, "{failed}");
}

const MUST: [&str; 8] =
    ["write", "pwrite64", "close", "fsync", "syncfs", "renameat2", "mkdirat", "symlinkat"];

/// SEC-D04: an archive in members.
#[test]
fn a_disk_that_refuses_while_members_are_installed() {
    fail_everywhere(&|_| (), "install demo@1.0.0", &MUST);
}

/// SEC-D04: an ordinary archive.
#[test]
fn a_disk_that_refuses_while_an_ordinary_archive_is_installed() {
    fail_everywhere(&|_| (), "install plain", &MUST);
}

/// SEC-D04: an exhausted quota is a full disk, whichever call fails first.
#[test]
fn a_quota_is_a_full_disk() {
    if !can_trace() {
        return;
    }
    let world = world();
    for (args, call, from) in [
        ("install demo@1.0.0", "mkdirat", 4),
        ("install demo@1.0.0", "write", 1),
        ("install plain", "mkdirat", 3),
        ("install plain", "write", 3),
    ] {
        let inject = format!("inject={call}:error=EDQUOT:when={from}+");
        let staging = world.path("store/.joblet/staging/");
        assert_eq!(world.exec(["list"]).status, Some(0));
        let outcome = world.traced(&["-e", &format!("trace={call}"), "-e", &inject], args);
        assert_eq!(outcome.status, Some(15), "{args}, {call}: {outcome:?}");
        assert!(list(&staging).is_empty(), "{args}, {call}");
        world.exec(["list"]);
        world.assert_store(&[]);
    }
    installed(&world, &["demo@1.0.0", "plain"]);
}

/// SEC-D02: all files of a runtime are synced before the rename, and the rename before the command's message.
#[test]
fn data_goes_before_names() {
    if !can_trace() {
        return;
    }
    for (before, args) in
        [(&[][..], "install demo@1.0.0"), (&[], "install plain"), (&["demo@1.0.0"], "upgrade")]
    {
        let world = world();
        installed(&world, before);
        let calls = world.calls(args);
        let of = |names: &[&str], part: &str| {
            let fits = |call: &Call| names.contains(&&*call.name) && call.text.contains(part);
            calls.iter().rposition(fits).unwrap_or_else(|| panic!("{args}: no {names:?} of {part}"))
        };
        let written = ["write", "pwrite64", "symlinkat", "linkat", "utimensat", "mkdirat"];
        let staged = of(&written, "/.joblet/staging/");
        let receipt = of(&["renameat"], "/.joblet/receipts>");
        let synced = of(&["syncfs"], "/store/.joblet/staging/");
        let named = of(&["renameat2"], "RENAME_NOREPLACE");
        let settled = of(&["fsync"], "/store>");
        assert!(staged < synced && receipt < synced, "{args}: {staged} {receipt} {synced}");
        assert!(synced < named && named < settled, "{args}: {synced} {named} {settled}");
    }
}
