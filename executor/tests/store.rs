//! The store and its commands: versions in use are kept, old ones pruned, parallel installations share downloads.

use crate::common::server::Server;
use crate::common::{World, list, members};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The JSON output of a command.
fn json(world: &World, args: &str) -> Value {
    let outcome = world.exec(args.split_whitespace().chain(["--json"]));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{args}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn world_with(versions: &[&str]) -> World {
    let mut world = World::new();
    for version in versions {
        world.publish("demo", version);
    }
    world
}

/// Waits until `done`, at most ten seconds.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn newer_versions_are_named_and_installed_beside_the_older() {
    let mut world = world_with(&["1.0.0"]);
    world.publish("tool", "1.0.0");
    assert_eq!(world.exec(["install", "demo", "tool"]).status, Some(0));
    let latest = world.exec(["outdated"]);
    assert_eq!((latest.stdout.as_str(), latest.status), ("", Some(0)), "{latest:?}");
    assert_eq!(latest.stderr, "every installed runtime is the latest\n");
    world.publish("demo", "1.10.0");
    world.publish("demo", "2.0.0-rc.1");
    world.edit("tool", "1.0.0", |entry| entry["yanked"] = "loses\u{1b}data".into());
    for args in [&["list", "--outdated"][..], &["outdated"], &["runtime", "outdated"]] {
        let table = world.exec(args).stdout;
        assert_eq!(
            table,
            "NAME  INSTALLED  LATEST  NOTE\n\
             demo  1.0.0      1.10.0\n\
             tool  1.0.0      -       yanked: loses\\u{1b}data\n"
        );
    }
    let rows = json(&world, "list --outdated");
    assert_eq!((&rows[0]["latest"], &rows[1]["latest"]), (&"1.10.0".into(), &Value::Null));
    let missing = world.exec(["upgrade", "ruby"]);
    assert_eq!(missing.status, Some(12), "{missing:?}");
    let done = world.exec(["upgrade", "demo"]);
    assert!(done.stderr.starts_with("installed demo@1.10.0 ("), "{done:?}");
    world.assert_store(&["demo-1.0.0", "demo-1.10.0", "tool-1.0.0"]);
    let again = world.exec(["upgrade", "demo"]);
    assert_eq!((again.status, again.stdout.as_str()), (Some(0), ""), "{again:?}");
    assert_eq!(again.stderr, "every installed runtime is the latest\n");
    // Without names, runtimes of no registry are skipped.
    fs::create_dir(world.path("store/gone-1.0.0")).unwrap();
    fs::write(world.path("store/gone-1.0.0/runtime.yml"), "").unwrap();
    world.publish("demo", "1.11.0");
    assert_eq!(json(&world, "runtime upgrade --quiet")[0]["version"], "1.11.0");
}

/// `freshness.json` is displayed, and not required.
#[test]
fn versions_with_known_fixes_are_named() {
    let world = world_with(&["1.0.0"]);
    assert_eq!(world.exec(["install", "demo"]).status, Some(0));
    let mut world = world;
    world.publish("demo", "1.1.0");
    let table = |row: &str| format!("NAME  INSTALLED  LATEST  NOTE\n{row}\n");
    let plain = table("demo  1.0.0      1.1.0");
    assert_eq!(world.exec(["outdated"]).stdout, plain);
    let file = world.path("registry/freshness.json");
    let found = serde_json::json!({
        "version": "1", "checked_at": "2026-03-02T04:00:00Z",
        "runtimes": { "demo": {
            "1.0.0": { "inputs_of": "2026-01-31T12:00:00Z", "inputs": 120, "newer": 3, "security": 2,
                       "fixes": ["CVE-2026-1", "CVE-2026-2", "CVE-2026-3", "CVE\u{1b}-4"] },
            "1.1.0": { "inputs_of": "2026-03-01T12:00:00Z", "inputs": 120, "newer": 0, "security": 0 },
        } },
    });
    fs::write(&file, found.to_string()).unwrap();
    let fixes = "security fixes since, 2: CVE-2026-1, CVE-2026-2, CVE-2026-3, …";
    let marked = table(&format!("demo  1.0.0      1.1.0   {fixes}"));
    assert_eq!(world.exec(["outdated"]).stdout, marked);
    assert_eq!(json(&world, "outdated")[0]["fresh"]["security"], 2);
    let info = world.exec(["info", "demo"]).stdout;
    let inputs = "inputs    of 2026-01-31; 3 of 120 have newer versions, as of 2026-03-02\n";
    assert!(info.contains(inputs), "{info}");
    assert!(info.contains(&format!(", installed, {fixes}\n")), "{info}");
    assert_eq!(info.matches("security fixes").count(), 1, "{info}");
    assert_eq!(json(&world, "info demo")["installed"]["fresh"]["newer"], 3);
    // A malformed file is ignored; -v reports why.
    for bad in ["{", "[]", &found.to_string().replace("\"version\":\"1\"", "\"version\":\"2\"")] {
        fs::write(&file, bad).unwrap();
        let outcome = world.exec(["outdated", "-v"]);
        assert_eq!((outcome.stdout.as_str(), outcome.status), (plain.as_str(), Some(0)), "{bad}");
        assert!(outcome.stderr.contains("freshness.json is not used: "), "{outcome:?}");
    }
}

#[test]
fn info_lists_installed_and_available_versions() {
    let world = world_with(&["1.0.0", "1.1.0"]);
    assert_eq!(world.exec(["install", "demo@1.0.0"]).status, Some(0));
    let text = world.exec(["info", "demo"]);
    for part in [
        "name      demo\n",
        "version   1.0.0\n",
        "path      ~/store/demo-1.0.0\n",
        " in 2 files\n",
        "registry  ~/registry/registry.json\n",
        "archive   ~/registry/demo-1.0.0.tar.gz (",
        "checksum  sha256:",
        "mount     /etc ← isolated/etc\n",
        "versions  1.1.0, ",
        " to fetch\n          1.0.0, installed\n",
    ] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    let object = json(&world, "runtime info demo@1.0.0");
    assert_eq!(object["installed"]["config"]["mounts"][0]["target"], "/etc");
    assert_eq!(object["installed"]["disk"]["files"], 2);
    assert_eq!(object["installed"]["receipt"]["version"], "1.0.0");
    assert_eq!(object["available"][0]["version"], "1.1.0");
    assert_eq!(json(&world, "info demo@1.1.0")["installed"], Value::Null);
    let missing = world.exec(["info", "demo@3.0.0"]);
    assert_eq!(missing.status, Some(12), "{missing:?}");
    // Installed versions need no registry.
    let alone = world.exec(["info", "demo", "--registry", "/no/such/directory"]);
    assert!(alone.stdout.contains("version   1.0.0") && alone.stderr.starts_with("warning: "));
}

#[test]
fn prune_removes_what_is_old_and_nothing_else() {
    let mut world = world_with(&["1.0.0", "1.9.0", "1.10.0", "2.0.0-rc.1"]);
    world.publish("tool", "1.0.0");
    for spec in ["demo@1.0.0", "demo@1.9.0", "demo@1.10.0", "demo@2.0.0-rc.1", "tool"] {
        assert_eq!(world.exec(["install", spec]).status, Some(0));
    }
    let by_hand = world.path("store/hand-1.0.0");
    for directory in [&by_hand, &world.path("store/hand-2.0.0")] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("runtime.yml"), "").unwrap();
    }
    let all = [
        "demo-1.0.0", "demo-1.10.0", "demo-1.9.0", "demo-2.0.0-rc.1", "hand-1.0.0", "hand-2.0.0",
        "tool-1.0.0",
    ];
    let rows = json(&world, "prune --dry-run --keep 2");
    let versions: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["version"]).collect();
    // A pre-release of a later version is not old.
    assert_eq!(versions, ["1.0.0"]);
    assert!(rows[0]["freed"].as_u64().unwrap() > 0, "{rows}");
    world.assert_store(&all);
    let young = world.exec(["prune", "--older-than", "1h"]);
    assert_eq!((young.stdout.as_str(), young.stderr.as_str()), ("", "nothing to remove\n"));
    world.assert_store(&all);
    let receipt = world.path("store/.joblet/receipts/demo-1.9.0.json");
    let mut content: Value = serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    content["installed_at"] = (content["installed_at"].as_u64().unwrap() - 4000).into();
    fs::write(&receipt, content.to_string()).unwrap();
    let done = world.exec(["runtime", "prune", "--older-than", "1h"]);
    assert!(done.stdout.starts_with("NAME  VERSION  FREED\ndemo  1.9.0    "), "{done:?}");
    assert_eq!(world.exec(["prune"]).status, Some(0));
    world.assert_store(&[
        "demo-1.10.0", "demo-2.0.0-rc.1", "hand-1.0.0", "hand-2.0.0", "tool-1.0.0",
    ]);
    let all = world.exec(["prune", "--keep", "0"]);
    assert_eq!(all.status, Some(2), "{all:?}");
    assert!(all.stderr.contains("removes every version; add --yes"), "{all:?}");
    assert_eq!(world.exec(["prune", "--keep", "0", "--yes"]).status, Some(0));
    world.assert_store(&["hand-1.0.0", "hand-2.0.0"]);
    assert_eq!(list(&world.path("store/.joblet/receipts")), Vec::<String>::new());
}

/// SEC-D03: one request for the registry, one for the archive, and all succeed.
#[test]
fn fifty_processes_start_the_same_runtime_on_an_empty_store() {
    let world = world_with(&["1.0.0"]);
    let server = Server::files(world.path("registry"));
    let start = |_| {
        let mut command = world.command();
        command.args(["run", "--runtime=demo@latest", "--registry", &server.address]);
        command.args(["none"]).stderr(Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (0..50).map(start).collect();
    for mut child in children {
        // The runtime has no such program.
        assert_eq!(child.wait().unwrap().code(), Some(127));
    }
    assert_eq!(server.requests(), ["/registry.json", "/demo-1.0.0.tar.gz"]);
    world.assert_store(&["demo-1.0.0"]);
}

/// A server whose archives take until `release` exists.
fn slow(world: &World) -> Server {
    let (root, release) = (world.path("registry"), world.path("release"));
    Server::new(move |path, _| {
        while path.ends_with(".tar.gz") && !release.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        crate::common::server::Reply::ok(
            &fs::read(root.join(path.trim_start_matches('/'))).unwrap(),
        )
    })
}

/// SEC-D03: a process that waits for a killed one continues in its place.
#[test]
fn a_waiting_process_continues_for_a_killed_one() {
    let world = world_with(&["1.0.0"]);
    let server = slow(&world);
    let install = || {
        let mut command = world.command();
        command.args(["install", "demo", "-q", "--registry", &server.address]).spawn().unwrap()
    };
    let mut first = install();
    wait_until("the first one asks", || server.requests().len() == 2);
    let mut others: Vec<_> = (0..5).map(|_| install()).collect();
    first.kill().unwrap();
    first.wait().unwrap();
    wait_until("another one asks", || server.requests().len() == 3);
    fs::write(world.path("release"), "").unwrap();
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(server.requests().len(), 3, "{:?}", server.requests());
    world.assert_store(&["demo-1.0.0"]);
}

/// SEC-D03: a process that waits too long for a stopped one names it.
#[test]
fn a_stopped_process_is_named() {
    let world = world_with(&["1.0.0"]);
    let server = slow(&world);
    let mut command = world.command();
    let mut first =
        command.args(["install", "demo", "-q", "--registry", &server.address]).spawn().unwrap();
    wait_until("it asks", || server.requests().len() == 2);
    let pid = rustix::process::Pid::from_child(&first);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let mut command = world.command();
    command.args(["install", "demo"]).env("JOBLET_EXEC_LOCK_TIMEOUT", "1");
    let outcome = world.outcome(command.output().unwrap());
    assert_eq!(outcome.status, Some(16), "{outcome:?}");
    let message = format!("error[BUSY]: demo-1.0.0 is being changed by process {}; ", first.id());
    assert!(outcome.stderr.starts_with(&message), "{outcome:?}");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    fs::write(world.path("release"), "").unwrap();
    assert!(first.wait().unwrap().success());
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn every_command_removes_leftovers_of_a_dead_process() {
    for command in [
        "list",
        "info demo",
        "verify",
        "outdated",
        "upgrade",
        "prune",
        "run --dry-run --runtime=demo true",
    ] {
        let world = world_with(&["1.0.0"]);
        assert_eq!(world.exec(["install", "demo"]).status, Some(0));
        let work = world.path("store/.joblet");
        fs::create_dir_all(work.join("staging/gone-1.0.0/gone-1.0.0")).unwrap();
        fs::write(work.join("receipts/gone-1.0.0.json"), "{}").unwrap();
        // Killed between two renames, without RENAME_EXCHANGE.
        fs::create_dir_all(work.join("staging/half-1.0.0")).unwrap();
        fs::create_dir_all(work.join("staging/half-1.0.0/.old")).unwrap();
        fs::write(work.join("staging/half-1.0.0/.old/runtime.yml"), "old").unwrap();
        let outcome = world.exec(command.split(' '));
        assert_eq!(outcome.status, Some(0), "{command}: {outcome:?}");
        world.assert_store(&["demo-1.0.0", "half-1.0.0"]);
        let receipts = list(&work.join("receipts"));
        assert!(receipts.iter().all(|name| name.starts_with("demo-")), "{command}: {receipts:?}");
    }
}

/// SEC-D04: the installation of an archive that does not fit is not started.
#[test]
fn an_archive_that_does_not_fit_is_refused_before_the_download() {
    let mut world = world_with(&["1.0.0"]);
    let server = Server::files(world.path("registry"));
    world.edit("demo", "1.0.0", |entry| {
        let mut artifact = entry.clone();
        artifact["unpacked_size"] = (1_u64 << 60).into();
        entry["artifacts"] = serde_json::json!({ "amd64": artifact, "arm64": artifact });
    });
    let outcome = world.exec(["install", "demo", "--registry", server.address.as_str()]);
    assert_eq!(outcome.status, Some(15), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error[STORE]: ~/store: 1.2 EB are"), "{outcome:?}");
    assert!(outcome.stderr.contains(" are needed and "), "{outcome:?}");
    assert_eq!(server.requests(), ["/registry.json"]);
    world.assert_store(&[]);
}

/// SEC-D02: changed files are found in runtimes of every kind of archive, and can be repaired.
#[test]
fn a_flipped_byte_a_missing_and_an_extra_file_are_found() {
    let mut world = world_with(&["1.0.0"]);
    let tree = members::runtime("parted", "1.0.0", vec![members::file("isolated/x", b"x")]);
    world.publish_members("parted", "1.0.0", &members::pack("parted-1.0.0", tree, 4096));
    assert_eq!(world.exec(["install", "demo", "parted"]).status, Some(0));
    for name in ["demo", "parted"] {
        let etc = world.path(&format!("store/{name}-1.0.0/isolated/etc"));
        let intact = world.exec(["verify", name]);
        assert_eq!(intact.stdout, format!("{name}@1.0.0: intact\n"), "{intact:?}");
        let file = etc.join("version");
        let time = file.metadata().unwrap().modified().unwrap();
        let flip = || {
            fs::write(&file, "1.1.0").unwrap();
            File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        };
        let changes: [(&dyn Fn(), &str); 3] = [
            (&flip, "version has other content"),
            (&|| fs::remove_file(&file).unwrap(), "version is missing"),
            (&|| fs::write(etc.join("more"), "").unwrap(), "more is not of this runtime"),
        ];
        for (change, what) in changes {
            change();
            let found = world.exec(["verify"]);
            assert_eq!(found.status, Some(13), "{found:?}");
            assert!(
                found.stdout.contains(&format!("{name}@1.0.0: isolated/etc/{what}\n")),
                "{found:?}"
            );
            assert!(found.stdout.contains(&format!("{name}@1.0.0: damaged\n")), "{found:?}");
            assert!(
                found.stderr.starts_with(&format!(
                    "error[INTEGRITY]: not what was published: {name}@1.0.0; "
                ))
            );
            let repaired = world.exec(["verify", "--repair"]);
            assert_eq!(repaired.status, Some(0), "{repaired:?}");
            assert!(
                repaired.stderr.starts_with(&format!("repaired {name}@1.0.0 (")),
                "{repaired:?}"
            );
            assert_eq!(world.exec(["verify"]).status, Some(0));
        }
    }
    world.assert_store(&["demo-1.0.0", "parted-1.0.0"]);
    // Runtimes unpacked by hand cannot be verified: a note about all runtimes, an error if one is named.
    fs::create_dir(world.path("store/hand-1.0.0")).unwrap();
    fs::write(world.path("store/hand-1.0.0/runtime.yml"), "").unwrap();
    let why = "~/store/hand-1.0.0: no index or file list recorded, cannot verify";
    let all = world.exec(["verify"]);
    assert_eq!((all.status, all.stderr.as_str()), (Some(0), format!("{why}\n").as_str()));
    let hand = world.exec(["verify", "hand"]);
    let error = format!("error[NOTFOUND]: {why}; install it from a registry\n");
    assert_eq!((hand.status, hand.stderr.as_str()), (Some(12), error.as_str()));
}

/// Equal files of different runtimes and kinds of archives are stored once, and `info` reports it.
#[test]
fn equal_files_are_stored_once() {
    let big = "the same in all of them\n".repeat(4000);
    let mut world = World::new();
    for (name, version) in [("one", "1.0.0"), ("one", "2.0.0"), ("two", "1.0.0")] {
        let root = format!("{name}-{version}");
        let yml = format!("name: {name}\nmounts:\n  - {{ source: isolated, target: /data }}\n");
        let files = [
            (format!("{root}/runtime.yml"), yml),
            (format!("{root}/isolated/big"), big.clone()),
            (format!("{root}/isolated/own"), root.clone()),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        world.publish_archive(name, version, &crate::common::gzip(&crate::common::tar(&files)));
    }
    for spec in ["one@1.0.0", "one@2.0.0", "two"] {
        assert_eq!(world.exec(["install", spec]).status, Some(0));
    }
    let verified = world.exec(["verify"]);
    assert_eq!(verified.status, Some(0), "{verified:?}");
    let data =
        |runtime: &str| fs::metadata(world.path(&format!("store/{runtime}/isolated/big"))).unwrap();
    let names = data("two-1.0.0").nlink();
    // Reflinks are separate files.
    assert_eq!(names, if crate::common::clones(&world.path("store")) { 1 } else { 3 });
    let disk = json(&world, "info one@1.0.0")["installed"]["disk"].clone();
    if names == 3 {
        assert!(disk["shared"].as_u64().unwrap() >= big.len() as u64, "{disk}");
        let text = world.exec(["info", "two"]).stdout;
        assert!(text.contains(" of it shared with other versions\n"), "{text}");
    }
    // A damaged file is not shared.
    let spoilt = world.path("store/one-1.0.0/isolated/big");
    let time = spoilt.metadata().unwrap().modified().unwrap();
    fs::write(&spoilt, big.replace("same", "sAme")).unwrap();
    File::options().write(true).open(&spoilt).unwrap().set_modified(time).unwrap();
    assert_eq!(world.exec(["remove", "one@2.0.0"]).status, Some(0));
    assert_eq!(world.exec(["install", "one@2.0.0"]).status, Some(0));
    assert_eq!(world.exec(["verify", "one@2.0.0"]).status, Some(0));
    assert_eq!(world.exec(["remove", "one@1.0.0", "two"]).status, Some(0));
    assert_eq!(world.exec(["verify"]).stdout, "one@2.0.0: intact\n");
}

/// SEC-B16: the time of the YAML parser grows with the square of the nesting, also if only the version is read.
#[test]
fn a_runtime_yml_that_nests_deeply_delays_no_list() {
    let world = World::new();
    fs::create_dir_all(world.path("store/demo")).unwrap();
    let nested = format!("name: demo\nmounts: {}", "[".repeat(200_000));
    fs::write(world.path("store/demo/runtime.yml"), nested).unwrap();
    let begin = std::time::Instant::now();
    let listed = world.exec(["list"]);
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(listed.status, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("demo"), "{listed:?}");
}

/// Versions in read-only stores are neither installed again nor removed.
#[test]
fn shared_stores_are_read_and_not_changed() {
    let mut world = world_with(&["1.0.0"]);
    assert_eq!(world.exec(["install", "demo"]).status, Some(0));
    let run = |world: &World, args: &[&str]| {
        let mut command = world.command();
        let shared = format!("{}/none:{}", world.path("").display(), world.path("store").display());
        command.env("JOBLET_EXEC_SHARED_STORES", shared);
        command.env("JOBLET_EXEC_STORE", world.path("own")).args(args);
        world.outcome(command.output().unwrap())
    };
    assert_eq!(run(&world, &["path", "demo"]).stdout, "~/store/demo-1.0.0\n");
    let again = run(&world, &["install", "demo@1.0.0"]);
    assert_eq!(again.stderr, "demo@1.0.0 is installed already\n");
    let removed = run(&world, &["remove", "demo"]);
    assert!(removed.stderr.contains("demo is in ~/store, which is only read"), "{removed:?}");
    world.publish("demo", "1.1.0");
    assert_eq!(run(&world, &["upgrade", "demo"]).status, Some(0));
    assert_eq!(list(&world.path("own")), [".joblet", "demo-1.1.0"]);
    assert_eq!(run(&world, &["path", "demo"]).stdout, "~/own/demo-1.1.0\n");
    world.assert_store(&["demo-1.0.0"]);
}
