//! Archives that are too large for one file, from the build to an installed runtime.

use super::world::{World, joblet_exec, noise};
use crate::{common::debs, server::Server};
use joblet_format::Arch;
use serde_json::Value;
use std::process::Command;

#[test]
fn parts_are_published_under_extended_and_installed_like_any_archive() {
    let world = World::new();
    let large =
        debs::deb("Package: demo\nVersion: 1\n", &[("./usr/share/large", &noise(3_000_000))]);
    world.runtime("1.0.0", &[("debian/pool/demo_1.deb".into(), large)], "");
    let whole: Value = serde_json::from_str(&world.build("--json --out whole").done()).unwrap();
    let report = world.build("--json --part-size 1000000").done();
    let report: Value = serde_json::from_str(&report).unwrap();
    world.publish("index --records dist/records --out dist/registry.json").done();
    let registry = world.json("dist/registry.json");
    assert_eq!(registry["runtimes"], serde_json::json!({}), "Joblet's client sees none of it");
    let release = &registry["extended"]["demo"]["1.0.0"];
    for (at, arch) in ["amd64", "arm64"].into_iter().enumerate() {
        let artifact = &release["artifacts"][arch];
        assert_eq!(artifact["checksum"], whole[at]["checksum"]);
        let parts = artifact["parts"].as_array().unwrap();
        assert_eq!(parts.len(), report[at]["parts"].as_array().unwrap().len());
        assert!(parts.len() > 2, "{artifact}");
        let first = format!("demo-1.0.0-{arch}.tar.gz.001");
        assert_eq!(parts[0]["download_url"], first);
        let sizes: Vec<_> = parts.iter().map(|part| part["size"].as_u64().unwrap()).collect();
        assert!(sizes.iter().all(|size| (1..=1_000_000).contains(size)), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>(), artifact["size"].as_u64().unwrap());
        assert_eq!(world.path("dist").join(first).metadata().unwrap().len(), sizes[0]);
        assert!(!world.path(&format!("dist/demo-1.0.0-{arch}.tar.gz")).exists());
    }
    let server = Server::files(world.path("dist"));
    for registry in [server.address.as_str(), world.path("dist").to_str().unwrap()] {
        let store = tempfile::tempdir().unwrap();
        let install = Command::new(joblet_exec())
            .env_clear()
            .env("HOME", store.path())
            .args(["install", "demo", "--registry", registry, "--store"])
            .arg(store.path().join("store"))
            .output()
            .unwrap();
        assert!(install.status.success(), "{registry}: {install:?}");
        let large = store.path().join("store/demo-1.0.0/isolated/usr/share/large");
        assert_eq!(std::fs::read(large).unwrap(), noise(3_000_000), "{}", Arch::NATIVE);
    }
}
