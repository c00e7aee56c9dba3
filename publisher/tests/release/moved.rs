//! A registry of other tools is continued, and two registries are independent.

use super::{World, complaint};
use joblet_format::Registry;
use std::fs;

/// A registry as written by Joblet's own tools: additional members, one archive for all platforms, no records.
fn of_others() -> String {
    let versions = [("graalvmjdk-21", 1..2), ("openjdk-21", 1..2), ("python-3.11", 1..5)];
    let more = [("python-3.11-ml", 1..4), ("python-3.11-pytorch-cuda", 1..6)];
    let mut runtimes = Vec::new();
    for (name, patches) in versions.into_iter().chain(more) {
        let entry = |patch: u8| {
            format!(
                r#""1.3.{patch}": {{ "version": "1.3.{patch}", "description": "{name}, set up by a script",
                "download_url": "https://example.org/releases/{name}@1.3.{patch}/{name}-1.3.{patch}.tar.gz",
                "checksum": "sha256:{}", "size": {}, "platforms": ["ubuntu-amd64", "ubuntu-arm64",
                "rhel-amd64", "rhel-arm64", "amzn-amd64", "amzn-arm64"] }}"#,
                format!("{patch:x}").repeat(64),
                5000 + u32::from(patch)
            )
        };
        let entries: Vec<_> = patches.map(entry).collect();
        runtimes.push(format!("\"{name}\": {{ {} }}", entries.join(", ")));
    }
    format!(
        r#"{{ "_comment": "do not edit", "_generated_by": "a workflow", "version": "1",
        "updated_at": "2025-12-02T17:41:44Z", "runtimes": {{ {} }} }}"#,
        runtimes.join(", ")
    )
}

/// SEC-C16
#[test]
fn a_registry_with_versions_moves() {
    let world = World::new(&["a"]);
    fs::write(world.path("main/registry.json"), of_others()).unwrap();
    world.push("the registry as it was");
    world.tag("a@1.0.0");
    // A release would drop them: reported before the build.
    let said = complaint(&world.step("plan", "a@1.0.0").output().unwrap(), 13);
    assert!(said.contains("a published version must not disappear"), "{said}");
    assert!(said.contains("joblet-publish adopt"), "{said}");

    let output = world.publish(&["adopt"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("records: 14 written, 0 there already\n"), "{said}");
    let again = world.publish(&["adopt"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(again).unwrap(), "records: 0 written, 14 there already\n");
    let before: Registry = serde_json::from_str(&of_others()).unwrap();
    let made = || -> Registry {
        let index = world.publish(&["index"]).output().unwrap();
        assert!(index.status.success(), "{index:?}");
        serde_json::from_slice(&fs::read(world.path("main/registry.json")).unwrap()).unwrap()
    };
    assert_eq!(made(), before);
    let site = world.publish(&["site", "--out", "../site"]).output().unwrap();
    assert!(site.status.success(), "{site:?}");
    world.push("records of what was there");

    world.git(&["checkout", "--quiet", "a@1.0.0"]);
    world.release_all("a@1.0.0");
    world.git(&["checkout", "--quiet", "main"]);
    world.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
    let after = made();
    assert_eq!(after.runtimes.len(), before.runtimes.len() + 1);
    assert!(before.runtimes.iter().all(|(name, releases)| after.runtimes[name] == *releases));
}

/// SEC-C16
#[test]
fn what_cannot_be_recorded_is_named() {
    let world = World::new(&["a"]);
    let broken = of_others().replace("sha256:3", "md5:3");
    fs::write(world.path("main/registry.json"), broken).unwrap();
    let said = complaint(&world.publish(&["adopt"]).output().unwrap(), 17);
    assert!(
        said.contains("registry.json: \"python-3.11\" \"1.3.3\" cannot be recorded: "),
        "{said}"
    );
    assert!(!world.path("main/registry-site/records/openjdk-21").exists(), "all or nothing");
}

#[test]
fn two_registries_have_their_own_records_and_addresses() {
    let (one, other) = (World::new(&["a"]), World::new(&["a"]));
    for world in [&one, &other] {
        world.tag("a@1.0.0");
    }
    one.release_all("a@1.0.0");
    assert_eq!((one.versions(), other.registry_is_there()), (vec!["a@1.0.0".to_owned()], false));
    other.release_all("a@1.0.0");
    assert_eq!(one.registry().runtimes, other.registry().runtimes);
    let page = |world: &World, more: &[&str]| {
        world.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
        let words = [&["site", "--out", "../site"], more].concat();
        let site = world.publish(&words).output().unwrap();
        assert!(site.status.success(), "{site:?}");
        fs::read_to_string(world.path("site/runtimes/a/1.0.0.html")).unwrap()
    };
    let shown = page(&other, &["--registry", "somebody/registry"]);
    assert!(shown.contains("joblet-exec install --registry=somebody/registry a@1.0.0"), "{shown}");
    assert!(shown.contains("rnx runtime install a@1.0.0 --registry=somebody/registry"), "{shown}");
    assert!(page(&one, &[]).contains("joblet-exec install<span data-registry></span> a@1.0.0"));
    // Another address gives other pages, also in the same directory.
    assert!(
        page(&other, &["--registry", "another/one"]).contains("install --registry=another/one")
    );
    for hostile in ["a/b; id", "$(id)", "", "-x", "a'b"] {
        let site = other.publish(&["site", "--registry", hostile]).output().unwrap();
        let said = complaint(&site, 2);
        assert!(said.contains("is neither OWNER/REPO nor an address"), "{said}");
    }
}

impl World {
    fn registry_is_there(&self) -> bool {
        self.git(&["fetch", "--quiet", "origin", "main"]);
        !self.git(&["ls-tree", "FETCH_HEAD", "registry.json"]).is_empty()
    }
}
