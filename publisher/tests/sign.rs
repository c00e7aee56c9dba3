//! Keys and signatures are compatible with Debian's minisign, in both directions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PASSWORD: &str = "correct horse";

fn publish(dir: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_joblet-publish"));
    command.current_dir(dir).args(args.split_whitespace());
    command.env_remove("JOBLET_PUBLISH_SIGN_PASSWORD").output().unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, status: i32, message: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(message) && text.trim_end().lines().count() == 1, "{text}");
}

fn minisign(dir: &Path, args: &str) -> Output {
    let mut command = Command::new("minisign");
    command.current_dir(dir).args(args.split_whitespace());
    command.output().expect("minisign is needed: .ci/deps trust")
}

fn registry() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("registry.json"), r#"{"version": "1", "runtimes": {}}"#).unwrap();
    fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    dir
}

#[test]
fn minisign_verifies_what_we_sign_with_our_keys() {
    let dir = registry();
    let dir = dir.path();
    let printed = done(&publish(dir, "keygen ours.key --password-file password"));
    let public = fs::read_to_string(dir.join("ours.key.pub")).unwrap();
    assert!(printed.ends_with(&format!("public_key: {}\n", public.lines().nth(1).unwrap())));
    let mode = fs::metadata(dir.join("ours.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = publish(dir, "keygen ours.key --no-password");
    refused(
        &again,
        17,
        "ours.key: exists already, and a key is never overwritten: name another file",
    );
    let signed = publish(dir, "sign --key ours.key --password-file password --expires 30");
    assert_eq!(done(&signed), "registry.json.minisig\n");
    let verified = done(&minisign(dir, "-V -p ours.key.pub -m registry.json"));
    assert!(verified.contains("file:registry.json\thashed\texpires:"), "{verified}");
    // minisign also signs with our key.
    fs::write(dir.join("registry.json"), r#"{"version": "1", "runtimes": {} }"#).unwrap();
    assert!(!minisign(dir, "-V -p ours.key.pub -m registry.json").status.success());
}

#[test]
fn we_sign_with_minisigns_keys() {
    let dir = registry();
    let dir = dir.path();
    assert!(minisign(dir, "-G -W -p a.pub -s a.key").status.success());
    done(&publish(dir, "sign registry.json --key a.key"));
    assert!(minisign(dir, "-V -p a.pub -m registry.json").status.success());
    done(&publish(dir, "keygen b.key --no-password"));
    done(&publish(dir, "sign --key b.key --add"));
    assert!(minisign(dir, "-V -p b.key.pub -m registry.json").status.success());
    let both = fs::read_to_string(dir.join("registry.json.minisig")).unwrap();
    assert_eq!(both.lines().count(), 8);
    done(&publish(dir, "sign --key b.key"));
    assert_eq!(fs::read_to_string(dir.join("registry.json.minisig")).unwrap().lines().count(), 4);
}

#[test]
fn what_cannot_be_signed_is_named() {
    let dir = registry();
    let dir = dir.path();
    refused(&publish(dir, "sign --key none.key"), 15, "cannot read none.key");
    fs::write(dir.join("text.key"), "no key\n").unwrap();
    refused(&publish(dir, "sign --key text.key"), 17, "text.key: is not a minisign secret key");
    done(&publish(dir, "keygen a.key --no-password"));
    fs::write(dir.join("page.json"), "<html>").unwrap();
    refused(&publish(dir, "sign page.json --key a.key"), 17, "page.json: is not a registry");
    assert!(!dir.join("page.json.minisig").exists());
}

/// A key is not written where `git add .` would publish it.
#[test]
fn a_secret_key_is_kept_out_of_work_trees() {
    let dir = registry();
    let dir = dir.path();
    fs::create_dir_all(dir.join("tree/below")).unwrap();
    // In a linked work tree `.git` is a file.
    fs::write(dir.join("tree/.git"), "gitdir: elsewhere\n").unwrap();
    let below = dir.join("tree/below");
    let said = "from where a secret key is easily published; name a file elsewhere, or add";
    refused(&publish(&below, "keygen a.key --no-password"), 17, said);
    assert!(!below.join("a.key").exists() && !below.join("a.key.pub").exists());
    done(&publish(&below, "keygen ../../a.key --no-password"));
    done(&publish(&below, "keygen a.key --no-password --in-work-tree"));
    assert!(below.join("a.key").exists());
}
