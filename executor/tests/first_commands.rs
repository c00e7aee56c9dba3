//! First commands of new users, and the first line of each response.

use crate::common::World;
use std::io::Write;
use std::process::{Command, Stdio};

/// A world with two versions of a runtime in its registry, the older one installed.
fn world() -> World {
    let mut world = World::new();
    for version in ["1.3.1", "1.3.2", "2.0.0"] {
        world.publish("python-3.11", version);
    }
    assert_eq!(world.exec(["install", "python-3.11@1.3.1"]).status, Some(0));
    world
}

#[test]
fn twenty_habits_have_the_expected_first_line() {
    let world = world();
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    for (line, want) in [
        ("help", "Install Joblet runtimes and run jobs in them: no daemon, no root."),
        ("help run", "Run a job in a runtime; installs it first if no version is installed."),
        ("ls", "NAME         VERSION  SIZE"),
        ("images", "NAME         VERSION  SIZE"),
        ("search PYTHON", "NAME         VERSION  SIZE"),
        ("search pythn", "NAME         VERSION  SIZE"),
        ("search nothing-like-it", "no runtime has \"nothing-like-it\" in its name"),
        ("update", "installed python-3.11@2.0.0 ("),
        ("pull python-3.11@1.3", "installed python-3.11@1.3.2 ("),
        ("install python-3.11@1.3", "python-3.11@1.3.2 is installed already"),
        ("install python-3.11@1.4", "error[NOTFOUND]: no version of python-3.11@1.4 in "),
        ("install python", "error[NOTFOUND]: no runtime is called python in "),
        (
            "install python:3.11",
            "error[USAGE]: \"python:3.11\" is not how a runtime is named; did ",
        ),
        (
            "install python-3.11==1.3.2",
            "error[USAGE]: \"python-3.11==1.3.2\" is not how a runtime is",
        ),
        ("uninstall python-3.11", "error[USAGE]: 3 versions of python-3.11 are installed; name "),
        ("rm python-3.11@1.3.1", "removed "),
        (
            "run --rm -it python:3.11 bash",
            "error[USAGE]: run needs --runtime=SPEC: \"python:3.11\"",
        ),
        ("run -p 80:80 python-3.11 ls", "error[USAGE]: -p: ports need no publishing"),
        ("run --name x python-3.11 ls", "error[USAGE]: --name: jobs have no name"),
        (
            "run python-3.11",
            "error[USAGE]: run needs a COMMAND after the runtime; joblet-exec shell",
        ),
        ("run python-3.11 -m 2g ls", "error[USAGE]: -m is after the runtime python-3.11"),
        ("job list", "error[USAGE]: job list is not a command here: it needs a Joblet server"),
        ("prune --keep 0", "error[USAGE]: prune --keep 0 removes every version; add --yes"),
    ] {
        let outcome = world.exec(line.split(' '));
        let output = if outcome.stdout.is_empty() { &outcome.stderr } else { &outcome.stdout };
        assert!(first(output).starts_with(want), "{line}: {outcome:?}");
        assert!(outcome.stderr.lines().count() <= 1, "one line: {outcome:?}");
    }
    // Usage errors are reported before an installation.
    let missing = world.exec(["run", "--upload", "none", "python-3.11@1.3.1", "ls"]);
    assert!(!world.path("store/python-3.11-1.3.1").exists());
    assert!(missing.stderr.starts_with("error[USAGE]: --upload none: "), "{missing:?}");
    // The job's environment, without a job.
    let plan = "run -v /tmp:/data -m 2g --rm --dry-run python-3.11 -- ls";
    let outcome = world.exec(plan.split(' '));
    assert!(
        outcome.stdout.contains("/data") && !outcome.stdout.contains("read-only /data"),
        "{outcome:?}"
    );
}

/// `rnx` may be a link to the program: the commands of Joblet's documentation work unchanged.
#[test]
fn it_answers_as_rnx() {
    let world = world();
    let link = world.path("rnx");
    std::os::unix::fs::symlink(crate::common::program(), &link).unwrap();
    for (line, want) in [
        ("runtime install python-3.11@1.3.2", "installed python-3.11@1.3.2 ("),
        ("runtime list", "NAME "),
        ("job run --runtime=python-3.11@1.3.2 --dry-run python x.py", ""),
    ] {
        let mut command = Command::new(&link);
        for (name, value) in world.command().get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let output = command.current_dir(world.path("")).args(line.split(' ')).output().unwrap();
        let outcome = world.outcome(output);
        assert_eq!(outcome.status, Some(0), "{line}: {outcome:?}");
        assert!((outcome.stdout + &outcome.stderr).starts_with(want), "{line}");
    }
}

#[test]
fn an_empty_registry_is_reported() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let document = r#"{"version": "1", "updated_at": "2025-10-20T23:56:08Z", "runtimes": {}}"#;
    std::fs::write(world.path("registry/registry.json"), document).unwrap();
    for (line, want) in [
        (
            "list --available",
            "nothing is published in ~/registry/registry.json yet; --registry WHERE",
        ),
        ("search x", "nothing is published in ~/registry/registry.json yet; --registry WHERE"),
        ("update", "no runtime is installed in ~/store"),
        ("install demo", "error[NOTFOUND]: there is no demo: nothing is published in ~/registry"),
    ] {
        let outcome = world.exec(line.split(' '));
        assert!(outcome.stderr.starts_with(want), "{line}: {outcome:?}");
    }
}

/// A runtime from a registry that is not configured is upgraded from there.
#[test]
fn upgrades_come_from_where_the_runtime_came_from() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let other = world.path("other");
    std::fs::create_dir(&other).unwrap();
    let registry = world.path("registry").to_str().unwrap().to_owned();
    assert_eq!(world.exec(["install", "demo", "--registry", &registry]).status, Some(0));
    world.publish("demo", "1.1.0");
    // Without an option; another registry is configured.
    let config = world.path("config.yaml");
    let document = r#"{"version": "1", "updated_at": "2025-10-20T23:56:08Z", "runtimes": {}}"#;
    std::fs::write(other.join("registry.json"), document).unwrap();
    let yaml = format!("runtimes: {{ registries: [{{ name: other, url: {other:?} }}] }}");
    std::fs::write(&config, yaml).unwrap();
    let exec = |world: &World, words: &[&str]| {
        let mut command = world.command();
        command.env_remove("JOBLET_EXEC_REGISTRY").arg("--config").arg(&config).args(words);
        world.outcome(command.output().unwrap())
    };
    let outdated = exec(&world, &["outdated"]);
    assert!(outdated.stdout.contains("demo  1.0.0      1.1.0"), "{outdated:?}");
    let upgraded = exec(&world, &["upgrade"]);
    assert!(upgraded.stderr.starts_with("installed demo@1.1.0 ("), "{upgraded:?}");
    // Newer versions are listed, also if another registry is unreachable.
    let listed = exec(&world, &["list", "--available"]);
    assert!(listed.stdout.contains("\ndemo  1.1.0"), "{listed:?}");
    std::fs::rename(other.join("registry.json"), other.join("gone")).unwrap();
    let listed = exec(&world, &["list", "--available", "--refresh"]);
    assert!(listed.stdout.contains("\ndemo  1.1.0"), "{listed:?}");
    assert!(
        listed.stderr.starts_with("warning: ") && listed.stderr.lines().count() == 1,
        "{listed:?}"
    );
    std::fs::rename(other.join("gone"), other.join("registry.json")).unwrap();
    world.publish("demo", "1.2.0");
    // An invalid registry is named, and other runtimes are upgraded.
    let document = world.path("registry/registry.json");
    let good = std::fs::read(&document).unwrap();
    std::fs::write(&document, "x").unwrap();
    let broken = exec(&world, &["upgrade"]);
    assert_eq!(broken.status, Some(11), "{broken:?}");
    assert!(
        broken.stderr.starts_with("error[REGISTRY]: registry ~/registry/registry.json: "),
        "{broken:?}"
    );
    std::fs::write(&document, good).unwrap();
    // If registries must be signed, an unsigned one is used only if it is named.
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let yaml = format!(
        "runtimes: {{ registries: [{{ name: other, url: {other:?}, public_key: {key} }}] }}"
    );
    std::fs::write(&config, yaml).unwrap();
    let signed = exec(&world, &["upgrade"]);
    assert!(
        signed
            .stderr
            .starts_with("error[INTEGRITY]: registry ~/other/registry.json: its signature"),
        "{signed:?}"
    );
    assert!(!world.path("store/demo-1.2.0").exists());
    let named = exec(&world, &["upgrade", "--registry", &registry]);
    assert!(named.stderr.starts_with("installed demo@1.2.0 ("), "{named:?}");
}

/// Runs a command on a terminal with the input `typed`, and returns the terminal's output.
fn on_a_terminal(world: &World, line: &str, typed: &str) -> String {
    let mut script = Command::new("script");
    let program = crate::common::program();
    let line = format!("stty cols 80 -echo; {} {line}", program.display());
    script.args(["-qec", &line, "/dev/null"]);
    for (name, value) in world.command().get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    script.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_terminal_gets_a_question_a_next_step_and_lines_that_fit() {
    let world = world();
    let installed = on_a_terminal(&world, "install python-3.11@1.3.2", "");
    let next =
        "next: joblet-exec run python-3.11@1.3.2 COMMAND, or joblet-exec shell python-3.11@1.3.2";
    assert!(installed.contains(next), "{installed:?}");
    for line in ["list", "list --available --all-versions", "--help", "run --help"] {
        let shown = on_a_terminal(&world, line, "");
        let widest = shown.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
        assert!(widest <= 80, "{line}: {widest}: {shown}");
    }
    let kept = on_a_terminal(&world, "prune", "n\n");
    assert!(kept.contains("? [y/N] ") && kept.contains("nothing was removed"), "{kept:?}");
    world.assert_store(&["python-3.11-1.3.1", "python-3.11-1.3.2"]);
    let pruned = on_a_terminal(&world, "prune", "y\n");
    assert!(pruned.contains("freed"), "{pruned:?}");
    world.assert_store(&["python-3.11-1.3.2"]);
}

/// A version that was published a moment ago is installed, and `upgrade` finds it, although the cached document is
/// fresh. A registry in the environment is where new names come from; what is installed is upgraded from its own.
#[test]
fn what_was_published_just_now_is_found() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let server = crate::common::server::Server::files(world.path("registry"));
    let exec = |world: &World, registry: &str, line: &str| {
        let mut command = world.command();
        command.env("JOBLET_EXEC_REGISTRY", registry).args(line.split(' '));
        world.outcome(command.output().unwrap())
    };
    let installed = exec(&world, &server.address, "install demo");
    assert!(installed.stderr.starts_with("installed demo@1.0.0 ("), "{installed:?}");
    world.publish("demo", "1.1.0");
    world.publish("tool", "1.0.0");
    for (line, want) in [
        ("install demo@1.1.0", "installed demo@1.1.0 ("),
        ("remove demo@1.1.0", "removed ~/store/demo-1.1.0"),
        ("install tool", "installed tool@1.0.0 ("),
    ] {
        let outcome = exec(&world, &server.address, line);
        assert!(outcome.stderr.starts_with(want), "{line}: {outcome:?}");
    }
    let asked = server.requests().len();
    let missing = exec(&world, &server.address, "install demo@9.0.0");
    assert_eq!((missing.status, server.requests().len()), (Some(12), asked + 1), "{missing:?}");
    let known = exec(&world, &server.address, "install --offline demo@9.0.0");
    assert_eq!((known.status, server.requests().len()), (Some(12), asked + 1), "{known:?}");
    world.publish("tool", "2.0.0");
    let other = world.path("other");
    std::fs::create_dir(&other).unwrap();
    let document = r#"{"version": "1", "updated_at": "2025-10-20T23:56:08Z", "runtimes": {}}"#;
    std::fs::write(other.join("registry.json"), document).unwrap();
    let other = other.to_str().unwrap();
    let outdated = exec(&world, other, "outdated");
    assert!(outdated.stdout.contains("\ntool  1.0.0      2.0.0"), "{outdated:?}");
    let upgraded = exec(&world, other, "upgrade tool");
    assert!(upgraded.stderr.starts_with("installed tool@2.0.0 ("), "{upgraded:?}");
    // So is what is exported, which is reported when it is there.
    let exported = exec(&world, other, "export --to bundle tool");
    assert!(exported.stderr.starts_with("exported tool@2.0.0 for "), "{exported:?}");
    let half = exec(&world, other, "export --to half tool none");
    assert!(half.status == Some(12) && half.stderr.starts_with("error"), "{half:?}");
    let named = exec(&world, other, &format!("upgrade --registry {other} tool"));
    assert_eq!(named.status, Some(12), "{named:?}");
}

/// A plan is printed of what is installed; nothing is installed for it.
#[test]
fn a_dry_run_installs_nothing() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let outcome = world.exec(["run", "--dry-run", "demo", "true"]);
    let error = "error[NOTFOUND]: demo is not installed, and --dry-run installs nothing; joblet-exec install it first\n";
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(125), error));
    world.assert_store(&[]);
}

/// Paths that the shell did not expand, and a registry that is named by a relative path.
#[test]
fn paths_mean_what_they_say_later_too() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    for line in ["export --to=~/usb demo", "run --bind=~/data:/data demo true"] {
        let outcome = world.exec(line.split(' '));
        assert!(outcome.stderr.contains("shells do not expand ~ after ="), "{line}: {outcome:?}");
        assert!(!world.path("~").exists());
    }
    assert_eq!(world.exec(["install", "--registry", "registry", "demo"]).status, Some(0));
    let list = world.exec(["list"]);
    assert!(list.stdout.contains("~/registry"), "{list:?}");
    let offline = world.exec(["run", "--registry", "https://127.0.0.1:1/", "tool", "true"]);
    assert!(offline.stderr.contains(": tool is not installed here, and "), "{offline:?}");
}
