//! Synthetic images: the trees of their layers, and the rules that refuse them.

use super::*;
use crate::archive::plain::tests::builder as tar;
use joblet_format::image::media;
use rustix::fd::AsFd;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[allow(dead_code, unreachable_pub, reason = "the end-to-end tests use all of it")]
#[path = "../../../tests/common/layout.rs"]
mod layout;

#[path = "../../../tests/common/layers.rs"]
mod layers;

use layers::Case;
use layout::{Layout, write_archive, write_directory};
use tar::Tar;

/// The unpacked tree of the image at `path`: each path with its content, its target, or `/`.
fn unpacked(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let image = Image::open(path.as_os_str(), Arch::NATIVE)?;
    let into = tempfile::tempdir().unwrap();
    image.unpack(File::open(into.path()).unwrap().as_fd(), &mut |_| ())?;
    let (mut found, mut left) = (BTreeMap::new(), vec![into.path().to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            let content = if data.is_dir() {
                left.push(path.clone());
                "/".to_owned()
            } else if data.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                fs::read_to_string(&path).unwrap()
            };
            found.insert(
                path.strip_prefix(into.path()).unwrap().to_str().unwrap().to_owned(),
                content,
            );
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

/// SEC-G02, SEC-G03, SEC-G04, SEC-G05, SEC-G06, SEC-G11: layers of every kind, merged as by overlayfs.
#[test]
fn layers_are_merged_as_by_an_overlay() {
    for Case { id, layers, want } in layers::joined() {
        let want = want.unwrap();
        let found = tree(&layers).unwrap_or_else(|error| panic!("{id}: {want}: {error}"));
        let shown = shown(&found);
        for what in want.split(", ") {
            let gone = what.strip_prefix('!');
            let holds = gone.map_or(shown.contains(&what.to_owned()), |it| !found.contains_key(it));
            assert!(holds, "{id}: {what} of {want}: {shown:?}");
        }
    }
}

/// SEC-G01, SEC-G02, SEC-G03, SEC-G04, SEC-G05, SEC-G06, SEC-G07, SEC-G09: each is named, and
/// nothing is written outside.
#[test]
fn hostile_layers_are_refused() {
    let dropped = layers::dropped().into_iter();
    let dropped = dropped.map(|(layer, rule, _)| Case {
        id: "SEC-G06",
        layers: vec![layer],
        want: Err(rule),
    });
    for Case { id, layers, want } in layers::hostile().into_iter().chain(dropped) {
        let rule = want.unwrap_err();
        let error = tree(&layers).map(|tree| panic!("{id}: {rule}: {:?}", shown(&tree)));
        let error: Error = error.unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{id}: {rule}: {error}");
        assert!(error.to_string().contains(rule), "{id}: {rule}: {error}");
    }
    let damaged = Tar(vec![b'x'; 1024]);
    assert!(tree(&[damaged]).unwrap_err().to_string().contains("wrong checksum"));
    let first = Tar::default().directory("d/").file("d/f", "x");
    let cut = Layout::of(&[]).layer("tar", first.0, <[u8]>::to_owned);
    let base = tempfile::tempdir().unwrap();
    write_directory(&cut.files("t"), base.path());
    assert!(unpacked(base.path()).unwrap_err().to_string().contains("cut off"));
}

/// SEC-G11
#[test]
fn every_form_of_an_image_is_the_same_tree() {
    let gzip = |plain: &[u8]| {
        use std::io::Write;
        // Consecutive members, as written by parallel compressors.
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
        // A frame of raw blocks (RFC 8878, 3.1.1) after a skippable one, and an empty frame.
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
    // As docker writes a repeated layer: a link to the first.
    let mut linked = Tar::default().symlink("second.tar", "a/../layers/./first.tar");
    for (path, bytes) in Layout::of(&[]).layer("tar", layer(), <[u8]>::to_owned).saved("x:1") {
        let name = if path.len() == 68 { "layers/first.tar".to_owned() } else { path };
        let text = String::from_utf8_lossy(&bytes);
        let list = name == "manifest.json";
        let hex = text.find("\"Layers\":[\"").filter(|_| list).map(|at| &text[at + 11..at + 79]);
        let bytes = hex.map(|hex| text.replace(hex, "second.tar").into_bytes());
        let bytes = bytes.unwrap_or(text.clone().into_owned().into_bytes());
        linked = linked.raw(b'0', name.as_bytes(), b"", 0o644, &bytes);
    }
    fs::write(at("linked.tar"), linked.end()).unwrap();
    let want = unpacked(&at("plain")).unwrap();
    assert_eq!(want["a/b"], "content");
    let prefixed = |transport: &str, name: &str| format!("{transport}:{}", at(name).display());
    for place in [prefixed("oci", "packed:t"), prefixed("docker-archive", "saved.tar")] {
        assert_eq!(unpacked(Path::new(&place)).unwrap(), want, "{place}");
    }
    for name in
        ["packed", "packed:t", "packed.tar", "packed.tar:t", "newer", "saved.tar", "linked.tar"]
    {
        assert_eq!(unpacked(&at(name)).unwrap(), want, "{name}");
    }
    for name in ["saved.tar:1", "saved.tar:example.org/x:1"] {
        assert_eq!(unpacked(&at(name)).unwrap(), want, "{name}");
    }
    let digest = |name: &str| Image::open(at(name).as_os_str(), Arch::NATIVE).unwrap().digest;
    assert_eq!(digest("packed"), digest("packed.tar:t"));
    let refused = |name: &str| unpacked(&at(name)).unwrap_err();
    for (name, message) in [
        ("packed:u", "has no image of this tag for"),
        ("saved.tar:2", "add :TAG of one of: example.org/x:1"),
        ("nothing", "no such file or directory"),
    ] {
        let error = refused(name);
        assert!(
            matches!(error, Error::NotFound(_)) && error.to_string().contains(message),
            "{error}"
        );
    }
    fs::write(at("packed.tar.gz"), gzip(&fs::read(at("packed.tar")).unwrap())).unwrap();
    assert!(refused("packed.tar.gz").to_string().contains("decompress it first"));
    assert!(refused("/dev/zero").to_string().contains("neither a directory nor a regular file"));
    fs::create_dir(at("empty")).unwrap();
    assert!(refused("empty").to_string().contains("not an OCI layout"));
    let mut other = Layout::of(&[]);
    other.arch = "s390x";
    write_directory(&other.files("t"), &at("other"));
    assert!(refused("other").to_string().contains("it is for s390x, not for Linux on"));
}

/// Changes the files of a layout.
type Edit<'e> = &'e dyn Fn(&mut Vec<(String, Vec<u8>)>);

/// SEC-G08
#[test]
fn wrong_digests_and_sizes_are_refused() {
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
    change("is not as long as the image says", &|files| files[1].1.push(0));
    change("is not as long as the image says", &|files| files[1].1.truncate(9));
    // A manifest with a wrong descriptor of a layer, and the right digest of its own.
    let lying = |size: &str| {
        let base = tempfile::tempdir().unwrap();
        let mut files = image().files("t");
        let length = files[1].1.len();
        let named = |hex: &[u8]| layout::digest(hex)[7..].to_owned();
        let old = named(&files[3].1);
        let (from, to) = (format!("\"size\":{length}"), format!("\"size\":{size}"));
        let manifest = String::from_utf8(files[3].1.clone()).unwrap().replace(&from, &to);
        let index = String::from_utf8(files[4].1.clone()).unwrap();
        files[4].1 = index.replace(&old, &named(manifest.as_bytes())).into_bytes();
        files[3] = (format!("blobs/sha256/{}", named(manifest.as_bytes())), manifest.into_bytes());
        write_directory(&files, base.path());
        unpacked(base.path()).unwrap_err().to_string()
    };
    for size in ["-1", "18446744073709551616", "1e308", "\"1\"", "null"] {
        let error = lying(size);
        assert!(error.contains("not an OCI layout"), "{size}: {error}");
    }
    for size in ["1", "18446744073709551615"] {
        let error = lying(size);
        assert!(error.contains("is not as long as the image says"), "{error}");
    }
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

/// SEC-G09: the stated sizes of a layer are checked before it is decompressed, in each format.
#[test]
fn layer_bombs_are_refused() {
    use std::io::{Read as _, Write as _};
    // A file of one MiB of zeros, and the header of one of 80.
    let header = |size: u64| {
        let name = size.to_string();
        let tar = Tar::default().raw(b'0', name.as_bytes(), b"", 0o644, b"");
        tar.patch(512, 124, format!("{size:011o}\0").as_bytes()).0
    };
    let (small, large) = (header(1 << 20), header(80 << 20));
    let gzip = |_: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&small).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(1 << 20), &mut encoder).unwrap();
        encoder.write_all(&large).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |_: &[u8]| {
        // Raw blocks, and blocks of one repeated byte (RFC 8878, 3.1.1.2).
        let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        let mut block = |kind: u32, size: usize, bytes: &[u8]| {
            packed.extend(&((u32::try_from(size).unwrap() << 3) | kind).to_le_bytes()[..3]);
            packed.extend(bytes);
        };
        block(0, 512, &small);
        (0..8).for_each(|_| block(2, 128 << 10, &[0]));
        block(0, 512, &large);
        (0..640).for_each(|_| block(2, 128 << 10, &[0]));
        block(1, 0, b"");
        packed
    };
    for image in [
        Layout::of(&[]).layer("tar+gzip", Vec::new(), gzip),
        Layout::of(&[]).layer("tar+zstd", Vec::new(), zstd),
    ] {
        let base = tempfile::tempdir().unwrap();
        write_directory(&image.files("t"), base.path());
        let error = unpacked(base.path()).unwrap_err().to_string();
        assert!(error.contains("\"83886080\": more bytes than"), "{error}");
    }
}

/// SEC-G10
#[test]
fn documents_with_missing_references() {
    let refused = |files: &[(String, Vec<u8>)]| {
        let base = tempfile::tempdir().unwrap();
        write_directory(files, base.path());
        unpacked(base.path()).unwrap_err().to_string()
    };
    let files = || Layout::of(&[Tar::default().file("a", "content")]).files("t");
    let blob = |files: &mut Vec<(String, Vec<u8>)>, document: &Value| {
        let bytes = document.to_string().into_bytes();
        let digest = layout::digest(&bytes);
        let size = bytes.len();
        files.push((format!("blobs/sha256/{}", &digest[7..]), bytes));
        serde_json::json!({ "digest": digest, "size": size, "mediaType": media::INDEX })
    };
    let index = |named: Value| serde_json::json!({ "manifests": [named] });
    let with_index = |mut files: Vec<(String, Vec<u8>)>, named: Value| {
        files.push(("index.json".to_owned(), index(named).to_string().into_bytes()));
        refused(&files)
    };
    // A foreign layer is referenced, but absent.
    let foreign = |files: Vec<(String, Vec<u8>)>| {
        let missing = files[1].0.clone();
        let error = refused(&[&files[..1], &files[2..]].concat());
        assert!(error.contains(&format!("{missing} is missing: a layer that is stored elsewhere")));
    };
    foreign(files());
    let mut deep = files();
    let mut named: Value = serde_json::from_slice(&deep.pop().unwrap().1).unwrap();
    named = named["manifests"][0].take();
    for _ in 0..MAX_INDEXES {
        named = blob(&mut deep, &index(named));
    }
    assert!(with_index(deep, named).contains("not an OCI layout"));
    let mut artifact = files();
    artifact.pop();
    let config = serde_json::json!({ "mediaType": media::EMPTY, "digest": layout::digest(b"{}"), "size": 2 });
    let named = blob(&mut artifact, &serde_json::json!({ "config": config, "layers": [] }));
    assert!(with_index(artifact, named).contains("not an OCI layout"));
    let mut many = files();
    many.pop();
    let layers =
        vec![serde_json::json!({ "digest": layout::digest(b""), "size": 0 }); MAX_LAYERS + 1];
    let named = blob(&mut many, &serde_json::json!({ "config": {}, "layers": layers }));
    assert!(with_index(many, named).contains("not an OCI layout"));
    let indexed = |bytes: Vec<u8>| {
        let mut files = files();
        files.last_mut().unwrap().1 = bytes;
        refused(&files)
    };
    assert!(indexed(vec![b' '; 5 << 20]).contains("not an OCI layout"));
    assert!(indexed(b"[".repeat(100_000)).contains("index.json: "));
    // Paths that lead out are not found.
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("secret"), "{}").unwrap();
    for config in ["../secret", "/etc/passwd", ""] {
        let list = serde_json::json!([{ "Config": config, "Layers": [] }]).to_string();
        let list = vec![("manifest.json".to_owned(), list.into_bytes())];
        let place = base.path().join(format!("saved{}", config.len()));
        write_directory(&list, &place);
        let error = unpacked(&place).unwrap_err().to_string();
        assert!(error.contains(&format!("{config} is missing")), "{error}");
    }
    let fifo = base.path().join("fifo");
    write_directory(&files(), &fifo);
    fs::remove_file(fifo.join(&files()[1].0)).unwrap();
    let name = fifo.join(&files()[1].0);
    rustix::fs::mknodat(rustix::fs::CWD, &name, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    assert!(unpacked(&fifo).unwrap_err().to_string().contains("is missing"));
}

/// SEC-G06
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
