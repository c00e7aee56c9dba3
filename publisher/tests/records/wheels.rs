//! Python wheels as inputs: resolved by uv and fetched from a package index on loopback.

use super::world::{World, noise, sha256};
use crate::server::{Reply, Server};
use crate::skip::skip;
use joblet_format::Checksum;
use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
    path::PathBuf,
};

/// The path of uv; reports a skip without it.
fn tools() -> Option<PathBuf> {
    let tools = std::env::var_os("JOBLET_TEST_STANDARDS").map(PathBuf::from);
    if tools.is_none() {
        skip("JOBLET_TEST_STANDARDS names no directory with uv");
    }
    tools
}

/// `lock demo` by this uv, which queries a Python of this host, and the index `server`.
fn lock(world: &World, tools: &std::path::Path, server: &Server) -> super::world::Outcome {
    let index = format!("{}/simple", server.address);
    let path = format!("{}:{}", tools.join("bin").display(), std::env::var("PATH").unwrap());
    let cache = world.path("uv").display().to_string();
    let variables =
        [("PIP_INDEX_URL", index.as_str()), ("PATH", path.as_str()), ("UV_CACHE_DIR", &cache)];
    world.publish_with("lock demo --cache cache", &variables)
}

/// A wheel of the project `a-b` in version 1: a zip archive of these files, stored, and the metadata.
fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
    let info = |name: &str| format!("a_b-1.dist-info/{name}");
    let mut all: Vec<(String, Vec<u8>)> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    let metadata = "Metadata-Version: 2.1\nName: a-b\nVersion: 1\nLicense: MIT\n";
    all.push((info("METADATA"), metadata.into()));
    all.push((
        info("WHEEL"),
        "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".into(),
    ));
    let record: String = all.iter().map(|(name, _)| format!("{name},,\n")).collect();
    let name = info("RECORD");
    all.push((name.clone(), format!("{record}{name},,\n").into()));
    zip(&all)
}

/// A zip archive whose entries are stored as they are.
fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut zip, mut directory) = (Cursor::new(Vec::new()), Vec::new());
    for (name, bytes) in files {
        let at = u32::try_from(zip.position()).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let size = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        // Version, flags, method, time, date; then what both headers share.
        let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        shared.extend(crc.sum().to_le_bytes());
        shared.extend([size, size].concat());
        shared.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        shared.extend([0, 0]);
        zip.write_all(&[b"PK\x03\x04", shared.as_slice(), name.as_bytes(), bytes].concat())
            .unwrap();
        directory.extend([b"PK\x01\x02\x14\x03", shared.as_slice(), &[0; 10]].concat());
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (begin, count) = (zip.position(), u16::try_from(files.len()).unwrap().to_le_bytes());
    let mut zip = zip.into_inner();
    zip.extend(&directory);
    zip.extend([b"PK\x05\x06".as_slice(), &[0; 4], &count, &count].concat());
    zip.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    zip.extend(u32::try_from(begin).unwrap().to_le_bytes());
    zip.extend([0, 0]);
    zip
}

/// The entry of a file in an index's JSON page of a project.
fn listed(name: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({
        "filename": name, "url": format!("../../files/{name}"), "size": bytes.len(),
        "hashes": { "sha256": sha256(bytes).hex() }, "upload-time": "2023-01-01T00:00:00Z",
    })
}

/// An index with the project `a-b`, which lists these files and serves `served` of them.
fn index(files: &[(&str, &[u8])], served: &[(&str, &[u8])]) -> Server {
    let files: Vec<_> = files.iter().map(|(name, bytes)| listed(name, bytes)).collect();
    let page = serde_json::json!({
        "meta": { "api-version": "1.1" }, "name": "a-b", "versions": ["1"], "files": files,
    });
    let mut served: BTreeMap<String, Vec<u8>> =
        served.iter().map(|(name, bytes)| (format!("/files/{name}"), bytes.to_vec())).collect();
    served.insert("/simple/a-b/".into(), page.to_string().into_bytes());
    Server::new(move |path, _| match served.get(path) {
        Some(page) if path.starts_with("/simple/") => {
            let json = [("Content-Type", "application/vnd.pypi.simple.v1+json")];
            Reply::new("200 OK", &json, page)
        }
        Some(file) => Reply::ok(file),
        None => Reply::new("404 Not Found", &[], b""),
    })
}

const NAME: &str = "a_b-1-py3-none-any.whl";

#[test]
fn a_wheel_is_resolved_fetched_and_unpacked() {
    let Some(tools) = tools() else { return };
    let points = "[console_scripts]\na-b = a_b:main\n";
    let bytes = wheel(&[
        ("a_b/__init__.py", b"def main(): pass\n"),
        ("a_b-1.dist-info/entry_points.txt", points.as_bytes()),
        ("a_b-1.data/scripts/a-tool", b"#!python\nprint(1)\n"),
        ("a_b-1.data/data/share/a-b/data", b"data\n"),
    ]);
    // An incompatible one, and the project's source: neither is chosen.
    let other = "a_b-1-cp312-cp312-manylinux_2_17_x86_64.whl";
    let all: [(&str, &[u8]); 3] = [(NAME, &bytes), (other, b"x"), ("a_b-1.tar.gz", b"x")];
    let server = index(&all, &[(NAME, &bytes)]);
    let world = World::new();
    world.python("a-b==1");
    let said = lock(&world, &tools, &server).done();
    assert!(said.contains("amd64: 1 inputs, "), "{said}");
    let input = &world.json("runtimes-src/demo/versions.lock")["inputs"]["arm64"][0];
    assert_eq!((&input["kind"], &input["name"]), (&"wheel".into(), &NAME.into()));
    assert_eq!(input["size"], bytes.len());
    assert_eq!(input["sha256"], sha256(&bytes).hex());
    assert!(!server.requests().iter().any(|path| path.ends_with(".tar.gz")));

    let simple = format!("{}/simple", server.address);
    world.publish_with("build demo --cache cache", &[("PIP_INDEX_URL", &simple)]).done();
    let fetched = || server.requests().iter().filter(|path| path.ends_with(NAME)).count();
    let before = fetched();
    assert!(server.requests().contains(&format!("/files/{NAME}")));
    let inside = world.read("dist/records/demo/1.0.0.files/arm64.contents.txt");
    let site = "usr/local/lib/python3.11/dist-packages";
    for path in [
        format!("\t{site}/a_b/__init__.py\n"),
        format!("\t{site}/a_b-1.dist-info/RECORD\n"),
        "\tusr/local/bin/a-b\n".into(),
        "\tusr/local/bin/a-tool\n".into(),
        "\tusr/local/share/a-b/data\n".into(),
    ] {
        assert!(inside.contains(&path), "{path}: {inside}");
    }
    // From here on the cache has it.
    world.publish("build demo --cache cache --offline --out again").done();
    assert_eq!(fetched(), before);
}

/// The index serves another file under the wheel's name.
#[test]
fn a_wheel_with_another_hash() {
    let bytes = wheel(&[("a_b.py", b"")]);
    let evil = noise(bytes.len());
    let server = index(&[(NAME, &bytes)], &[(NAME, &evil)]);
    let world = World::new();
    world.wheel("a-b==1", NAME, bytes.len(), &sha256(&bytes).hex());
    let simple = format!("{}/simple", server.address);
    let complaint =
        world.publish_with("build demo --cache cache", &[("PIP_INDEX_URL", &simple)]).failed(13);
    let (want, is): (Checksum, Checksum) = (sha256(&bytes), sha256(&evil));
    let start = format!(
        "error[INTEGRITY]: {}/files/{NAME}: checksum differs: expected {want}, got {is}",
        server.address
    );
    assert!(complaint.starts_with(&start), "{complaint}");
    assert_eq!(world.tree("cache/sha256"), [""; 0], "nothing half-written in the cache");
    assert!(world.tree("dist").iter().all(|path| !path.contains("demo")));
}

#[test]
fn a_wheel_for_another_platform() {
    let world = World::new();
    let name = "a-1-cp311-cp311-manylinux_2_17_x86_64.whl";
    world.wheel("a==1", name, 1, &"7".repeat(64));
    assert_eq!(
        world.build("").failed(17),
        format!(
            "error[CONFIG]: runtimes-src/demo/versions.lock: {name} is not for Python 3.11 on arm64; \
             run `joblet-publish lock demo`"
        )
    );
}

/// An index without the wheel, by the host's configuration.
#[test]
fn a_wheel_that_has_vanished() {
    let world = World::new();
    let name = "A_b-1-py3-none-any.whl";
    world.wheel("a-b==1", name, 1, &"7".repeat(64));
    let server = index(&[], &[]);
    let index = format!("{}/simple", server.address.replace("://", "://me:secret@"));
    let complaint =
        world.publish_with("build demo --cache cache", &[("PIP_INDEX_URL", &index)]).failed(10);
    let want = format!(
        "error[NET]: {name}: not available from {}/simple/a-b/: does not list it; if the index no \
         longer has it, lock again",
        server.address.replace("://", "://…@")
    );
    assert_eq!(complaint, want, "and no password is shown");
}

/// An index that has a project only as source, or for other machines: the message has its name and the reason.
#[test]
fn a_project_without_wheels_that_fit() {
    let Some(tools) = tools() else { return };
    for (file, reason) in [
        ("a_b-1.tar.gz", "a-b==1 has no usable wheels"),
        ("a_b-1-cp311-cp311-win_amd64.whl", "a-b==1 has no wheels with a matching platform tag"),
    ] {
        let world = World::new();
        world.python("a-b==1");
        let server = index(&[(file, b"x")], &[]);
        let complaint = lock(&world, &tools, &server).failed(12);
        let start = "error[NOTFOUND]: cannot resolve the Python packages for amd64 with wheels from \
                     before 2024-01-01: ";
        assert!(complaint.starts_with(start), "{complaint}");
        assert!(complaint.contains(reason), "{reason}: {complaint}");
        let asked = server.requests();
        assert!(asked.iter().all(|path| path == "/simple/a-b/"), "nothing is fetched: {asked:?}");
        assert!(!world.path("runtimes-src/demo/versions.lock").exists());
    }
}

/// A host without uv, and one whose uv finds no Python.
#[test]
fn a_host_without_what_lock_needs() {
    let (world, server) = (World::new(), index(&[], &[]));
    world.python("a-b==1");
    let simple = format!("{}/simple", server.address);
    let lock = |path: &str| {
        let variables = [("PIP_INDEX_URL", simple.as_str()), ("PATH", path)];
        world.publish_with("lock demo --cache cache", &variables).failed(19)
    };
    let complaint = lock("/nowhere");
    let want = "error[TOOL]: uv: No such file or directory; `lock` needs it in PATH \
                (`pipx install uv`, with Debian's package pipx), `build` does not";
    assert_eq!(complaint, want);
    if let Some(tools) = tools() {
        let want = "error[TOOL]: uv: found no Python on this host, which it needs to resolve packages; \
                    install one for `lock` (`apt-get install python3`), `build` needs none";
        assert_eq!(lock(&tools.join("bin").display().to_string()), want);
    }
    assert_eq!(server.requests(), [""; 0]);
    assert!(!world.path("runtimes-src/demo/versions.lock").exists());
}
