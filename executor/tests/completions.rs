//! What shells make of our completions, and man of our page.

use crate::common::{World, skip::skip};
use std::process::Command;

/// Whether the shell is installed; a skip where it is not.
fn has(shell: &str) -> bool {
    let has = Command::new(shell).args(["-c", ":"]).status().is_ok_and(|status| status.success());
    if !has {
        skip(&format!("there is no {shell} (.ci/deps shells)"));
    }
    has
}

/// What a shell says to `script`, in which `$exec` is the program.
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

/// Lines up to the cursor, and what they can become: all of it, or some if it begins with `…`.
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

fn assert_completes(shell: &str, line: &str, got: &str, want: &str) {
    let mut got: Vec<_> = got.split_whitespace().collect();
    got.sort_unstable();
    got.dedup();
    if let Some(some) = want.strip_prefix("… ") {
        assert!(some.split(' ').all(|word| got.contains(&word)), "{shell}: {got:?}");
        return;
    }
    let mut want: Vec<_> = want.split_whitespace().collect();
    want.sort_unstable();
    assert_eq!(got, want, "{shell}: {line:?}");
}

#[test]
fn bash_completes() {
    let world = world();
    assert!(has("bash"));
    let complete = |line: &str| {
        let script = "source <(\"$exec\" completions bash); complete -p joblet-exec >/dev/null; \
                      COMP_LINE=\"joblet-exec $0\" COMP_POINT=${#COMP_LINE}; \
                      COMP_LINE=\"joblet-exec $LINE\"; COMP_POINT=${#COMP_LINE}; \
                      _joblet_exec joblet-exec; echo \"${COMPREPLY[*]}\"";
        ask(&world, "bash", &format!("LINE='{line}'; {script}"))
    };
    for (line, want) in TABLE {
        assert_completes("bash", line, &complete(line), want);
    }
    // Bash puts in place of what follows the last `=` or `@`.
    assert_completes("bash", "", &complete("run --runtime=d"), "demo demo@1.0.0 demo@1.1.0");
    assert_completes("bash", "", &complete("run --runtime=demo@"), "1.0.0 1.1.0");
    assert_completes("bash", "", &complete("path demo@1.0"), "1.0.0");
}

/// zsh has no way to ask its completions but a terminal; a stand-in for its builtins says what they got.
#[test]
fn zsh_completes() {
    let world = world();
    if !has("zsh") {
        return;
    }
    for (line, want) in TABLE {
        let script = format!(
            "compdef() {{ :; }}; compset() {{ :; }}; _files() {{ print -l -- ${{cur}}*(N); }}; \
             compadd() {{ shift; print -l -- ${{(M)@:#${{cur}}*}}; }}; \
             source <($exec completions zsh); \
             words=(joblet-exec ${{=:-{line}X}}); words[-1]=${{words[-1]%X}}; CURRENT=$#words; \
             _joblet_exec"
        );
        assert_completes("zsh", line, &ask(&world, "zsh", &script), want);
    }
}

#[test]
fn fish_completes() {
    let world = world();
    if !has("fish") {
        return;
    }
    for (line, want) in TABLE {
        let script = format!(
            "$exec completions fish | source; complete -C 'joblet-exec {line}' | string split -f 1 \\t"
        );
        // Fish does not know where a job begins, nor a store that an option names.
        let got = ask(&world, "fish", &format!("{script}; true")).replace("/\n", "\n");
        if !["-q --store ./store path d", "runtime install t", "run --runtime=demo ls --r"]
            .contains(line)
        {
            assert_completes("fish", line, &got, want);
        }
    }
}

#[test]
fn the_manual_page_is_whole_and_well_formed() {
    let world = World::new();
    let page = world.exec(["man"]).stdout;
    for part in [".TH JOBLET-EXEC 1", ".SS run ", "\\-\\-runtime", "JOBLET_EXEC_STORE", "INTEGRITY"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.lines().all(|line| !line.is_empty() && !line.starts_with('\'')), "{page}");
    let Ok(groff) = Command::new("groff").arg("--version").output() else {
        return skip("there is no groff (.ci/deps manual)");
    };
    assert!(groff.status.success());
    let script = "\"$exec\" man | groff -man -Tutf8 -ww";
    let shown = ask(&world, "sh", script);
    // Bold letters are typed twice.
    let bold = |letter: char| format!("{letter}\u{8}{letter}");
    assert!(shown.contains(&"COMMANDS".chars().map(bold).collect::<String>()), "{shown}");
    assert!(shown.contains("its timeout"), "{shown}");
}
