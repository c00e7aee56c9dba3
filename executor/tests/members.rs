//! Installing archives in members: end to end, against directories and a loopback server.

use crate::common::members::{
    Packed, beside, deflate, directory, file, link, member_of, noise, pack, runtime, trailer,
};
use crate::common::server::{Reply, Server};
use crate::common::skip::{not_applicable, skip};
use crate::common::{World, checksum, gzip, list, snapshot};
use joblet_format::index::Index;
use serde_json::json;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A runtime with everything that an archive may hold.
fn demo() -> Vec<(joblet_format::index::Entry, Vec<u8>)> {
    let long = format!("isolated/long/{}", "n".repeat(200));
    let far = format!("/{}", "far/".repeat(40));
    runtime(
        "demo",
        "1.0.0",
        vec![
            directory("isolated/large"),
            file("isolated/large/noise", &noise(300_000)),
            file("isolated/large/text", "all work and no play\n".repeat(9000).as_bytes()),
            directory("isolated/long"),
            file(&long, b"a long name"),
            directory("isolated/tmp"),
            directory("isolated/usr"),
            directory("isolated/usr/bin"),
            file("isolated/usr/bin/tool", b"#!/bin/sh\n"),
            link("isolated/usr/escape", "../../../../../../etc"),
            link("isolated/usr/far", &far),
            file("isolated/usr/nothing", b""),
            file("isolated/usr/nul", &[0; 1024]),
        ],
    )
}

fn packed(size: usize) -> Packed {
    pack("demo-1.0.0", demo(), size)
}

/// Installing must fail with this status and message, and leave nothing behind.
fn assert_refused(world: &World, status: i32, message: &str) {
    assert_refused_from(world, None, status, message);
}

fn assert_refused_from(world: &World, registry: Option<&str>, status: i32, message: &str) {
    let mut command = world.command();
    command.args(["install", "demo"]);
    if let Some(registry) = registry {
        command.args(["--registry", registry]);
    }
    let outcome = world.outcome(command.output().unwrap());
    assert_eq!(outcome.status, Some(status), "{message}: {outcome:?}");
    assert!(outcome.stderr.contains(message), "{message}: {}", outcome.stderr);
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{}", outcome.stderr);
    world.assert_store(&[]);
    assert_eq!(list(&world.path("store/.joblet/receipts")), Vec::<String>::new());
}

#[test]
fn the_tree_does_not_depend_on_the_cuts() {
    let mut whole = World::new();
    let packed_once = packed(1 << 20);
    whole.publish_archive("demo", "1.0.0", &packed_once.archive());
    let outcome = whole.exec(["install", "demo"]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let want = snapshot(&whole.path("store/demo-1.0.0"));
    assert_eq!(want["isolated/usr/bin/tool"].0 & 0o7777, 0o755);
    for size in [1 << 20, 100_000, 4096, 1000] {
        let mut world = World::new();
        world.publish_members("demo", "1.0.0", &packed(size));
        let server = Server::files(world.path("registry"));
        for registry in [world.path("registry").to_str().unwrap(), &server.address] {
            let outcome = world.exec(["install", "demo", "--registry", registry]);
            assert_eq!(outcome.status, Some(0), "{size}: {outcome:?}");
            assert!(outcome.stderr.starts_with("installed demo@1.0.0 ("), "{outcome:?}");
            world.assert_store(&["demo-1.0.0"]);
            assert_eq!(snapshot(&world.path("store/demo-1.0.0")), want, "{size}");
            assert_eq!(world.exec(["remove", "demo"]).status, Some(0));
        }
        let asked = ["/registry.json", "/demo-1.0.0.tar.gz.index", "/demo-1.0.0.tar.gz"];
        assert_eq!(server.requests(), asked);
    }
}

#[test]
fn the_archive_is_an_ordinary_one() {
    let world = World::new();
    let path = world.path("demo.tar.gz");
    fs::write(&path, packed(4096).archive()).unwrap();
    let output = std::process::Command::new("tar").arg("-tzf").arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), demo().len());
}

#[test]
fn bytes_with_another_digest_are_never_installed() {
    let mut world = World::new();
    let good = packed(50_000);
    let path = world.publish_members("demo", "1.0.0", &good);
    let bytes = good.archive();
    let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    write(&flipped);
    assert_refused(&world, 13, ": member ");
    write(&bytes[..bytes.len() - 1]);
    assert_refused(&world, 13, "size differs");
    write(&[&bytes[..], b"x"].concat());
    assert_refused(&world, 13, "size differs");
    fs::remove_file(&path).unwrap();
    assert_refused(&world, 15, "error[STORE]: cannot open ~/registry/demo-1.0.0.tar.gz");
    write(&bytes);
    let index = fs::read(beside(&path)).unwrap();
    let write = |bytes: &[u8]| fs::write(beside(&path), bytes).unwrap();
    let mut flipped = index.clone();
    flipped[index.len() / 2] ^= 1;
    write(&flipped);
    assert_refused(&world, 13, "demo-1.0.0.tar.gz.index: checksum differs");
    write(&index[..index.len() - 1]);
    assert_refused(&world, 13, "demo-1.0.0.tar.gz.index: size differs");
    write(&[&index[..], b"x"].concat());
    assert_refused(&world, 13, "demo-1.0.0.tar.gz.index: size differs");
    fs::remove_file(beside(&path)).unwrap();
    assert_refused(&world, 15, "cannot open ~/registry/demo-1.0.0.tar.gz.index");
    let server = Server::files(world.path("registry"));
    assert_refused_from(&world, Some(&server.address), 10, ".index: the server answered 404");
    write(&index);
    // Every member matches the index, but the archive does not match the registry.
    world.edit("demo", "1.0.0", |entry| {
        for arch in ["amd64", "arm64"] {
            entry["artifacts"][arch]["checksum"] = checksum(b"another").into();
        }
    });
    assert_refused(&world, 13, "demo-1.0.0.tar.gz: checksum differs");
}

#[test]
fn indexes_of_something_else_are_refused() {
    let good = packed(50_000);
    let (archive, index) = (good.archive(), good.index());
    let other = pack("demo-1.0.1", demo(), 50_000);
    let mut world = World::new();
    let mut refused = |index: &[u8], artifact, message: &str| {
        world.publish_indexed("demo", "1.0.0", &archive, index, artifact);
        assert_refused(&world, 14, message);
    };
    let plain = index.to_bytes();
    let packed_index = gzip(&plain);
    let none = || json!({});
    refused(b"no gzip", none(), ".index: it is damaged or not a gzip file");
    refused(&gzip(b"no index"), none(), "it is not an index of a supported version");
    refused(&gzip(&plain[..plain.len() - 1]), none(), "it is cut off");
    refused(&gzip(&[&plain[..], b"x"].concat()), none(), "bytes after its end");
    refused(&[&packed_index[..], b"x"].concat(), none(), "bytes after the end of the gzip stream");
    refused(&packed_index[..packed_index.len() - 9], none(), "it is damaged");
    refused(&gzip(&vec![0; (8 << 20) + 1]), none(), "it is longer than 8388608 bytes");
    refused(&gzip(&other.index().to_bytes()), none(), "it is the index of \"demo-1.0.1\"");
    let shorter = packed(1 << 20).index();
    refused(&gzip(&shorter.to_bytes()), none(), "bytes, the registry's");
    let more = "more bytes or entries than the registry states";
    let (entries, unpacked) = (index.entries().len(), index.unpacked_size());
    refused(&packed_index, json!({ "entries": entries - 1 }), more);
    refused(&packed_index, json!({ "unpacked_size": unpacked - 1 }), more);
    world.edit("demo", "1.0.0", |entry| {
        entry["artifacts"]["amd64"]["index"]["size"] = ((8 << 20) + 1).into();
        entry["artifacts"]["arm64"] = entry["artifacts"]["amd64"].clone();
    });
    assert_refused(&world, 14, ".index: it is longer than 8388608 bytes");
}

/// A number in the encoding of an index.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(0x80 | u8::try_from(value & 0x7f).unwrap());
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// Indexes that are not a tree, have wrong lengths, or are decompression bombs: each is refused, in 64 MiB of memory.
#[test]
fn hostile_indexes_are_refused() {
    let good = packed(50_000);
    let archive = good.archive();
    let mut world = World::new();
    let refused = |world: &mut World, index: &[u8], message: &str| {
        world.publish_indexed("demo", "1.0.0", &archive, &gzip(index), json!({}));
        let program = crate::common::program();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -d 65536; exec \"$0\" install demo"]).arg(program);
        let inner = world.command();
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let outcome = world.outcome(command.output().unwrap());
        assert_eq!(outcome.status, Some(14), "{message}: {outcome:?}");
        assert!(outcome.stderr.contains(message), "{message}: {}", outcome.stderr);
        world.assert_store(&[]);
    };
    let start = [&b"joblet-index 1\n"[..], &number(10), b"demo-1.0.0"].concat();
    let member =
        |length: usize, unpacked: usize| [number(length), number(unpacked), vec![7; 32]].concat();
    let index = |members: &[Vec<u8>], entries: &[Vec<u8>]| {
        [
            &start[..],
            &number(members.len()),
            &members.concat(),
            &number(entries.len()),
            &entries.concat(),
        ]
        .concat()
    };
    let entry = |kind: usize, shared: usize, rest: &str, more: &[u8]| {
        [&number(kind)[..], &number(shared), &number(rest.len()), rest.as_bytes(), more].concat()
    };
    let root = || entry(0, 0, "", &[]);
    let file = |shared: usize, rest: &str, sizes: &[usize]| {
        let pieces = sizes.iter().map(|&size| [number(size), vec![5; 32]].concat());
        entry(1, shared, rest, &[number(sizes.len()), pieces.collect::<Vec<_>>().concat()].concat())
    };
    let whole = [member(200, 4096)];
    for (bytes, message) in [
        // Not a tree.
        (index(&whole, &[]), "it has no entries"),
        (index(&whole, &[root(), file(0, "a", &[1]), file(1, "", &[1])]), "twice or out of order"),
        (index(&whole, &[root(), file(0, "b", &[1]), file(0, "a", &[1])]), "twice or out of order"),
        (index(&whole, &[root(), file(0, "a/b", &[1])]), "its directory is not listed before it"),
        (index(&whole, &[root(), file(0, "../a", &[1])]), "a path with `.`, `..`"),
        (
            index(&whole, &[root(), entry(3, 0, "l", b"\x04/etc"), file(1, "/x", &[1])]),
            "its directory is not listed before it",
        ),
        // Files without members, members without content, or the same bytes twice.
        (index(&[], &[root(), file(0, "a", &[1])]), "unpack to 0 bytes"),
        (index(&whole, &[root(), file(0, "a", &[1 << 30])]), "unpack to 4096 bytes"),
        (index(&[&whole[..], &whole].concat(), &[root()]), "unpack to 8192 bytes"),
        (index(&[member(40, 0)], &[root()]), "unpacks to nothing"),
        (index(&[member(40, (1 << 20) + 1)], &[root()]), "more than a mebibyte"),
        (index(&[member(5000, 512)], &[root()]), "its length is impossible"),
        (index(&[member(1 << 40, 512)], &[root()]), "a member that is too large"),
        // Millions of entries.
        (index(&vec![member(29, 1); 200_000], &[root()]), "it begins inside a header"),
        ([&start[..], &number(1 << 40)].concat(), "it is cut off"),
        (index(&whole, &vec![root(); 1_000_000]), "more memory than is allowed"),
        (
            index(
                &whole,
                &[vec![root(), file(0, &"n".repeat(250), &[])], vec![file(250, "", &[]); 99_999]]
                    .concat(),
            ),
            "more memory than is allowed",
        ),
        (index(&whole, &[root(), file(0, "a", &vec![1; 200_000])]), "unpack to 4096 bytes"),
        (index(&whole, &[root(), file(0, "a", &[usize::MAX >> 1, usize::MAX >> 1])]), "8 GiB"),
    ] {
        refused(&mut world, &bytes, message);
    }
}

/// Every hash matches the index, but one member is wrong.
#[test]
fn members_that_unpack_to_something_else_are_refused() {
    let headers = "tar header does not match the index";
    let zeros = "non-zero padding";
    let content = "its content does not match the index";
    let refused = |edit: &dyn Fn(&mut Packed), message: &str| {
        let mut world = World::new();
        let mut packed = pack("demo-1.0.0", runtime("demo", "1.0.0", vec![]), 512);
        // The index has the right lengths, and the hashes of the wrong members.
        let cuts = packed.cuts.clone();
        edit(&mut packed);
        packed.cuts = cuts;
        world.publish_members("demo", "1.0.0", &packed);
        assert_refused(&world, 14, message);
    };
    // Members: 0-3 headers, 4 content of `version`, 5 header of runtime.yml, 6 its content, 7-8 end.
    let header = |number: usize, at: usize, bytes: &'static [u8]| {
        move |packed: &mut Packed| {
            packed.repack(number, |block| {
                block[at..at + bytes.len()].copy_from_slice(bytes);
                let sum: u32 = (block.iter().enumerate())
                    .map(|(at, &byte)| {
                        u32::from(if (148..156).contains(&at) { b' ' } else { byte })
                    })
                    .sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            });
        }
    };
    for (at, bytes) in [
        (0, &b"demo-1.0.0/isolated/etc/versioN"[..]),
        (0, b"demo-1.0.0/isolated/../../../et"),
        (0, b"/"),
        (100, b"0004755"),
        (108, b"0001750"),
        (116, b"0001750"),
        (124, b"00000000006"),
        (136, b"00000000000"),
        (156, b"2"),
        (157, b"/etc/passwd"),
        (257, b"ustar  \0"),
        (265, b"joblet"),
        (345, b"../.."),
        (500, b"x"),
    ] {
        refused(&header(3, at, bytes), headers);
    }
    refused(&header(0, 0, b"demo-1.0.0x"), headers);
    refused(&|packed| packed.repack(3, |block| block[148] ^= 1), headers);
    refused(&|packed| packed.repack(4, |block| block[5] = 1), zeros);
    refused(&|packed| packed.repack(4, |block| block[511] = 1), zeros);
    refused(&|packed| packed.repack(7, |block| block[0] = 1), zeros);
    refused(&|packed| packed.repack(8, |block| block[511] = 1), zeros);
    refused(&|packed| packed.repack(4, |block| block.truncate(511)), content);
    refused(&|packed| packed.repack(4, |block| block.push(0)), content);
    refused(&|packed| packed.repack(4, Vec::clear), content);
    let raw = |number: usize, make: &dyn Fn(&[u8]) -> Vec<u8>, message: &str| {
        refused(&|packed| packed.members[number] = make(&packed.cuts[number]), message);
    };
    let shape = "it is not a gzip member with its own length";
    raw(4, &|cut| [&deflate(cut)[..], &trailer(cut)].concat(), shape);
    raw(4, &|cut| gzip(cut), shape);
    raw(4, &|cut| [&crate::common::members::member(cut)[..], b"x"].concat(), shape);
    raw(4, &|cut| crate::common::members::member(cut)[..29].to_vec(), shape);
    raw(4, &|cut| member_of(&deflate(&cut[1..]), cut), content);
    raw(4, &|cut| member_of(&deflate(&[cut, b"x"].concat()), cut), content);
    raw(4, &|cut| member_of(&deflate(cut), b"other"), content);
    raw(4, &|cut| member_of(&[&deflate(cut)[..], b"x"].concat(), cut), content);
    raw(4, &|cut| member_of(&[6; 9], cut), content);
    // A member contains another one: gunzip would end too early.
    let twice = |cut: &[u8]| member_of(&[&deflate(cut)[..], &trailer(cut)].concat(), cut);
    raw(4, &twice, "bytes between its deflate stream and its end");
    let more = |cut: &[u8]| member_of(&[&deflate(cut)[..], &trailer(cut), b"more"].concat(), cut);
    raw(4, &more, "bytes between its deflate stream and its end");
}

/// Responds like a file server with ranges; `cut` truncates the n-th response for the archive, after bytes of the body.
fn ranged(
    world: &World,
    cut: impl Fn(usize, usize) -> Option<usize> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let root = world.path("registry");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, count) = (Arc::clone(&asked), AtomicUsize::new(0));
    let server = Server::with_heads(move |path, head| {
        let body = fs::read(root.join(path.trim_start_matches('/'))).unwrap();
        if !path.ends_with(".tar.gz") {
            return Reply::ok(&body);
        }
        let field = |name: &str| {
            head.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
        };
        let range = field("range: bytes=");
        seen.lock().unwrap().push(format!("{range} {}", field("if-range: ")));
        let from: usize = range.trim_end_matches('-').parse().unwrap_or(0);
        let content_range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        let rest = &body[from..];
        let length = rest.len().to_string();
        let headers = [
            ("Content-Length", length.as_str()),
            ("Content-Range", &content_range),
            ("ETag", "\"e\""),
        ];
        let sent = cut(count.fetch_add(1, Ordering::Relaxed), from);
        let sent = &rest[..sent.unwrap_or(rest.len()).min(rest.len())];
        let status = if range.is_empty() { "200 OK" } else { "206 Partial Content" };
        Reply::new(status, &headers, sent)
    });
    (server, asked)
}

#[test]
fn a_broken_connection_is_resumed() {
    let packed = packed(100_000);
    let starts: Vec<usize> = (packed.members.iter())
        .scan(0, |at, member| Some(std::mem::replace(at, *at + member.len())))
        .collect();
    // Each position breaks its own connection, and all installations run in parallel.
    std::thread::scope(|scope| {
        for (number, &start) in starts.iter().enumerate() {
            for into in [0, 1, packed.members[number].len() - 1] {
                let packed = &packed;
                scope.spawn(move || {
                    let mut world = World::new();
                    world.publish_members("demo", "1.0.0", packed);
                    let place = start + into;
                    let (server, asked) =
                        ranged(&world, move |count, _| (count == 0).then_some(place));
                    let outcome =
                        world.exec(["install", "demo", "--registry", server.address.as_str()]);
                    assert_eq!(outcome.status, Some(0), "{place}: {outcome:?}");
                    world.assert_store(&["demo-1.0.0"]);
                    let rest = format!("{start}- \"e\"");
                    assert_eq!(*asked.lock().unwrap(), [" ".to_owned(), rest], "{place}");
                });
            }
        }
    });
}

#[test]
fn a_connection_may_break_as_often_as_it_brings_something() {
    let mut world = World::new();
    let packed = packed(50_000);
    world.publish_members("demo", "1.0.0", &packed);
    assert!(packed.members.len() > 6, "more than the tries without success");
    let largest = packed.members.iter().map(Vec::len).max().unwrap();
    let (server, asked) = ranged(&world, move |_, _| Some(largest + 100));
    let outcome = world.exec(["install", "demo", "--registry", server.address.as_str()]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(asked.lock().unwrap().len() > 5, "{asked:?}");
    // Connections without progress are given up.
    let mut world = World::new();
    world.publish_members("demo", "1.0.0", &packed);
    let (server, asked) = ranged(&world, |count, _| Some(if count == 0 { 200_000 } else { 9 }));
    assert_refused_from(&world, Some(&server.address), 10, "the connection ended early");
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[test]
fn servers_that_answer_a_range_otherwise() {
    let mut world = World::new();
    world.publish_members("demo", "1.0.0", &packed(50_000));
    let archive = fs::read(world.path("registry/demo-1.0.0.tar.gz")).unwrap();
    let length = archive.len().to_string();
    let serve = |again: &'static (dyn Fn(&[u8]) -> Reply + Sync)| {
        let (root, archive, length) = (world.path("registry"), archive.clone(), length.clone());
        let first = std::sync::atomic::AtomicBool::new(true);
        Server::new(move |path, _| match fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(_) if path.ends_with(".tar.gz") && first.swap(false, Ordering::Relaxed) => {
                Reply::new("200 OK", &[("Content-Length", &length)], &archive[..99_999])
            }
            Ok(_) if path.ends_with(".tar.gz") => again(&archive),
            Ok(body) => Reply::ok(&body),
            Err(_) => Reply::new("404 Not Found", &[], b""),
        })
    };
    let refused = |server: &Server, status, message: &str| {
        assert_refused_from(&world, Some(&server.address), status, message);
        // Messages of the failed network are not tested here.
        _ = fs::remove_dir_all(world.path("store/.joblet/interrupted"));
    };
    // Another range than the requested one, or none.
    let server = serve(&|archive| {
        let range = format!("bytes 0-{}/{}", archive.len() - 1, archive.len());
        Reply::new("206 Partial Content", &[("Content-Range", &range)], archive)
    });
    refused(&server, 10, "the server answered \"bytes 0-");
    let server = serve(&|archive| Reply::new("206 Partial Content", &[], archive));
    refused(&server, 10, "the server answered \"no range\"");
    let server = serve(&|_| Reply::new("416 Range Not Satisfiable", &[], b""));
    refused(&server, 10, "the server answered \"no range\" and 416 Range Not Satisfiable");
    // Another file meanwhile.
    let server = serve(&|archive| Reply::ok(&vec![b'x'; archive.len()]));
    refused(&server, 13, ": member ");
    // No ranges at all: received bytes are skipped.
    let server = serve(&|archive| Reply::ok(archive));
    let outcome = world.exec(["install", "demo", "--registry", server.address.as_str()]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn archives_of_another_length_are_refused_from_servers_too() {
    let mut world = World::new();
    let path = world.publish_members("demo", "1.0.0", &packed(50_000));
    let archive = fs::read(&path).unwrap();
    let server = Server::files(world.path("registry"));
    for other in [&archive[..archive.len() - 1], &[&archive[..], b"x"].concat()] {
        fs::write(&path, other).unwrap();
        assert_refused_from(&world, Some(&server.address), 13, "size differs");
    }
    // A server that does not send the length of its response.
    let root = world.path("registry");
    let server = Server::new(move |path, _| {
        Reply::new("200 OK", &[], &fs::read(root.join(path.trim_start_matches('/'))).unwrap())
    });
    assert_refused_from(&world, Some(&server.address), 13, "size differs: expected");
    fs::write(&path, &archive).unwrap();
    let outcome = world.exec(["install", "demo", "--registry", server.address.as_str()]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

#[test]
fn many_processes_install_the_same_runtime_once() {
    let mut world = World::new();
    world.publish_members("demo", "1.0.0", &packed(4096));
    let server = Server::files(world.path("registry"));
    world.assert_installed_once(&server);
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn a_job_starts_right_after_an_installation_by_several_threads() {
    if crate::support::World::get().is_none() {
        return;
    }
    let mut world = World::new();
    world.publish_members("demo", "1.0.0", &packed(4096));
    for _ in 0..10 {
        // The runtime has no such command: the test is that the fork works.
        let outcome = world.exec(["run", "--runtime=demo@1.0.0", "--", "/no/such/command"]);
        assert!(!outcome.stderr.contains("several threads"), "{outcome:?}");
        assert_eq!(outcome.status, Some(127), "{outcome:?}");
        world.assert_store(&["demo-1.0.0"]);
        assert_eq!(world.exec(["remove", "demo"]).status, Some(0));
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    if !rustix::process::geteuid().is_root() {
        return not_applicable("only root may mount a small file system");
    }
    let mut world = World::new();
    world.publish_members("demo", "1.0.0", &packed(4096));
    let store = world.path("store");
    fs::create_dir(&store).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs"])
        .arg(&store)
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        return skip("no tmpfs can be mounted");
    }
    let outcome = world.exec(["install", "demo"]);
    let left = list(&store.join(".joblet/staging"));
    let unmounted = std::process::Command::new("umount").arg(&store).status().unwrap();
    assert!(unmounted.success());
    assert_eq!((outcome.status, left), (Some(15), Vec::new()), "{outcome:?}");
    assert!(outcome.stderr.contains("free some space or choose another store"), "{outcome:?}");
}

/// An index is parsed by its content, not its name.
#[test]
fn test_archives_follow_the_format() {
    let packed = packed(10_000);
    let bytes = packed.index().to_bytes();
    assert_eq!(Index::parse(&bytes).unwrap(), packed.index());
}
