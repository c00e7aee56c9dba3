//! Decompression bombs.

use super::world::{World, finished};
use flate2::{Compression, Crc, FlushCompress};
use joblet_format::Checksum;
use std::{fs, process::Command};

/// Zeros at once, in bytes.
const BLOCK: usize = 1 << 20;
/// Uncompressed size of a member, in blocks.
const BLOCKS: u32 = 3 << 10;

/// This number of blocks of zeros, deflated, and their CRC-32.
fn zeros(blocks: u32) -> (Vec<u8>, u32) {
    let block = vec![0; BLOCK];
    let mut deflate = flate2::Compress::new(Compression::best(), false);
    let mut one = Vec::with_capacity(BLOCK);
    deflate.compress_vec(&block, &mut one, FlushCompress::Full).unwrap();
    let (mut packed, mut whole, mut part) = (Vec::new(), Crc::new(), Crc::new());
    part.update(&block);
    for _ in 0..blocks {
        packed.extend_from_slice(&one);
        whole.combine(&part);
    }
    packed.extend([1, 0, 0, 0xff, 0xff]); // a last, empty block
    (packed, whole.sum())
}

/// A zip of one member that is nothing but zeros, and others that are stored.
fn bomb(name: &str, others: &[(&str, &[u8])]) -> Vec<u8> {
    let (packed, crc) = zeros(BLOCKS);
    let length = u64::from(BLOCKS) * BLOCK as u64;
    let stored = |bytes: &[u8]| {
        let mut crc = Crc::new();
        crc.update(bytes);
        (0_u16, crc.sum(), bytes.to_vec(), bytes.len() as u64)
    };
    let members = others.iter().map(|(name, bytes)| (*name, stored(bytes)));
    let (mut out, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for (name, (method, crc, packed, length)) in members.chain([(name, (8, crc, packed, length))]) {
        let mut header = [0_u16, 0, method, 0, 0].map(u16::to_le_bytes).concat();
        for value in [u64::from(crc), packed.len() as u64, length] {
            header.extend(u32::try_from(value).unwrap().to_le_bytes());
        }
        header.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        header.extend([0, 0]);
        directory.extend([b"PK\x01\x02\x00\x03", header.as_slice(), &[0; 10]].concat());
        directory.extend(u32::try_from(out.len()).unwrap().to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend([b"PK\x03\x04", header.as_slice(), name.as_bytes(), &packed].concat());
        count += 1;
    }
    let place = [directory.len(), out.len()].map(|it| u32::try_from(it).unwrap().to_le_bytes());
    out.extend(directory);
    let count = count.to_le_bytes();
    out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &place.concat(), &[0; 2]].concat());
    out
}

/// SEC-E12: a wheel of 3 MB with 3 GB of metadata is refused in little memory.
#[test]
fn bombs_in_metadata_are_refused_at_a_limit() {
    let world = World::new();
    let file = "d-1-py3-none-any.whl";
    let manifest = "name: demo\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\n\
                    python: { version: '3.11', before: 2024-01-01, packages: [d==1] }\n";
    fs::write(world.main("runtimes-src/demo/manifest.yaml"), manifest).unwrap();
    let digest = joblet_publish::lock::digest(&joblet_publish::source::parse(manifest).unwrap());
    fs::create_dir_all(world.path("cache/sha256")).unwrap();
    let good: [(&str, &[u8]); 2] =
        [("d-1.dist-info/WHEEL", b"Wheel-Version: 1.0\n"), ("d-1.dist-info/RECORD", b"")];
    for (name, rule) in [
        ("d-1.dist-info/RECORD", "`d-1.dist-info/RECORD` has 3221225472 bytes; at most"),
        ("d-1.dist-info/WHEEL", "`d-1.dist-info/WHEEL` has 3221225472 bytes; at most"),
        ("d-1.dist-info/METADATA", "`d-1.dist-info/METADATA` has 3221225472 bytes; at most"),
        ("d-1.dist-info/entry_points.txt", "entry_points.txt` has 3221225472 bytes; at most"),
    ] {
        let others: Vec<_> = good.into_iter().filter(|(other, _)| *other != name).collect();
        let wheel = bomb(name, &others);
        assert!(wheel.len() < 4_000_000, "{}", wheel.len());
        let sum = Checksum::of_bytes(&wheel).hex();
        fs::write(world.path("cache/sha256").join(&sum), &wheel).unwrap();
        let input = format!(
            r#"{{"kind":"wheel","name":"{file}","size":{},"sha256":"{sum}"}}"#,
            wheel.len()
        );
        let lock = format!(
            r#"{{"format":1,"manifest":"{digest}","timestamp":"2026-01-31T12:00:00Z",
                "inputs":{{"amd64":[{input}]}}}}"#
        );
        fs::write(world.main("runtimes-src/demo/versions.lock"), lock).unwrap();
        // In half a gigabyte of address space.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 524288; exec \"$0\" build demo --offline --cache ../cache"]);
        command.arg(env!("CARGO_BIN_EXE_joblet-publish")).current_dir(world.main(""));
        let output = finished(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(14), "{output:?}");
        assert!(said.contains(rule) && said.len() < 300, "{said}");
    }
}
