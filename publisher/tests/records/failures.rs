//! Failures from the manifest to the archive: each has a message with what a maintainer needs, and
//! leaves nothing behind.

use super::world::{Deb, Outcome, World, cached, deb, joblet_exec, noise};
use crate::server::{Reply, Server};
use crate::skip::skip;
use joblet_format::Arch;
use std::{fs, process::Command};

fn demo() -> Deb {
    deb("demo", "1", "MIT", &[("./usr/bin/demo", "#!/usr/bin/demo\n")])
}

/// A world with version 1.0.0, which must not change.
fn world() -> World {
    let world = World::new();
    world.runtime("1.0.0", &[demo()], "");
    world.build("").done();
    // Without the build cache, so that the next build is a full one.
    fs::remove_dir_all(world.path("cache/built")).unwrap();
    world
}

/// Runs `command`, which must fail and not change `dist`. Returns the message.
#[track_caller]
fn fails(world: &World, status: i32, command: impl FnOnce() -> Outcome) -> String {
    let before = world.tree("dist");
    let complaint = command().failed(status);
    assert_eq!(world.tree("dist"), before, "{complaint}");
    complaint
}

#[test]
fn a_lock_of_another_manifest() {
    let world = world();
    let manifest = world.read("runtimes-src/demo/manifest.yaml");
    world.write("runtimes-src/demo/manifest.yaml", manifest.replace("[demo]", "[demo, more]"));
    let complaint = fails(&world, 17, || world.build(""));
    assert_eq!(
        complaint,
        "error[CONFIG]: runtimes-src/demo/versions.lock: is stale: the manifest has changed; run \
         `joblet-publish lock demo`"
    );
}

#[test]
fn a_key_that_no_manifest_has() {
    let world = world();
    let manifest = world.read("runtimes-src/demo/manifest.yaml");
    world.write("runtimes-src/demo/manifest.yaml", manifest.replace("packages", "pakages"));
    let complaint = fails(&world, 17, || world.build(""));
    assert_eq!(
        complaint,
        "error[CONFIG]: runtimes-src/demo/manifest.yaml: line 5: debian: unknown key `pakages`; did \
         you mean `packages`?"
    );
}

/// Neither the mirror, the snapshot service nor the registry's own store has it.
#[test]
fn a_deb_that_has_vanished() {
    let world = world();
    let (name, bytes) = demo();
    fs::remove_file(world.path(&cached(&bytes))).unwrap();
    let server = Server::new(|_, _| Reply::new("404 Not Found", &[], b""));
    let address = &server.address;
    let line = format!("build demo --cache cache --mirror {address}");
    let tiers = [
        ("JOBLET_PUBLISH_DEBIAN_SNAPSHOT", format!("{address}/snapshot")),
        ("JOBLET_PUBLISH_INPUT_STORE", format!("{address}/inputs")),
    ];
    let tiers: Vec<_> = tiers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let complaint = fails(&world, 10, || world.publish_with(&line, &tiers));
    let start = "error[NET]: demo_1_all.deb: not available from ";
    assert!(complaint.starts_with(start), "{complaint}");
    assert!(complaint.contains("lock again"), "{complaint}");
    let path = name.strip_prefix("debian/").unwrap();
    let asked = [
        format!("/{name}"),
        format!("/snapshot/archive/debian/20260131T120000Z/{path}"),
        format!("/inputs/{}", super::world::sha256(&bytes).hex()),
    ];
    assert_eq!(server.requests(), asked);
    for place in asked {
        assert!(complaint.contains(&format!("{address}{place}: HTTP status 404")), "{complaint}");
    }
}

/// Each location is used if the earlier ones fail.
#[test]
fn a_deb_comes_from_the_first_place_that_has_it() {
    let world = world();
    let (_, bytes) = demo();
    let other = "x".repeat(bytes.len());
    for (at, (has, answer)) in
        [("/debian/pool/", 0), ("/snapshot/archive/debian/", 1), ("/inputs/", 2)]
            .into_iter()
            .enumerate()
    {
        fs::remove_file(world.path(&cached(&bytes))).unwrap();
        let (good, bad) = (bytes.clone(), other.clone());
        // An earlier location has another file of that name: the hash decides.
        let server = Server::new(move |path, count| match count {
            _ if path.starts_with(has) => Reply::ok(&good),
            0 => Reply::ok(bad.as_bytes()),
            _ => Reply::new("404 Not Found", &[], b""),
        });
        let address = &server.address;
        let (snapshot, store) = (format!("{address}/snapshot"), format!("{address}/inputs"));
        let tiers = [
            ("JOBLET_PUBLISH_DEBIAN_SNAPSHOT", snapshot.as_str()),
            ("JOBLET_PUBLISH_INPUT_STORE", store.as_str()),
        ];
        let line = format!("build demo --cache cache --mirror {address} --out dist-{at}");
        world.publish_with(&line, &tiers).done();
        assert_eq!(server.requests().len(), answer + 1);
    }
}

#[test]
fn a_deb_with_another_hash() {
    let world = world();
    let (name, bytes) = demo();
    fs::remove_file(world.path(&cached(&bytes))).unwrap();
    let evil = "x".repeat(bytes.len());
    let server = Server::new(move |_, _| Reply::ok(evil.as_bytes()));
    let address = &server.address;
    let line = format!("build demo --cache cache --mirror {address}");
    let complaint = fails(&world, 13, || world.publish(&line));
    let start = format!("error[INTEGRITY]: {address}/{name}: checksum differs: expected sha256:");
    assert!(complaint.starts_with(&start), "{complaint}");
    assert_eq!(world.tree("cache/sha256"), [""; 0], "nothing half-written in the cache");
}

#[test]
fn a_missing_library() {
    let world = world();
    let program = fs::read("/bin/true").unwrap();
    let control = "Package: demo\nVersion: 2\n";
    let broken = crate::common::debs::deb(control, &[("./usr/bin/demo", &program)]);
    world.runtime("1.0.1", &[("debian/pool/demo_2.deb".into(), broken)], "");
    let complaint = fails(&world, 18, || world.build(&format!("--arch {}", Arch::NATIVE)));
    assert!(complaint.starts_with("error[CHECK]: demo-1.0.1"), "{complaint}");
    for word in ["libc.so.6", "usr/bin/demo"] {
        assert!(complaint.contains(word), "{word}: {complaint}");
    }
}

#[test]
fn a_check_that_fails() {
    let world = world();
    world.runtime("1.0.1", &[demo()], "check: [[demo, --version]]\n");
    world.build("").done();
    let exec = joblet_exec();
    let line = format!("check demo --joblet-exec {}", exec.display());
    let complaint = fails(&world, 18, || world.publish(&line));
    let start = "error[CHECK]: demo-1.0.1: `demo --version` failed (exit status: 126):";
    assert!(complaint.starts_with(start), "{complaint}");
}

/// The disk is full while packages are unpacked, or while the archive is written.
#[test]
fn a_full_disk() {
    let world = World::new();
    // Incompressible.
    let noise = noise(2_000_000);
    let large =
        crate::common::debs::deb("Package: demo\nVersion: 1\n", &[("./usr/bin/demo", &noise)]);
    world.runtime("1.0.0", &[("debian/pool/demo_1.deb".into(), large)], "");
    for size in ["1m", "2500k"] {
        world.write("dist/kept", "");
        let script = "mount -t tmpfs -o size=$1 none dist || exit 99; touch dist/kept; shift; \"$@\"; \
                      status=$?; find dist -mindepth 1 >&2; exit $status";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh", size]);
        command.arg(env!("CARGO_BIN_EXE_joblet-publish"));
        command.args(["build", "demo", "--offline", "--cache", "cache", "--arch", "amd64"]);
        let output = command.current_dir(world.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if !said.contains("error[") {
            return skip(&format!("mount namespaces do not work: {said}"));
        }
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(output.status.code(), Some(15), "{size}: {said}");
        assert!(lines[0].starts_with("error[STORE]: "), "{size}: {said}");
        assert!(
            lines[0].contains("No space left on device") || lines[0].contains("free"),
            "{said}"
        );
        assert_eq!(lines[1..], ["dist/kept"], "{size}: nothing half-written");
    }
}
