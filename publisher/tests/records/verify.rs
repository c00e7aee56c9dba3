//! A published version is rebuilt from the files beside its record, also without its source.

use super::world::{World, deb};
use crate::server::{Reply, Server};
use std::fs;

const LINKS: &str = "files: own\nlinks: { usr/bin/d: demo }\n";

/// Publishes version 1.0.0, then changes the source.
fn published() -> World {
    let world = World::new();
    let debs = [
        deb("demo", "1", "MIT", &[("./usr/bin/demo", "#!/usr/bin/demo\n")]),
        deb("gone", "1", "ISC", &[("./usr/share/gone", "gone\n")]),
    ];
    world.write("runtimes-src/demo/own/etc/own.conf", "own\n");
    world.runtime("1.0.0", &debs, LINKS);
    world.build("").done();
    world.publish("index --records dist/records --out dist/registry.json").done();
    let debs = [
        deb("demo", "2", "MIT", &[("./usr/bin/demo", "#!/usr/bin/demo\nmore\n")]),
        deb("new", "1", "ISC", &[("./usr/share/new", "something new\n")]),
    ];
    world.write("runtimes-src/demo/own/etc/own.conf", "other\n");
    world.runtime("1.1.0", &debs, LINKS);
    world
}

const VERIFY: &str = "verify demo@1.0.0 --records dist/records --offline --cache cache";

/// Changes the files beside the record, as if the version had been built of other inputs.
fn tamper(world: &World, file: &str, from: &str, to: &str) {
    let place = format!("dist/records/demo/1.0.0.files/{file}");
    let old = world.read(&place);
    let new = old.replace(from, to);
    assert_ne!(old, new);
    world.write(&place, &new);
    let record = world.read("dist/records/demo/1.0.0.json");
    let sum = |text: &str| super::world::sha256(text.as_bytes()).to_string();
    world.write("dist/records/demo/1.0.0.json", record.replace(&sum(&old), &sum(&new)));
}

#[test]
fn a_published_version_is_rebuilt_from_what_was_kept() {
    let world = published();
    let said = world.publish(VERIFY).done();
    let registry = world.json("dist/registry.json");
    let artifacts = &registry["runtimes"]["demo"]["1.0.0"]["artifacts"];
    let line = |arch: &str| {
        format!("demo@1.0.0 {arch}: the same, {}\n", artifacts[arch]["checksum"].as_str().unwrap())
    };
    assert_eq!(said, line("amd64") + &line("arm64"));
    let latest = VERIFY.replace("@1.0.0", "") + " --arch arm64";
    assert_eq!(world.publish(&latest).done(), line("arm64"), "the latest published one");
    let complaint = world.publish(&VERIFY.replace("1.0.0", "2.0.0")).failed(12);
    assert_eq!(
        complaint,
        "error[NOTFOUND]: no record of demo@2.0.0 in dist/records; there are 1.0.0"
    );
    let complaint = world.publish(&VERIFY.replace("demo", "demoo")).failed(12);
    assert_eq!(
        complaint,
        "error[NOTFOUND]: no record of demoo in dist/records; did you mean `demo`?"
    );
}

#[test]
fn the_entries_that_differ_are_named() {
    let world = published();
    tamper(&world, "manifest.yaml", "links: { usr/bin/d: demo }", "links: { usr/bin/e: demo }");
    let complaint = world.publish(VERIFY).failed(13);
    let lines: Vec<_> = complaint.lines().collect();
    let start = "error[INTEGRITY]: demo@1.0.0 amd64: rebuilt archive differs: expected sha256:";
    assert!(lines[0].starts_with(start), "{complaint}");
    let want = ["  usr/bin/d: published, not rebuilt", "  usr/bin/e: rebuilt, not published"];
    assert_eq!(lines[1..], want, "{complaint}");
    // Without the published index the list beside the record names them.
    fs::remove_file(world.path("dist/demo-1.0.0-amd64.tar.gz.index")).unwrap();
    let complaint = world.publish(VERIFY).failed(13);
    let lines: Vec<_> = complaint.lines().collect();
    assert!(lines[1].starts_with("  its index is not available (cannot read "), "{complaint}");
    assert!(lines[1].ends_with("): compared by the record's list"), "{complaint}");
    assert_eq!(lines[2..], want, "{complaint}");
    let list = "dist/records/demo/1.0.0.files/amd64.contents.txt";
    fs::remove_file(world.path(list)).unwrap();
    let complaint = world.publish(VERIFY).failed(13);
    let start = "\n  which entries differ is not known: its index is not available (cannot read ";
    assert!(complaint.contains(start), "{complaint}");
}

#[test]
fn a_record_without_its_files_is_refused() {
    let world = published();
    let lock = "dist/records/demo/1.0.0.files/versions.lock";
    let before = world.read(lock);
    world.write(lock, before.replace("2026", "2025"));
    let complaint = world.publish(VERIFY).failed(13);
    assert!(complaint.contains("versions.lock: checksum differs"), "{complaint}");
    fs::remove_file(world.path(lock)).unwrap();
    let complaint = world.publish(VERIFY).failed(12);
    assert!(
        complaint.contains("versions.lock does not exist, but the record names it"),
        "{complaint}"
    );
}

#[test]
fn a_published_registry_is_compared() {
    let world = published();
    let line = |registry: &str| format!("{VERIFY} --arch amd64 --against {registry}");
    let server = Server::files(world.path("dist"));
    for registry in [server.address.as_str(), "dist", "dist/registry.json"] {
        let said = world.publish(&line(registry)).done();
        assert!(said.starts_with("demo@1.0.0 amd64: the same, "), "{said}");
    }
    assert!(server.requests().contains(&"/demo-1.0.0-amd64.tar.gz".to_owned()));

    // It serves another archive than that of its registry.json.
    let root = world.path("dist");
    let evil = Server::new(move |path, _| {
        let body = fs::read(root.join(path.trim_start_matches('/'))).unwrap();
        Reply::ok(if path.ends_with("-amd64.tar.gz") { &body[1..] } else { &body })
    });
    let complaint = world.publish(&line(&evil.address)).failed(13);
    assert!(
        complaint.contains("its archive is not the one that its registry.json names"),
        "{complaint}"
    );

    // It declares and serves an archive that was not built from this source.
    let other = world.path("other");
    world.build("--out other").done();
    fs::rename(other.join("demo-1.1.0-amd64.tar.gz"), other.join("demo-1.0.0-amd64.tar.gz"))
        .unwrap();
    let index = "demo-1.1.0-amd64.tar.gz.index";
    fs::rename(other.join(index), other.join("demo-1.0.0-amd64.tar.gz.index")).unwrap();
    let record = world.read("other/records/demo/1.1.0.json").replace("1.1.0", "1.0.0");
    world.write("other/records/demo/1.0.0.json", record);
    fs::remove_file(world.path("other/records/demo/1.1.0.json")).unwrap();
    world.publish("index --records other/records --out other/registry.json").done();
    let complaint = world.publish(&line("other")).failed(13);
    for words in [
        "\n  etc/own.conf: published with 6 bytes, rebuilt with 4\n",
        "\n  usr/bin/demo: published with 21 bytes, rebuilt with 16\n",
        "\n  usr/share/gone: rebuilt, not published\n",
        "\n  usr/share/new: published, not rebuilt",
    ] {
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
    let none = world.publish(&line("http://127.0.0.1:9")).failed(10);
    assert!(none.starts_with("error[NET]: http://127.0.0.1:9/registry.json: "), "{none}");
}

#[test]
fn two_versions_are_compared_by_their_packages() {
    let world = published();
    world.build("").done();
    let said = world.publish("diff demo@1.0.0 demo --records dist/records --arch amd64").done();
    let lines: Vec<Vec<_>> =
        said.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert!(
        said.starts_with("demo@1.0.0 → demo@1.1.0 amd64: ") && said.contains(", unpacked "),
        "{said}"
    );
    assert_eq!(lines[0][..3], ["+", "new", "1"], "{said}");
    assert_eq!(lines[1][..3], ["-", "gone", "1"], "{said}");
    assert_eq!(lines[2][..5], ["~", "demo", "1", "→", "2"], "{said}");
    assert_eq!(lines[3], ["=", "0", "packages", "unchanged"], "{said}");
    let json = world.publish("diff demo@1.0.0 demo@1.1.0 --records dist/records --json").done();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let packages = &json["architectures"]["arm64"]["packages"];
    assert_eq!(packages["added"][0]["name"], "new");
    assert_eq!(packages["removed"][0]["licence"], "ISC");
    let change = &packages["changed"][0];
    assert_eq!(
        (&change["before"]["version"], &change["after"]["version"]),
        (&"1".into(), &"2".into())
    );
    let copyright = world.read("dist/records/demo/1.1.0.files/arm64.contents.txt");
    assert!(copyright.contains("\tdemo\tusr/share/doc/demo/copyright\n"), "{copyright}");
    assert!(change["after"]["size"].as_u64().unwrap() > 21);
    let same = world.publish("diff demo@1.1.0 demo --records dist/records --arch amd64").done();
    assert!(same.ends_with("  = 2 packages                   unchanged\n"), "{same}");
    let complaint = world.publish("diff demo --records dist/records").failed(2);
    assert_eq!(complaint, "error[USAGE]: diff needs two of NAME or NAME@VERSION");
}
