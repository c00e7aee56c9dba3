//! README's commands that make a runtime, run unchanged.

use super::world::{joblet_exec, repository};
use std::{fs, os::unix::fs::symlink};

#[test]
fn the_readme_makes_a_runtime() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let block = readme.split("```bash\n").last().unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |below: &str| dir.path().join(below);
    for place in ["checkout/runtimes-src", "checkout/target/release", "checkout/dist/bin"] {
        fs::create_dir_all(at(place)).unwrap();
    }
    // As after `make demo`.
    let publish = env!("CARGO_BIN_EXE_joblet-publish");
    symlink(publish, at("checkout/target/release/joblet-publish")).unwrap();
    symlink(joblet_exec(), at("checkout/dist/bin/joblet-exec")).unwrap();
    symlink(repository("registry-site"), at("checkout/registry-site")).unwrap();
    fs::create_dir(at("checkout/.git")).unwrap();
    // The unedited manifest works.
    let Some(said) = super::guide::follow(dir.path(), block, "true") else { return };
    assert!(said.contains("\nhello from "), "{said}");
    assert!(at("company.key").is_file() && !at("checkout/company.key").exists());
    assert!(at("mine/registry.json.minisig").is_file());
}
