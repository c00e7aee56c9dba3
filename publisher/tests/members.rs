//! Archives in members: an index describes its whole archive, and a small change of a tree changes
//! few pieces and members.

use flate2::read::{GzDecoder, MultiGzDecoder};
use joblet_format::{
    index::{Body, Index},
    member::open_member,
};
use joblet_publish::{
    pack::{self, Packed},
    tree::{Node, Tree},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fs, io::Read, num::NonZero};

/// A random number generator with a fixed seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Compressible bytes, with more zeros than ones.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8))
            .flat_map(|_| (self.next() & self.next()).to_le_bytes())
            .collect();
        bytes.truncate(length);
        bytes
    }
}

fn put(tree: &mut Tree, path: &str, content: Vec<u8>) {
    let executable = path.ends_with('7');
    tree.replace(path, Node::File { executable, content: content.into() }).unwrap();
}

/// `files` files of up to 60 kB, every fiftieth of up to 2 MB, with links and directories.
fn tree(random: &mut Random, files: usize) -> Tree {
    let mut tree = Tree::default();
    for number in 0..files {
        let most = if number % 50 == 7 { 2_000_000 } else { 60_000 };
        let length = random.below(most);
        put(&mut tree, &format!("usr/{}/{number:04}", number % 13), random.bytes(length));
    }
    tree.insert("usr/13/empty", Node::File { executable: true, content: vec![].into() }).unwrap();
    tree.insert("bin", Node::Link("usr/bin".into())).unwrap();
    tree.insert(&format!("{}link", "deep/".repeat(60)), Node::Link("x".repeat(200))).unwrap();
    tree
}

/// An archive, its report, and its index.
struct Archive {
    packed: Packed,
    bytes: Vec<u8>,
    index: Index,
}

fn archive(tree: &Tree, directory: &str, jobs: usize) -> Archive {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d.tar.gz");
    let jobs = NonZero::new(jobs).unwrap();
    let packed = pack::pack(tree, "name: d\n", directory, &target, pack::MAX_PART, jobs).unwrap();
    let file = fs::read(pack::index_path(&target)).unwrap();
    let mut plain = Vec::new();
    GzDecoder::new(file.as_slice()).read_to_end(&mut plain).unwrap();
    let index = Index::parse(&plain).unwrap();
    Archive { packed, bytes: fs::read(&target).unwrap(), index }
}

impl Archive {
    /// Sizes and hashes of the files' pieces, with paths and offsets.
    fn pieces(&self) -> BTreeSet<(&str, usize, u64, [u8; 32])> {
        let of = |entry: &'_ joblet_format::index::Entry| match &entry.body {
            Body::File { pieces, .. } => pieces.clone(),
            _ => Vec::new(),
        };
        let entries = self.index.entries().iter();
        let pieces = entries.flat_map(|entry| {
            let numbered = of(entry).into_iter().enumerate();
            numbered.map(|(at, piece)| (entry.path.as_str(), at, piece.size, piece.sha256))
        });
        pieces.collect()
    }

    fn members(&self) -> BTreeSet<[u8; 32]> {
        self.index.members().iter().map(|member| member.sha256).collect()
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let tree = tree(&mut Random(1), 200);
    let one = archive(&tree, "d-1.0.0", 1);
    for jobs in [2, 3, 8] {
        let other = archive(&tree, "d-1.0.0", jobs);
        assert_eq!(other.packed, one.packed, "{jobs}");
        assert!(other.bytes == one.bytes, "{jobs}");
    }
}

#[test]
fn an_index_describes_the_whole_archive() {
    let Archive { bytes, index, packed } = archive(&tree(&mut Random(2), 200), "d-1.0.0", 2);
    assert_eq!(packed.size, index.archive_size());
    assert_eq!(
        (packed.unpacked_size, packed.entries),
        (index.unpacked_size(), index.entries().len() as u64)
    );
    let (mut rest, mut stream) = (bytes.as_slice(), Vec::new());
    for member in index.members() {
        let (own, behind) = rest.split_at(member.length as usize);
        rest = behind;
        assert_eq!(<[u8; 32]>::from(Sha256::digest(own)), member.sha256);
        assert_eq!(open_member(own).unwrap().2, member.unpacked);
        let before = stream.len();
        GzDecoder::new(own).read_to_end(&mut stream).unwrap();
        assert_eq!(stream.len() - before, member.unpacked as usize);
    }
    assert!(rest.is_empty());
    let mut whole = Vec::new();
    MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut whole).unwrap();
    assert!(whole == stream);
    let at = |place: u64| usize::try_from(place).unwrap();
    let mut end = 0;
    for (entry, place) in index.entries().iter().zip(index.places()) {
        assert_eq!(at(place.start), end);
        end = at(place.end);
        assert!(stream[at(place.start)..at(place.body)] == entry.headers(index.directory()));
        let mut body = at(place.body);
        if let Body::File { pieces, .. } = &entry.body {
            for piece in pieces {
                let content = &stream[body..body + at(piece.size)];
                assert_eq!(<[u8; 32]>::from(Sha256::digest(content)), piece.sha256);
                body += at(piece.size);
            }
        }
        assert!(stream[body..end].iter().all(|byte| *byte == 0));
    }
    assert!(stream[end..] == [0; 1024]);
}

#[test]
fn a_new_version_alone_changes_no_cut_and_no_piece() {
    let tree = tree(&mut Random(3), 200);
    let (old, new) = (archive(&tree, "d-1.9.0", 2), archive(&tree, "d-1.9.1", 2));
    let unpacked = |archive: &Archive| {
        archive.index.members().iter().map(|member| member.unpacked).collect::<Vec<_>>()
    };
    assert_eq!(unpacked(&old), unpacked(&new));
    assert_eq!(old.index.entries(), new.index.entries());
    // Members without a header are equal in every byte.
    assert!(old.members().intersection(&new.members()).count() > 5);
}

#[test]
fn a_small_change_has_small_consequences() {
    let mut random = Random(4);
    let tree = tree(&mut random, 500);
    let old = archive(&tree, "d-1.0.0", 2);
    let (old_pieces, old_members) = (old.pieces(), old.members());
    for round in 0..12 {
        let (mut new, number) = (tree.clone(), random.below(500));
        let path = format!("usr/{}/{number:04}", number % 13);
        let length = random.below(30_000);
        match round % 4 {
            0 => put(&mut new, &format!("{path}.new"), random.bytes(length)),
            1 => new.remove(&path),
            2 => put(&mut new, &path, random.bytes(length)),
            _ => put(&mut new, &format!("{path}.new"), random.bytes(10 * length)),
        }
        let new = archive(&new, "d-1.0.0", 2);
        let file = format!("isolated/{path}");
        let elsewhere = |&&(path, ..): &&(&str, usize, u64, [u8; 32])| !path.starts_with(&file);
        let new_pieces = new.pieces();
        let changed = old_pieces.symmetric_difference(&new_pieces).filter(elsewhere).count();
        assert_eq!(changed, 0, "round {round}: pieces of other files");
        // All members of a removed large file are gone.
        let own = old_pieces.iter().filter(|piece| !elsewhere(piece)).count();
        let gone = old_members.difference(&new.members()).count();
        assert!(gone <= own + 4, "round {round}: {gone} of {} members", old_members.len());
    }
}

#[test]
fn bytes_put_into_a_large_file_change_few_pieces() {
    let mut random = Random(5);
    let mut content = random.bytes(20 << 20);
    let mut tree = tree(&mut random, 50);
    put(&mut tree, "usr/large", content.clone());
    let old = archive(&tree, "d-1.0.0", 2);
    content.splice(9_999_999..9_999_999, *b"some more");
    put(&mut tree, "usr/large", content);
    let new = archive(&tree, "d-1.0.0", 2);
    let hashes = |archive: &Archive| {
        archive.pieces().into_iter().map(|piece| piece.3).collect::<BTreeSet<_>>()
    };
    let (before, after) = (hashes(&old), hashes(&new));
    assert!(before.len() > 80);
    let gone = before.difference(&after).count();
    assert!(gone <= 3, "{gone} of {} pieces", before.len());
    let gone = old.members().difference(&new.members()).count();
    assert!(gone <= 4, "{gone} members: those pieces, and the file's header with its length");
}
