//! Completions in shells, and the manual page.

use crate::shells::{MAN, assert_completes, assert_is_page, complete};
use crate::skip::skip;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The output of `script` in a shell, in a directory with two runtimes.
fn ask(shell: &str, script: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for name in ["python-3.11", "node-20"] {
        fs::create_dir_all(dir.path().join("runtimes-src").join(name)).unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_joblet-publish"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut command = Command::new(shell);
    command.args(["-c", script]).env_clear().env("HOME", dir.path()).current_dir(dir.path());
    let output = command.env("PATH", path).env("exec", program).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{shell}: {script}");
    stdout
}

/// Whether a program is installed; a skip where it is not.
fn has(program: &str) -> bool {
    let has = Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
    if !has {
        skip(&format!("there is no {program} (.ci/deps shells manual)"));
    }
    has
}

#[test]
fn shells_complete() {
    for shell in ["bash", "zsh", "fish"].into_iter().filter(|shell| has(shell)) {
        for (line, want) in [
            ("", "… new lock build check completions man"),
            ("rel", "release"),
            ("build py", "python-3.11"),
            ("lock python-3.11 n", "node-20"),
            ("build --arch ", "all amd64 arm64"),
            ("build --sources run", "runtimes-src"),
            ("build --off", "--offline"),
            ("index --off", ""),
            ("sign --key run", "runtimes-src"),
            ("completions ", "bash fish zsh"),
        ] {
            let got = ask(shell, &complete(shell, "joblet-publish", line));
            assert_completes(shell, line, &got, want);
        }
    }
}

#[test]
fn the_manual_page_is_whole_and_well_formed() {
    let page = ask("sh", "\"$exec\" man");
    let shown = has("groff").then(|| ask("sh", MAN));
    let parts = [
        ".TH JOBLET\\-PUBLISH 1",
        ".SS build NAME",
        "\n.B JOBLET_PUBLISH_SIGN_PASSWORD\n",
        "\n.B runtimes\\-src/NAME/versions.lock\n",
        "\n.B joblet\\-publish lock tools\\-1\n",
        "\n.B 19\nTOOL: ",
    ];
    assert_is_page(&page, shown.as_deref(), &parts);
}
