//! Runtimes that stay fresh: a mirror gets updates, one of them a security fix.

use crate::common::mirror::Mirror;
use crate::records::world::{Outcome, World};
use serde_json::json;

const CHANGELOG: &str = "\
libdemo (1.0-1+deb12u1) bookworm-security; urgency=high

  * Fix an overflow that a long name caused (CVE-2026-13176).

 -- Some One <one@example.org>  Sun, 01 Mar 2026 10:00:00 +0000

libdemo (1.0-1) bookworm; urgency=medium

  * First upload (CVE-2020-1111 was before it).

 -- Some One <one@example.org>  Thu, 01 Jan 2026 10:00:00 +0000
";

const TOOLS: &str = "demo-tools (2.0-1) bookworm; urgency=low\n\n  * New upstream version.\n\n\
                     demo-tools (1.0-1) bookworm; urgency=low\n\n  * First.\n";

/// A runtime of two packages that is locked, and the mirror that it was locked from.
struct Refresh {
    world: World,
    mirror: Mirror,
}

impl Refresh {
    fn new() -> Option<Self> {
        let mut mirror = Mirror::new()?;
        mirror.add("bookworm", "demo", "1.0-1", "libdemo, demo-tools", "");
        mirror.add("bookworm", "libdemo", "1.0-1", "", "");
        mirror.add("bookworm", "demo-tools", "1.0-1", "", "");
        mirror.publish();
        let world = World::new();
        world.write(
            "runtimes-src/demo/manifest.yaml",
            "name: demo\nversion: 1.0.0 # of tests\ndescription: a demo\n\
             platforms: [ubuntu-amd64, ubuntu-arm64]\n\
             debian: { suite: bookworm, packages: [demo] }\n",
        );
        let refresh = Self { world, mirror };
        refresh.publish("lock demo --cache cache").done();
        Some(refresh)
    }

    fn publish(&self, line: &str) -> Outcome {
        let keyring = self.mirror.keyring().display().to_string();
        self.world.publish_with(
            line,
            &[
                ("JOBLET_PUBLISH_DEBIAN_MIRROR", &self.mirror.address),
                ("JOBLET_PUBLISH_DEBIAN_KEYRING", &keyring),
            ],
        )
    }

    /// What `line` prints when something is newer.
    #[track_caller]
    fn newer(&self, line: &str) -> String {
        let outcome = self.publish(line);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (1, ""), "{outcome:?}");
        outcome.stdout
    }

    /// Another version without a fix of anything.
    fn update_tools(&mut self) {
        self.mirror.add("bookworm-updates", "demo-tools", "2.0-1", "", TOOLS);
        self.mirror.publish();
    }

    fn update_library(&mut self) {
        self.mirror.add("bookworm-security", "libdemo", "1.0-1+deb12u1", "", CHANGELOG);
        self.mirror.publish();
    }

    /// Builds the version that the manifest has, and records it.
    fn record(&self) {
        self.publish("build demo --cache cache --base-url https://example.org/").done();
        let from = self.world.path("dist/records");
        for path in self.world.tree("dist/records") {
            let path = std::path::Path::new(&path);
            if from.join(path).is_file() {
                let bytes = std::fs::read(from.join(path)).unwrap();
                self.world.write(&format!("registry-site/records/{}", path.display()), bytes);
            }
        }
    }
}

#[test]
fn what_is_newer_is_told_with_what_it_fixes() {
    let Some(mut refresh) = Refresh::new() else { return };
    let day = &refresh.world.json("runtimes-src/demo/versions.lock")["timestamp"];
    let day = day.as_str().unwrap()[..10].to_owned();
    let nothing = format!("demo@1.0.0: nothing is newer than its 30 inputs of {day}\n");
    assert_eq!(refresh.publish("outdated --cache cache").done(), nothing);
    refresh.update_tools();
    let one = format!("demo@1.0.0: 1 of 30 inputs of {day} have newer versions\n");
    let tools = "  demo-tools 1.0-1 → 2.0-1 (urgency low)\n      New upstream version.\n";
    assert_eq!(refresh.newer("outdated demo --cache cache"), format!("{one}{tools}"));
    let told = refresh.publish("outdated demo --security --cache cache").done();
    assert!(told.starts_with(&one), "it is told all the same");
    refresh.update_library();
    let two = format!(
        "demo@1.0.0: 2 of 30 inputs of {day} have newer versions, 1 with security fixes\n{tools}  \
         libdemo 1.0-1 → 1.0-1+deb12u1 (security, urgency high): CVE-2026-13176\n      \
         Fix an overflow that a long name caused (CVE-2026-13176).\n"
    );
    assert_eq!(refresh.newer("outdated demo --security --cache cache"), two);
    let report: serde_json::Value =
        serde_json::from_str(&refresh.newer("outdated --json --cache cache")).unwrap();
    let demo = &report["runtimes"][0];
    assert_eq!((&demo["name"], &demo["inputs"]), (&json!("demo"), &json!(30)));
    let library = &demo["updates"][1];
    assert_eq!(
        (&library["before"], &library["after"], &library["security"], &library["arches"]),
        (&json!("1.0-1"), &json!("1.0-1+deb12u1"), &json!(true), &json!(["amd64", "arm64"]))
    );
    let entry = &library["changelog"][0];
    assert_eq!(
        (&entry["urgency"], &entry["cves"], &entry["suite"], library["changelog"][1].is_null()),
        (&json!("high"), &json!(["CVE-2026-13176"]), &json!("bookworm-security"), true)
    );
    // Lists that another key has signed are refused.
    let error = refresh
        .world
        .publish(&format!("outdated demo --cache cache --mirror {}", refresh.mirror.address))
        .failed(10);
    assert!(error.contains("package lists of bookworm"), "{error}");
    let error = refresh.publish("outdated demo --save f.json --cache cache").failed(2);
    assert!(error.contains("--save goes with --published and without names"), "{error}");
}

#[test]
fn a_bump_is_the_next_version_with_todays_packages() {
    let Some(mut refresh) = Refresh::new() else { return };
    let kept = |refresh: &Refresh| {
        ["manifest.yaml", "versions.lock"]
            .map(|file| refresh.world.read(&format!("runtimes-src/demo/{file}")))
    };
    let before = kept(&refresh);
    let stays = refresh.publish("bump demo --cache cache").done();
    assert_eq!(stays, "demo: nothing is newer; 1.0.0 stays\n");
    assert_eq!(kept(&refresh), before);
    refresh.record();
    refresh.update_library();
    refresh.update_tools();
    let raised = refresh.publish("bump --all --cache cache").done();
    let line = "demo: 1.0.0 → 1.0.1, newer packages: 2, with security fixes: 1\n";
    assert_eq!(raised, line);
    let [manifest, lock] = kept(&refresh);
    assert_eq!(manifest, before[0].replace("version: 1.0.0 #", "version: 1.0.1 #"));
    assert!(lock.contains("debian-security/pool/main/libdemo_1.0-1"), "{lock}");
    assert_eq!(
        refresh.world.read("runtimes-src/demo/CHANGELOG.md"),
        "# demo\n\n## 1.0.1\n\nFixes CVE-2026-13176.\n\n\
         - libdemo 1.0-1 → 1.0-1+deb12u1 (security, urgency high): CVE-2026-13176\n\
         - demo-tools 1.0-1 → 2.0-1 (urgency low)\n"
    );
    refresh.publish("outdated demo --cache cache").done();
    refresh.record();
    let diff = refresh.publish("diff demo@1.0.0 demo@1.0.1 --arch amd64").done();
    assert!(diff.contains("~ libdemo") && diff.contains("1.0-1 → 1.0-1+deb12u1"), "{diff}");
    assert!(diff.contains("= 28 packages"), "{diff}");

    // Of what is published, the version before lacks the fix.
    let all = refresh.newer("outdated --published --cache cache --save freshness.json");
    assert!(all.contains("demo@1.0.0: 2 of 30 inputs"), "{all}");
    assert!(all.contains("demo@1.0.1: nothing is newer"), "{all}");
    let freshness = refresh.world.json("freshness.json");
    let old = &freshness["runtimes"]["demo"]["1.0.0"];
    assert_eq!(
        (&old["inputs"], &old["newer"], &old["security"], &old["fixes"]),
        (&json!(30), &json!(2), &json!(1), &json!(["CVE-2026-13176"]))
    );
    assert_eq!(freshness["runtimes"]["demo"]["1.0.1"]["newer"], 0);
    assert_eq!(refresh.publish("outdated tools --published --cache cache").status, 12);
}
