//! README's commands that make a runtime, run unchanged.

use super::world::{joblet_exec, repository};
use crate::skip::skip;
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

#[test]
fn the_readme_makes_a_runtime() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let block = readme.split("```bash\n").last().unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |below: &str| dir.path().join(below);
    for place in ["checkout/runtimes-src", "checkout/target/release", "checkout/dist/bin", "cache"]
    {
        fs::create_dir_all(at(place)).unwrap();
    }
    // As after `make demo`.
    let publish = env!("CARGO_BIN_EXE_joblet-publish");
    symlink(publish, at("checkout/target/release/joblet-publish")).unwrap();
    symlink(joblet_exec(), at("checkout/dist/bin/joblet-exec")).unwrap();
    symlink(repository("registry-site"), at("checkout/registry-site")).unwrap();
    fs::create_dir(at("checkout/.git")).unwrap();
    // Shared with other tests, so that inputs are downloaded once.
    let inputs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inputs");
    fs::create_dir_all(&inputs).unwrap();
    symlink(inputs, at("cache/joblet-publish")).unwrap();
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", block])
        .current_dir(at("checkout"))
        // The unedited manifest works.
        .env("EDITOR", "true")
        .env("HOME", dir.path())
        .env("XDG_CACHE_HOME", at("cache"))
        .env("JOBLET_EXEC_STORE", at("store"))
        .output()
        .unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if matches!(output.status.code(), Some(10 | 17 | 19)) {
        return skip(&format!("the locked inputs are not available: {complaint}"));
    }
    assert!(output.status.success(), "{said}{complaint}");
    assert!(said.contains("\nhello from "), "{said}{complaint}");
    assert!(at("company.key").is_file() && !at("checkout/company.key").exists());
    assert!(at("mine/registry.json.minisig").is_file());
}
