//! rpm's databases in images: one made by rpm, and one in the earlier format by a tool of Berkeley DB.

use super::image_sources::layout::{Layout, write_directory};
use super::image_sources::tar::Tar;
use super::world::World;
use crate::skip::skip;
use joblet_format::Arch;
use serde_json::Value;
use std::{fmt::Write as _, fs, path::Path, process::Command};

/// Runs a tool below `dir`; returns whether it succeeded.
fn tool(dir: &Path, words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    let Ok(output) = command.args(&words[1..]).current_dir(dir).env("HOME", dir).output() else {
        return false;
    };
    assert!(output.status.success(), "{words:?}: {output:?}");
    true
}

/// Names and values of the packages in a database of SQLite.
fn headers(dir: &Path, database: &str) -> Vec<(u32, Vec<u8>)> {
    let script = "import sqlite3, sys\n\
                  for number, blob in sqlite3.connect(sys.argv[1]).execute('SELECT hnum, blob FROM Packages'):\n\
                  \x20   print(number, blob.hex())";
    let python = Command::new("python3").args(["-c", script, database]).current_dir(dir).output();
    let text = String::from_utf8(python.unwrap().stdout).unwrap();
    let row = |line: &str| {
        let (number, blob) = line.split_once(' ').unwrap();
        (number.parse().unwrap(), hex::decode(blob).unwrap())
    };
    text.lines().map(row).collect()
}

/// The packages in the bill of materials of a runtime made from an image with this file.
fn packages(world: &World, path: &str, bytes: &[u8]) -> (Vec<Value>, String) {
    let arch = Arch::NATIVE;
    for place in ["images", "dist"] {
        _ = fs::remove_dir_all(world.path(place));
    }
    let layer = Tar::default()
        .file("etc/os-release", "ID=fedora\nVERSION_ID=40\n")
        .raw(b'0', path.as_bytes(), b"", 0o644, bytes)
        .raw(b'0', b"bin/sh", b"", 0o755, b"x");
    write_directory(&Layout::of(&[layer]).files("t"), &world.path("images"));
    world.publish(&format!("lock t --arch {arch} --cache cache")).done();
    let built = world.publish(&format!("build t --arch {arch} --offline --cache cache"));
    assert_eq!(built.status, 0, "{built:?}");
    let sbom = world.json(&format!("dist/records/t/1.0.0.files/{arch}.spdx.json"));
    (sbom["packages"].as_array().unwrap().clone(), built.stderr)
}

#[test]
fn packages_of_rpm_are_in_the_bill_of_materials() {
    let world = World::new();
    let dir = world.path("");
    let arch = Arch::NATIVE;
    let manifest = format!(
        "name: t\nversion: 1.0.0\nplatforms: [ubuntu-{arch}]\nimage: {{ path: ../../images }}\n"
    );
    world.write("runtimes-src/t/manifest.yaml", manifest);
    let top = format!("_topdir {}/top", dir.display());
    let root = format!("{}/root", dir.display());
    let rpm = ["rpm", "--root", &root, "--dbpath", "/db", "--define", "_db_backend sqlite"];
    fs::create_dir_all(world.path("root/db")).unwrap();
    // One header is longer than a page, and together they need several.
    let long = "d".repeat(5000);
    for number in 0..3 {
        let name = format!("demo-{number}");
        let spec = format!(
            "Name: {name}\nVersion: 1.{number}\nRelease: 2\nEpoch: 3\nSummary: x\nBuildArch: noarch\n\
             License: GPLv2+ and MIT\nURL: https://example.org/{name}\n%description\n{long}\n%files\n"
        );
        world.write("demo.spec", spec);
        if !tool(&dir, &["rpmbuild", "-bb", "--quiet", "--define", &top, "demo.spec"]) {
            return skip("no rpm here: its databases in images");
        }
        let package = format!("top/RPMS/noarch/{name}-1.{number}-2.noarch.rpm");
        assert!(tool(&dir, &[&rpm[..], &["-i", "--nodeps", &package]].concat()));
    }
    let database = fs::read(world.path("root/db/rpmdb.sqlite")).unwrap();
    let check = |(packages, said): (Vec<Value>, String)| {
        for number in 0..3 {
            let name = format!("demo-{number}");
            let found = packages.iter().find(|it| it["name"] == name.as_str());
            let found = found.unwrap_or_else(|| panic!("{name}: {packages:?}"));
            assert_eq!(found["versionInfo"], format!("3:1.{number}-2"));
            assert_eq!(found["licenseDeclared"], "GPL-2.0-or-later AND MIT");
            let purl =
                format!("pkg:rpm/fedora/{name}@1.{number}-2?arch=noarch&distro=fedora-40&epoch=3");
            assert_eq!(found["externalRefs"][0]["referenceLocator"], purl);
        }
        assert!(!said.contains("bill of materials"), "{said}");
    };
    check(packages(&world, "usr/lib/sysimage/rpm/rpmdb.sqlite", &database));
    let cut = &database[..database.len() / 2];
    let (_, said) = packages(&world, "var/lib/rpm/rpmdb.sqlite", cut);
    assert!(
        said.contains("`var/lib/rpm/rpmdb.sqlite` cannot be read: a page that is cut off"),
        "{said}"
    );
    // The same as a hash of Berkeley DB, whose first value is a counter.
    let mut dump =
        "VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n 00000000\n 03000000\n".to_owned();
    for (number, header) in headers(&dir, "root/db/rpmdb.sqlite") {
        let key = hex::encode(number.to_le_bytes());
        writeln!(dump, " {key}\n {}", hex::encode(header)).unwrap();
    }
    world.write("dump", dump + "DATA=END\n");
    if !tool(&dir, &["db5.3_load", "-f", "dump", "Packages"]) {
        return skip("no db5.3_load here: older databases of rpm in images");
    }
    let database = fs::read(world.path("Packages")).unwrap();
    check(packages(&world, "var/lib/rpm/Packages", &database));
}
