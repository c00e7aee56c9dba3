//! Records, built archives, registries and release hosts in directories.

use super::world::{Instead, SECRET, World, kinds};
use std::{fs, os::unix::fs::symlink};

const RECORD: &str = "registry-site/records/demo/1.0.0.json";
const FILES: &str = "registry-site/records/demo/1.0.0.files";

/// A checkout where `demo` is built and recorded.
fn recorded() -> World {
    let world = World::new();
    assert!(world.run(&["build", "demo", "--offline"]).status.success());
    let made = |command: &mut std::process::Command| assert!(command.status().unwrap().success());
    fs::create_dir_all(world.main("registry-site")).unwrap();
    made(
        std::process::Command::new("cp")
            .args(["-r", "dist/records", "registry-site/records"])
            .current_dir(world.main("")),
    );
    world
}

/// The same, with the addresses that a release requires.
fn releasable() -> World {
    let world = recorded();
    let build = ["build", "demo", "--offline", "--base-url", "https://example.org/releases"];
    assert!(world.run(&build).status.success());
    world
}

/// SEC-E15, SEC-E11: records and the files beside them.
#[test]
fn records_are_in_their_directory() {
    let world = recorded();
    let [index, site, verify] = [&["index"][..], &["site"], &["verify", "demo", "--offline"]];
    let diff = &["diff", "demo@1.0.0", "demo@1.0.0"][..];
    let sbom = format!("{FILES}/amd64.spdx.json");
    let (lock, own) = (format!("{FILES}/versions.lock"), format!("{FILES}/files.tar"));
    for (place, of, commands) in [
        (RECORD, "file", &[index, site, verify, diff][..]),
        ("registry-site/records/demo", "", &[index, site, verify]),
        (FILES, "files", &[site, verify, diff]),
        (&sbom, "file", &[site, diff]),
        (&lock, "file", &[verify]),
        (&own, "file", &[verify]),
    ] {
        for (is, make) in kinds() {
            if place.ends_with("demo") && !is.contains("link") {
                continue; // not a directory of records, like a README beside them
            }
            let _back =
                Instead::of(world.main(place), |it| make(it, &world.path("outside").join(of)));
            for words in commands {
                world.refused(words, 17, &format!("error[CONFIG]: {place}: {is}"));
            }
        }
    }
    for words in [index, site, verify, diff] {
        let output = world.run(words);
        assert!(output.status.success(), "{output:?}");
    }
}

/// SEC-E15: a site is written only below its directory.
#[test]
fn a_site_is_written_through_no_link() {
    let world = recorded();
    let outside = world.path("outside");
    let out = world.main("dist/site");
    fs::create_dir_all(&out).unwrap();
    symlink(&outside, out.join("runtimes")).unwrap();
    world.refused(&["site"], 17, "error[CONFIG]: dist/site/runtimes: is a link");
    assert!(!outside.join("demo").exists());
    fs::remove_file(out.join("runtimes")).unwrap();
    // A link in place of a file or its temporary file is replaced.
    fs::write(out.join("index.html"), "old").unwrap();
    for name in ["404.html", "index.html.tmp"] {
        _ = fs::remove_file(out.join(name)); // the refused run may have written it
        symlink(outside.join("file"), out.join(name)).unwrap();
    }
    symlink("/nowhere", out.join("registry.json")).unwrap();
    world.refused(&["site"], 17, "error[CONFIG]: dist/site/registry.json: is a link");
    fs::remove_file(out.join("registry.json")).unwrap();
    let written = world.run(&["site"]);
    assert!(written.status.success(), "{written:?}");
    for name in ["404.html", "index.html", "registry.json"] {
        assert!(fs::symlink_metadata(out.join(name)).unwrap().is_file(), "{name}");
    }
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), format!("{SECRET}\n"));
}

/// SEC-E15: a registry in a directory.
#[test]
fn a_registry_names_files_in_its_directory() {
    let world = recorded();
    assert!(world.run(&["site", "--out", "public"]).status.success());
    let archive = "demo-1.0.0-amd64.tar.gz";
    fs::copy(world.main("dist").join(archive), world.main("public").join(archive)).unwrap();
    let verify = ["verify", "demo", "--arch", "amd64", "--offline", "--against", "public"];
    let output = world.run(&verify);
    assert!(output.status.success(), "{output:?}");
    for name in ["registry.json", archive] {
        for (is, make) in kinds() {
            let place = world.main("public").join(name);
            let _back = Instead::of(place, |it| make(it, &world.path("outside/file")));
            world.refused(&verify, 17, &format!("error[CONFIG]: public/{name}: {is}"));
        }
    }
    let document = world.main("public/registry.json");
    let text = fs::read_to_string(&document).unwrap();
    for name in ["../../outside/file", "/etc/passwd", "x/../../../outside/file"] {
        fs::write(&document, text.replace(&format!("\"{archive}\""), &format!("\"{name}\"")))
            .unwrap();
        world.refused(&verify, 17, "leads out of public");
    }
}

/// SEC-E15: released files, and the directory of a release host.
#[test]
fn a_release_host_is_its_directory() {
    let world = releasable();
    let release = ["release", "--tag", "demo@1.0.0", "--host", "../host"];
    let place = world.main("dist/demo-1.0.0-amd64.tar.gz");
    for (is, make) in kinds() {
        let _back = Instead::of(place.clone(), |it| make(it, &world.path("outside/file")));
        let message = format!("error[CONFIG]: dist/demo-1.0.0-amd64.tar.gz: {is}");
        world.refused(&release, 17, &message);
    }
    let output = world.run(&release);
    assert!(output.status.success(), "{output:?}");
    for (name, of) in [("demo@1.0.0/demo-1.0.0.record.json", "file"), ("demo@1.0.0", "")] {
        let place = world.path("host").join(name);
        for (is, make) in kinds() {
            let _back = Instead::of(place.clone(), |it| make(it, &world.path("outside").join(of)));
            world.refused(&release, 17, &format!("error[CONFIG]: ../host/{name}: {is}"));
        }
    }
}

/// SEC-E12: files that are read as a whole are limited.
#[test]
fn records_and_files_have_a_limit() {
    let world = releasable();
    let output = world.run(&["release", "--tag", "demo@1.0.0", "--host", "../host"]);
    assert!(output.status.success(), "{output:?}");
    let large = |path: &std::path::Path, length| {
        fs::File::create(path).unwrap().set_len(length).unwrap();
    };
    large(&world.main(RECORD), 17 << 20);
    world.refused(
        &["index"],
        17,
        &format!("error[CONFIG]: {RECORD}: is larger than 16777216 bytes"),
    );
    large(&world.path("host/demo@1.0.0/demo-1.0.0.record.json"), 17 << 20);
    let message = "demo-1.0.0.record.json of demo@1.0.0: is larger than 16777216 bytes";
    world.refused(&["release", "--tag", "demo@1.0.0", "--host", "../host"], 17, message);
    large(&world.main("runtimes-src/demo/own/files/large"), 2 << 30);
    let message = "own/files/large: is too large, with what precedes it; at most 1 GiB is read";
    let output = world.run(&["build", "demo", "--offline"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(17) && said.contains(message), "{said}");
}

/// SEC-E16: a record from elsewhere, in the site and in messages; SEC-E12: however long it is.
#[test]
fn texts_of_a_record_are_escaped() {
    let world = recorded();
    let path = world.main(RECORD);
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replace("a demo", "a \u{202e}omed\u{61c}\u{200b}\u{2066}");
    assert_ne!(changed, text);
    fs::write(&path, &changed).unwrap();
    let output = world.run(&["site"]);
    assert!(output.status.success(), "{output:?}");
    let mut shown = 0;
    for entry in walkdir::WalkDir::new(world.main("dist/site")) {
        let entry = entry.unwrap();
        let page = entry.path().extension().is_some_and(|it| it == "html" || it == "xml");
        if page {
            let text = fs::read_to_string(entry.path()).unwrap();
            let hidden = |char| "\u{202e}\u{61c}\u{200b}\u{2066}".contains(char);
            assert!(!text.contains(hidden), "{}", entry.path().display());
            shown += text.matches("a \\u{202e}omed\\u{61c}\\u{200b}\\u{2066}").count();
        }
    }
    assert!(shown >= 3, "{shown}");
    let long = format!("\u{202e}\x1b[31m{}", "x".repeat(1 << 20));
    fs::write(
        &path,
        text.replace("\"a demo\"", &format!("\"{}\", \"x\": 1", "y")).replace(
            "\"name\": \"demo\"",
            &format!("\"name\": {}", serde_json::to_string(&long).unwrap()),
        ),
    )
    .unwrap();
    let said = world.refused(&["index"], 17, "\\u{202e}");
    assert!(said.len() < 2000 && !said.contains(['\u{202e}', '\x1b']), "{said}");
}
