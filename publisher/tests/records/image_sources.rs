//! Runtimes made of container images.

use super::world::{World, deb};
use joblet_format::Arch;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Command,
};

#[allow(dead_code, unreachable_pub, reason = "the executor's tests use all of it")]
#[path = "../../../executor/tests/common/tar.rs"]
pub(super) mod tar;

#[allow(dead_code, unreachable_pub, reason = "the executor's tests use all of it")]
#[path = "../../../executor/tests/common/layout.rs"]
pub(super) mod layout;

use layout::{Layout, write_archive, write_directory};
use tar::Tar;

/// An ELF header without dependencies.
fn image() -> Layout {
    let below = Tar::default()
        .file("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n")
        .file("etc/gone", "x")
        .file("d/old", "x")
        .file("app/data", "of the first layer")
        .hard_link("app/linked", "app/data")
        .symlink("app/abs", "/etc/os-release")
        .raw(b'0', b"usr/bin/su", b"", 0o4755, b"#!/bin/sh\n")
        .file("dev/console", "x")
        .file(
            "var/lib/dpkg/status",
            "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\n",
        )
        .raw(b'0', b"bin/sh", b"", 0o755, b"not looked at");
    let above = Tar::default()
        .file("etc/.wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .file("d/new", "n")
        .file("app/data", "of the second layer");
    let mut image = Layout::of(&[below, above]);
    image.settings = json!({
        "Env": ["PATH=/usr/bin:/bin", "GREETING=of the image"], "WorkingDir": "/app/",
        "Cmd": ["sh"], "ExposedPorts": { "80/tcp": {} },
        "Labels": { "org.opencontainers.image.version": "3.1.4" },
    });
    image
}

fn world() -> World {
    let world = World::new();
    write_directory(&image().files("tool"), &world.path("images"));
    world
}

/// Path and content of each entry in the archive of a version for this machine.
fn archive(world: &World, directory: &str) -> Vec<String> {
    archive_of(world, directory, Arch::NATIVE)
}

/// The same, of the version for `arch`; replaces earlier content.
fn archive_of(world: &World, directory: &str, arch: Arch) -> Vec<String> {
    _ = fs::remove_dir_all(world.path(directory));
    let file = format!("dist/{directory}-{arch}.tar.gz");
    let mut command = Command::new("tar");
    let unpacked = command.arg("-xzf").arg(world.path(&file)).current_dir(world.path("")).status();
    assert!(unpacked.unwrap().success());
    world.tree(&format!("{directory}/isolated"))
}

fn build(world: &World, name: &str, more: &str) -> super::world::Outcome {
    let arch = Arch::NATIVE;
    world.publish(&format!("build {name} --arch {arch} --offline --cache cache {more}"))
}

fn lock(world: &World, name: &str) -> super::world::Outcome {
    world.publish(&format!("lock {name} --arch {} --cache cache", Arch::NATIVE))
}

#[test]
fn an_image_becomes_a_runtime() {
    let world = world();
    let arch = Arch::NATIVE;
    let made = world.publish("new tool-1 --from-image images:tool");
    assert_eq!(made.status, 0, "{made:?}");
    assert!(made.stderr.contains("not of a runtime: command: sh; ports: 80/tcp"), "{made:?}");
    let manifest = world.read("runtimes-src/tool-1/manifest.yaml");
    for line in [
        "version: 3.1.4\n",
        "  path: \"../../images:tool\"\n",
        "  drop: [set-id] ",
        &format!("ubuntu-{arch}"),
    ] {
        assert!(manifest.contains(line), "{line}: {manifest}");
    }
    let again = world.publish("new tool-1 --from-image images:tool").failed(17);
    assert!(again.ends_with("exists already"), "{again}");
    let locked = lock(&world, "tool-1");
    assert_eq!(locked.status, 0, "{locked:?}");
    let inputs = world.json("runtimes-src/tool-1/versions.lock")["inputs"][arch.as_str()].clone();
    let kinds: Vec<_> =
        inputs.as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["image", "layer", "layer"]);
    // From here on the cache is complete.
    fs::rename(world.path("images"), world.path("away")).unwrap();
    let built = build(&world, "tool-1", "");
    assert_eq!(built.status, 0, "{built:?}");
    assert!(
        built.stderr.contains("image: left out: 1 files with set-id bits, such as `usr/bin/su`"),
        "{built:?}"
    );
    let found: BTreeSet<_> = archive(&world, "tool-1-3.1.4").into_iter().collect();
    for there in ["d/new", "app/data", "app/linked", "usr/bin/su", "bin/sh", "etc/passwd", "tmp"] {
        assert!(found.contains(there), "{there}: {found:?}");
    }
    for gone in ["etc/gone", "d/old", "dev", "etc/.wh.gone", "d/.wh..wh..opq"] {
        assert!(!found.contains(gone), "{gone}: {found:?}");
    }
    assert_eq!(world.read("tool-1-3.1.4/isolated/app/data"), "of the second layer");
    assert_eq!(world.read("tool-1-3.1.4/isolated/app/linked"), "of the first layer");
    let link = fs::read_link(world.path("tool-1-3.1.4/isolated/app/abs")).unwrap();
    assert_eq!(link.to_str(), Some("../etc/os-release"));
    let yml = world.read("tool-1-3.1.4/runtime.yml");
    assert!(yml.contains("GREETING: of the image") && yml.contains("workdir: /app\n"), "{yml}");
    let sbom: Value = serde_json::from_str(
        &world.read(&format!("dist/records/tool-1/3.1.4.files/{arch}.spdx.json")),
    )
    .unwrap();
    let packages = sbom["packages"].as_array().unwrap();
    let bash = packages.iter().find(|it| it["name"] == "bash").unwrap();
    let purl = format!("pkg:deb/debian/bash@5.2-1?arch={arch}&distro=bookworm");
    assert_eq!(bash["externalRefs"][0]["referenceLocator"], purl);
    // Again in another directory: the same bytes.
    let other = build(&world, "tool-1", "--out other");
    assert_eq!(other.status, 0, "{other:?}");
    let name = format!("tool-1-3.1.4-{arch}.tar.gz");
    let read = |dir: &str| fs::read(world.path(dir).join(&name)).unwrap();
    assert!(read("dist") == read("other"));
    let verified = world.publish(&format!(
        "verify tool-1 --records dist/records --arch {arch} --offline --cache cache"
    ));
    assert!(verified.stdout.contains(": the same, sha256:"), "{verified:?}");
}

#[test]
fn packages_files_and_the_manifest_stand_over_the_image() {
    let world = world();
    let arch = Arch::NATIVE;
    let (name, bytes) = deb(
        "demo",
        "1",
        "MIT",
        &[("./usr/bin/su", "#!/bin/sh\nmine\n"), ("./usr/bin/demo", "#!/bin/sh\n")],
    );
    let manifest = format!(
        "name: tool-1\nversion: 1.0.0\nplatforms: [ubuntu-{arch}]\n\
         image: {{ path: ../../images, drop: [set-id] }}\ndebian: {{ suite: bookworm, packages: [demo] }}\n\
         files: own/\nexclude: ['d/**']\nenvironment: {{ GREETING: mine }}\nworkdir: /usr\n"
    );
    world.write("runtimes-src/tool-1/manifest.yaml", &manifest);
    world.write("runtimes-src/tool-1/own/app/data", "mine");
    // As written by `lock` if a mirror has the package.
    let only = manifest.replace("debian: { suite: bookworm, packages: [demo] }\n", "");
    world.write("runtimes-src/tool-1/manifest.yaml", &only);
    assert_eq!(lock(&world, "tool-1").status, 0);
    world.write("runtimes-src/tool-1/manifest.yaml", &manifest);
    let mut locked = world.json("runtimes-src/tool-1/versions.lock");
    let source = joblet_publish::source::parse(&manifest).unwrap();
    locked["manifest"] = joblet_publish::lock::digest(&source).to_string().into();
    let sha256 = super::world::sha256(&bytes).hex();
    let input = json!({ "kind": "deb", "name": name, "size": bytes.len(), "sha256": sha256 });
    locked["inputs"][arch.as_str()].as_array_mut().unwrap().insert(0, input);
    world.write("runtimes-src/tool-1/versions.lock", locked.to_string());
    world.write(&super::world::cached(&bytes), &bytes);
    let built = build(&world, "tool-1", "");
    assert_eq!(built.status, 0, "{built:?}");
    let found = archive(&world, "tool-1-1.0.0");
    assert!(!found.iter().any(|path| path.starts_with("d/")), "{found:?}");
    assert!(found.contains(&"usr/bin/demo".to_owned()), "{found:?}");
    let read = |path: &str| world.read(&format!("tool-1-1.0.0/{path}"));
    assert_eq!(
        (read("isolated/usr/bin/su"), read("isolated/app/data")),
        ("#!/bin/sh\nmine\n".into(), "mine".into())
    );
    let yml = read("runtime.yml");
    assert!(yml.contains("GREETING: mine") && yml.contains("workdir: /usr\n"), "{yml}");
}

/// SEC-G08, SEC-G10: refused by `lock`, in each format.
#[test]
fn an_image_with_wrong_digests_is_refused() {
    type Edit<'e> = &'e dyn Fn(&mut Vec<(String, Vec<u8>)>);
    let world = World::new();
    let arch = Arch::NATIVE;
    let manifest = format!(
        "name: t\nversion: 1.0.0\nplatforms: [ubuntu-{arch}]\nimage: {{ path: ../../images }}\n"
    );
    world.write("runtimes-src/t/manifest.yaml", manifest);
    let refused = |status: i32, said: &str, edit: Edit<'_>| {
        _ = fs::remove_dir_all(world.path("images"));
        let mut files = Layout::of(&[Tar::default().file("a", "content")]).files("t");
        edit(&mut files);
        write_directory(&files, &world.path("images"));
        let error = lock(&world, "t").failed(status);
        assert!(error.contains(said), "{said}: {error}");
    };
    // In the order of the files: marker, layer, configuration, manifest, index.
    for number in 1..=3 {
        refused(13, "checksum differs", &|files| {
            let bytes = &mut files[number].1;
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        });
    }
    refused(17, "is not as long as the image says", &|files| files[1].1.push(0));
    refused(17, "is missing: a layer that is stored elsewhere", &|files| drop(files.remove(1)));
    refused(17, "is missing", &|files| drop(files.remove(2)));
    refused(17, "index.json: ", &|files| files[4].1 = b"[".repeat(100_000));
    refused(17, "is larger than", &|files| files[4].1 = vec![b' '; 5 << 20]);
    refused(12, "no image of this tag", &|files| files[4].1 = br#"{"manifests":[]}"#.to_vec());
    for config in ["../secret", "/etc/passwd"] {
        refused(17, &format!("{config} is missing"), &|files| {
            let list = json!([{ "Config": config, "Layers": [] }]).to_string();
            *files = vec![("manifest.json".to_owned(), list.into_bytes())];
        });
    }
}

/// SEC-G06
#[test]
fn what_no_runtime_has_is_refused_by_name() {
    let world = World::new();
    let arch = Arch::NATIVE;
    let plain = || Tar::default().raw(b'0', b"bin/sh", b"", 0o755, b"x");
    for (layer, key, said) in [
        (
            plain().raw(b'3', b"sda", b"", 0o600, b""),
            "devices",
            "1 devices or FIFOs, such as `sda`",
        ),
        (
            plain().raw(b'0', b"su", b"", 0o2755, b"x"),
            "set-id",
            "1 files with set-id bits, such as `su`",
        ),
        (
            plain().raw(b'0', b"odd\xff", b"", 0o644, b"x"),
            "names",
            "1 names that are not plain UTF-8",
        ),
    ] {
        _ = fs::remove_dir_all(world.path("images"));
        write_directory(&Layout::of(&[layer]).files("t"), &world.path("images"));
        let manifest = |drop: &str| {
            format!(
                "name: t\nversion: 1.0.0\nplatforms: [ubuntu-{arch}]\nimage: {{ path: ../../images{drop} }}\n"
            )
        };
        world.write("runtimes-src/t/manifest.yaml", manifest(""));
        assert_eq!(lock(&world, "t").status, 0);
        let refused = build(&world, "t", "").failed(14);
        assert!(
            refused.contains(said) && refused.contains(&format!("`drop: [{key}]`")),
            "{refused}"
        );
        // The key does not make the lock stale.
        world.write("runtimes-src/t/manifest.yaml", manifest(&format!(", drop: [{key}]")));
        let built = build(&world, "t", "");
        assert_eq!(built.status, 0, "{built:?}");
    }
    for (layer, said) in [
        (plain().file("../x", ""), "contains `..`"),
        (plain().symlink("l", "/").file("l/x", ""), "a parent that is a link or a file"),
        (plain().hard_link("h", "none"), "a hard link to no earlier regular file"),
        (plain().file("a", "1").file("a", "2"), "the same path twice"),
        (plain().file("d/.wh.", ""), "a whiteout of nothing"),
        (plain().directory(".wh.x"), "a whiteout that is not a file"),
    ] {
        _ = fs::remove_dir_all(world.path("images"));
        write_directory(&Layout::of(&[layer]).files("t"), &world.path("images"));
        let manifest = format!(
            "name: t\nversion: 1.0.0\nplatforms: [ubuntu-{arch}]\nimage: {{ path: ../../images }}\n"
        );
        world.write("runtimes-src/t/manifest.yaml", manifest);
        assert_eq!(lock(&world, "t").status, 0);
        let refused = build(&world, "t", "").failed(14);
        assert!(
            refused.starts_with("error[ARCHIVE]: layer 001: ") && refused.contains(said),
            "{refused}"
        );
    }
    // Another image than the manifest's, and a layer that does not match its digest.
    let digest = format!("sha256:{}", "0".repeat(64));
    let manifest = format!(
        "name: t\nversion: 1.0.0\nplatforms: [ubuntu-{arch}]\nimage: {{ path: ../../saved.tar, digest: '{digest}' }}\n"
    );
    world.write("runtimes-src/t/manifest.yaml", &manifest);
    let mut saved = Layout::of(&[plain()]).saved("x:1");
    write_archive(&saved, &world.path("saved.tar"));
    let refused = lock(&world, "t").failed(13);
    assert!(refused.contains("the path has a different image"), "{refused}");
    world.write(
        "runtimes-src/t/manifest.yaml",
        manifest.replace(&format!(", digest: '{digest}'"), ""),
    );
    assert_eq!(lock(&world, "t").status, 0);
    assert_eq!(build(&world, "t", "").status, 0);
    saved[0].1[600] ^= 1;
    write_archive(&saved, &world.path("saved.tar"));
    assert!(lock(&world, "t").failed(13).contains("checksum differs"));
}

#[test]
fn a_runtime_that_was_an_image_is_the_same_runtime() {
    let world = World::new();
    let demo =
        deb("demo", "1", "MIT", &[("./usr/bin/demo", "#!/bin/sh\n"), ("./etc/demo.conf", "x")]);
    world.runtime("1.0.0", &[demo], "environment: { GREETING: hello }\nlinks: { usr/bin/again: demo }\nallow_missing: [/bin/sh]\n");
    world.build("").done();
    world.publish("oci demo --records dist/records --out image.tar").done();
    let made = world.publish("new again --from-image image.tar");
    assert_eq!(made.status, 0, "{made:?}");
    let manifest = world.read("runtimes-src/again/manifest.yaml");
    world
        .write("runtimes-src/again/manifest.yaml", format!("{manifest}allow_missing: [/bin/sh]\n"));
    // For both architectures of the image.
    for line in ["lock again --cache cache", "build again --offline --cache cache"] {
        let done = world.publish(line);
        assert_eq!(done.status, 0, "{done:?}");
    }
    for arch in [Arch::Amd64, Arch::Arm64] {
        is_the_same(&world, arch);
    }
}

/// Compares the archive of `again`, made from the image of `demo`, with that of `demo`.
fn is_the_same(world: &World, arch: Arch) {
    let mut want: BTreeSet<_> = archive_of(world, "demo-1.0.0", arch).into_iter().collect();
    // Directories that an image has for container engines.
    want.extend(["home", "root", "run", "var", "var/tmp"].map(String::from));
    let found: BTreeSet<_> = archive_of(world, "again-1.0.0", arch).into_iter().collect();
    assert_eq!(found, want, "{arch}");
    let bytes = |directory: &str| {
        let root = world.path(directory).join("isolated");
        let read = |path: String| {
            let path = root.join(path);
            let data = fs::symlink_metadata(&path).unwrap();
            let what = if data.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if data.is_dir() {
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            (data.permissions().mode(), data.mtime(), what)
        };
        let all = world.tree(&format!("{directory}/isolated"));
        all.into_iter().map(|path| (path.clone(), read(path))).collect::<BTreeMap<_, _>>()
    };
    let (first, second) = (bytes("demo-1.0.0"), bytes("again-1.0.0"));
    for (path, what) in &first {
        assert_eq!(second.get(path), Some(what), "{path}");
    }
    // `runtime.yml` without name and the manifest's members for Joblet's tools. Of the directories
    // that an image adds, `/var` is a mount, empty for a job.
    let yml = |directory: &str| {
        let yml = world.read(&format!("{directory}/runtime.yml"));
        let yml: Value =
            serde_json::to_value(yaml_serde::from_str::<Value>(&yml).unwrap()).unwrap();
        let mut yml = yml.as_object().unwrap().clone();
        for key in ["name", "version", "description", "packages", "language"] {
            yml.remove(key);
        }
        yml
    };
    let mut want = yml("demo-1.0.0");
    let var = json!({ "source": "isolated/var", "target": "/var", "readonly": false });
    let mounts = want["mounts"].as_array_mut().unwrap();
    let before_tmp = mounts.len() - 1;
    mounts.insert(before_tmp, var);
    assert_eq!(yml("again-1.0.0"), want);
    assert_eq!(want["environment"]["GREETING"], "hello");
}
