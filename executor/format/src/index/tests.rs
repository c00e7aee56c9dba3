//! Round trips, and the rules one by one.
#![allow(clippy::cast_possible_truncation, reason = "the numbers stand here")]

use super::*;
use crate::member::{MAX_MEMBER, MEMBER_HEADER, MEMBER_TRAILER};

fn piece(size: u64) -> Piece {
    Piece { size, sha256: [7; 32] }
}

fn entry(path: &str, body: Body) -> Entry {
    Entry { path: path.to_owned(), body }
}

fn file(path: &str, sizes: &[u64]) -> Entry {
    let pieces = sizes.iter().copied().map(piece).collect();
    entry(path, Body::File { executable: path.contains("bin"), pieces })
}

fn entries() -> Vec<Entry> {
    vec![
        entry("", Body::Directory),
        entry("isolated", Body::Directory),
        entry("isolated/a", Body::Directory),
        file("isolated/a/bin", &[1000]),
        file("isolated/a/é", &[]),
        file("isolated/a/è", &[1]),
        entry("isolated/a.b", Body::Symlink("a".to_owned())),
        file("isolated/large", &[400_000, 300_000]),
        file("runtime.yml", &[80]),
    ]
}

/// Members of at most 200,000 bytes over the stream of `entries`, cut at permitted offsets.
fn members(entries: &[Entry]) -> Vec<Member> {
    let whole =
        Index { directory: "demo-1.0.0".into(), members: vec![], entries: entries.to_vec() };
    let end = whole.places().last().map_or(0, |place| place.end);
    let mut left = stream_length(end);
    let mut members = Vec::new();
    while left > 0 {
        let unpacked = left.min(200_704);
        let length = (MEMBER_HEADER + MEMBER_TRAILER) as u64 + unpacked / 3 + 1;
        let sha256 = [members.len() as u8; 32];
        members.push(Member { length: length as u32, unpacked: unpacked as u32, sha256 });
        left -= unpacked;
    }
    members
}

fn index(entries: Vec<Entry>) -> Result<Index, String> {
    Index::new("demo-1.0.0".to_owned(), members(&entries), entries)
}

#[test]
fn a_round_trip_changes_nothing() {
    let mut all = entries();
    all.swap(4, 5); // byte order of names: è before é
    let index = index(all).unwrap();
    let bytes = index.to_bytes();
    assert_eq!(Index::parse(&bytes).unwrap(), index);
    assert_eq!(index.unpacked_size(), 701_081);
    for end in 0..bytes.len() {
        assert!(Index::parse(&bytes[..end]).is_err(), "{end}");
    }
    assert!(Index::parse(&[&bytes[..], b"x"].concat()).unwrap_err().contains("after its end"));
    assert!(
        Index::parse(b"joblet-index 2\n")
            .unwrap_err()
            .contains("not an index of a supported version")
    );
}

#[test]
fn paths_share_the_longest_prefix() {
    let index =
        index(vec![entry("", Body::Directory), file("xa", &[1]), file("xb", &[1])]).unwrap();
    let bytes = index.to_bytes();
    // Kind 1, one byte shared, one of its own; the same path without sharing.
    let at = bytes.windows(4).rposition(|window| window == [1, 1, 1, b'b']).unwrap();
    let longer = [&bytes[..=at], &[0, 2, b'x', b'b'], &bytes[at + 4..]].concat();
    assert_eq!(
        Index::parse(&longer).unwrap_err(),
        "a path whose shared prefix is longer than stated"
    );
}

#[test]
fn offsets_are_those_of_the_stream() {
    let index = index(vec![entry("", Body::Directory), file("x", &[513])]).unwrap();
    let places: Vec<_> = index.places().collect();
    assert_eq!(places[1], Place { start: 512, body: 1024, end: 2048 });
}

#[test]
fn invalid_trees_are_refused() {
    let link = |path: &str, target: &str| entry(path, Body::Symlink(target.to_owned()));
    for (more, rule) in [
        (vec![file("a", &[1]), file("a", &[1])], "twice or out of order"),
        (vec![file("b", &[1]), file("a", &[1])], "twice or out of order"),
        (vec![file("a.b", &[1]), entry("a", Body::Directory)], "twice or out of order"),
        (vec![file("a", &[1]), file("a/b", &[1])], "its directory is not listed before it"),
        (vec![link("a", "/etc"), file("a/b", &[1])], "its directory is not listed before it"),
        (vec![file("a/b", &[1])], "its directory is not listed before it"),
        (
            vec![entry("a", Body::Directory), entry("b", Body::Directory), file("a/c", &[1])],
            "twice or out of order",
        ),
        (vec![file("../a", &[1])], "a path with"),
        (vec![file("/a", &[1])], "a path with"),
        (vec![file("a/", &[1])], "a path with"),
        (vec![file("a\0", &[1])], "NUL"),
        (vec![file("", &[1])], "a path with"),
        (vec![file(&"x".repeat(256), &[1])], "a path with"),
        (vec![file(&"x/".repeat(1999), &[1])], "too long"),
        (vec![link("a", "")], "empty or too long"),
        (vec![file("a", &[1, 0])], "empty piece"),
        (vec![file("a", &[1 << 33])], "more than 8 GiB"),
        (vec![file("a", &[u64::MAX, u64::MAX])], "more than 8 GiB"),
    ] {
        let all = [vec![entry("", Body::Directory)], more].concat();
        // The tree is refused regardless of its members.
        let error = Index::new("demo-1.0.0".to_owned(), vec![], all).unwrap_err();
        assert!(error.contains(rule), "{rule}: {error}");
    }
    let nothing = Index::new("demo-1.0.0".to_owned(), vec![], vec![]).unwrap_err();
    assert!(nothing.contains("no entries"), "{nothing}");
    let headless = Index::new("demo-1.0.0".to_owned(), vec![], vec![file("a", &[1])]);
    assert!(headless.unwrap_err().contains("first entry"));
    let all = entries()[..3].to_vec();
    let outside = Index::new("../demo".to_owned(), members(&all), all).unwrap_err();
    assert!(outside.contains("is not NAME-VERSION"), "{outside}");
}

/// A change of the members of a valid index.
type Edit = fn(&mut Vec<Member>);

#[test]
fn members_cover_the_stream_exactly() {
    let mut all = entries();
    all.swap(4, 5);
    let good = members(&all);
    let with = |edit: fn(&mut Vec<Member>)| {
        let mut members = good.clone();
        edit(&mut members);
        Index::new("demo-1.0.0".to_owned(), members, all.clone()).err().unwrap_or_default()
    };
    assert_eq!(with(|_| ()), "");
    let edits: [(Edit, &str); 8] = [
        (|members| members[0].unpacked += 512, "unpack to"),
        (|members| members.truncate(members.len() - 1), "unpack to"),
        (|members| members.push(members[0]), "unpack to"),
        (|members| members[0].unpacked = 0, "to nothing"),
        (|members| members[0].unpacked = MAX_MEMBER as u32 + 1, "more than a mebibyte"),
        (|members| members[0].length = 28, "its length is impossible"),
        (|members| members[0].length = u32::MAX, "its length is impossible"),
        (
            |members| {
                // The first member ends inside the second header.
                members[0].unpacked -= 200_000;
                members[1].unpacked += 200_000;
                members[0].length = 40;
            },
            "member 1: it begins inside a header",
        ),
    ];
    for (edit, rule) in edits {
        let error = with(edit);
        assert!(error.contains(rule), "{rule}: {error}");
    }
}

#[test]
fn numbers_have_one_encoding() {
    let mut bytes = Vec::new();
    for number in [0, 1, 127, 128, 16_384, u64::from(u32::MAX), u64::MAX] {
        put_number(&mut bytes, number);
    }
    assert_eq!(bytes[..4], [0, 1, 127, 0x80]);
    let directory = |number: &[u8]| [MAGIC, number].concat();
    for odd in
        [&[0x80, 0][..], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
    {
        let error = Index::parse(&directory(odd)).unwrap_err();
        assert!(error.contains("shortest form"), "{odd:?}: {error}");
    }
}

#[test]
fn a_short_index_does_not_expand_beyond_the_limit() {
    let mut bytes = MAGIC.to_vec();
    put_text(&mut bytes, "demo-1.0.0");
    put_number(&mut bytes, 0);
    put_number(&mut bytes, 1_000_000);
    bytes.extend([0, 0, 0]);
    // One name of 200 bytes, repeated with different last letters.
    let name = "n".repeat(200);
    bytes.push(0);
    put_number(&mut bytes, 0);
    put_text(&mut bytes, &name);
    for depth in 0..1_000_000_usize {
        bytes.push(0);
        put_number(&mut bytes, 200);
        put_text(&mut bytes, if depth % 2 == 0 { "a" } else { "b" });
    }
    assert_eq!(Index::parse(&bytes).unwrap_err(), "it needs more memory than is allowed");
    // The writer respects the limit, too.
    let links =
        (0..5000).map(|number| entry(&format!("{number:05}"), Body::Symlink("t".repeat(3900))));
    let all = std::iter::once(entry("", Body::Directory)).chain(links).collect();
    assert!(
        Index::new("demo-1.0.0".to_owned(), vec![], all)
            .unwrap_err()
            .contains("more memory than is allowed")
    );
}

#[test]
fn impossible_counts_are_refused_early() {
    let mut bytes = MAGIC.to_vec();
    put_text(&mut bytes, "demo-1.0.0");
    put_number(&mut bytes, 1 << 60);
    assert_eq!(Index::parse(&bytes).unwrap_err(), "it is cut off");
}
