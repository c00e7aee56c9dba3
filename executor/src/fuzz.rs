//! Fuzz targets for the parsers of untrusted data.
//!
//! A target panics when an invariant is violated; a refused input is not a failure. `fuzz/` runs them with
//! libFuzzer; `tests/fuzz.rs` replays the inputs in its corpus.

use crate::archive::members::{Decompress, Inflate, MemberMap};
use crate::cli::escape::shown;
use crate::net::address::Address;
use crate::net::local::Local;
use crate::net::location::Location;
use crate::net::message::{Body, Head};
use crate::registry::config;
use crate::registry::document;
use crate::registry::shards;
use crate::registry::signature;
use crate::runtime;
use flate2::Crc;
use flate2::bufread::{DeflateDecoder, GzDecoder};
use joblet_format::Registry;
use joblet_format::entries::{Entries, Kind, member_path};
use joblet_format::frames::{self, MAX_FRAME};
use joblet_format::index::{self, Index};
use joblet_format::member::{
    MAX_MEMBER, MEMBER_HEADER, MEMBER_TRAILER, member_header, open_member,
};
use std::io::Read;
use std::path::Component;
use url::{Host, Url};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All targets with their names in `fuzz/`.
pub const TARGETS: [(&str, Target); 10] = [
    ("address", address),
    ("answer", answer),
    ("archive", archive),
    ("config", config),
    ("frames", frames),
    ("index", index),
    ("member", member),
    ("minisign", minisign),
    ("registry", registry),
    ("runtime", runtime),
];

/// An address in the document of a remote registry.
pub fn address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let far = Url::parse("https://example.org/a/registry.json").expect("it is an address");
    let far = Address::named(far, false).expect("it is one that is used");
    if let Ok(there) = far.with_url(text) {
        let url = there.url();
        assert!(url.scheme() == "https" && url.username().is_empty() && url.password().is_none());
        let host = url.host().expect("https has a host");
        assert!(!matches!(host, Host::Ipv4(it) if it.is_loopback() || it.is_unspecified()));
        assert!(!matches!(host, Host::Ipv6(it) if it.to_canonical().is_loopback()));
        // The displayed form has no query; an address without a query is displayed unchanged.
        let shown = there.to_string();
        let whole = Address::named(Url::parse(&shown).expect("it is an address"), false);
        let whole = whole.expect("it is one that is used");
        assert!(there.url().query().is_some() || whole == there);
    }
    // Parts that the URL parser identifies as secret are not displayed, unless they also occur elsewhere.
    let Ok(url) = Url::parse(text) else { return };
    let host = url.host_str().filter(|_| text.contains("://") && !url.cannot_be_a_base());
    let secrets = [Some(url.username()), url.password(), url.query(), url.fragment()];
    for secret in secrets.into_iter().flatten().filter(|it| it.len() > 3 && host.is_some()) {
        if text.matches(secret).count() == 1 {
            assert!(!shown(text).contains(secret), "{text:?} is shown as {:?}", shown(text));
            assert!(!shown(&shown(text)).contains(secret));
        }
    }
}

/// An HTTP response: a head and a body.
pub fn answer(bytes: &[u8]) {
    let mut from = bytes;
    let Ok(head) = Head::read(&mut from) else { return };
    assert!((200..1000).contains(&head.status) || head.status < 100);
    let (behind, Ok(mut body)) = (from.len() as u64, head.body()) else { return };
    let declared = if let Body::Length(length) = body { length } else { behind };
    let (mut read, mut buffer) = (0, [0; 7]);
    let whole = loop {
        match body.read(&mut from, &mut buffer) {
            Ok(0) => break true,
            Ok(count) => read += count as u64,
            Err(_) => break false,
        }
    };
    assert!(read <= declared.min(behind));
    assert!(!whole || matches!(body.read(&mut from, &mut buffer), Ok(0)));
}

/// A tar stream. Header checksums are corrected first: otherwise almost every input would fail there.
pub fn archive(bytes: &[u8]) {
    let mut stream = bytes.to_owned();
    fix_checksums(&mut stream);
    // The entries are the same whether bodies are read or skipped.
    let (mut once, mut again) = (&stream[..], &stream[..]);
    let mut skipping = Entries::new(&mut once);
    let mut reading = Entries::new(&mut again);
    loop {
        let (skipped, read) = (skipping.next_entry(), reading.next_entry());
        let entry = match (skipped, read) {
            (Ok(Some(skipped)), Ok(Some(read))) => {
                assert_eq!(skipped, read);
                read
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => return,
            (skipped, read) => panic!("{skipped:?}, {read:?}"),
        };
        if let Ok(path) = member_path(&entry.name, entry.kind == Kind::Directory) {
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        }
        if let Kind::File(size) = entry.kind {
            let mut length = 0;
            let mut buffer = [0; 700];
            while let Ok(count @ 1..) = reading.read_body(&mut buffer) {
                length += count as u64;
            }
            assert!(length <= size);
        }
    }
}

/// Corrects the checksum of every block at the position of a header.
fn fix_checksums(stream: &mut [u8]) {
    let mut rest = stream;
    while let Some((header, behind)) = rest.split_at_mut_checked(512) {
        if header.iter().any(|&byte| byte != 0) {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let digits = header[124..136].iter().take_while(|byte| (b'0'..=b'7').contains(byte));
        let size = digits.fold(0_usize, |size, digit| (size << 3) + usize::from(digit - b'0'));
        let body = size.saturating_add(511) / 512 * 512;
        let skipped = body.min(behind.len());
        rest = &mut behind[skipped..];
    }
}

/// A table of frames, and one frame.
pub fn frames(bytes: &[u8]) {
    // An archive of one file in nine members of 1 MiB: eight of them fit into a frame.
    const MEMBER: u32 = 1 << 20;
    let piece = index::Piece { size: 9 * u64::from(MEMBER) - 2048, sha256: [1; 32] };
    let file = index::Body::File { executable: false, pieces: vec![piece] };
    let entry = |path: &str, body| index::Entry { path: path.into(), body };
    let member = index::Member { length: MEMBER / 2, unpacked: MEMBER, sha256: [0; 32] };
    let entries = vec![entry("", index::Body::Directory), entry("a", file)];
    let index =
        Index::new("demo-1.0.0".into(), vec![member; 9], entries).expect("it is well-formed");
    // The length of the file that the rows promise: else all but few inputs end there.
    let rows = bytes.get(24..).unwrap_or_default().chunks_exact(40);
    let lengths =
        rows.map(|row| u64::from(u32::from_le_bytes(row[..4].try_into().expect("4 bytes"))));
    if let Ok(found) = frames::parse(bytes, bytes.len() as u64 + lengths.sum::<u64>(), &index) {
        assert_eq!(frames::table(&found), bytes, "there is one way to write it");
        assert_eq!(found.iter().map(|frame| frame.members as usize).sum::<usize>(), 9);
        let largest = found.iter().map(|frame| u64::from(frame.members * MEMBER)).max();
        assert!(largest.is_some_and(|size| size <= MAX_FRAME));
    }
    for size in [0, 1, 100, MEMBER as usize] {
        let mut unpacked = vec![0; size];
        let (mut one, mut again) = (Decompress::new(), vec![1; size]);
        if one.frame(bytes, &mut unpacked).is_ok() {
            // State of another frame has no effect.
            assert_eq!(one.frame(bytes, &mut again), Ok(()));
            assert_eq!(unpacked, again);
        }
    }
}

/// An uncompressed index.
pub fn index(bytes: &[u8]) {
    if let Ok(index) = Index::parse(bytes) {
        // Its encoding is unique.
        assert_eq!(index.to_bytes(), bytes);
        // It determines every byte of every member.
        let plan = MemberMap::new(&index);
        for (number, member) in index.members().iter().enumerate() {
            let length: usize = plan.parts(number).map(|part| part.length()).sum();
            assert_eq!(length, member.unpacked as usize, "member {number}");
        }
        assert!(plan.shared().all(|entry| index.entries()[entry].size() > 0));
    }
}

/// A gzip member, or a deflate stream that becomes one.
pub fn member(bytes: &[u8]) {
    check_with_flate2(bytes);
    let mut unpacked = Vec::new();
    // The part of it that can be inflated.
    _ = DeflateDecoder::new(bytes).take(MAX_MEMBER as u64).read_to_end(&mut unpacked);
    let mut crc = Crc::new();
    crc.update(&unpacked);
    let length = u32::try_from(MEMBER_HEADER + bytes.len() + MEMBER_TRAILER).unwrap_or(u32::MAX);
    let trailer = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
    check_with_flate2(&[&member_header(length)[..], bytes, &trailer].concat());
}

/// Checks that an accepted member is decompressed equally by another gzip implementation.
fn check_with_flate2(bytes: &[u8]) {
    let Some((_, _, size)) = open_member(bytes).filter(|found| found.2 as usize <= MAX_MEMBER)
    else {
        return;
    };
    let mut unpacked = vec![0; size as usize];
    if Inflate::new().member(bytes, &mut unpacked).is_ok() {
        let mut other = Vec::new();
        let mut gzip = GzDecoder::new(bytes);
        let read = gzip.read_to_end(&mut other);
        assert!(read.is_ok() && gzip.into_inner().is_empty() && unpacked == other, "{read:?}");
    }
}

/// A `registry.json`, or the list of a registry's shards.
pub fn registry(bytes: &[u8]) {
    if let Ok(list) = shards::parse(bytes) {
        let written = serde_json::to_vec(&list).expect("a list is plain JSON");
        assert_eq!(shards::parse(&written).expect("what we write, we read"), list);
    }
    let location = Location::File(Local::from_path("registry.json".as_ref()));
    let Ok(mut read) = document::parse(bytes, &location) else { return };
    for (name, releases) in &read.runtimes {
        assert_eq!(document::only(&read, name).runtimes.get(name), Some(releases));
    }
    read.refused.clear();
    let written = serde_json::to_vec(&read).expect("a registry is plain JSON");
    let again: Registry = serde_json::from_slice(&written).expect("what we write, we read");
    assert_eq!(again, read);
}

/// A configuration.
pub fn config(bytes: &[u8]) {
    if let Ok(sources) =
        std::str::from_utf8(bytes).map_err(drop).and_then(|text| config::parse(text).map_err(drop))
    {
        assert!(
            sources.registries.iter().all(|source| source.threshold <= source.keys.len().max(1))
        );
    }
}

/// A signature file, of the key that signed the minisign program's own example.
pub fn minisign(bytes: &[u8]) {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let key = signature::PublicKey::try_from(key.to_owned()).expect("it is a key");
    // Only the holder of that key could sign this document.
    assert!(signature::verify(b"document", bytes, &[key], 1).is_err());
}

/// A `runtime.yml`.
pub fn runtime(bytes: &[u8]) {
    if let Ok(config) = runtime::parse(bytes) {
        for mount in config.mounts() {
            let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            assert!(std::path::Path::new(&mount.source).components().all(inside));
            assert!(mount.target.starts_with('/') && !mount.target.contains("/../"));
        }
    }
}
