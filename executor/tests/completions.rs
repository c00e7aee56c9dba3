//! Completions in shells, and the manual page.

use crate::common::shells::{self, assert_completes};
use crate::common::{World, skip::skip};
use crate::support::tmux::Tmux;
use std::process::Command;

/// Whether the shell is installed; a skip where it is not.
fn has(shell: &str) -> bool {
    let has = Command::new(shell).arg("--version").output().is_ok_and(|it| it.status.success());
    if !has {
        skip(&format!("there is no {shell} (.ci/deps shells manual)"));
    }
    has
}

/// The output of `script` in a shell; `$exec` is the program.
fn ask(world: &World, shell: &str, script: &str) -> String {
    let mut command = Command::new(shell);
    command.args(["-c", script]).env_clear().current_dir(world.base.path());
    command.envs(world.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let directory = crate::common::program().parent().unwrap().to_owned();
    command.env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
    let output = command.env("exec", crate::common::program()).output().unwrap();
    let outcome = world.outcome(output);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{shell}: {script}");
    outcome.stdout
}

fn world() -> World {
    let mut world = World::new();
    for (name, version) in [("demo", "1.0.0"), ("demo", "1.1.0"), ("tool", "2.0.0")] {
        world.publish(name, version);
    }
    assert_eq!(world.exec(["install", "demo@1.0.0", "demo@1.1.0"]).status, Some(0));
    world
}

/// Lines up to the cursor, and their completions: all, or some if it begins with `…`.
const TABLE: &[(&str, &str)] = &[
    ("", "… run install job runtime completions"),
    ("inst", "install"),
    ("runtime in", "install info"),
    ("runtime install t", "tool tool@2.0.0"),
    ("job ", "run"),
    ("path ", "demo demo@1.0.0 demo@1.1.0"),
    ("-q --store ./store path d", "demo demo@1.0.0 demo@1.1.0"),
    ("remove demo", "demo demo@1.0.0 demo@1.1.0"),
    ("run --runtime d", "demo demo@1.0.0 demo@1.1.0"),
    ("run d", "demo demo@1.0.0 demo@1.1.0"),
    ("run --here d", "demo demo@1.0.0 demo@1.1.0"),
    ("run --here demo reg", "registry"),
    ("run --runtime=demo --here reg", "registry"),
    ("run --runtime demo reg", "registry"),
    ("run --net", "--network"),
    ("run --network ", "host none"),
    ("list --av", "--available"),
    ("list --color a", "always auto"),
    ("list --o", "--offline --outdated"),
    ("--registry reg", "registry"),
    ("completions ", "bash fish zsh"),
    ("run --runtime=demo ls --r", ""),
    ("prune --keep ", ""),
];

fn complete(world: &World, shell: &str, line: &str) -> String {
    ask(world, shell, &shells::complete(shell, "joblet-exec", line))
}

#[test]
fn bash_completes() {
    let world = world();
    assert!(has("bash"));
    for (line, want) in TABLE {
        assert_completes("bash", line, &complete(&world, "bash", line), want);
    }
    // Bash replaces what follows the last `=` or `@`.
    for (line, want) in [
        ("run --runtime=d", "demo demo@1.0.0 demo@1.1.0"),
        ("run --runtime=demo@", "1.0.0 1.1.0"),
        ("path demo@1.0", "1.0.0"),
    ] {
        assert_completes("bash", line, &complete(&world, "bash", line), want);
    }
}

#[test]
fn zsh_completes() {
    let world = world();
    if has("zsh") {
        for (line, want) in TABLE {
            assert_completes("zsh", line, &complete(&world, "zsh", line), want);
        }
    }
}

#[test]
fn fish_completes() {
    let world = world();
    if !has("fish") {
        return;
    }
    // Fish does not know where the job's command line begins, nor a store given by an option.
    let other = ["-q --store ./store path d", "runtime install t", "run --runtime=demo ls --r"];
    for (line, want) in TABLE.iter().filter(|(line, _)| !other.contains(line)) {
        assert_completes("fish", line, &complete(&world, "fish", line), want);
    }
}

/// In real shells, by the Tab key.
#[test]
fn a_key_completes() {
    for (shell, words, load) in [
        ("bash", &["bash", "--norc"][..], "source <(joblet-exec completions bash)"),
        (
            "zsh",
            &["zsh", "-f"],
            "autoload -Uz compinit; compinit -u -d none; source <(joblet-exec completions zsh)",
        ),
        ("fish", &["fish", "--private"], "joblet-exec completions fish | source"),
    ] {
        if !has(shell) {
            continue;
        }
        let world = world();
        let directory = crate::common::program().parent().unwrap().to_owned();
        let (base, given) = (world.path(""), world.command());
        let starts = move |program: &str| {
            let mut command = Command::new(program);
            command.env_clear().current_dir(&base).env("TERM", "xterm-256color");
            command.envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
            command.env("LANG", "C.UTF-8");
            command
        };
        let Some(window) = Tmux::start(starts, world.path("tmux"), 100, words) else { return };
        window.types(&[&format!("{load}; echo lo''aded"), "Enter"]);
        window.until(shell, |shown| shown.contains("loaded").then_some(()));
        for (typed, want) in
            [("joblet-exec inst", "joblet-exec install"), ("to", "joblet-exec install tool")]
        {
            window.types(&[typed, "Tab"]);
            let completed =
                |shown: &str| shown.lines().any(|line| line.contains(want)).then_some(());
            window.until(&format!("{shell}: {want}"), completed);
        }
    }
}

#[test]
fn the_manual_page_is_whole_and_well_formed() {
    let world = World::new();
    let page = world.exec(["man"]).stdout;
    let shown = has("groff").then(|| ask(&world, "sh", shells::MAN));
    let parts = [
        ".TH JOBLET\\-EXEC 1",
        ".SS run ",
        "\\-\\-runtime",
        "JOBLET_EXEC_STORE",
        "INTEGRITY",
        "\n.B ~/.rnx/config.yaml\n",
        "\n.B joblet\\-exec list \\-\\-available\n",
        "after its timeout",
    ];
    shells::assert_is_page(&page, shown.as_deref(), &parts);
}
