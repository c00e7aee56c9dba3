//! The command line on terminals and in scripts.

use crate::common::World;
use crate::common::server::{Reply, Server};
use std::fs;
use std::process::{Command, Stdio};

#[test]
fn help_goes_to_stdout_and_succeeds() {
    let world = World::new();
    let help = world.exec(["--help"]);
    assert_eq!((help.status, help.stderr.as_str()), (Some(0), ""));
    let words = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["run ", "Examples:", "13 INTEGRITY", "126 if the command cannot be executed"] {
        assert!(words.contains(part), "{part}: {}", help.stdout);
    }
    let run = world.exec(["job", "run", "--help"]);
    assert!(run.stdout.contains("Usage: joblet-exec run --runtime=SPEC"), "{}", run.stdout);
    assert!(run.stdout.contains("Also:  job run"), "{}", run.stdout);
    let version = world.exec(["version"]);
    assert_eq!(version.stdout, format!("joblet-exec {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_have_status_2_and_125_under_run() {
    let world = World::new();
    for (args, status) in [
        (&["instal", "demo"][..], 2),
        (&["install"], 2),
        (&["list", "--bogus"], 2),
        (&[], 2),
        (&["run", "ls"], 125),
        (&["job", "run", "--runtime=demo", "--bogus", "ls"], 125),
        (&["run", "--runtime=../x", "ls"], 125),
    ] {
        let outcome = world.exec(args);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(status), ""), "{args:?}");
        assert!(outcome.stderr.starts_with("error[USAGE]: "), "{args:?}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn a_run_that_cannot_start_has_status_125_and_the_class() {
    let world = World::new();
    let outcome = world.exec(["run", "--runtime=demo", "true"]);
    assert_eq!(outcome.status, Some(125));
    assert!(
        outcome.stderr.starts_with("error[NOTFOUND]: there is no demo: nothing is published in"),
        "{outcome:?}"
    );
}

#[test]
fn without_home_the_missing_piece_is_named() {
    let world = World::new();
    let mut command = world.command();
    command.env_remove("HOME").env_remove("JOBLET_EXEC_STORE").arg("list");
    let outcome = world.outcome(command.output().unwrap());
    if rustix::process::geteuid().is_root() {
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    } else {
        assert_eq!(outcome.status, Some(2));
        assert!(outcome.stderr.contains("name the store with --store DIR"), "{outcome:?}");
    }
}

/// A failed write of output names the output, not the store.
#[test]
fn a_full_disk_of_the_output_is_reported() {
    let world = World::new();
    for verb in [&["--help"][..], &["list", "--json"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = world.command().args(verb).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("standard output"), "{verb:?} {stderr}");
        assert!(!stderr.contains("--store"), "{verb:?} {stderr}");
        assert_ne!(output.status.code(), Some(0), "{verb:?}");
    }
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let world = World::new();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let status = world.command().arg("--help").stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let world = World::new();
    assert!(world.exec(["nope"]).stderr.starts_with("error[USAGE]"));
    let args = ["path", "demo", "--color", "always"];
    assert!(world.exec(args).stderr.starts_with("\x1b[1;31merror[NOTFOUND]\x1b[0m: "));
}

/// Runs the program on a terminal and returns everything that the terminal got.
fn on_a_terminal(world: &World, args: &str) -> String {
    let program = crate::common::program();
    let mut script = Command::new("script");
    script.args(["-qefc", &format!("{} {args}", program.display()), "/dev/null"]);
    for (name, value) in world.command().get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    let output = script.env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn progress_is_for_terminals_only() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let files = world.path("registry");
    let slow = Server::new(move |path, _| {
        // Long enough for a bar to be drawn at least once.
        std::thread::sleep(std::time::Duration::from_millis(200));
        Reply::ok(&fs::read(files.join(path.trim_start_matches('/'))).unwrap())
    });
    let install = format!("install demo --registry {}", slow.address);
    let seen = on_a_terminal(&world, &install);
    assert!(seen.contains("downloading demo-1.0.0.tar.gz"), "{seen:?}");
    assert!(seen.contains("unpacking demo@1.0.0"), "{seen:?}");
    assert!(seen.contains("installed demo@1.0.0"), "{seen:?}");
    world.exec(["remove", "demo"]);
    assert!(!on_a_terminal(&world, &format!("{install} --quiet")).contains("demo"));
    world.exec(["remove", "demo"]);
    let piped = world.exec(install.split(' '));
    assert_eq!(piped.stderr.lines().count(), 1, "{}", piped.stderr);
}

/// SEC-E14, SEC-E16
#[test]
fn progress_shows_no_secrets_and_what_is_not_seen() {
    let mut world = World::new();
    let archive = fs::read(world.publish("demo", "1.0.0")).unwrap();
    let name = "gz.\u{202e}rat\u{200b}.tar.gz";
    fs::write(world.path("registry").join(name), &archive).unwrap();
    world.edit("demo", "1.0.0", |entry| entry["download_url"] = name.into());
    let seen = on_a_terminal(&world, "install demo -v");
    assert!(seen.contains("verifying gz.\\u{202e}rat\\u{200b}.tar.gz"), "{seen:?}");
    assert!(!seen.contains(['\u{202e}', '\u{200b}']), "{seen:?}");
    world.exec(["remove", "demo"]);
    world.edit("demo", "1.0.0", |entry| entry["download_url"] = "demo.tar.gz?sig=s3cret".into());
    let files = world.path("registry");
    let slow = Server::new(move |path, _| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        match path {
            "/demo.tar.gz?sig=s3cret" => Reply::ok(&archive),
            _ => Reply::ok(&fs::read(files.join("registry.json")).unwrap()),
        }
    });
    let args = format!("install demo -v --registry '{}/registry.json?s3cret'", slow.address);
    let seen = on_a_terminal(&world, &args);
    assert!(seen.contains("downloading demo.tar.gz?…"), "{seen:?}");
    assert!(!seen.contains("s3cret"), "{seen:?}");
    let path = world.path("store\u{200b}");
    fs::rename(world.path("store"), &path).unwrap();
    let seen = on_a_terminal(&world, &format!("path demo --store '{}'", path.display()));
    assert!(seen.contains("store\\u{200b}/demo-1.0.0"), "{seen:?}");
    // In scripts output is not escaped.
    let printed = world.exec(["path", "demo", "--store", "store\u{200b}"]).stdout;
    assert_eq!(printed, "~/store\u{200b}/demo-1.0.0\n");
}

/// JSON is UTF-8: with `--json` a store with another path is refused at once; without it, it is usable.
#[test]
fn json_names_no_path_that_is_not_utf_8() {
    use std::os::unix::ffi::OsStrExt;
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let store = std::ffi::OsStr::from_bytes(b"st\xffre");
    let exec = |words: &[&str]| {
        let mut command = world.command();
        world.outcome(command.args(words).env("JOBLET_EXEC_STORE", store).output().unwrap())
    };
    for (words, status) in [
        (&["install", "demo", "--json"][..], 2),
        (&["list", "--json"], 2),
        (&["info", "demo", "--json"], 2),
        (&["run", "--runtime=demo", "--dry-run", "--json", "true"], 125),
    ] {
        let outcome = exec(words);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(status), ""), "{words:?}");
        let message = "--json cannot name the store ~/st\u{fffd}re, which is not UTF-8; leave --json out, or \
                       name another store with --store DIR";
        let said: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(said, serde_json::json!({ "error": { "class": "USAGE", "message": message } }));
    }
    assert!(!world.path("").join(store).exists());
    assert_eq!(exec(&["install", "demo"]).status, Some(0));
    let list = world.command().arg("list").env("JOBLET_EXEC_STORE", store).output().unwrap();
    assert_eq!(list.status.code(), Some(0));
    assert_eq!(exec(&["man", "--json"]).status, Some(0), "what names no path is printed");
}
