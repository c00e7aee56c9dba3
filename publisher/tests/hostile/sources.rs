//! The directories of runtimes.

use super::world::{Instead, MANIFEST, World, finished, kinds};
use std::{fs, os::unix::fs::symlink, process::Command};

/// SEC-E11: other objects in place of the manifest, the lock, the files or a parent directory.
#[test]
fn nothing_but_files_and_directories_is_read_of_a_source() {
    let world = World::new();
    for (place, outside, commands) in [
        ("manifest.yaml", "manifest.yaml", &["lock", "build", "check"][..]),
        ("versions.lock", "file", &["lock", "build"]),
        ("own/files", "files", &["build"]),
        ("own", "", &["build"]),
        ("own/files/bin", "files/bin", &[]),
        ("own/files/bin/hello", "file", &[]),
        ("", "", &["lock", "build", "check"]),
    ] {
        let path = world.main("runtimes-src/demo").join(place);
        let outside = world.path("outside").join(outside);
        for (is, make) in kinds() {
            let name = format!("runtimes-src/demo/{place}");
            // Links within the files are links of the runtime.
            let inside = place.starts_with("own/files/");
            let _back = Instead::of(
                path.components().collect(), // without a slash at the end
                |path| make(path, &outside),
            );
            let is_link = is.contains("link");
            let message = format!("error[CONFIG]: {}: {is}", name.trim_end_matches('/'));
            let verbs = if inside { &["build"][..] } else { commands };
            for verb in verbs {
                if inside && is_link {
                    let built = world.run(&[verb, "demo", "--offline"]);
                    assert!(built.status.success(), "{built:?}");
                    world.keeps_nothing();
                    continue;
                }
                let more: &[&str] = if *verb == "build" { &["--offline"] } else { &[] };
                world.refused(&[&[*verb, "demo"], more].concat(), 17, &message);
            }
        }
    }
}

/// SEC-E11: permitted links.
#[test]
fn links_of_the_runtime_are_kept_as_links() {
    let world = World::new();
    let files = world.main("runtimes-src/demo/own/files");
    symlink("hello", files.join("bin/hi")).unwrap();
    symlink("/bin/hello", files.join("bin/absolute")).unwrap();
    symlink("../../../../../../bin/hello", files.join("bin/above")).unwrap();
    // Links without a target in the runtime are left out, even if the host has the target.
    symlink(world.path("outside/file"), files.join("bin/outside")).unwrap();
    let built = world.run(&["build", "demo", "--offline"]);
    assert!(built.status.success(), "{built:?}");
    world.keeps_nothing();
    let list = finished(
        Command::new("tar")
            .args(["-tvzf", "dist/demo-1.0.0-amd64.tar.gz"])
            .current_dir(world.main("")),
    );
    let list = String::from_utf8(list.stdout).unwrap();
    for link in ["/bin/hi -> hello", "/bin/absolute -> hello", "/bin/above -> hello"] {
        assert!(list.contains(link), "{list}");
    }
    // The directory of all sources is named on the command line.
    symlink("main/runtimes-src", world.path("linked")).unwrap();
    let built = world.run(&["build", "demo", "--offline", "--sources", "../linked"]);
    assert!(built.status.success(), "{built:?}");
}

/// SEC-E11
#[test]
fn a_symlink_among_the_sources_is_not_a_runtime() {
    let world = World::new();
    let outside = world.path("outside");
    fs::write(outside.join("manifest.yaml"), MANIFEST.replace("demo", "other")).unwrap();
    symlink(&outside, world.main("runtimes-src/other")).unwrap();
    let message = "error[CONFIG]: runtimes-src/other: is a link";
    world.refused(&["build", "--all", "--offline"], 17, message);
    world.refused(&["lock", "other"], 17, message);
    // Writes do not follow it, either.
    fs::remove_file(outside.join("manifest.yaml")).unwrap();
    world.refused(&["new", "other"], 17, message);
    assert!(!outside.join("manifest.yaml").exists());
    symlink(outside.join("manifest.yaml"), world.main("runtimes-src/demo/x")).unwrap();
    fs::create_dir(world.main("runtimes-src/third")).unwrap();
    fs::rename(world.main("runtimes-src/demo/x"), world.main("runtimes-src/third/manifest.yaml"))
        .unwrap();
    world.refused(&["new", "third"], 17, "third/manifest.yaml: exists already");
    assert!(!outside.join("manifest.yaml").exists());
}

/// SEC-E11: templates and assets become pages.
#[test]
fn a_theme_is_read_inside_its_directory() {
    let world = World::new();
    assert!(world.run(&["build", "demo", "--offline"]).status.success());
    let site = ["site", "--records", "dist/records"];
    for (place, of) in [
        ("registry-site/assets/joblet.css", "file"),
        ("registry-site/templates/home.html", "file"),
        ("registry-site/assets", ""),
    ] {
        let path = world.main(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        _ = fs::remove_dir(&path); // of the earlier files
        for (is, make) in kinds() {
            make(&path, &world.path("outside").join(of));
            world.refused(&site, 17, &format!("error[CONFIG]: {place}: {is}"));
            fs::remove_file(&path).unwrap();
        }
    }
    assert!(world.run(&site).status.success());
}

/// SEC-E11: cached inputs are verified by hash, so links to them may be followed; opening a FIFO does not block.
#[test]
fn special_files_in_the_cache_do_not_block() {
    let world = World::new();
    let sum = "ab".repeat(32);
    let lock = fs::read_to_string(world.main("runtimes-src/demo/versions.lock")).unwrap();
    let input = format!(
        r#""amd64": [{{"kind":"deb","name":"debian/pool/a.deb","size":1,"sha256":"{sum}"}}]"#
    );
    let changed = lock.replace("\"amd64\": [\n    ]", &input);
    assert_ne!(changed, lock);
    fs::write(world.main("runtimes-src/demo/versions.lock"), changed).unwrap();
    let cache = world.path("cache/sha256");
    fs::create_dir_all(&cache).unwrap();
    let place = cache.join(&sum);
    for (is, make) in kinds() {
        make(&place, &world.path("outside/file"));
        let is_link = is.contains("link");
        let (status, message) = if is_link { (10, "is not in the cache") } else { (17, is) };
        let words = ["build", "demo", "--arch", "amd64", "--offline", "--cache", "../cache"];
        world.refused(&words, status, message);
        fs::remove_file(&place).unwrap();
    }
}

/// SEC-E16: a manifest that looks like another one.
#[test]
fn invisible_characters_in_a_manifest_are_refused_by_line() {
    let world = World::new();
    let manifest = world.main("runtimes-src/demo/manifest.yaml");
    for code in [0x61c, 0x200b, 0x200f, 0x202a, 0x202e, 0x2066, 0x2069] {
        let char = char::from_u32(code).unwrap();
        let name = format!("U+{code:04X}");
        for (text, place) in [
            (format!("a {char}demo"), "line 4".to_owned()),
            (format!("\"a \\u{code:04x}demo\""), "description".to_owned()),
        ] {
            fs::write(&manifest, MANIFEST.replace("a demo", &text)).unwrap();
            let message = format!(
                "error[CONFIG]: runtimes-src/demo/manifest.yaml: {place}: contains the invisible \
                 character {name}; remove it\n"
            );
            let said = world.refused(&["lock", "demo"], 17, &message);
            assert_eq!(said, message);
        }
    }
    fs::write(&manifest, format!("{MANIFEST}# \u{202e}hidden\n")).unwrap();
    world.refused(&["lock", "demo"], 17, "line 6: contains the invisible character U+202E");
}
