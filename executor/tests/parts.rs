//! Archives in parts: the same installation as from one file, at any boundaries.

use crate::common::members::{Packed, directory, file, noise, pack, runtime};
use crate::common::server::{Reply, Server};
use crate::common::{World, checksum, snapshot};
use serde_json::json;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

fn packed(version: &str) -> Packed {
    let more = vec![
        directory("isolated/lib"),
        file("isolated/lib/noise", &noise(200_000)),
        file("isolated/lib/zeros", &[0; 50_000]),
    ];
    pack(&format!("demo-{version}"), runtime("demo", version, more), 20_000)
}

/// A registry with the archive in these parts, with an index or without.
fn world(indexed: bool, sizes: &[usize]) -> World {
    let mut world = World::new();
    let packed = packed("1.0.0");
    if indexed {
        world.publish_members("demo", "1.0.0", &packed);
    } else {
        world.publish_archive("demo", "1.0.0", &packed.archive());
    }
    if !sizes.is_empty() {
        world.part("demo", "1.0.0", sizes);
    }
    world
}

fn install(world: &World, registry: &str) -> crate::common::Outcome {
    world.exec(["install", "demo", "--refresh", "--registry", registry])
}

fn assert_refused(world: &World, registry: &str, status: i32, message: &str) {
    let outcome = install(world, registry);
    assert_eq!(outcome.status, Some(status), "{message}: {outcome:?}");
    assert!(outcome.stderr.contains(message), "{message}: {}", outcome.stderr);
    world.assert_store(&[]);
}

#[test]
fn the_tree_is_that_of_one_file_wherever_the_borders_lie() {
    let whole = world(true, &[]);
    assert_eq!(install(&whole, whole.path("registry").to_str().unwrap()).status, Some(0));
    let want = snapshot(&whole.path("store/demo-1.0.0"));
    let lengths: Vec<_> = packed("1.0.0").members.iter().map(Vec::len).collect();
    let borders: [&[usize]; 5] = [
        &[lengths[0]],           // between two members
        &[lengths[0] + 5],       // in the head of one
        &[lengths[0] - 1, 1, 1], // around the end of one
        &[90_000, 10, 10, 10],   // several in one
        &vec![7000; 40],         // everywhere
    ];
    for indexed in [true, false] {
        for sizes in borders {
            let world = world(indexed, sizes);
            let server = Server::ranges(world.path("registry"));
            for registry in [world.path("registry").to_str().unwrap(), &server.address] {
                let outcome = install(&world, registry);
                assert_eq!(outcome.status, Some(0), "{sizes:?}: {outcome:?}");
                world.assert_store(&["demo-1.0.0"]);
                assert_eq!(snapshot(&world.path("store/demo-1.0.0")), want, "{sizes:?}");
                assert_eq!(world.exec(["remove", "demo"]).status, Some(0));
            }
            let mut asked = server.requests();
            asked.retain(|path| path.contains(".tar.gz.part"));
            let parts: Vec<_> =
                (0..asked.len()).map(|n| format!("/demo-1.0.0.tar.gz.part{n}")).collect();
            assert_eq!(
                asked, parts,
                "each part once, in order, and nothing at the whole's address"
            );
        }
    }
}

#[test]
fn parts_with_other_bytes_are_never_installed() {
    for (indexed, damaged) in [(true, ": member "), (false, ".tar.gz.part1: checksum differs")] {
        let sizes = [80_000, 80_000];
        let mut world = world(indexed, &sizes);
        let server = Server::ranges(world.path("registry"));
        let local = world.path("registry").to_str().unwrap().to_owned();
        let path = |number: u32| world.path(&format!("registry/demo-1.0.0.tar.gz.part{number}"));
        let (first, second) = (fs::read(path(0)).unwrap(), fs::read(path(1)).unwrap());
        let mut flipped = second.clone();
        flipped[40_000] ^= 1;
        for registry in [&local, &server.address] {
            for (bytes, message) in [
                (&flipped[..], damaged),
                (&second[1..], "part1: size differs: expected 80000 bytes, got"),
                (&[&second[..], b"x"].concat(), "part1: size differs: expected 80000 bytes, got"),
            ] {
                fs::write(path(1), bytes).unwrap();
                assert_refused(&world, registry, 13, message);
            }
            // Two swapped parts.
            fs::write(path(1), &first).unwrap();
            fs::write(path(0), &second).unwrap();
            assert_refused(&world, registry, 13, "differs");
            fs::write(path(0), &first).unwrap();
            fs::remove_file(path(1)).unwrap();
            let status = if registry == &local { 15 } else { 10 };
            assert_refused(&world, registry, status, ".tar.gz.part1");
            fs::write(path(1), &second).unwrap();
        }
        // Every part matches the registry, but the whole archive does not.
        world.edit("demo", "1.0.0", |entry| {
            for arch in ["amd64", "arm64"] {
                entry["artifacts"][arch]["checksum"] = checksum(b"another").into();
            }
        });
        assert_refused(&world, &local, 13, "demo-1.0.0.tar.gz: checksum differs");
        world.edit("demo", "1.0.0", |entry| {
            entry["artifacts"]["amd64"]["parts"][0]["download_url"] = json!("../outside");
            entry["artifacts"]["arm64"] = entry["artifacts"]["amd64"].clone();
        });
        assert_refused(&world, &local, 11, "must stay in its directory");
    }
}

#[test]
fn a_version_in_parts_is_listed_like_any_other() {
    let mut world = world(true, &[50_000]);
    world.publish("demo", "0.9.0");
    let listed = world.exec(["list", "--available", "--all-versions"]).stdout;
    assert!(listed.contains("1.0.0") && listed.contains("0.9.0"), "{listed}");
    assert_eq!(world.exec(["install", "demo@latest"]).status, Some(0));
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn a_connection_that_breaks_inside_a_part_is_resumed() {
    // The boundary is inside a member: its rest is requested from the part's first byte.
    let lengths: Vec<_> = packed("1.0.0").members.iter().map(Vec::len).collect();
    let border = lengths[0] + lengths[1] + lengths[2] / 2;
    for (sent, want) in [
        (0, "bytes=0-".to_owned()),
        (100, "bytes=0-".to_owned()),
        (lengths[2] - lengths[2] / 2 + 7, format!("bytes={}-", lengths[2] - lengths[2] / 2)),
    ] {
        let world = world(true, &[border]);
        let root = world.path("registry");
        let broken = AtomicBool::new(false);
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let asked = std::sync::Arc::clone(&seen);
        let server = Server::with_heads(move |path, head| {
            let body = fs::read(root.join(path.trim_start_matches('/'))).unwrap();
            let length = body.len().to_string();
            if path.ends_with("gz.part1") && !broken.swap(true, Ordering::Relaxed) {
                let headers = [("Content-Length", length.as_str()), ("ETag", "\"e\"")];
                return Reply::new("200 OK", &headers, &body[..sent]);
            }
            let range = head.iter().find_map(|line| line.strip_prefix("range: "));
            let range = range.filter(|_| path.contains(".part"));
            let Some(range) = range else { return Reply::ok(&body) };
            asked.lock().unwrap().push(range.to_owned());
            let from: usize = range["bytes=".len()..range.len() - 1].parse().unwrap();
            let range = format!("bytes {from}-{}/{length}", body.len() - 1);
            Reply::new("206 Partial Content", &[("Content-Range", &range)], &body[from..])
        });
        let outcome = install(&world, &server.address);
        assert_eq!(outcome.status, Some(0), "{sent}: {outcome:?}");
        assert_eq!(*seen.lock().unwrap(), [want], "{sent}");
        world.assert_store(&["demo-1.0.0"]);
    }
}
