//! Runtimes for hosts without network: export and import.

mod common;

use common::server::Server;
use common::{Outcome, World, list, members};
use std::fs;

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
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let names = [
        "bundle.json".to_owned(),
        format!("demo-1.0.0-{arch}.tar.gz"),
        format!("parted-1.0.0-{arch}.tar.gz"),
        format!("parted-1.0.0-{arch}.tar.gz.index"),
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
    let archive =
        list(&world.path("bundle")).into_iter().find(|name| name.ends_with(".gz")).unwrap();
    let archive = world.path("bundle").join(archive);
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
