//! A large registry: `index` and `site` write it in shards, `sign` signs their list, `joblet-exec` reads them.

use crate::serve::{Served, joblet_exec};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runtimes `tools-0` to `tools-9`, of 101 versions each.
pub fn records(dir: &Path) {
    for name in (0..10).map(|number| format!("tools-{number}")) {
        for number in 0..=100 {
            record(dir, &name, &format!("1.{number}.0"));
        }
    }
}

fn record(dir: &Path, name: &str, version: &str) {
    let sum = format!("sha256:{}", "1".repeat(64));
    let archive = |arch: &str| {
        format!(
            r#"{{"download_url": "{name}-{version}-{arch}.tar.gz", "checksum": "{sum}", "size": 7,
                "index": {{"checksum": "{sum}", "size": 7}}}}"#
        )
    };
    let text = format!(
        r#"{{"name": "{name}", "published_at": "2026-01-01T00:00:00Z", "release": {{
            "version": "{version}", "description": "{}", "platforms": ["ubuntu-amd64", "ubuntu-arm64"],
            "download_url": "{name}-{version}-amd64.tar.gz", "checksum": "{sum}", "size": 7,
            "artifacts": {{"amd64": {}, "arm64": {}}}}}}}"#,
        "Tools of the trade. ".repeat(20),
        archive("amd64"),
        archive("arm64")
    );
    let place = dir.join("registry-site/records").join(name);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(format!("{version}.json")), text).unwrap();
}

fn publish(dir: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_joblet-publish"));
    command.env_remove("JOBLET_PUBLISH_SIGN_KEY").env_remove("JOBLET_PUBLISH_SIGN_PASSWORD");
    command.current_dir(dir).args(args.split(' ')).output().unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Every file below `dir`, with its content.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in [
        "registry.json", "registry.json.minisig", "registry.shards.json",
        "registry.shards.json.minisig",
    ] {
        if let Ok(bytes) = fs::read(dir.join(name)) {
            found.push((name.to_owned(), bytes));
        }
    }
    for entry in fs::read_dir(dir.join("registry.shards")).into_iter().flatten() {
        let entry = entry.unwrap();
        found.push((entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    }
    found.sort();
    found
}

fn is_signed(dir: &Path, key: &str, file: &str) -> bool {
    let mut command = Command::new("minisign");
    command.current_dir(dir).args(["-V", "-q", "-p", key, "-m", file]);
    command.output().expect("minisign is needed: .ci/deps trust").status.success()
}

#[test]
fn a_large_registry_is_written_and_signed_in_shards() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    records(dir);
    done(&publish(dir, "index"));
    assert_eq!(files(dir).len(), 12);
    done(&publish(dir, "site --out site"));
    assert_eq!(files(&dir.join("site")), files(dir), "both are made of the records alone");
    // Signed separately, on a machine that has the key.
    done(&publish(dir, "keygen a.key --no-password"));
    let signed = done(&publish(dir, "sign --key a.key"));
    assert_eq!(signed, "registry.shards.json.minisig\nregistry.json.minisig\n");
    for file in ["registry.json", "registry.shards.json"] {
        assert!(is_signed(dir, "a.key.pub", file), "{file}");
    }
    // Without the key nothing changes, and an unchanged registry is not an error.
    let before = files(dir);
    done(&publish(dir, "index"));
    assert_eq!(files(dir), before);
    record(dir, "tools-3", "2.0.0");
    let refused = publish(dir, "index");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is signed, and would change"));
    assert_eq!(files(dir), before);
    done(&publish(dir, "index --key a.key"));
    let after = files(dir);
    assert_eq!(after.len(), before.len() + 1, "one shard more, and the one before stays");
    for file in ["registry.json", "registry.shards.json"] {
        assert!(is_signed(dir, "a.key.pub", file), "{file}");
    }
    done(&publish(dir, "index --key a.key"));
    assert_eq!(files(dir), after);
    // An invalid signature of the list is replaced; a list of another registry is not signed.
    fs::write(dir.join("registry.shards.json.minisig"), "spoiled").unwrap();
    done(&publish(dir, "index --key a.key"));
    assert!(is_signed(dir, "a.key.pub", "registry.shards.json"));
    fs::write(
        dir.join("registry.json"),
        [&fs::read(dir.join("registry.json")).unwrap()[..], b" "].concat(),
    )
    .unwrap();
    let refused = publish(dir, "sign --key a.key");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("its shards are of another registry; run index or site again"), "{said}");
}

#[test]
fn joblet_exec_reads_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    records(dir);
    done(&publish(dir, "site --out site"));
    let server = Served::new(&dir.join("site"));
    let exec = |args: &str, registry: &str| {
        let mut command = Command::new(joblet_exec());
        command.env_clear().env("HOME", dir).env("JOBLET_EXEC_REGISTRY", registry);
        let output = command.args(args.split(' ')).output().expect("first: cargo build");
        assert!(output.status.success(), "{args:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("shards are not used"), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let url = format!("http://{}/registry.json", server.host);
    let shown = exec("info tools-3", &url);
    assert!(shown.contains("1.100.0"), "{shown}");
    // Neither the rest of the document nor another shard is read.
    let place = dir.join("site/registry.json");
    let whole = fs::read(&place).unwrap();
    fs::write(&place, vec![b' '; whole.len()]).unwrap();
    let site = dir.join("site").display().to_string();
    for registry in [&url, &site] {
        assert!(exec("info tools-7 --refresh", registry).contains("1.100.0"), "{registry}");
    }
    fs::write(&place, whole).unwrap();
    assert_eq!(exec("list --available --refresh", &url).lines().count(), 11);
}
