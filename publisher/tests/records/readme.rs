//! README's commands that make a runtime, run unchanged.

use super::world::{joblet_exec, repository};
use std::{fs, os::unix::fs::symlink};

#[test]
fn the_readme_makes_a_runtime() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let blocks = super::guide::blocks(&readme, "bash");
    let commands = blocks[blocks.len() - 2..].concat();
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
    let Some(said) = super::guide::follow(dir.path(), &commands, "true") else { return };
    assert!(said.contains("\nhello from "), "{said}");
    assert!(at("company.key").is_file() && !at("checkout/company.key").exists());
    let signature = fs::read_to_string(at("mine/registry.json.minisig")).unwrap();
    assert!(signature.contains("\texpires:"), "{signature}");
    let registry = fs::read_to_string(at("mine/registry.json")).unwrap();
    assert!(registry.contains("\"1.0.0\"") && registry.contains("\"1.1.0\""), "{registry}");
}
