//! Synthetic archives: accepted ones, and the rules that refuse the others.

use super::*;
use flate2::{Compression, write::GzEncoder};
use rustix::fd::AsFd;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[allow(dead_code, reason = "the end-to-end tests use all of it")]
#[path = "../../../tests/common/tar.rs"]
pub(in crate::archive) mod builder;

use builder::{Tar, listing};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn artifact(bytes: &[u8]) -> Artifact {
    Artifact {
        download_url: "demo.tar.gz".into(),
        checksum: Checksum::of_bytes(bytes),
        size: bytes.len() as u64,
        parts: Vec::new(),
        unpacked_size: None,
        entries: None,
        index: None,
        zstd: None,
    }
}

fn unpack_with(bytes: &[u8], artifact: &Artifact) -> (tempfile::TempDir, Result<(), Error>) {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("demo.tar.gz");
    fs::write(&path, bytes).unwrap();
    fs::create_dir(base.path().join("out")).unwrap();
    let into = File::open(base.path().join("out")).unwrap();
    let result = unpack(File::open(path).unwrap(), "demo.tar.gz", artifact, into.as_fd(), |_| ());
    (base, result)
}

/// Unpacks a gzip file.
fn unpack_gzip(bytes: &[u8]) -> (tempfile::TempDir, Result<(), Error>) {
    unpack_with(bytes, &artifact(bytes))
}

fn refusal(bytes: &[u8]) -> String {
    let (base, result) = unpack_gzip(bytes);
    assert!(!base.path().join("escaped").exists());
    match result {
        Err(error @ Error::Archive { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_ordinary_archive_is_unpacked() {
    let long = "d/".repeat(60) + "file";
    let tar = Tar::default()
        .directory("./")
        .directory("./demo/")
        .raw(b'0', b"./demo/run", b"", 0o6777, b"#!")
        .file("demo//usr/./lib/x", "without an entry for its parents")
        .symlink("demo/bin", "usr/bin")
        .symlink("demo/mtab", "/proc/mounts")
        .hard_link("demo/run2", "./demo/run")
        .pax(&[("path", &long), ("mtime", "1.5"), ("SCHILY.xattr.user.x", "y")])
        .file("ignored", "long")
        .raw(b'0', b"demo/\xff\xfe", b"", 0o644, b"")
        .file("demo/empty", "")
        .end();
    // Two members, cut in the middle of a file: one stream for every reader of gzip.
    let (first, second) = tar.split_at(1800);
    let (base, result) = unpack_gzip(&[gzip(first), gzip(second)].concat());
    result.unwrap();
    let out = base.path().join("out");
    let run = fs::metadata(out.join("demo/run")).unwrap();
    assert_eq!((run.permissions().mode() & 0o7777, run.mtime()), (0o755, 315_532_800));
    assert_eq!(run.nlink(), 2);
    assert_eq!(fs::read(out.join("demo/run2")).unwrap(), b"#!");
    assert_eq!(fs::read_link(out.join("demo/bin")).unwrap().to_str(), Some("usr/bin"));
    assert_eq!(fs::read_link(out.join("demo/mtab")).unwrap().to_str(), Some("/proc/mounts"));
    assert_eq!(fs::read_to_string(out.join(&long)).unwrap(), "long");
    assert_eq!(fs::read(out.join(OsStr::from_bytes(b"demo/\xff\xfe"))).unwrap(), b"");
    assert_eq!(fs::metadata(out.join("demo")).unwrap().mtime(), 315_532_800);
}

#[test]
fn directories_without_write_permission_are_filled() {
    let tar = Tar::default()
        .raw(b'5', b"a", b"", 0, b"")
        .raw(b'5', b"a/b", b"", 0o555, b"")
        .file("a/b/c", "x")
        .end();
    let (base, result) = unpack_gzip(&gzip(&tar));
    result.unwrap();
    let mode = |path: &str| fs::metadata(base.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("out/a"), mode("out/a/b"), mode("out/a/b/c")), (0o700, 0o755, 0o644));
}

#[test]
fn names_and_links_never_leave() {
    let outside = "x/".repeat(129) + "y";
    for (tar, rule) in [
        (Tar::default().file("../escaped", ""), "contains `..`"),
        (Tar::default().file("a/../../escaped", ""), "contains `..`"),
        (Tar::default().file("..", ""), "contains `..`"),
        (Tar::default().file("/escaped", ""), "an absolute name"),
        (Tar::default().file("//escaped", ""), "an absolute name"),
        (Tar::default().file("", ""), "an empty name"),
        (Tar::default().file(".", ""), "an empty name"),
        (Tar::default().symlink("l", "..").file("l/escaped", ""), "a parent that is a link"),
        (Tar::default().symlink("l", "/tmp").directory("l"), "a parent that is a link"),
        (Tar::default().symlink("l", ".").symlink("l/m", "..").file("l/m/x", ""), "a link"),
        (Tar::default().symlink("l/", ".."), "\"l/\""),
        (Tar::default().symlink("l", ""), "empty or overlong target"),
        (Tar::default().hard_link("h", "/etc/passwd"), "hard link target: an absolute name"),
        (Tar::default().hard_link("h", "../x"), "hard link target: a name that contains"),
        (Tar::default().symlink("l", "/etc").hard_link("h", "l/passwd"), "a link"),
        (Tar::default().symlink("l", "/etc/passwd").hard_link("h", "l"), "no earlier regular"),
        (Tar::default().hard_link("h", "f").file("f", ""), "no earlier regular file"),
        (Tar::default().pax(&[("path", "../escaped")]).file("safe", ""), "contains `..`"),
        (Tar::default().pax(&[("path", &outside)]).file("safe", ""), "more than 128 nested"),
        (Tar::default().pax(&[("path", &"x".repeat(256))]).file("s", ""), "more than 255 bytes"),
        (
            Tar::default().pax(&[("path", &("x/".repeat(2100) + "y"))]).file("s", ""),
            "more than 4095",
        ),
    ] {
        // A link whose own name ends in `/` is refused only if an entry is below it.
        let tar = if rule == "\"l/\"" { tar.file("l/escaped", "") } else { tar };
        let error = refusal(&gzip(&tar.end()));
        assert!(error.contains(rule.trim_matches('"')), "{rule}: {error}");
    }
}

/// SEC-A08: after random changes of a stream, the tree equals GNU tar's, or the archive is refused.
#[test]
fn every_changed_archive_is_unpacked_as_by_gnu_tar_or_refused() {
    let long = "l/".repeat(60) + "f";
    let original = Tar::default()
        .directory("d/")
        .file("d/file", "content")
        .symlink("d/link", "file")
        .hard_link("d/again", "d/file")
        .pax(&[("path", &long), ("size", "4")])
        .file("short", "long")
        .long(b'L', b"d/gnu\0")
        .file("short", "gnu")
        .patch(1024, 345, b"")
        .end();
    let (mut state, mut same, mut refused) = (5_u64, 0, 0);
    let mut random = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % limit
    };
    for _ in 0..250 {
        let mut stream = original.clone();
        // A changed byte of a header or an extension header; a block removed, duplicated or moved.
        let block = 512 * random(stream.len() / 512 - 2);
        match random(5) {
            0 => drop(stream.drain(block..block + 512)),
            1 => {
                let copy = stream[block..block + 512].to_vec();
                drop(stream.splice(block..block, copy));
            }
            _ => {
                let field = [0, 100, 124, 124, 134, 156, 156, 157, 257, 263, 345][random(11)];
                let value = b"\0/.0127x5KLg \x80\xff"[random(15)];
                stream[block + field + random(3)] = value;
                let header = &mut stream[block..block + 512];
                if &header[257..262] == b"ustar" {
                    header[148..156].fill(b' ');
                    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
                    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
        }
        let (base, result) = unpack_gzip(&gzip(&stream));
        if result.is_err() {
            refused += 1;
            continue;
        }
        let (file, gnu) = (base.path().join("tar"), base.path().join("gnu"));
        fs::write(&file, &stream).unwrap();
        fs::create_dir(&gnu).unwrap();
        let mut tar = std::process::Command::new("tar");
        let output = tar.arg("-xf").arg(&file).arg("-C").arg(&gnu).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(listing(&base.path().join("out")), listing(&gnu));
        same += 1;
    }
    assert!(same > 20 && refused > 20, "{same} the same, {refused} refused");
}

#[test]
fn the_same_path_twice_is_refused() {
    for tar in [
        Tar::default().file("a", "1").file("a", "2"),
        Tar::default().file("a", "1").file("./a", "2"),
        Tar::default().file("a", "1").symlink("a", "b"),
        Tar::default().symlink("a", "b").file("a", ""),
        Tar::default().directory("a").file("a", ""),
        Tar::default().file("a", "").hard_link("a", "a"),
    ] {
        assert!(refusal(&gzip(&tar.end())).contains("the same path twice"));
    }
    assert!(refusal(&gzip(&Tar::default().file("a", "").directory("a").end())).contains("a file"));
}

#[test]
fn only_directories_files_and_links_are_unpacked() {
    for (kind, rule) in [
        (b'3', "a device"),
        (b'4', "a device"),
        (b'6', "a FIFO"),
        (b'7', "not a directory, file or link"),
        (b'S', "a sparse file"),
        (b'D', "not a directory, file or link"),
        (b'M', "not a directory, file or link"),
        (b'V', "not a directory, file or link"),
        (b'Z', "not a directory, file or link"),
    ] {
        let error = refusal(&gzip(&Tar::default().raw(kind, b"x", b"", 0o644, b"").end()));
        assert!(error.contains(rule), "{error}");
    }
}

#[test]
fn ambiguous_streams_are_refused() {
    let long = |kind, text: &[u8]| Tar::default().raw(kind, b"././@LongLink", b"", 0, text);
    for (tar, rule) in [
        (Tar::default().pax(&[("size", "9")]).file("a", "1"), "size differs"),
        (Tar::default().pax(&[("size", "0")]).file("a", "1"), "size differs"),
        (Tar::default().pax(&[("size", "123x")]).file("a", "1"), "size is not a number"),
        (
            Tar::default().pax(&[("path", "a")]).pax(&[("path", "b")]).file("c", ""),
            "a pax header af",
        ),
        (
            Tar::default().pax(&[("path", "a")]).raw(b'L', b"x", b"", 0, b"b\0").file("c", ""),
            "after a",
        ),
        (long(b'L', b"a\0").raw(b'L', b"x", b"", 0, b"b\0").file("c", ""), "after a GNU long name"),
        (long(b'L', b"a\0").pax(&[("path", "b")]).file("c", ""), "a pax header after a GNU"),
        (long(b'L', b"a").file("c", ""), "not one NUL-terminated string"),
        (long(b'L', b"a\0b\0").file("c", ""), "not one NUL-terminated string"),
        (Tar::default().pax(&[("path", "a")]), "pax header without an entry"),
        (
            Tar::default().raw(b'g', b"g", b"", 0, b"15 path=../xyz\n").file("a", ""),
            "names or sizes",
        ),
        (Tar::default().raw(b'g', b"g", b"", 0, b"9 size=1\n").file("a", ""), "global pax header"),
        (
            Tar::default().pax(&[("size", "18446744073709551615")]).file("a", ""),
            "too large for any file system",
        ),
        (
            Tar::default().file("a", "").patch(
                512,
                124,
                b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
            "size is out of range",
        ),
        (
            Tar::default().file("a", "").patch(512, 136, b"\x80\0\0\x01\0\0\0\0\0\0\0\0"),
            "mtime is out of range",
        ),
        (Tar::default().file("a", "").patch(512, 136, &[0xff; 12]), "mtime is out of range"),
        (Tar::default().file("a/", "x"), "whose name ends in `/`"),
        (Tar::default().raw(b'5', b"a", b"", 0o755, b"body"), "only a file may have a body"),
        (Tar::default().raw(b'2', b"a", b"b", 0o755, b"body"), "only a file may have a body"),
        (Tar::default().file("a", "").patch(512, 124, b"zzzzzzzzzzz\0"), "size is not a number"),
        (
            Tar::default().file("a", "").patch(512, 257, b"\0\0\0\0\0\0\0\0"),
            "neither ustar nor GNU",
        ),
    ] {
        let error = refusal(&gzip(&tar.end()));
        assert!(error.contains(rule), "{rule}: {error}");
    }
    let mut damaged = Tar::default().file("a", "").end();
    damaged[0] = b'b';
    assert!(refusal(&gzip(&damaged)).contains("wrong checksum"));
    let mut patched = Tar::default().raw(b'L', b"x", b"", 0, b"name\0").file("short", "x").end();
    patched.truncate(patched.len());
    unpack_gzip(&gzip(&patched)).1.unwrap();
}

#[test]
fn archives_have_exactly_one_end() {
    let tar = Tar::default().file("a", "content").end();
    let good = gzip(&tar);
    for cut in [1, 9, good.len() / 2] {
        let error = refusal(&good[..good.len() - cut]);
        assert!(error.contains("cut off"), "{cut}: {error}");
    }
    for at in [good.len() - 8, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        assert!(refusal(&flipped).contains("damaged"), "{at}");
    }
    assert!(refusal(&[&good[..], b"GARBAGE AFTER THE END"].concat()).contains("damaged"));
    assert!(refusal(&gzip(&tar[..1024])).contains("cut off"), "no end blocks");
    assert!(refusal(&gzip(&tar[..1536])).contains("cut off"), "one end block");
    let second = Tar::default().file("b", "").end();
    assert!(refusal(&gzip(&[&tar[..], &second].concat())).contains("after the end"));
    unpack_gzip(&gzip(&[&tar[..], &[0; 8704]].concat())).1.unwrap();
}

#[test]
fn an_archive_is_limited_by_its_budget() {
    let tar = Tar::default().file("a", "four").file("b", "four").end();
    let bytes = gzip(&tar);
    for (unpacked_size, entries, ok) in [
        (Some(8), Some(2), true),
        (Some(7), Some(2), false),
        (Some(8), Some(1), false),
        (None, None, true),
    ] {
        let artifact = Artifact { unpacked_size, entries, ..artifact(&bytes) };
        let (_, result) = unpack_with(&bytes, &artifact);
        assert_eq!(result.is_ok(), ok, "{unpacked_size:?} {entries:?}");
    }
    // Without a stated size, the length of the archive limits it.
    let zeros = gzip(&Tar::default().raw(b'0', b"z", b"", 0o644, &vec![0; 65 << 20]).end());
    let bomb = Artifact { size: 1000, ..artifact(&zeros) };
    let error = unpack_with(&zeros, &bomb).1.unwrap_err().to_string();
    assert!(error.contains("more bytes than"), "{error}");
}

#[test]
fn a_file_that_changed_after_its_verification_is_not_installed() {
    let bytes = gzip(&Tar::default().file("a", "").end());
    let other = artifact(b"what was verified");
    assert!(matches!(unpack_with(&bytes, &other).1, Err(Error::Checksum { .. })));
}
