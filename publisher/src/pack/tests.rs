//! Reports match the archives, and failures leave no files.

use super::*;
use crate::fs::paths;
use crate::tree::Node;
use crate::tree::content::Content;
use std::sync::Arc;

const TWO: NonZero<usize> = NonZero::new(2).unwrap();

/// `length` incompressible bytes, by a random seed (xorshift64*).
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

fn tree(path: &str, content: Content) -> Tree {
    let mut tree = Tree::default();
    tree.insert(path, Node::File { executable: false, content }).unwrap();
    tree
}

#[test]
fn the_report_matches_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out/d.tar.gz");
    let tree = tree("a", vec![b'x'; 100_000].into());
    let packed = pack(&tree, "name: d\n", "d-1.0.0", &target, MAX_PART, TWO).unwrap();
    let (bytes, index) =
        (paths::read(&target).unwrap(), paths::read(&index_path(&target)).unwrap());
    assert_eq!((packed.size, packed.checksum), (bytes.len() as u64, Checksum::of_bytes(&bytes)));
    let want = IndexFile { checksum: Checksum::of_bytes(&index), size: index.len() as u64 };
    assert_eq!(packed.index, want);
    assert_eq!((packed.entries, packed.unpacked_size), (4, 100_008));
    assert_eq!(pack(&tree, "name: d\n", "d-1.0.0", &target, MAX_PART, TWO).unwrap(), packed);
    // magic, deflate, no flags, no time, slowest, unknown system
    assert_eq!(index[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
}

#[test]
fn an_archive_too_large_for_a_file_is_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d.tar.gz");
    let tree = tree("a", noise(1, 3_000_000).into());
    let pack = |part_size| super::pack(&tree, "", "d-1.0.0", &target, part_size, TWO);
    let whole = pack(MAX_PART).unwrap();
    let bytes = paths::read(&target).unwrap();
    let mut lengths = Vec::new();
    for limit in [1_000_000, 600_000, 2_000_000] {
        let packed = pack(limit).unwrap();
        let read = |number| paths::read(&part_path(&target, number)).unwrap();
        let parts: Vec<_> = (0..packed.parts.len()).map(read).collect();
        assert!(parts.concat() == bytes, "{limit}");
        let want =
            parts.iter().map(|it| (it.len() as u64, Checksum::of_bytes(it))).collect::<Vec<_>>();
        let found: Vec<_> = packed.parts.iter().map(|it| (it.size, it.checksum)).collect();
        assert_eq!(found, want);
        assert!(want.iter().all(|part| part.0 <= limit));
        assert_eq!((packed.checksum, packed.index), (whole.checksum, whole.index));
        // Parts of the previous build, the archive itself, and temporary files are removed.
        assert_eq!(paths::list(dir.path()).unwrap().len(), parts.len() + 1, "with the index");
        lengths.push(parts.len());
    }
    assert!(lengths[1] > lengths[0] && lengths[0] > lengths[2] && lengths[2] > 1, "{lengths:?}");
    let before = paths::list(dir.path()).unwrap();
    let error = pack(10_000).unwrap_err().to_string();
    assert_eq!(error, "--part-size 10000 is smaller than a member of the archive");
    assert_eq!(paths::list(dir.path()).unwrap(), before);
    assert_eq!(pack(MAX_PART).unwrap(), whole);
    assert_eq!(paths::list(dir.path()).unwrap(), [target.clone(), index_path(&target)]);
    let (measured, _) = dry_run(&tree, "", "d-1.0.0", &target, TWO).unwrap();
    assert_eq!(measured, whole);
}

#[test]
fn values_that_the_format_cannot_represent_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d.tar.gz");
    let long = vec!["n".repeat(250); 16].join("/");
    for (path, directory, message) in [
        (long.as_str(), "d-1.0.0", "a path that is too long"),
        (&"n".repeat(256), "d-1.0.0", "overlong or too deep component"),
        ("n/".repeat(127).trim_end_matches('/'), "d-1.0.0", "overlong or too deep component"),
        ("a", "d", "its directory \"d\" is not NAME-VERSION"),
    ] {
        let error =
            pack(&tree(path, vec![1].into()), "", directory, &target, MAX_PART, TWO).unwrap_err();
        assert_eq!(error.class().word(), "CHECK");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(paths::list(dir.path()).unwrap().len(), 0);
    }
}

#[test]
fn a_failure_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    for length in [5, 5 << 20] {
        let spool = Arc::new(tempfile::tempfile().unwrap());
        let tree = tree("a", Content::stretch(spool, 0, length));
        let target = dir.path().join("d.tar.gz");
        let error = pack(&tree, "", "d-1.0.0", &target, MAX_PART, TWO).unwrap_err();
        assert_eq!(error.class().word(), "STORE");
        assert!(error.to_string().starts_with("cannot pack /"), "{error}");
        assert_eq!(paths::list(dir.path()).unwrap().len(), 0);
    }
}

#[test]
fn a_full_disk_ends_all_threads() {
    let stream = Stream::new("d-1.0.0", &tree("a", noise(1, 20 << 20).into()), "").unwrap();
    let mut written = 0;
    let result = parallel::make(
        &stream,
        TWO,
        |error| error.to_string(),
        |_| {
            written += 1;
            if written == 3 { Err("no space".to_owned()) } else { Ok(()) }
        },
    );
    assert_eq!((result, written), (Err("no space".to_owned()), 3));
}

#[test]
fn an_archive_is_never_beside_the_index_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d.tar.gz");
    let one = pack(&tree("a", vec![1].into()), "", "d-1.0.0", &target, MAX_PART, TWO).unwrap();
    let two = pack(&tree("a", vec![2].into()), "", "d-1.0.0", &target, MAX_PART, TWO).unwrap();
    assert_ne!((one.checksum, one.index), (two.checksum, two.index));
    assert_eq!(two.index.checksum, Checksum::of_bytes(paths::read(&index_path(&target)).unwrap()));
    // A failed write of the index leaves no archive.
    paths::remove_if_there(&index_path(&target)).unwrap();
    std::fs::create_dir(index_path(&target)).unwrap();
    let error =
        pack(&tree("a", vec![3].into()), "", "d-1.0.0", &target, MAX_PART, TWO).unwrap_err();
    assert!(error.to_string().contains("d.tar.gz.index: "), "{error}");
}

#[test]
fn frames_are_the_same_stream_whoever_makes_them() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d.tar.gz");
    let mut tree = tree("a", noise(1, 9_000_000).into());
    let text = b"much the same ".repeat(400_000).into();
    tree.insert("b", Node::File { executable: false, content: text }).unwrap();
    let pack = |part_size| super::pack(&tree, "", "d-1.0.0", &target, part_size, TWO).unwrap();
    pack(MAX_PART);
    let mut plain = Vec::new();
    let gzip = paths::open(&target).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(gzip), &mut plain).unwrap();
    let one = frames(&target, 0, MAX_PART, NonZero::<usize>::MIN).unwrap();
    let path = zstd_path(&target);
    assert_eq!(path, dir.path().join("d.tar.zst"));
    let bytes = paths::read(&path).unwrap();
    assert_eq!((one.size, one.checksum), (bytes.len() as u64, Checksum::of_bytes(&bytes)));
    let table = usize::try_from(one.table.size).unwrap();
    assert_eq!(one.table.checksum, Checksum::of_bytes(&bytes[..table]));
    let index = Index::parse(&gunzip(&paths::read(&index_path(&target)).unwrap())).unwrap();
    let listed = joblet_format::frames::parse(&bytes[..table], one.size, &index).unwrap();
    assert_eq!(listed.len(), 3, "two, and what `runtime.yml` is in");
    // Any zstd reader decompresses all of it as one stream.
    let mut unpacked = vec![0; plain.len() + 1];
    let length = zstd_safe::decompress(&mut unpacked[..], &bytes).unwrap();
    assert!(unpacked[..length] == plain);
    assert_eq!(frames(&target, 0, MAX_PART, TWO).unwrap(), one);
    assert!(paths::read(&path).unwrap() == bytes);
    // Frames of an archive in parts, and in parts themselves.
    let packed = pack(4_000_000);
    assert!(packed.parts.len() > 1);
    let parted = frames(&target, packed.parts.len(), 9_000_000, TWO).unwrap();
    let read = |number| paths::read(&part_path(&path, number)).unwrap();
    let joined: Vec<_> = (0..parted.parts.len()).map(read).collect();
    assert!(parted.parts.len() > 1 && joined.concat() == bytes);
    assert_eq!((parted.checksum, parted.size, parted.table), (one.checksum, one.size, one.table));
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
    plain
}
