//! The `.tar.zst` of a published version: added later, and verified.

use super::world::{World, deb, noise, sha256};
use flate2::read::MultiGzDecoder;
use joblet_format::frames::{Frame, MAX_FRAME, table};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs, io::Read};

/// Version 1.0.0 is published without frames.
fn published() -> World {
    let world = World::new();
    let debs = [deb("demo", "1", "MIT", &[("./usr/bin/demo", "#!/usr/bin/demo\n")])];
    world.write("runtimes-src/demo/own/usr/share/noise", noise(700_000));
    world.runtime("1.0.0", &debs, "files: own\n");
    world.build("").done();
    world.publish("index --records dist/records --out dist/registry.json").done();
    world
}

const RECORD: &str = "dist/records/demo/1.0.0.json";
const ADD: &str = "zstd demo@1.0.0 --records dist/records";
const INDEX: &str = "index --records dist/records --out dist/registry.json";
const VERIFY: &str = "verify demo --records dist/records --offline --cache cache --arch amd64";

fn zstd(world: &World, arch: &str) -> Value {
    world.json(RECORD)["release"]["artifacts"][arch]["zstd"].clone()
}

fn checksum(bytes: &[u8]) -> String {
    sha256(bytes).to_string()
}

#[test]
fn frames_are_added_to_what_is_published() {
    let world = published();
    let before = world.json(RECORD);
    let complaint = world.publish(&format!("{VERIFY} --zstd")).failed(12);
    assert!(complaint.ends_with("amd64: has no .tar.zst; `joblet-publish zstd` makes one"));
    let said = world.publish(ADD).done();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    for (line, arch) in lines.iter().zip(["amd64", "arm64"]) {
        let entry = zstd(&world, arch);
        let sum = entry["checksum"].as_str().unwrap();
        assert!(line.starts_with(&format!("demo@1.0.0 {arch}: ")) && line.ends_with(sum), "{said}");
        let name = entry["download_url"].as_str().unwrap();
        assert_eq!(name, format!("demo-1.0.0-{arch}.tar.zst"));
        let bytes = fs::read(world.path("dist").join(name)).unwrap();
        assert_eq!(
            (checksum(&bytes).as_str(), bytes.len() as u64),
            (sum, entry["size"].as_u64().unwrap())
        );
        let gzip = fs::File::open(world.path(&format!("dist/demo-1.0.0-{arch}.tar.gz"))).unwrap();
        let mut tar = Vec::new();
        MultiGzDecoder::new(gzip).read_to_end(&mut tar).unwrap();
        let mut plain = vec![0; tar.len() + 1];
        let length = zstd_safe::decompress(&mut plain[..], &bytes).unwrap();
        assert!(plain[..length] == tar, "{arch}: another tar stream");
    }
    // Nothing else of the record changes, nothing is left, and the registry takes it.
    let mut after = world.json(RECORD);
    for arch in ["amd64", "arm64"] {
        after["release"]["artifacts"][arch].as_object_mut().unwrap().remove("zstd");
    }
    assert_eq!(after, before);
    assert!(
        !world.tree("dist").iter().any(|path| path.contains(".zstd-")),
        "{:?}",
        world.tree("dist")
    );
    world.publish(INDEX).done();
    assert_eq!(
        world.json("dist/registry.json")["runtimes"]["demo"]["1.0.0"]["artifacts"]["amd64"]["zstd"],
        zstd(&world, "amd64")
    );
    // They equal those of a build, and verify accepts them.
    let sum = zstd(&world, "amd64")["checksum"].as_str().unwrap().to_owned();
    world.build("--zstd --out other").done();
    let built = world.json("other/records/demo/1.0.0.json");
    assert_eq!(built["release"]["artifacts"]["amd64"]["zstd"]["checksum"], sum.as_str());
    for option in ["--zstd", "--against dist"] {
        let said = world.publish(&format!("{VERIFY} {option}")).done();
        assert!(said.ends_with(&format!("demo@1.0.0 amd64 .tar.zst: the same, {sum}\n")), "{said}");
    }
    // Only once.
    let text = world.read(RECORD);
    assert_eq!(
        world.publish("zstd --all --records dist/records").done(),
        "demo@1.0.0 amd64: has one\ndemo@1.0.0 arm64: has one\n"
    );
    assert_eq!(world.read(RECORD), text);
}

#[test]
fn frames_in_parts_are_of_an_archive_elsewhere() {
    let world = published();
    let before = world.read(RECORD);
    let add = format!("{ADD} --arch amd64 --out frames");
    let said = world.publish(&add).done();
    assert_eq!(said.lines().count(), 1);
    let size = zstd(&world, "amd64")["size"].as_u64().unwrap();
    fs::remove_file(world.path("frames/demo-1.0.0-amd64.tar.zst")).unwrap();
    world.write(RECORD, before);
    world.publish(&format!("{add} --part-size {}", size - 1)).done();
    let entry = zstd(&world, "amd64");
    assert!(zstd(&world, "arm64").is_null());
    let parts = entry["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    for part in parts {
        let name = part["download_url"].as_str().unwrap();
        fs::rename(world.path("frames").join(name), world.path("dist").join(name)).unwrap();
    }
    assert_eq!(world.tree("frames"), [""; 0]);
    world.publish(INDEX).done();
    let said = world.publish(&format!("{VERIFY} --against dist")).done();
    assert!(said.contains(" .tar.zst: the same, "), "{said}");
    // An archive that does not match the record is not compressed.
    let archive = world.path("dist/demo-1.0.0-arm64.tar.gz");
    let mut bytes = fs::read(&archive).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let complaint = world.publish(ADD).failed(13);
    assert!(complaint.contains("demo@1.0.0 arm64: checksum differs: "), "{complaint}");
    assert!(
        zstd(&world, "arm64").is_null()
            && world.tree("dist").iter().all(|it| !it.contains(".zstd-"))
    );
    for wrong in ["zstd --records dist/records", "zstd demo --all --records dist/records"] {
        assert!(world.publish(wrong).failed(2).contains("either NAME or NAME@VERSION, or --all"));
    }
}

/// Every frame is decompressed and compared with the archive.
#[test]
fn frames_that_are_not_the_archives_are_refused() {
    let world = published();
    world.publish(ADD).done();
    let file = world.path("dist/demo-1.0.0-amd64.tar.zst");
    let (honest, entry) = (fs::read(&file).unwrap(), zstd(&world, "amd64"));
    let start = usize::try_from(entry["table"]["size"].as_u64().unwrap()).unwrap();
    let refused = |bytes: &[u8], entry: &Value, status: i32, reason: &str| {
        fs::write(&file, bytes).unwrap();
        let mut record = world.json(RECORD);
        record["release"]["artifacts"]["amd64"]["zstd"] = entry.clone();
        world.write(RECORD, record.to_string());
        fs::remove_file(world.path("dist/registry.json")).unwrap();
        world.publish(INDEX).done();
        let complaint = world.publish(&format!("{VERIFY} --against dist")).failed(status);
        assert!(complaint.contains(reason), "{reason}: {complaint}");
    };
    let spoiled = |at: usize| {
        let mut bytes = honest.clone();
        bytes[at] ^= 1;
        bytes
    };
    refused(&spoiled(start - 1), &entry, 13, "amd64 .tar.zst: table: checksum differs");
    refused(&spoiled(start), &entry, 13, "amd64 .tar.zst: frame 0: checksum differs");
    refused(&spoiled(honest.len() - 1), &entry, 13, ": checksum differs");
    refused(&honest[..honest.len() - 1], &entry, 13, ": checksum differs");
    refused(&[&honest[..], b"x"].concat(), &entry, 17, "has more than ");
    // Frames, table and registry match, but the content differs, with the same length.
    let number = |at: usize| u32::from_le_bytes(honest[at..at + 4].try_into().unwrap());
    let row = |at: usize| (usize::try_from(number(at)).unwrap(), number(at + 4));
    let rows: Vec<_> = (24..start).step_by(40).map(row).collect();
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let (mut frames, mut list, mut at) = (Vec::new(), Vec::new(), start);
        for (row, &(length, members)) in rows.iter().enumerate() {
            let mut content = vec![0; usize::try_from(MAX_FRAME).unwrap()];
            let size = zstd_safe::decompress(&mut content[..], &honest[at..at + length]).unwrap();
            content.truncate(size);
            at += length;
            if row == 0 {
                change(&mut content);
            }
            let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
            let size = zstd_safe::compress(&mut frame[..], &content, 3).unwrap();
            frame.truncate(size);
            let length = u32::try_from(size).unwrap();
            list.push(Frame { length, members, sha256: Sha256::digest(&frame).into() });
            frames.extend(frame);
        }
        let head = table(&list);
        let all = [&head[..], &frames].concat();
        let mut entry = entry.clone();
        entry["size"] = all.len().into();
        entry["checksum"] = checksum(&all).into();
        entry["table"] = json!({ "checksum": checksum(&head), "size": head.len() });
        (all, entry)
    };
    let (bytes, other) = forge(&|content| content[600] ^= 1);
    refused(&bytes, &other, 13, "it is not the tar stream of its .tar.gz");
    let (bytes, other) = forge(&|content| _ = content.pop());
    refused(&bytes, &other, 17, "bytes, its members ");
    let (bytes, other) = forge(&|content| content.push(0));
    refused(&bytes, &other, 17, "frame 0: ");
    // The same content, compressed otherwise, is valid, but differs from a build's bytes.
    let (bytes, other) = forge(&|_| ());
    assert_ne!(bytes, honest);
    fs::write(&file, bytes).unwrap();
    let mut record = world.json(RECORD);
    record["release"]["artifacts"]["amd64"]["zstd"] = other;
    world.write(RECORD, record.to_string());
    fs::remove_file(world.path("dist/registry.json")).unwrap();
    world.publish(INDEX).done();
    world.publish(&format!("{VERIFY} --against dist")).done();
    let complaint = world.publish(&format!("{VERIFY} --zstd")).failed(13);
    assert!(complaint.contains("amd64 .tar.zst: checksum differs"), "{complaint}");
}
