//! Keys with a password, yanked versions, a removed key, a protected branch.

use super::{World, complaint};
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

const PASSWORD: &str = "correct horse";
const KEY: &str = "JOBLET_PUBLISH_SIGN_KEY";
const PASSWORD_OF_KEY: &str = "JOBLET_PUBLISH_SIGN_PASSWORD";

impl World {
    /// The text of a new secret key with a password, as in a workflow's secret.
    fn encrypted_key(&self) -> String {
        let mut keygen = self.publish(&["keygen", "../key"]);
        let keygen = keygen.env(PASSWORD_OF_KEY, PASSWORD).output().unwrap();
        assert!(keygen.status.success(), "{keygen:?}");
        fs::read_to_string(self.path("key")).unwrap()
    }

    /// A step of the workflow with the secrets of the repository.
    fn signing(&self, name: &str, tag: &str, key: &str, password: &str) -> Output {
        let mut step: Command = self.step(name, tag);
        step.env(KEY, key).env(PASSWORD_OF_KEY, password).output().unwrap()
    }

    /// Whether the signature on main is of the registry on main.
    fn is_signed(&self) -> bool {
        self.git(&["fetch", "--quiet", "origin", "main"]);
        let public = fs::read_to_string(self.path("key.pub")).unwrap();
        let public = minisign::PublicKeyBox::from_string(&public).unwrap().into_public_key();
        let signature = self.git(&["show", "FETCH_HEAD:registry.json.minisig"]);
        let signature = minisign::SignatureBox::from_string(&signature).unwrap();
        let registry = Cursor::new(self.git(&["show", "FETCH_HEAD:registry.json"]) + "\n");
        minisign::verify(&public.unwrap(), &signature, registry, true, false, false).is_ok()
    }

    fn head(&self) -> String {
        self.git(&["fetch", "--quiet", "origin", "main"]);
        self.git(&["rev-parse", "FETCH_HEAD"])
    }

    /// Sets `yanked` in the record of `a@1.0.0`, as RELEASING.md says, and nothing else.
    fn yank(&self, why: &str) {
        self.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
        let record = self.path("main/registry-site/records/a/1.0.0.json");
        let text = fs::read_to_string(&record).unwrap();
        let before = text.lines().filter(|line| !line.trim_start().starts_with("\"yanked\""));
        let text: String = before.map(|line| line.to_owned() + "\n").collect();
        let yanked = text.replacen(
            "\"release\": {",
            &format!("\"release\": {{\n    \"yanked\": \"{why}\","),
            1,
        );
        fs::write(&record, yanked).unwrap();
        self.push("yank");
    }
}

fn done(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// SEC-C15
#[test]
fn a_key_with_a_password_signs() {
    let world = World::new(&["a"]);
    let key = world.encrypted_key();
    world.tag("a@1.0.0");
    // An unusable key stops the plan, not the recording after publication.
    let said = complaint(&world.signing("plan", "a@1.0.0", &key, "wrong"), 17);
    assert!(said.contains("JOBLET_PUBLISH_SIGN_KEY: ") && said.lines().count() == 1, "{said}");
    let said = complaint(&world.signing("plan", "a@1.0.0", &key, ""), 17);
    assert!(said.contains("needs a password"), "{said}");
    let said = complaint(&world.signing("plan", "a@1.0.0", "text", PASSWORD), 17);
    assert!(said.contains("JOBLET_PUBLISH_SIGN_KEY: is not a minisign secret key"), "{said}");
    done(&world.signing("plan", "a@1.0.0", &key, PASSWORD));
    for name in ["build", "release"] {
        world.done(name, "a@1.0.0");
    }
    done(&world.signing("record", "a@1.0.0", &key, PASSWORD));
    assert!(world.is_signed());
    assert!(
        !world.git(&["ls-tree", "-r", "FETCH_HEAD"]).contains("key"),
        "only the signature is public"
    );
}

/// SEC-C15
#[test]
fn a_yanked_version_is_signed_again_and_a_signature_repaired() {
    let world = World::new(&["a"]);
    let key = world.encrypted_key();
    world.tag("a@1.0.0");
    for name in ["build", "release"] {
        world.done(name, "a@1.0.0");
    }
    done(&world.signing("record", "a@1.0.0", &key, PASSWORD));
    world.yank("it is broken");
    done(&world.signing("reconcile", "a@1.0.0", &key, PASSWORD));
    assert!(world.is_signed());
    assert!(
        world.git(&["show", "FETCH_HEAD:registry.json"]).contains("\"yanked\": \"it is broken\"")
    );
    // Pushed without the key: valid, but with the previous signature.
    world.yank("it is very broken");
    let index = world.publish(&["index"]).env_remove(KEY).output().unwrap();
    let said = complaint(&index, 17);
    assert!(
        said.contains("registry.json: is signed, and would change without its signature"),
        "{said}"
    );
    let signature = world.path("main/registry.json.minisig");
    let kept = fs::read(&signature).unwrap();
    fs::remove_file(&signature).unwrap();
    done(&world.publish(&["index"]).output().unwrap());
    fs::write(&signature, kept).unwrap();
    world.push("a registry that nobody signed");
    assert!(!world.is_signed());
    done(&world.signing("reconcile", "a@1.0.0", &key, PASSWORD));
    assert!(world.is_signed());
    let head = world.head();
    done(&world.signing("reconcile", "a@1.0.0", &key, PASSWORD));
    assert_eq!(world.head(), head, "signed once for the same bytes");
}

/// SEC-C15
#[test]
fn without_its_key_a_signed_registry_does_not_change() {
    let world = World::new(&["a", "b"]);
    let key = world.encrypted_key();
    world.tag("a@1.0.0");
    for name in ["build", "release"] {
        world.done(name, "a@1.0.0");
    }
    done(&world.signing("record", "a@1.0.0", &key, PASSWORD));
    let head = world.head();
    // The secret was removed: the plan and the recording report it.
    world.tag("b@1.0.0");
    for name in ["plan", "record"] {
        if name == "record" {
            world.done("build", "b@1.0.0");
            world.done("release", "b@1.0.0");
        }
        let said = complaint(&world.step(name, "b@1.0.0").output().unwrap(), 17);
        let message =
            "error[CONFIG]: registry.json: is signed, and would change without its signature";
        assert!(said.starts_with(message), "{name}: {said}");
    }
    assert!(world.head() == head && world.is_signed());
}

#[test]
fn a_protected_branch_is_named_and_can_be_recorded_later() {
    let world = World::new(&["a"]);
    world.tag("a@1.0.0");
    for name in ["build", "release"] {
        world.done(name, "a@1.0.0");
    }
    let hook = world.path("origin.git/hooks/update");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\n[ \"$1\" != refs/heads/main ] || [ -n \"${BYPASS-}\" ]\n")
        .unwrap();
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let head = world.head();
    let said = complaint(&world.step("record", "a@1.0.0").output().unwrap(), 19);
    assert!(
        said.contains("push failed: main is protected, and this token may not push to it"),
        "{said}"
    );
    assert!(said.contains("REGISTRY_TOKEN") && said.lines().count() == 1, "{said}");
    assert_eq!(world.head(), head);
    // With a token that is permitted.
    done(&world.step("record", "a@1.0.0").env("BYPASS", "yes").output().unwrap());
    assert_eq!(world.versions(), ["a@1.0.0"]);
}
