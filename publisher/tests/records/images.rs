//! Published versions as container images.

use super::world::{World, deb, joblet_exec, noise, repository};
use crate::{common::debs, skip::skip};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::Path,
    process::Command,
};

/// A document of a layout, by its digest.
fn blob(layout: &Path, digest: &Value) -> Vec<u8> {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(hex::encode(Sha256::digest(&bytes)), hex);
    bytes
}

pub(super) fn document(layout: &Path, descriptor: &Value) -> Value {
    let bytes = blob(layout, &descriptor["digest"]);
    assert_eq!(descriptor["size"], bytes.len());
    serde_json::from_slice(&bytes).unwrap()
}

/// Mode and content of each entry of a layer's tar stream.
fn entries(plain: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(plain).entries().unwrap() {
        let mut entry = entry.unwrap();
        let (name, mode) =
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(target) = entry.link_name().unwrap() {
            content.extend(target.as_os_str().as_encoded_bytes());
        }
        assert_eq!(
            (entry.header().uid().unwrap(), entry.header().mtime().unwrap()),
            (0, 315_532_800)
        );
        assert!(found.insert(name.clone(), (mode, content)).is_none(), "{name}");
    }
    found
}

/// A world with the runtime `demo` built for both architectures.
pub(super) fn built() -> World {
    let world = World::new();
    let demo = deb("demo", "1", "MIT", &[("./usr/bin/demo", "#!/bin/sh\n")]);
    let large =
        debs::deb("Package: more\nVersion: 1\n", &[("./usr/share/more", &noise(2_500_000))]);
    let more = "environment: { GREETING: hello }\nallow_missing: [/bin/sh]\nlinks: { usr/bin/again: demo }\n";
    world.runtime("1.0.0", &[demo, ("debian/pool/more_1.deb".into(), large)], more);
    world.build("").done();
    world
}

#[test]
fn an_image_is_reproducible() {
    let world = built();
    let digest = |said: &str| said.split("sha256:").nth(1).unwrap()[..64].to_owned();
    let first = world.publish("oci demo --records dist/records --out one --jobs 1").done();
    let again =
        world.publish("oci demo@1.0.0 --records dist/records --out two.tar --jobs 3").done();
    assert_eq!(digest(&first), digest(&again));
    assert!(again.contains("podman load -i two.tar"), "{again}");
    // The tar file has the directory's content, and is reproducible.
    let two = fs::read(world.path("two.tar")).unwrap();
    world.publish("oci demo --records dist/records --out three.tar --jobs 2").done();
    assert_eq!(fs::read(world.path("three.tar")).unwrap(), two);
    for (name, (_, bytes)) in entries(&two).into_iter().filter(|(name, _)| !name.ends_with('/')) {
        assert_eq!(fs::read(world.path("one").join(&name)).unwrap(), bytes, "{name}");
    }
    let zstd =
        world.publish("oci demo --records dist/records --out z --compress zstd --jobs 1").done();
    let other =
        world.publish("oci demo --records dist/records --out y --compress zstd --jobs 4").done();
    assert_eq!(digest(&zstd), digest(&other));
    assert_ne!(digest(&zstd), digest(&first));
    let there = world.publish("oci demo --records dist/records --out one").failed(2);
    assert!(there.contains("one exists"), "{there}");
    let missing = world.publish("oci demo@2.0.0 --records dist/records --out x").failed(12);
    assert!(missing.contains("no record of demo@2.0.0"), "{missing}");
    // An archive that does not match the record.
    fs::write(world.path("dist/demo-1.0.0-amd64.tar.gz"), "other").unwrap();
    let refused = world.publish("oci demo --records dist/records --out x").failed(13);
    assert!(refused.contains("checksum differs") && !world.path("x").exists(), "{refused}");
}

#[test]
fn an_image_has_annotations_and_the_runtime() {
    let world = built();
    let more = "--user 1000:1000 --source https://example.org/r --revision abc";
    world.publish(&format!("oci demo --records dist/records --out l {more}")).done();
    let layout = world.path("l");
    assert_eq!(world.read("l/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let named = &world.json("l/index.json")["manifests"];
    assert_eq!(named.as_array().unwrap().len(), 1);
    assert_eq!(named[0]["annotations"]["org.opencontainers.image.ref.name"], "demo:1.0.0");
    let index = document(&layout, &named[0]);
    let record = world.json("dist/records/demo/1.0.0.json");
    let mut platforms = BTreeSet::new();
    for (number, of) in index["manifests"].as_array().unwrap().iter().enumerate() {
        let manifest = document(&layout, of);
        let arch = of["platform"]["architecture"].as_str().unwrap().to_owned();
        if arch == "unknown" {
            // The bill of materials refers to the image before it.
            let image = &index["manifests"][number - 1];
            assert_eq!(manifest["subject"]["digest"], image["digest"]);
            assert_eq!(manifest["artifactType"], "application/spdx+json");
            let sbom = document(&layout, &manifest["layers"][0]);
            assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
            continue;
        }
        let config = document(&layout, &manifest["config"]);
        let artifact = &record["release"]["artifacts"][arch.as_str()];
        for notes in [&manifest["annotations"], &config["config"]["Labels"]] {
            assert_eq!(notes["io.github.ehsaniara.joblet.archive"], artifact["checksum"]);
            assert_eq!(notes["io.github.ehsaniara.joblet.index"], artifact["index"]["checksum"]);
            assert_eq!(notes["org.opencontainers.image.source"], "https://example.org/r");
            assert_eq!(notes["org.opencontainers.image.revision"], "abc");
            assert_eq!(notes["org.opencontainers.image.licenses"], "MIT");
        }
        assert_eq!(
            (&config["architecture"], &config["os"]),
            (&arch.as_str().into(), &"linux".into())
        );
        assert_eq!(config["created"], "2026-01-31T12:00:00Z");
        assert_eq!(config["config"]["User"], "1000:1000");
        assert_eq!(config["config"]["WorkingDir"], "/work");
        assert!(config["config"]["Env"].as_array().unwrap().contains(&"GREETING=hello".into()));
        let [layer] = &manifest["layers"].as_array().unwrap()[..] else { panic!("{manifest}") };
        let mut plain = Vec::new();
        let packed = blob(&layout, &layer["digest"]);
        flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
        let id = format!("sha256:{}", hex::encode(Sha256::digest(&plain)));
        assert_eq!(config["rootfs"]["diff_ids"][0], id);
        let found = entries(&plain);
        assert_eq!(found["usr/bin/demo"], (0o755, b"#!/bin/sh\n".to_vec()));
        assert_eq!(found["usr/bin/again"], (0o777, b"demo".to_vec()));
        assert!(found["usr/share/more"].1 == noise(2_500_000));
        for (name, mode) in [
            ("usr/", 0o755),
            ("tmp/", 0o1777),
            ("work/", 0o1777),
            ("var/tmp/", 0o1777),
            ("proc/", 0o755),
        ] {
            assert_eq!(found[name].0, mode, "{name}");
        }
        assert!(!found.contains_key("runtime.yml") && !found.contains_key("isolated/"));
        platforms.insert(arch);
    }
    assert_eq!(platforms, ["amd64".to_owned(), "arm64".to_owned()].into());
}

#[test]
fn versions_that_differ_in_wheels_share_the_layer_of_their_packages() {
    let world = built();
    // Like a build with wheels: one listed file is not from a Debian package.
    for arch in ["amd64", "arm64"] {
        let path = format!("dist/records/demo/1.0.0.files/{arch}.contents.txt");
        world.write(
            &path,
            world.read(&path).replace("more\tusr/share/more", "wheel\tusr/share/more"),
        );
        let path = format!("dist/records/demo/1.0.0.files/{arch}.spdx.json");
        let mut sbom: Value = serde_json::from_str(&world.read(&path)).unwrap();
        sbom["packages"]
            .as_array_mut()
            .unwrap()
            .push(serde_json::json!({ "SPDXID": "SPDXRef-wheel-wheel", "name": "wheel" }));
        world.write(&path, sbom.to_string());
    }
    let mut record = world.json("dist/records/demo/1.0.0.json");
    for (name, file) in record["files"].as_object_mut().unwrap() {
        let bytes = fs::read(world.path("dist/records/demo/1.0.0.files").join(name)).unwrap();
        file["checksum"] = format!("sha256:{}", hex::encode(Sha256::digest(&bytes))).into();
        file["size"] = bytes.len().into();
    }
    world.write("dist/records/demo/1.0.0.json", record.to_string());
    world.publish("oci demo --records dist/records --out l --arch amd64").done();
    let layout = world.path("l");
    let index = document(&layout, &world.json("l/index.json")["manifests"][0]);
    let manifest = document(&layout, &index["manifests"][0]);
    let layers: Vec<_> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            let mut plain = Vec::new();
            let packed = blob(&layout, &layer["digest"]);
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
            entries(&plain)
        })
        .collect();
    let [base, top] = &layers[..] else { panic!("{manifest}") };
    assert!(
        base.contains_key("usr/bin/demo") && !base.contains_key("usr/share/more"),
        "{:?}",
        base.keys()
    );
    assert!(
        top.contains_key("usr/share/more") && !top.contains_key("usr/bin/demo"),
        "{:?}",
        top.keys()
    );
    // Every directory is in the layer of its entries.
    for layer in [base, top] {
        for name in layer.keys() {
            let parent = name.trim_end_matches('/').rsplit_once('/');
            assert!(
                parent.is_none_or(|(parent, _)| layer.contains_key(&format!("{parent}/"))),
                "{name}"
            );
        }
    }
}

/// The output of a tool.
fn tool(world: &World, line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next()?);
    let output = command.args(words).current_dir(world.path("")).output().ok()?;
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn other_tools_copy_it_and_joblet_exec_runs_it() {
    let world = built();
    world.publish("oci demo --records dist/records --out l").done();
    let Some(raw) = tool(&world, "skopeo inspect --raw oci:l:demo:1.0.0") else {
        return skip("no skopeo here: images are copied by another tool");
    };
    // To a file and back: the same index and blobs.
    tool(&world, "skopeo copy -q --all oci:l:demo:1.0.0 oci-archive:a.tar:demo:1.0.0");
    tool(&world, "skopeo copy -q --all oci-archive:a.tar:demo:1.0.0 oci:back:demo:1.0.0");
    assert_eq!(tool(&world, "skopeo inspect --raw oci:back:demo:1.0.0").unwrap(), raw);
    assert_eq!(world.tree("back/blobs"), world.tree("l/blobs"));
    // And to a runtime again, with the entries of the archive, and the directories that an image adds.
    let arch = joblet_format::Arch::NATIVE;
    tool(&world, &format!("tar -xzf dist/demo-1.0.0-{arch}.tar.gz")).unwrap();
    let mut want: BTreeSet<_> = world.tree("demo-1.0.0/isolated").into_iter().collect();
    want.extend(
        ["dev", "home", "proc", "root", "run", "sys", "tmp", "var", "var/tmp", "work"]
            .map(String::from),
    );
    for image in ["l", "a.tar", "back:demo:1.0.0"] {
        _ = fs::remove_dir_all(world.path("store"));
        let output = Command::new(joblet_exec())
            .args(["run", "--image", image, "--store", "store", "nothing"])
            .current_dir(world.path(""))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("unpacked "), "{image}: {said}");
        let stored =
            world.tree("store").into_iter().find(|name| name.starts_with("image-0.0.0-sha256-"));
        let found = world.tree(&format!("store/{}/isolated", stored.unwrap()));
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), want, "{image}");
    }
}

/// Runs the commands of IMAGES.md, in order.
#[test]
fn the_guide_leads_from_docker_to_joblet_and_back() {
    let Ok(shell) = fs::read("/bin/busybox").or_else(|_| fs::read("/usr/bin/busybox")) else {
        return skip("no busybox here: the commands of IMAGES.md");
    };
    if Command::new("skopeo").arg("--version").output().is_err() {
        return skip("no skopeo here: the commands of IMAGES.md");
    }
    let guide = fs::read_to_string(repository("IMAGES.md")).unwrap();
    let blocks = super::guide::blocks(&guide, "bash");
    assert_eq!(blocks.len(), 3);
    let world = World::new();
    let arch = joblet_format::Arch::NATIVE;
    let busybox = debs::deb("Package: demo\nVersion: 1\n", &[("./usr/bin/sh", &shell)]);
    world.runtime("1.0.0", &[("debian/pool/demo_1.deb".into(), busybox)], "");
    world.build(&format!("--arch {arch}")).done();
    // The files that skopeo and docker would write.
    world.publish("oci demo --records dist/records --out images").done();
    let index = world.read("images/index.json").replace("demo:1.0.0", "tool");
    world.write("images/index.json", index);
    world.publish("oci demo --records dist/records --out tool.tar").done();
    let bin = world.path("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_joblet-publish"), bin.join("joblet-publish"))
        .unwrap();
    std::os::unix::fs::symlink(joblet_exec(), bin.join("joblet-exec")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &blocks.concat()])
        .current_dir(world.path(""))
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("HOME", world.path("home"))
        .env("JOBLET_EXEC_STORE", world.path("store"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["hello from /work\n", "once more\n", "image  0.0.0-sha256-"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(world.read("out"), "2\n");
    assert_eq!(world.json("dist/records/tool-1/1.0.0.json")["name"], "tool-1");
}
