//! Updates of runtimes: a mirror gets new packages, one of them with a security fix.

use crate::common::mirror::Mirror;
use crate::records::world::{Outcome, World, repository};
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

/// A locked runtime of two packages, and its mirror.
struct Refresh {
    world: World,
    mirror: Mirror,
    /// The workflow's secret key.
    key: Option<String>,
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
        let refresh = Self { world, mirror, key: None };
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

    /// The output of `line` if an input is newer.
    #[track_caller]
    fn newer(&self, line: &str) -> String {
        let outcome = self.publish(line);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (1, ""), "{outcome:?}");
        outcome.stdout
    }

    /// Another version without security fixes.
    fn update_tools(&mut self) {
        self.mirror.add("bookworm-updates", "demo-tools", "2.0-1", "", TOOLS);
        self.mirror.publish();
    }

    fn update_library(&mut self) {
        self.mirror.add("bookworm-security", "libdemo", "1.0-1+deb12u1", "", CHANGELOG);
        self.mirror.publish();
    }

    /// Builds and records the manifest's version.
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
fn newer_packages_are_listed_with_their_fixes() {
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

    // The previous published version lacks the fix.
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
    // The site says so.
    refresh.publish("site --out site").done();
    assert_eq!(refresh.world.read("site/freshness.json"), refresh.world.read("freshness.json"));
    let page = refresh.world.read("site/runtimes/demo/1.0.0.html");
    let checked = &freshness["checked_at"].as_str().unwrap()[..10];
    for words in [
        "1 of its 30 inputs have security fixes.</strong> Fixed since: CVE-2026-13176.",
        "This version is superseded: use <a href=\"1.0.1.html\">demo 1.0.1</a>.",
        "2 of 30 have newer versions as of",
        &format!("<time datetime=\"{checked}\">{checked}</time>, the last refresh."),
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let page = refresh.world.read("site/runtimes/demo/1.0.1.html");
    assert!(page.contains("none of 30 has a newer version"), "{page}");
    assert!(!page.contains("security fixes"), "{page}");
    let page = refresh.world.read("site/runtimes/demo/index.html");
    assert_eq!(page.matches("known fixes").count(), 1, "{page}");
    assert!(page.contains("<dt>Security fixes since</dt><dd>none <span"), "{page}");
    // A registry does not depend on it.
    let registry = refresh.world.read("site/registry.json");
    std::fs::remove_file(refresh.world.path("freshness.json")).unwrap();
    refresh.publish("site --out plain").done();
    assert_eq!(refresh.world.read("plain/registry.json"), registry);
    assert!(!refresh.world.read("plain/runtimes/demo/1.0.0.html").contains("refresh"));
    assert_eq!(refresh.publish("outdated tools --published --cache cache").status, 12);
}

/// Stands in for GitHub's command line: logs calls in `gh.log`, and keeps one open pull request per branch in `prs`.
const GH: &str = r#"#!/bin/sh
echo "$*" >>"$HOME/gh.log"
verb=$2; branch=; file=
while [ $# -gt 0 ]; do case $1 in --head) branch=$2 ;; --body-file) file=$2 ;; refresh/*) branch=$1 ;; esac; shift; done
pr=$HOME/prs/$(basename "$branch")
case $verb in
    list) [ ! -e "$pr" ] || echo 7 ;;
    create | edit) mkdir -p "$HOME/prs" && cp "$file" "$pr" ;;
    merge) ;;
    *) exit 1 ;;
esac
"#;

/// A bare repository and a checkout of it; `gh` and the program are in PATH.
impl Refresh {
    fn repository(&self) {
        let world = &self.world;
        world.write("bin/gh", GH);
        let program = env!("CARGO_BIN_EXE_joblet-publish");
        world.write("bin/joblet-publish", format!("#!/bin/sh\nexec {program} \"$@\"\n"));
        for name in ["gh", "joblet-publish"] {
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(world.path("bin").join(name), executable).unwrap();
        }
        self.run("", "git init -q -b main checkout");
        self.run("", "cp -r runtimes-src registry-site checkout/");
        self.run("", "git init -q --bare -b main origin.git");
        self.run("checkout", "git remote add origin ../origin.git");
        self.run("checkout", "git add .");
        self.run("checkout", "git commit -q -m first");
        self.run("checkout", "git push -q origin HEAD:main");
    }

    /// The output of `line` in this directory, with the workflow's environment.
    #[track_caller]
    fn run(&self, directory: &str, line: &str) -> String {
        let output = self.output(directory, line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn output(&self, directory: &str, line: &str) -> std::process::Output {
        let home = self.world.path("");
        let mut words = line.split_whitespace();
        std::process::Command::new(words.next().unwrap())
            .args(words)
            .current_dir(home.join(directory))
            .env_clear()
            .env("HOME", &home)
            .env("PATH", format!("{}:/usr/bin:/bin", home.join("bin").display()))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Refresh")
            .env("GIT_AUTHOR_EMAIL", "refresh@example.org")
            .env("GIT_COMMITTER_NAME", "Refresh")
            .env("GIT_COMMITTER_EMAIL", "refresh@example.org")
            .env("REFRESH_MERGE", "security")
            .env("JOBLET_PUBLISH_DEBIAN_MIRROR", &self.mirror.address)
            .env("JOBLET_PUBLISH_DEBIAN_KEYRING", self.mirror.keyring())
            .envs(self.key.as_ref().map(|key| ("JOBLET_PUBLISH_SIGN_KEY", key)))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn script(&self, what: &str) {
        self.run("checkout", &format!("{} {what}", repository(".ci/refresh").display()));
    }

    fn origin(&self, line: &str) -> String {
        self.run("", &format!("git -C origin.git {line}"))
    }
}

#[test]
fn a_refresh_opens_and_updates_one_pull_request() {
    let Some(mut refresh) = Refresh::new() else { return };
    refresh.record();
    refresh.repository();
    let branches = |refresh: &Refresh| refresh.origin("branch --format=%(refname:short)");
    let commit = |refresh: &Refresh| refresh.origin("rev-parse refresh/demo");
    let log = |refresh: &Refresh| refresh.world.read("gh.log");

    // Without newer inputs no pull request is opened.
    refresh.script("pull-requests");
    assert_eq!(branches(&refresh), "main\n");

    refresh.update_library();
    refresh.script("pull-requests");
    assert_eq!(branches(&refresh), "main\nrefresh/demo\n");
    let fix = "- libdemo 1.0-1 → 1.0-1+deb12u1 (security, urgency high): CVE-2026-13176\n";
    let body = format!("## 1.0.1\n\nFixes CVE-2026-13176.\n\n{fix}");
    assert_eq!(refresh.world.read("prs/demo").trim_end(), body.trim_end());
    let asked = log(&refresh);
    let created = "pr create --base main --head refresh/demo --title demo 1.0.1: security fixes";
    assert!(asked.contains(created), "{asked}");
    assert!(asked.contains("pr merge refresh/demo --auto --rebase"), "security alone: {asked}");
    let files = ["CHANGELOG.md", "manifest.yaml", "versions.lock"];
    let files = files.map(|it| format!("runtimes-src/demo/{it}\n")).concat();
    assert_eq!(refresh.origin("diff --name-only main refresh/demo"), files);
    let lock = refresh.origin("diff main refresh/demo -- runtimes-src/demo/versions.lock");
    let new = lock.lines().filter(|line| line.starts_with('+') && line.contains("libdemo"));
    assert_eq!(new.count(), 2, "one for each architecture: {lock}");

    // The next day, without news: the branch is not pushed again, and keeps its checks.
    let before = commit(&refresh);
    refresh.script("pull-requests");
    assert_eq!(commit(&refresh), before);
    // Then a new package: the same pull request, which is not merged automatically.
    refresh.update_tools();
    refresh.script("pull-requests");
    assert_ne!(commit(&refresh), before);
    assert!(refresh.world.read("prs/demo").contains("- demo-tools 1.0-1 → 2.0-1"));
    let asked = log(&refresh);
    let count = |what: &str| asked.matches(what).count();
    assert_eq!((count("pr create"), count("pr edit"), count("pr merge")), (1, 2, 2), "{asked}");
}

#[test]
fn freshness_is_committed_to_the_branch() {
    let Some(mut refresh) = Refresh::new() else { return };
    refresh.record();
    refresh.repository();
    refresh.update_library();
    refresh.script("freshness");
    let found = refresh.origin("show main:freshness.json");
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["runtimes"]["demo"]["1.0.0"]["fixes"], json!(["CVE-2026-13176"]));
    let before = refresh.origin("rev-parse main");
    std::thread::sleep(std::time::Duration::from_secs(1)); // with another time
    refresh.script("freshness");
    assert_eq!(refresh.origin("rev-parse main"), before, "a new time alone is not committed");
    refresh.update_tools();
    refresh.script("freshness");
    assert_ne!(refresh.origin("rev-parse main"), before);
}

/// Both documents of a registry with a key are signed, and neither changes without the key.
#[test]
fn freshness_is_signed_like_the_registry() {
    let Some(mut refresh) = Refresh::new() else { return };
    refresh.record();
    refresh.repository();
    refresh.script("freshness");
    assert_eq!(refresh.origin("ls-tree --name-only main freshness.json.minisig"), "");
    refresh.publish("keygen a.key --no-password").done();
    refresh.key = Some(refresh.world.read("a.key"));
    // The same content, but with a key.
    refresh.script("freshness");
    let signed = |refresh: &Refresh| {
        for file in ["freshness.json", "freshness.json.minisig"] {
            let text = refresh.origin(&format!("show main:{file}"));
            refresh.world.write(file, text);
        }
        refresh.run("", "minisign -V -q -p a.key.pub -m freshness.json");
        refresh.origin("rev-parse main")
    };
    let before = signed(&refresh);
    refresh.script("freshness");
    assert_eq!(refresh.origin("rev-parse main"), before, "nothing is news");
    refresh.update_library();
    refresh.script("freshness");
    let before = signed(&refresh);
    // Without the key nothing is pushed that clients would refuse.
    refresh.run("checkout", "git checkout -q origin/main");
    refresh.world.write("checkout/registry.json.minisig", "a signature");
    refresh.run("checkout", "git add registry.json.minisig");
    refresh.run("checkout", "git commit -q -m signed");
    refresh.run("checkout", "git push -q origin HEAD:main");
    refresh.update_tools();
    refresh.key = None;
    let script = repository(".ci/refresh").display().to_string();
    let output = refresh.output("checkout", &format!("{script} freshness"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("set JOBLET_PUBLISH_SIGN_KEY"), "{said}");
    assert_eq!(refresh.origin("rev-parse main^").trim(), before.trim(), "nothing was pushed");
}
