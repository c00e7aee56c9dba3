//! The tar stream in zstd frames: when an installation uses it, and when it refuses it.

use crate::common::members::{Packed, directory, file, noise, pack, runtime, zstd};
use crate::common::server::Server;
use crate::common::{Outcome, World, snapshot};
use joblet_format::frames::Frame;
use sha2::{Digest, Sha256};
use std::fs;
use std::process::Command;
use std::time::Duration;

fn packed(version: &str) -> Packed {
    let more = vec![
        directory("isolated/lib"),
        file("isolated/lib/noise", &noise(300_000)),
        file("isolated/lib/text", &b"much the same ".repeat(30_000)),
        file("isolated/lib/version", version.as_bytes()),
    ];
    pack(&format!("demo-{version}"), runtime("demo", version, more), 50_000)
}

/// A registry with 1.0.0 and its frames.
fn world(edit: impl FnOnce(&mut Vec<Vec<u8>>, &mut Vec<Frame>)) -> World {
    let mut world = World::new();
    let packed = packed("1.0.0");
    world.publish_members("demo", "1.0.0", &packed);
    world.publish_zstd(("demo", "1.0.0"), &packed, 4, edit);
    world
}

fn install(world: &World, registry: &str) -> Outcome {
    world.exec(["install", "demo@1.0.0", "-v", "--refresh", "--registry", registry])
}

/// The tree of the `.tar.gz`.
fn of_gzip() -> std::collections::BTreeMap<String, (u32, i64, i64, Vec<u8>)> {
    let mut world = World::new();
    world.publish_members("demo", "1.0.0", &packed("1.0.0"));
    assert_eq!(world.exec(["install", "demo"]).status, Some(0));
    snapshot(&world.path("store/demo-1.0.0"))
}

#[test]
fn a_first_installation_takes_the_frames_and_an_update_the_members() {
    let mut world = world(|_, _| ());
    let two = packed("2.0.0");
    world.publish_members("demo", "2.0.0", &two);
    world.publish_zstd(("demo", "2.0.0"), &two, 4, |_, _| ());
    let server = Server::ranges(world.path("registry"));
    assert_eq!(install(&world, &server.address).status, Some(0));
    let asked = ["/registry.json", "/demo-1.0.0.tar.gz.index", "/demo-1.0.0.tar.zst"];
    assert_eq!(server.requests(), asked);
    assert_eq!(snapshot(&world.path("store/demo-1.0.0")), of_gzip());
    let verified = world.exec(["verify", "demo"]);
    assert_eq!(verified.status, Some(0), "{verified:?}");
    let args = ["install", "demo@2.0.0", "--refresh", "--registry", server.address.as_str()];
    assert_eq!(world.exec(args).status, Some(0));
    let asked = server.requests().split_off(3);
    assert_eq!(asked[..2], ["/registry.json", "/demo-2.0.0.tar.gz.index"]);
    assert!(asked[2..].iter().all(|path| path == "/demo-2.0.0.tar.gz"), "{asked:?}");
    world.assert_store(&["demo-1.0.0", "demo-2.0.0"]);
}

#[test]
fn a_local_registry_has_them_or_has_not() {
    let world = world(|_, _| ());
    let registry = world.path("registry");
    assert_eq!(install(&world, registry.to_str().unwrap()).status, Some(0));
    assert_eq!(world.exec(["remove", "demo"]).status, Some(0));
    fs::remove_file(registry.join("demo-1.0.0.tar.zst")).unwrap();
    let outcome = install(&world, registry.to_str().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(snapshot(&world.path("store/demo-1.0.0")), of_gzip());
}

#[test]
fn without_frames_the_gzip_archive_is_used() {
    let world = world(|_, _| ());
    fs::remove_file(world.path("registry/demo-1.0.0.tar.zst")).unwrap();
    let server = Server::files(world.path("registry"));
    let outcome = install(&world, &server.address);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains(".tar.zst: the server answered 404"), "{outcome:?}");
    assert!(server.requests().contains(&"/demo-1.0.0.tar.gz".to_owned()));
    assert_eq!(snapshot(&world.path("store/demo-1.0.0")), of_gzip());
    world.assert_store(&["demo-1.0.0"]);
}

#[test]
fn frames_in_parts_are_joined() {
    let mut world = world(|_, _| ());
    let path = world.path("registry/demo-1.0.0.tar.zst");
    let bytes = fs::read(&path).unwrap();
    // A boundary inside the table, and one inside a frame.
    let parts = [&bytes[..30], &bytes[30..200_000], &bytes[200_000..]];
    let mut list = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let file = format!("demo-1.0.0.tar.zst.{number}");
        fs::write(world.path("registry").join(&file), part).unwrap();
        list.push(serde_json::json!({
            "download_url": file, "size": part.len(), "checksum": crate::common::checksum(part),
        }));
    }
    fs::remove_file(&path).unwrap();
    world.edit("demo", "1.0.0", |entry| {
        for arch in ["amd64", "arm64"] {
            entry["artifacts"][arch]["zstd"]["parts"] = list.clone().into();
        }
    });
    let server = Server::files(world.path("registry"));
    let outcome = install(&world, &server.address);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert!(!server.requests().contains(&"/demo-1.0.0.tar.gz".to_owned()));
    assert_eq!(snapshot(&world.path("store/demo-1.0.0")), of_gzip());
}

/// SEC-A11, SEC-C01: only frames with the registry's digest are decompressed, to the content and in
/// the memory that the index states.
#[test]
fn wrong_frames_and_tables_are_refused() {
    type Edit = fn(&mut Vec<Vec<u8>>, &mut Vec<Frame>);
    /// Replaces the second frame.
    fn put(files: &mut [Vec<u8>], frames: &mut [Frame], file: Vec<u8>) {
        frames[1].length = u32::try_from(file.len()).unwrap();
        frames[1].sha256 = Sha256::digest(&file).into();
        files[1] = file;
    }
    let cases: [(i32, &str, Edit); 10] = [
        (13, "frame 1: checksum differs", |files, _| files[1][9] ^= 1),
        (13, "frame 1: checksum differs", |_, frames| frames[1].sha256[0] ^= 1),
        (14, "frame 1: it is not one zstd frame", |files, frames| put(files, frames, vec![7; 99])),
        (14, "frame 1: it is not one zstd frame", |files, frames| {
            let twice = [&files[1][..], &zstd(b"")].concat();
            put(files, frames, twice);
        }),
        // A skippable frame before it, which readers of zstd skip.
        (14, "frame 1: it is not one zstd frame", |files, frames| {
            let hidden = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7][..], &files[1]].concat();
            put(files, frames, hidden);
        }),
        (14, "frame 1: its content does not match the index", |files, frames| {
            put(files, frames, zstd(&vec![0; 1 << 30]));
        }),
        (14, "frame 1: its content does not match the index", |files, frames| {
            put(files, frames, zstd(b"short"));
        }),
        (14, "tar header does not match the index", |files, frames| {
            let size = packed("1.0.0").cuts[..4].concat().len();
            let other = vec![1; size];
            frames[0].sha256 = Sha256::digest(zstd(&other)).into();
            files[0] = zstd(&other);
            frames[0].length = u32::try_from(files[0].len()).unwrap();
        }),
        (14, "its frames do not hold the members of the archive", |_, frames| {
            frames[0].members += 1;
        }),
        (14, "its frames have another length than the file", |files, _| files[0].push(0)),
    ];
    for (status, message, edit) in cases {
        let world = world(edit);
        let server = Server::files(world.path("registry"));
        for registry in [server.address.as_str(), world.path("registry").to_str().unwrap()] {
            let mut command = std::process::Command::new("sh");
            command.args([
                "-c",
                "ulimit -d 98304; exec \"$0\" install demo --refresh --registry \"$1\"",
            ]);
            command.arg(crate::common::program()).arg(registry);
            let inner = world.command();
            command.env_clear();
            command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let outcome = world.outcome(command.output().unwrap());
            assert_eq!(outcome.status, Some(status), "{message}: {outcome:?}");
            assert!(outcome.stderr.contains(message), "{message}: {outcome:?}");
            world.assert_store(&[]);
        }
    }
}

/// A table that does not match the registry is not read.
#[test]
fn a_table_with_another_digest_is_refused() {
    let mut world = world(|_, _| ());
    let path = world.path("registry/demo-1.0.0.tar.zst");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let registry = world.path("registry");
    let outcome = install(&world, registry.to_str().unwrap());
    assert_eq!(outcome.status, Some(13), "{outcome:?}");
    assert!(outcome.stderr.contains("table of frames: checksum differs"), "{outcome:?}");
    world.edit("demo", "1.0.0", |entry| {
        for arch in ["amd64", "arm64"] {
            entry["artifacts"][arch]["zstd"]["table"]["size"] = (2 << 20).into();
        }
    });
    let outcome = install(&world, registry.to_str().unwrap());
    assert_eq!(outcome.status, Some(14), "{outcome:?}");
    world.assert_store(&[]);
}

/// Peak anonymous memory of a program, in KiB, by the kernel's count.
fn peak(mut command: Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        if let (Some(most), Some(file)) = (field("VmHWM:"), field("RssFile:")) {
            peak = peak.max(most.saturating_sub(file));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    peak
}

/// Frames of 8 MiB, some of which compress well and some not at all, in 32 MiB of memory.
#[test]
fn a_large_installation_takes_little_memory() {
    let mut world = World::new();
    let text = b"much the same ".repeat(20_000);
    let mut tree = vec![directory("isolated/lib")];
    for number in 0..200 {
        let content = if number < 80 { text.clone() } else { noise(300_000) };
        tree.push(file(&format!("isolated/lib/{number:03}"), &content));
    }
    let packed = pack("demo-1.0.0", runtime("demo", "1.0.0", tree), 256 << 10);
    world.publish_members("demo", "1.0.0", &packed);
    world.publish_zstd(("demo", "1.0.0"), &packed, 32, |_, _| ());
    let server = Server::ranges(world.path("registry"));
    let mut command = world.command();
    command.args(["install", "demo", "-q", "--registry", &server.address]);
    let peak = peak(command);
    assert!(server.requests().contains(&"/demo-1.0.0.tar.zst".to_owned()));
    assert!((2 << 10..=32 << 10).contains(&peak), "{peak} KiB");
}
