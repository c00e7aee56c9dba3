//! Runtimes for hosts without network: export and import.

mod common;

use common::server::Server;
use common::{Outcome, World, list, members, say};
use std::fs;
use std::process::Command;

/// This host's.
const ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

/// A registry with an ordinary archive and one in members, which needs its server.
fn world() -> (World, Server) {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    world.publish("demo", "1.1.0");
    let tree = members::runtime("parted", "1.0.0", vec![members::file("isolated/x", b"x")]);
    world.publish_members("parted", "1.0.0", &members::pack("parted-1.0.0", tree, 4096));
    let server = Server::files(world.path("registry"));
    (world, server)
}

fn export(world: &World, server: &Server, args: &str) -> Outcome {
    let words = args.split(' ').chain(["--registry", server.address.as_str()]);
    world.exec(["export"].into_iter().chain(words))
}

/// Imports into a store of its own, as a host that knows no registry.
fn import(world: &World, more: &str) -> Outcome {
    let mut command = world.command();
    command.env_remove("JOBLET_EXEC_REGISTRY").env("JOBLET_EXEC_STORE", world.path("other"));
    command.env("JOBLET_EXEC_OFFLINE", "1").args(["import", "bundle"]);
    world.outcome(command.args(more.split_whitespace()).output().unwrap())
}

#[test]
fn what_was_exported_is_installed_without_network() {
    let (world, server) = world();
    let done = export(&world, &server, "--to=bundle demo@1.0.0 parted");
    assert_eq!((done.status, done.stdout.as_str()), (Some(0), ""), "{done:?}");
    assert!(
        done.stderr.contains("exported demo@1.0.0 for a") && done.stderr.contains("parted@1.0.0")
    );
    let names = [
        "bundle.json".to_owned(),
        format!("demo-1.0.0-{ARCH}.tar.gz"),
        format!("parted-1.0.0-{ARCH}.tar.gz"),
        format!("parted-1.0.0-{ARCH}.tar.gz.index"),
        "registry.json".to_owned(),
    ];
    assert_eq!(list(&world.path("bundle")), names);
    let asked = server.requests().len();
    let done = import(&world, "");
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(server.requests().len(), asked);
    let names = [".joblet", "demo-1.0.0", "parted-1.0.0"];
    assert_eq!(list(&world.path("other")), names);
    let store = ["--store", "other"];
    let verified = world.exec(["verify"].iter().chain(&store));
    assert_eq!(verified.stdout, "demo@1.0.0: intact\nparted@1.0.0: intact\n");
    let again = import(&world, "--json");
    assert!(again.stderr.contains("demo@1.0.0 is installed already"), "{again:?}");
    assert!(again.stdout.contains("\"parted\""), "{again:?}");
    // It is a registry like any other.
    fs::remove_dir_all(world.path("other")).unwrap();
    let args = ["install", "demo", "--registry", "bundle", "--store", "other"];
    assert_eq!(world.exec(args).status, Some(0));
    assert!(world.path("other/demo-1.0.0").exists());
}

#[test]
fn a_bundle_that_was_changed_is_refused() {
    let (world, server) = world();
    assert_eq!(export(&world, &server, "--to=bundle demo@1.0.0").status, Some(0));
    let archive = world.path(&format!("bundle/demo-1.0.0-{ARCH}.tar.gz"));
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, &bytes).unwrap();
    let outcome = import(&world, "");
    assert_eq!(outcome.status, Some(13), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error[INTEGRITY]: ~/bundle/demo-1.0.0-"), "{outcome:?}");
    assert!(!world.path("other/demo-1.0.0").exists());
    fs::write(world.path("bundle/bundle.json"), "{}").unwrap();
    let outcome = import(&world, "");
    assert_eq!(outcome.status, Some(17), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error[CONFIG]: bundle/bundle.json: missing field"));
}

#[test]
fn an_export_is_whole_or_is_not_there() {
    let (mut world, server) = world();
    world.edit("demo", "1.1.0", |entry| entry["size"] = 7.into());
    let outcome = export(&world, &server, "--to=bundle demo@1.0.0 demo@1.1.0");
    assert_eq!(outcome.status, Some(13), "{outcome:?}");
    let outcome = export(&world, &server, "--to=bundle demo@9.0.0");
    assert_eq!(outcome.status, Some(12), "{outcome:?}");
    assert!(list(world.base.path()).iter().all(|name| !name.starts_with("bundle")));
    assert_eq!(export(&world, &server, "--to=bundle --arch=arm64 demo@1.0.0").status, Some(0));
    assert!(world.path("bundle/demo-1.0.0-arm64.tar.gz").exists());
    let outcome = export(&world, &server, "--to=bundle demo@1.0.0");
    assert_eq!(outcome.status, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("bundle exists; name a new directory"), "{outcome:?}");
}

/// Makes a pair of keys, signs the registry with it and returns the public one; `None`, with a word
/// about it, where there is no minisign.
fn sign(world: &World, name: &str) -> Option<String> {
    let minisign = |args: &[&str]| {
        let run = Command::new("minisign").args(args).current_dir(world.path("registry")).output();
        run.is_ok_and(|output| output.status.success())
    };
    let (public, secret) = (format!("{name}.pub"), format!("{name}.key"));
    if !minisign(&["-G", "-W", "-p", &public, "-s", &secret]) {
        say("SKIPPED: no minisign here");
        return None;
    }
    assert!(minisign(&["-S", "-s", &secret, "-m", "registry.json"]));
    let key = fs::read_to_string(world.path("registry").join(public)).unwrap();
    Some(key.lines().nth(1).unwrap().to_owned())
}

#[test]
fn a_bundle_of_a_signed_registry_needs_its_signature() {
    let (world, server) = world();
    let Some(key) = sign(&world, "one") else { return };
    let config = |url: &str| {
        let yml = format!(
            "runtimes:\n  registries:\n    - {{ name: one, url: {url}, public_key: {key} }}\n"
        );
        fs::write(world.path("config.yaml"), yml).unwrap();
    };
    config(&server.address);
    let mut command = world.command();
    command.env_remove("JOBLET_EXEC_REGISTRY").args(["--config", "config.yaml", "export"]);
    let done = world.outcome(command.args(["--to=bundle", "parted"]).output().unwrap());
    assert_eq!(done.status, Some(0), "{done:?}");
    let original = fs::read(world.path("registry/registry.json")).unwrap();
    assert_eq!(fs::read(world.path("bundle/registry.json")).unwrap(), original);
    let strict = "--config config.yaml";
    assert_eq!(import(&world, strict).status, Some(0));
    fs::remove_dir_all(world.path("other")).unwrap();
    // It is believed for the registry that it says it is of, and for no other.
    config("https://example.org/other");
    let other = import(&world, strict);
    assert_eq!(other.status, Some(11), "{other:?}");
    assert!(other.stderr.contains("the bundle's registry is not configured here"), "{other:?}");
    config(&server.address);
    let changed = String::from_utf8(original).unwrap().replace("for tests", "for fools");
    fs::write(world.path("bundle/registry.json"), changed).unwrap();
    let spoilt = import(&world, strict);
    assert_eq!(spoilt.status, Some(13), "{spoilt:?}");
    fs::remove_file(world.path("bundle/registry.json.minisig")).unwrap();
    let unsigned = import(&world, strict);
    assert_eq!(unsigned.status, Some(13), "{unsigned:?}");
    assert!(unsigned.stderr.contains("there is none"), "{unsigned:?}");
    assert!(!world.path("other/parted-1.0.0").exists());
}
