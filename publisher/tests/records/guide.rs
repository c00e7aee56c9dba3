//! Runs the commands of `CREATING_RUNTIMES.md`, in order, with its manifest.

use super::world::{joblet_exec, repository};
use crate::skip::skip;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

/// The fenced blocks of a language, in their order.
pub(super) fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let open = format!("```{language}\n");
    text.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn program(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Runs the commands of a document in `dir/checkout`, with programs of `dir/bin`; returns their output. Reports a skip
/// if the inputs are not available.
pub(super) fn follow(dir: &Path, commands: &str, editor: &str) -> Option<String> {
    let at = |below: &str| dir.join(below);
    // Shared with other tests, so that inputs are downloaded once.
    let inputs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inputs");
    fs::create_dir_all(&inputs).unwrap();
    fs::create_dir(at("cache")).unwrap();
    symlink(inputs, at("cache/joblet-publish")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", commands])
        .current_dir(at("checkout"))
        .env("PATH", format!("{}:{path}", at("bin").display()))
        .env("EDITOR", editor)
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", at("cache"))
        .env("JOBLET_EXEC_STORE", at("store"))
        .output()
        .unwrap();
    let [said, complaint] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    if matches!(output.status.code(), Some(10 | 17 | 19)) {
        skip(&format!("the locked inputs are not available: {complaint}"));
        return None;
    }
    assert!(output.status.success(), "{said}{complaint}");
    Some(said)
}

#[test]
fn the_guide_leads_from_an_idea_to_a_published_runtime() {
    let guide = fs::read_to_string(repository("CREATING_RUNTIMES.md")).unwrap();
    let [manifest] = blocks(&guide, "yaml")[..] else { panic!("one manifest") };
    let commands = blocks(&guide, "bash");
    let dir = tempfile::tempdir().unwrap();
    let at = |below: &str| dir.path().join(below);
    for place in ["bin", "checkout/runtimes-src", "checkout/registry-site"] {
        fs::create_dir_all(at(place)).unwrap();
    }
    fs::write(at("manifest.yaml"), manifest).unwrap();
    program(&at("bin/editor"), "#!/bin/sh\nexec cp ../manifest.yaml \"$1\"\n");
    symlink(env!("CARGO_BIN_EXE_joblet-publish"), at("bin/joblet-publish")).unwrap();
    symlink(joblet_exec(), at("bin/joblet-exec")).unwrap();
    let Some(said) = follow(dir.path(), &commands.concat(), "editor") else { return };
    // The output that the guide shows.
    for line in [
        "runtimes-src/jq-1/manifest.yaml\n",
        "runtimes-src/jq-1/versions.lock: arm64: ",
        "jq-1-1.0.0 amd64: checks passed: 2\n",
        "\tjq\tusr/bin/jq\n",
        "\n42\n",
        "registry.json: runtimes: 1, versions: 1\n",
        "jq-1@1.0.0 arm64: the same, sha256:",
        "jq-1@1.0.0 → jq-1@1.1.0 amd64: ",
        "\n  + file ",
    ] {
        assert!(said.contains(line), "{line:?}: {said}");
    }
    assert_eq!(said.matches("\n42\n").count(), 2, "{said}");
    let registry = fs::read_to_string(at("mine/registry.json")).unwrap();
    assert!(registry.contains("\"1.1.0\""), "{registry}");
    assert!(at("mine/runtimes/jq-1/index.html").is_file());
    for version in ["1.0.0", "1.1.0"] {
        assert!(at("store").join(format!("jq-1-{version}")).is_dir(), "{version}");
    }
    assert!(!at("checkout/registry.json").exists(), "the project's own registry is left alone");
}
