//! Images made by hand: the tree that their layers make, and what is refused.

use super::*;
use crate::archive::plain::tests::builder as tar;
use rustix::fd::AsFd;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[allow(dead_code, unreachable_pub, reason = "the end-to-end tests use all of it")]
#[path = "../../../tests/common/layout.rs"]
mod layout;

use layout::{Layout, write_archive, write_directory};
use tar::Tar;

/// What is unpacked of the image at `path`: each path with its content, its target, or `/`.
fn unpacked(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let image = Image::open(path.as_os_str(), Arch::NATIVE)?;
    let into = tempfile::tempdir().unwrap();
    image.unpack(File::open(into.path()).unwrap().as_fd(), &mut |_| ())?;
    let (mut found, mut left) = (BTreeMap::new(), vec![into.path().to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            let said = if data.is_dir() {
                left.push(path.clone());
                "/".to_owned()
            } else if data.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                fs::read_to_string(&path).unwrap()
            };
            found
                .insert(path.strip_prefix(into.path()).unwrap().to_str().unwrap().to_owned(), said);
        }
    }
    Ok(found)
}

/// The tree of these layers, from a layout.
fn tree(layers: &[Tar]) -> Result<BTreeMap<String, String>, Error> {
    let base = tempfile::tempdir().unwrap();
    write_directory(&Layout::of(layers).files("t"), &base.path().join("l"));
    let result = unpacked(&base.path().join("l"));
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1, "something was written outside");
    result
}

fn shown(tree: &BTreeMap<String, String>) -> Vec<String> {
    tree.iter().map(|(path, what)| format!("{path} {what}")).collect()
}

#[test]
fn layers_are_joined_as_an_overlay_joins_them() {
    let base = || {
        Tar::default()
            .file("d/one", "1")
            .file("d/two", "2")
            .file("d/sub/deep", "x")
            .symlink("lib", "usr/lib")
            .file("usr/lib/so", "so")
            .file("file", "old")
            .hard_link("twin", "file")
    };
    for (above, want) in [
        // A file, a link and a directory in each other's places.
        (Tar::default().file("file", "new"), "file new, twin old"),
        (Tar::default().symlink("file", "d"), "file -> d, twin old"),
        (Tar::default().directory("file/").file("file/in", "i"), "file /, file/in i"),
        (Tar::default().file("d", "flat"), "d flat, !d/one"),
        (Tar::default().directory("lib/").file("lib/own", "o"), "lib /, lib/own o, usr/lib/so so"),
        (Tar::default().file("lib/own", "o"), "lib /, lib/own o, !usr/lib/own"),
        (Tar::default().directory("d/").file("d/three", "3"), "d/one 1, d/three 3"),
        // Whiteouts take from below, wherever they stand.
        (Tar::default().file("d/.wh.one", ""), "!d/one, d/two 2, !d/.wh.one"),
        (Tar::default().file("d/.wh.sub", ""), "d/one 1, !d/sub"),
        (Tar::default().file(".wh.d", ""), "!d, file old"),
        (
            Tar::default().file("d/.wh..wh..opq", "").file("d/new", "n"),
            "d /, d/new n, !d/one, !d/sub",
        ),
        (Tar::default().file("d/new", "n").file("d/.wh..wh..opq", ""), "d/new n, !d/one, !d/sub"),
        (Tar::default().file("d/sub/new", "n").file("d/.wh.sub", ""), "d/sub/new n, !d/sub/deep"),
        (Tar::default().file("d/one", "n").file("d/.wh.one", ""), "d/one n"),
        (Tar::default().file("d/.wh.one", "").file("d/one", "n"), "d/one n"),
        (Tar::default().file(".wh..wh..opq", ""), "!d, !file"),
        (Tar::default().file("no/.wh.thing", "").file(".wh.nothing", ""), "file old, !no"),
        (Tar::default().file("lib/.wh.so", ""), "usr/lib/so so"),
        // A hard link to what a lower layer has.
        (Tar::default().hard_link("third", "twin"), "third old"),
        (Tar::default(), "file old, lib -> usr/lib"),
    ] {
        let found = tree(&[base(), above]).unwrap();
        for what in want.split(", ") {
            match what.strip_prefix('!') {
                Some(gone) => assert!(!found.contains_key(gone), "{want}: {:?}", shown(&found)),
                None => {
                    assert!(
                        shown(&found).contains(&what.to_owned()),
                        "{want}: {:?}",
                        shown(&found)
                    );
                }
            }
        }
    }
}

#[test]
fn a_removed_directory_is_not_written_through() {
    // The descriptors of directories that are gone are not used any more.
    let layers = [
        Tar::default().file("a/b/one", "1").file("a/b/two", "2").hard_link("a/b/three", "a/b/one"),
        Tar::default().hard_link("a/b/four", "a/b/two").file(".wh.a", "").file("a/b/five", "5"),
        Tar::default().file("a/.wh.b", "").file("a/b/six", "6").hard_link("a/b/seven", "a/b/six"),
    ];
    let found = tree(&layers).unwrap();
    assert_eq!(shown(&found), ["a /", "a/b /", "a/b/seven 6", "a/b/six 6"]);
}

#[test]
fn hostile_layers_are_refused() {
    let first = || Tar::default().directory("d/").file("d/f", "x");
    let long = "x".repeat(300);
    for (layer, rule) in [
        (Tar::default().file("../escaped", "x"), "a name that contains `..`"),
        (Tar::default().file("/escaped", "x"), "an absolute name"),
        (
            Tar::default().symlink("l", "/").file("l/escaped", "x"),
            "a parent that is a link or a file",
        ),
        (Tar::default().file("p", "").file("p/x", "x"), "a parent that is a link or a file"),
        (
            Tar::default().symlink("l", "..").file("l/.wh.d", "").file("l/x", ""),
            "a parent that is a link",
        ),
        (Tar::default().hard_link("h", "../../etc/passwd"), "a name that contains `..`"),
        (Tar::default().hard_link("h", "d"), "a hard link to no earlier regular file"),
        (
            Tar::default().symlink("l", "f").hard_link("h", "l"),
            "a hard link to no earlier regular file",
        ),
        (Tar::default().raw(b'3', b"dev/sda", b"", 0o660, b""), "a device"),
        (Tar::default().raw(b'6', b"pipe", b"", 0o660, b""), "a FIFO"),
        (Tar::default().file("twice", "1").file("twice", "2"), "the same path twice"),
        (Tar::default().file("d/.wh.", ""), "a whiteout of nothing"),
        (Tar::default().file("d/.wh...", ""), "a whiteout of nothing"),
        (Tar::default().file(".wh.d/f", ""), "a name below a whiteout"),
        (Tar::default().file("d/.wh..wh.plnk", ""), "a name that only AUFS knows"),
        (Tar::default().symlink("d/.wh.f", "x"), "a whiteout that is not a file"),
        (Tar::default().directory("d/.wh.f"), "a whiteout that is not a file"),
        (Tar::default().pax(&[("path", &long)]).file("x", ""), "more than 255 bytes"),
    ] {
        for layers in [vec![layer.clone()], vec![first(), layer.clone()]] {
            let error = tree(&layers).unwrap_err();
            assert!(matches!(error, Error::Archive { .. }), "{rule}: {error}");
            assert!(error.to_string().contains(rule), "{rule}: {error}");
        }
    }
    let damaged = Tar(vec![b'x'; 1024]);
    assert!(tree(&[damaged]).unwrap_err().to_string().contains("wrong checksum"));
    let cut = Layout::of(&[]).layer("tar", first().0, <[u8]>::to_owned);
    let base = tempfile::tempdir().unwrap();
    write_directory(&cut.files("t"), base.path());
    assert!(unpacked(base.path()).unwrap_err().to_string().contains("cut off"));
}

#[test]
fn every_form_of_an_image_is_the_same_tree() {
    let gzip = |plain: &[u8]| {
        use std::io::Write;
        // Members one after the other, as parallel compressors write them.
        let mut packed = Vec::new();
        for part in plain.chunks(700) {
            let mut encoder =
                flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
            encoder.write_all(part).unwrap();
            encoder.finish().unwrap();
        }
        packed
    };
    let zstd = |plain: &[u8]| {
        // A frame of raw blocks (RFC 8878, 3.1.1) behind one that is skipped, and once more of nothing.
        let mut packed = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
        packed.extend([0x28, 0xb5, 0x2f, 0xfd, 0x80 | 0x20]);
        packed.extend(u32::try_from(plain.len()).unwrap().to_le_bytes());
        let header = (u32::try_from(plain.len()).unwrap() << 3) | 1;
        packed.extend(&header.to_le_bytes()[..3]);
        packed.extend(plain);
        packed
    };
    let layer = || Tar::default().file("a/b", "content").file("c", &"x".repeat(3000)).end();
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    let plain = Layout::of(&[]).layer("tar", layer(), <[u8]>::to_owned);
    let packed = Layout::of(&[]).layer("tar+gzip", layer(), gzip);
    let newer = Layout::of(&[]).layer("tar+zstd", layer(), zstd);
    write_directory(&plain.files("t"), &at("plain"));
    write_directory(&packed.files("t"), &at("packed"));
    write_archive(&packed.files("t"), &at("packed.tar"));
    write_directory(&newer.files("t"), &at("newer"));
    write_archive(&plain.saved("example.org/x:1"), &at("saved.tar"));
    let want = unpacked(&at("plain")).unwrap();
    assert_eq!(want["a/b"], "content");
    for name in ["packed", "packed:t", "packed.tar", "packed.tar:t", "newer", "saved.tar"] {
        assert_eq!(unpacked(&at(name)).unwrap(), want, "{name}");
    }
    for name in ["saved.tar:1", "saved.tar:example.org/x:1"] {
        assert_eq!(unpacked(&at(name)).unwrap(), want, "{name}");
    }
    let digest = |name: &str| Image::open(at(name).as_os_str(), Arch::NATIVE).unwrap().digest;
    assert_eq!(digest("packed"), digest("packed.tar:t"));
    let refused = |name: &str| unpacked(&at(name)).unwrap_err();
    for (name, said) in [
        ("packed:u", "has no image of this tag for"),
        ("saved.tar:2", "add :TAG of one of: example.org/x:1"),
        ("nothing", "no such file or directory"),
    ] {
        let error = refused(name);
        assert!(matches!(error, Error::NotFound(_)) && error.to_string().contains(said), "{error}");
    }
    fs::write(at("packed.tar.gz"), gzip(&fs::read(at("packed.tar")).unwrap())).unwrap();
    assert!(refused("packed.tar.gz").to_string().contains("decompress it first"));
    fs::create_dir(at("empty")).unwrap();
    assert!(refused("empty").to_string().contains("not an OCI layout"));
    let mut other = Layout::of(&[]);
    other.arch = "s390x";
    write_directory(&other.files("t"), &at("other"));
    assert!(refused("other").to_string().contains("it is for s390x, not for Linux on"));
}

/// Changes the files of a layout.
type Edit<'e> = &'e dyn Fn(&mut Vec<(String, Vec<u8>)>);

#[test]
fn what_is_not_what_it_says_is_refused() {
    let image = || Layout::of(&[Tar::default().file("a", "content")]);
    let change = |kind: &str, edit: Edit<'_>| {
        let base = tempfile::tempdir().unwrap();
        let mut files = image().files("t");
        edit(&mut files);
        write_directory(&files, base.path());
        let error = unpacked(base.path()).unwrap_err().to_string();
        assert!(error.contains(kind), "{kind}: {error}");
    };
    // In the order of the files: layer, configuration, manifest, index.
    for number in 1..=3 {
        change("checksum differs", &|files| {
            let bytes = &mut files[number].1;
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        });
    }
    change("is missing", &|files| drop(files.remove(1)));
    change("is missing", &|files| drop(files.remove(2)));
    change("checksum differs", &|files| files[1].1.push(0));
    change("index.json: ", &|files| files.last_mut().unwrap().1 = b"{".to_vec());
    change("has no image", &|files| files.last_mut().unwrap().1 = br#"{"manifests":[]}"#.to_vec());
    change("not an OCI layout", &|files| files.last_mut().unwrap().1 = b"{}".to_vec());
    let base = tempfile::tempdir().unwrap();
    let mut saved = image().saved("x:1");
    saved[0].1[0] ^= 1;
    write_archive(&saved, &base.path().join("s.tar"));
    let error = unpacked(&base.path().join("s.tar")).unwrap_err().to_string();
    assert!(error.contains("checksum differs"), "{error}");
}

#[test]
fn modes_owners_and_attributes_are_those_of_other_archives() {
    let layer = Tar::default()
        .raw(b'0', b"su", b"", 0o6777, b"#!")
        .pax(&[("SCHILY.xattr.security.capability", "x"), ("uid", "70000"), ("mtime", "1.5")])
        .file("named", "")
        .raw(b'5', b"t", b"", 0o1777, b"")
        .raw(b'5', b"closed", b"", 0o000, b"");
    let base = tempfile::tempdir().unwrap();
    write_directory(&Layout::of(&[layer]).files("t"), &base.path().join("l"));
    let image = Image::open(base.path().join("l").as_os_str(), Arch::NATIVE).unwrap();
    let into = base.path().join("into");
    fs::create_dir(&into).unwrap();
    image.unpack(File::open(&into).unwrap().as_fd(), &mut |_| ()).unwrap();
    let mode = |name: &str| into.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(["su", "t", "closed"].map(mode), [0o755, 0o755, 0o700]);
    assert_eq!(into.join("named").metadata().unwrap().uid(), rustix::process::geteuid().as_raw());
}
