//! Rehearsed releases: a bare repository stands for GitHub's, a directory for the release host, and
//! the commands are those of `RELEASING.md`, which the workflow also runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use joblet_format::{Checksum, Record, Registry, Release};
use sha2::{Digest, Sha256};

mod moved;
mod signed;

const PROGRAM: &str = env!("CARGO_BIN_EXE_joblet-publish");
const BASE: &str = "https://example.org/releases";

/// A repository with some runtimes, and a directory for releases.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new(names: &[&str]) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        let main = world.path("main");
        for name in names {
            world.write(name, "1.0.0", "one\n");
        }
        fs::create_dir_all(main.join("registry-site/records")).unwrap();
        fs::write(main.join("registry-site/records/.keep"), "").unwrap();
        world.git(&["init", "--quiet", "--bare", "--initial-branch=main", "../origin.git"]);
        world.git(&["init", "--quiet", "--initial-branch=main", "."]);
        world.git(&["remote", "add", "origin", "../origin.git"]);
        world.push("a first state");
        world
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// A runtime of one file, locked.
    fn write(&self, name: &str, version: &str, content: &str) {
        let source = self.path("main/runtimes-src").join(name);
        fs::create_dir_all(source.join("files/usr/share")).unwrap();
        fs::write(source.join("files/usr/share/it"), content).unwrap();
        fs::write(
            source.join("manifest.yaml"),
            format!(
                "name: {name}\nversion: {version}\ndescription: for a rehearsal\n\
                 platforms: [ubuntu-amd64, ubuntu-arm64]\nfiles: files/\n"
            ),
        )
        .unwrap();
        let lock = self.publish(&["lock", name]).output().unwrap();
        assert!(lock.status.success(), "{lock:?}");
    }

    fn git(&self, words: &[&str]) -> String {
        let output = self.command("git").args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits everything and pushes it to main.
    fn push(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["fetch", "--quiet", "origin"]);
        if !self.git(&["branch", "--remotes"]).is_empty() {
            self.git(&["rebase", "--quiet", "origin/main"]);
        }
        self.git(&["push", "--quiet", "origin", "HEAD:main"]);
        self.git(&["fetch", "--quiet", "origin"]);
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("main")).env("HOME", self.path("home"));
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Maintainer");
            command.env(format!("GIT_{who}_EMAIL"), "maintainer@example.org");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("TMPDIR", self.dir.path());
        command
    }

    fn publish(&self, words: &[&str]) -> Command {
        let mut command = self.command(PROGRAM);
        command.args(words).env("JOBLET_PUBLISH_DEBIAN_MIRROR", "http://127.0.0.1:9/");
        command
    }

    /// The step `name` of RELEASING.md for one archive of `tag`.
    fn step(&self, name: &str, tag: &str) -> Command {
        let runtime = tag.split('@').next().unwrap();
        let out = self.path("out").join(runtime);
        let mut command = self.command("bash");
        command.args(["-euo", "pipefail", "-c", &step(name)]);
        let path = format!("{}:{}", self.programs().display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("TAG", tag).env("NAME", runtime).env("VERSION", "1.0.0");
        command.env("OUT", &out).env("AGAIN", self.path("again")).env("ARCH", "amd64");
        command.env("BASE_URL", BASE).env("HOST", self.path("host"));
        command.env("REPOSITORY", self.path("origin.git"));
        command.env("JOBLET_EXEC", "/bin/true"); // there are no checks
        command
    }

    /// A directory with the program under its name.
    fn programs(&self) -> PathBuf {
        let dir = self.path("bin");
        if !dir.exists() {
            fs::create_dir(&dir).unwrap();
            std::os::unix::fs::symlink(PROGRAM, dir.join("joblet-publish")).unwrap();
        }
        dir
    }

    fn done(&self, name: &str, tag: &str) -> String {
        let output = self.step(name, tag).output().unwrap();
        assert!(output.status.success(), "{name} {tag}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn release_all(&self, tag: &str) {
        self.release_all_of(tag, "1.0.0");
    }

    fn release_all_of(&self, tag: &str, version: &str) {
        for name in ["plan", "build", "check", "rebuild", "release", "record"] {
            let output = self.step(name, tag).env("VERSION", version).output().unwrap();
            assert!(output.status.success(), "{name} {tag}: {output:?}");
        }
    }

    /// The registry on main. Asserts that its files and records exist.
    fn registry(&self) -> Registry {
        self.git(&["fetch", "--quiet", "origin", "main"]);
        let text = self.git(&["show", "FETCH_HEAD:registry.json"]);
        let registry: Registry = serde_json::from_str(&text).unwrap();
        let mut addresses = BTreeMap::new();
        for (name, releases) in &registry.runtimes {
            for (version, release) in releases {
                let path = format!("FETCH_HEAD:registry-site/records/{name}/{version}.json");
                let record: Record = serde_json::from_str(&self.git(&["show", &path])).unwrap();
                // The registry names fewer platforms, for Joblet's client.
                let platforms = release.platforms.clone();
                assert!(platforms.iter().all(|it| record.release.platforms.contains(it)));
                assert_eq!(Release { platforms, ..record.release }, *release);
                for artifact in release.artifacts.values() {
                    let index = format!("{}.index", artifact.download_url);
                    addresses.insert(index, artifact.index.as_ref().unwrap().checksum);
                    addresses.insert(artifact.download_url.clone(), artifact.checksum);
                }
            }
        }
        for (url, checksum) in addresses {
            let file =
                self.path("host").join(url.strip_prefix(BASE).unwrap().trim_start_matches('/'));
            let actual = Checksum::from_digest(Sha256::digest(fs::read(&file).unwrap()).into());
            assert_eq!(actual, checksum, "{}", file.display());
            assert!(!file.parent().unwrap().join(".draft").exists());
        }
        registry
    }

    fn versions(&self) -> Vec<String> {
        let registry = self.registry();
        let of = |(name, releases): (_, &BTreeMap<_, _>)| {
            releases.keys().map(|version| format!("{name}@{version}")).collect::<Vec<_>>()
        };
        registry.runtimes.iter().flat_map(of).collect()
    }

    fn tag(&self, tag: &str) {
        self.done("tag", tag);
    }
}

/// The commands of RELEASING.md with that name.
fn step(name: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../RELEASING.md"));
    let text = text.unwrap();
    let begin = format!("```bash {name}\n");
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no step {name}"));
    rest.split_once("```").unwrap().0.to_owned()
}

fn complaint(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_is_released_has_addresses() {
    let world = World::new(&["a"]);
    world.tag("a@1.0.0");
    let out = world.path("out/a").display().to_string();
    let built = world.publish(&["build", "a", "--arch", "amd64", "--out", &out]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let error = complaint(&world.step("release", "a@1.0.0").output().unwrap(), 2);
    assert!(error.contains("a@1.0.0 has the relative address"), "{error}");
    assert!(error.contains("build it with --base-url"), "{error}");
    assert!(!world.path("host/a@1.0.0").exists());
}

#[test]
fn a_tag_becomes_a_version_in_the_registry() {
    let world = World::new(&["a"]);
    world.tag("a@1.0.0");
    let plan = world.done("plan", "a@1.0.0");
    assert_eq!(
        plan.trim(),
        r#"{"tag":"a@1.0.0","runtimes":["a"],"builds":[{"name":"a","version":"1.0.0","arch":"amd64"},{"name":"a","version":"1.0.0","arch":"arm64"}]}"#
    );
    world.release_all("a@1.0.0");
    assert_eq!(world.versions(), ["a@1.0.0"]);
    let files: Vec<_> = fs::read_dir(world.path("host/a@1.0.0")).unwrap().collect();
    let names: Vec<_> = files.iter().map(|it| it.as_ref().unwrap().file_name()).collect();
    for name in ["a-1.0.0-amd64.tar.gz", "a-1.0.0.SHA256SUMS", "a-1.0.0.amd64.spdx.json"] {
        assert!(names.iter().any(|it| it == name), "{name} of {names:?}");
    }
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "a-1.0.0.SHA256SUMS"])
        .current_dir(world.path("host/a@1.0.0"));
    let sums = sums.output().unwrap();
    assert!(sums.status.success(), "{sums:?}");

    // Repeated steps change nothing.
    let before = world.git(&["rev-parse", "FETCH_HEAD"]);
    world.release_all("a@1.0.0");
    assert!(world.done("release", "a@1.0.0").contains("0 uploaded, was published already"));
    assert_eq!(world.done("reconcile", "a@1.0.0"), "every published version is recorded\n");
    world.registry();
    assert_eq!(world.git(&["rev-parse", "FETCH_HEAD"]), before);
}

/// SEC-C13
#[test]
fn two_releases_at_once_both_arrive() {
    let world = World::new(&["a", "b", "c"]);
    let tags = ["a@1.0.0", "b@1.0.0", "c@1.0.0"];
    for tag in tags {
        world.tag(tag);
        world.done("build", tag);
    }
    thread::scope(|scope| {
        for tag in tags {
            let world = &world;
            scope.spawn(move || {
                world.done("release", tag);
                world.done("record", tag);
            });
        }
    });
    assert_eq!(world.versions(), tags);
    let history = world.git(&["log", "--format=%s", "FETCH_HEAD"]);
    for tag in tags {
        assert!(history.lines().any(|line| line == format!("Publish {tag}")), "{history}");
    }
}

/// Kills the process group of `child` after `delay`. Returns its status if it had ended before.
fn kill_after(mut child: Child, delay: Duration) -> Option<ExitStatus> {
    thread::sleep(delay);
    let ended = child.try_wait().unwrap();
    let group = format!("-{}", child.id());
    _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    // A system call of another process of the group, such as a rename, may end later.
    let until = Instant::now() + Duration::from_secs(2);
    while lives(child.id()) && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    child.wait().unwrap();
    ended
}

/// Whether a process of this group has not ended yet, proc_pid_stat(5).
fn lives(group: u32) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok()).any(|stat| {
        let mut fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
        let state = fields.next().unwrap_or("Z");
        !matches!(state, "Z" | "X") && fields.nth(1) == Some(group.to_string().as_str())
    })
}

/// Locks of the branch in the repository, left by a killed git.
fn locks(world: &World) -> Vec<PathBuf> {
    let names = ["refs/heads/main.lock", "HEAD.lock"];
    let places = names.map(|name| world.path("origin.git").join(name));
    places.into_iter().filter(|place| place.exists()).collect()
}

/// Runs `record` while locks are left, and follows its advice.
fn follow_advice(world: &World) {
    let locks = locks(world);
    let began = Instant::now();
    let said = complaint(&world.step("record", "a@1.0.0").output().unwrap(), 19);
    let (place, rest) = said
        .strip_prefix("error[TOOL]: git: push failed: ")
        .and_then(|it| it.split_once(" is "))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(rest.ends_with("there now, remove it and run this again\n"), "{said}");
    let places: Vec<_> = place.split(" and ").map(PathBuf::from).collect();
    assert_eq!(places, locks);
    // Promptly, on a busy machine too.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    for place in places {
        fs::remove_file(place).unwrap();
    }
}

/// SEC-C13: a killed git leaves the lock of a branch in a local repository, which blocks all pushes.
#[test]
fn a_lock_that_a_killed_git_left_is_named() {
    let world = World::new(&["a"]);
    world.tag("a@1.0.0");
    for name in ["build", "release"] {
        world.done(name, "a@1.0.0");
    }
    let lock = world.path("origin.git/refs/heads/main.lock");
    fs::write(&lock, "").unwrap();
    follow_advice(&world);
    fs::write(world.path("origin.git/HEAD.lock"), "").unwrap();
    follow_advice(&world);
    // A lock that disappears belongs to another push.
    fs::write(&lock, "").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(500));
            fs::remove_file(&lock).unwrap();
        });
        world.done("record", "a@1.0.0");
    });
    assert_eq!(world.versions(), ["a@1.0.0"]);
}

/// SEC-C13: killed within or between any steps, and run again.
#[test]
fn killed_steps_can_be_repeated() {
    use std::os::unix::process::CommandExt;
    let world = World::new(&["a", "b"]);
    world.tag("a@1.0.0");
    world.tag("b@1.0.0");
    for name in ["build", "release", "record"] {
        world.done(name, "b@1.0.0");
    }
    let mut killed = 0;
    for name in ["build", "release", "record"] {
        // Kills with a growing delay until the step ends before: a tenth longer each time, so that
        // the test takes ten times as long as the step on any machine.
        let mut delay = Duration::from_millis(4);
        loop {
            let mut command = world.step(name, "a@1.0.0");
            let command = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
            if let Some(ended) = kill_after(command.spawn().unwrap(), delay) {
                assert!(ended.success(), "{name}: {ended}");
                break;
            }
            killed += 1;
            let left = locks(&world);
            if world.versions().contains(&"a@1.0.0".to_owned()) {
                // It was pushed before the kill: the next push is not blocked.
                for lock in left {
                    fs::remove_file(lock).unwrap();
                }
            } else if !left.is_empty() {
                follow_advice(&world);
            }
            delay = delay * 11 / 10;
        }
        assert!(world.versions().contains(&"b@1.0.0".to_owned()), "what was there stays whole");
        world.done(name, "a@1.0.0");
    }
    assert!(killed > 12, "killed {killed} times");
    assert_eq!(world.versions(), ["a@1.0.0", "b@1.0.0"]);
}

#[test]
fn a_release_without_its_record_is_found() {
    let world = World::new(&["a", "b"]);
    for tag in ["a@1.0.0", "b@1.0.0"] {
        world.tag(tag);
        world.done("build", tag);
    }
    let unpublished = world.step("record", "a@1.0.0").output().unwrap();
    let said = complaint(&unpublished, 12);
    assert!(said.contains("a@1.0.0 is not published; run its release first"), "{said}");
    world.done("release", "a@1.0.0");
    world.done("release", "b@1.0.0");
    assert_eq!(world.done("reconcile", "a@1.0.0"), "recorded a@1.0.0\nrecorded b@1.0.0\n");
    assert_eq!(world.versions(), ["a@1.0.0", "b@1.0.0"]);
    // A missing archive is detected before it is recorded.
    world.write("a", "1.0.1", "two\n");
    world.push("the next version");
    world.tag("a@1.0.1");
    world.done("build", "a@1.0.1");
    world.done("release", "a@1.0.1");
    fs::remove_file(world.path("host/a@1.0.1/a-1.0.1-amd64.tar.gz")).unwrap();
    let said = complaint(&world.step("reconcile", "a@1.0.1").output().unwrap(), 17);
    assert!(said.contains("a-1.0.1-amd64.tar.gz is missing or does not have"), "{said}");
    assert_eq!(world.versions(), ["a@1.0.0", "b@1.0.0"]);
    world.done("release", "a@1.0.1");
    world.done("record", "a@1.0.1");
    assert_eq!(world.versions(), ["a@1.0.0", "a@1.0.1", "b@1.0.0"]);
}

/// Frames are added to a published version, which otherwise does not change.
#[test]
fn frames_are_added_to_a_release() {
    let world = World::new(&["a"]);
    world.tag("a@1.0.0");
    let out = world.path("out/a");
    let url = format!("{BASE}/a@1.0.0");
    let words = ["build", "a", "--release", "--base-url", &url, "--out"];
    let built = world.publish(&words).arg(&out).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    world.done("release", "a@1.0.0");
    world.done("record", "a@1.0.0");
    let zstd = |world: &World| {
        let registry = world.registry();
        let release = registry.runtimes.values().next().unwrap().values().next().unwrap();
        release.artifacts.values().filter_map(|it| it.zstd.clone()).collect::<Vec<_>>()
    };
    assert_eq!(zstd(&world), []);
    world.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
    world.done("frames", "a@1.0.0");
    world.push("frames");
    assert_eq!(world.done("record", "a@1.0.0"), "every published version is recorded\n");
    let frames = zstd(&world);
    assert_eq!(frames.len(), 2);
    for (zstd, arch) in frames.iter().zip(["amd64", "arm64"]) {
        assert_eq!(zstd.download_url, format!("{url}/a-1.0.0-{arch}.tar.zst"));
        assert!(out.join(format!("a-1.0.0-{arch}.tar.zst")).exists());
    }
    // Recorded files do not change: other frames are refused, like another archive.
    let path = world.path("main/registry-site/records/a/1.0.0.json");
    let record = fs::read_to_string(&path).unwrap();
    let (old, new) = (frames[0].checksum.to_string(), frames[1].checksum.to_string());
    fs::write(&path, record.replace(&old, &new)).unwrap();
    world.push("other frames");
    let said = complaint(&world.step("record", "a@1.0.0").output().unwrap(), 13);
    assert!(said.contains("a@1.0.0: .tar.zst differs: expected "), "{said}");
}

/// SEC-C12: a tag is a name and a version, or refused.
#[test]
fn tags_that_a_shell_would_run_stop_at_the_plan() {
    let world = World::new(&["a"]);
    for tag in
        ["$(touch x)@1.0.0", "`touch x`@1.0.0", "a@1.0.0;touch x", "a@1.0.0\ntouch x", "../a@1.0.0"]
    {
        let said = complaint(&world.step("plan", tag).output().unwrap(), 2);
        assert!(
            said.starts_with(&format!("error[USAGE]: --tag: {tag:?} is not a tag of a release")),
            "{said}"
        );
    }
    assert!(!world.path("main/x").exists());
}

#[test]
fn plans_that_do_not_hold_are_refused() {
    let world = World::new(&["a", "b"]);
    let refused = |tag: &str, status: i32, reason: &str| {
        let said = complaint(&world.step("plan", tag).output().unwrap(), status);
        assert!(said.contains(reason), "{said}");
    };
    refused("a@1.0.0", 12, "tag a@1.0.0 does not exist; fetch it");
    world.git(&["tag", "a@1.0.1"]);
    refused(
        "a@1.0.1",
        17,
        "manifest.yaml: has version 1.0.0, the tag is a@1.0.1; correct one of them",
    );
    world.git(&["tag", "v3.0.0"]);
    refused("v3.0.0", 12, "has version 3.0.0");
    let manifest = world.path("main/runtimes-src/b/manifest.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text}debian: {{ suite: bookworm, packages: [bash] }}\n"))
        .unwrap();
    world.push("a manifest that was not locked again");
    refused("a@1.0.1", 17, "is not the commit that is checked out; run git checkout a@1.0.1");
    world.git(&["tag", "b@1.0.0"]);
    refused("b@1.0.0", 17, "versions.lock");
    world.git(&["commit", "--quiet", "--allow-empty", "--message", "beside main"]);
    world.git(&["tag", "a@1.0.0"]);
    refused("a@1.0.0", 17, "is not on origin/main; merge it there first");
}

/// SEC-C16
#[test]
fn published_files_never_change() {
    let world = World::new(&["a"]);
    world.tag("a@1.0.0");
    world.release_all("a@1.0.0");
    let registry = world.registry();
    // The same version with other bytes, under a tag that was moved.
    world.git(&["pull", "--quiet", "--rebase", "origin", "main"]);
    world.write("a", "1.0.0", "other\n");
    world.push("other bytes");
    world.git(&["tag", "--force", "a@1.0.0"]);
    world.done("build", "a@1.0.0");
    let said = complaint(&world.step("release", "a@1.0.0").output().unwrap(), 13);
    assert!(
        said.contains(" of a@1.0.0: ") && said.contains("a published version never changes"),
        "{said}"
    );
    assert_eq!(world.registry(), registry);
    // The same version under the tag of all runtimes.
    world.git(&["tag", "v1.0.0"]);
    let said = complaint(&world.step("plan", "v1.0.0").output().unwrap(), 17);
    assert!(said.contains("every runtime of it is published already"), "{said}");
    // The plan fails before the build.
    let said = complaint(&world.step("plan", "a@1.0.0").output().unwrap(), 13);
    assert!(said.contains("a@1.0.0 of a@1.0.0: files.tar: checksum differs"), "{said}");
}

#[test]
fn one_tag_releases_every_runtime_of_its_version() {
    let world = World::new(&["a", "b"]);
    world.write("c", "2.0.0", "other\n");
    world.push("a third");
    world.tag("v1.0.0");
    let plan = world.done("plan", "v1.0.0");
    assert!(plan.contains(r#""runtimes":["a","b"]"#), "{plan}");
    let out = world.path("out/v1.0.0");
    for (name, arch) in [("a", "amd64"), ("a", "arm64"), ("b", "amd64"), ("b", "arm64")] {
        let mut build = world.step("build", "v1.0.0");
        let machine = out.join(format!("{name}-{arch}"));
        build.env("NAME", name).env("ARCH", arch).env("OUT", machine);
        let output = build.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let outs: Vec<_> = fs::read_dir(&out).unwrap().map(|it| it.unwrap().path()).collect();
    let mut release = world.publish(&["release", "--tag", "v1.0.0", "--host"]);
    release.arg(world.path("host"));
    for out in outs {
        release.arg("--out").arg(out);
    }
    let released = release.output().unwrap();
    assert!(released.status.success(), "{released:?}");
    world.done("record", "v1.0.0");
    assert_eq!(world.versions(), ["a@1.0.0", "b@1.0.0"]);
    let registry = world.registry();
    let release = registry.runtimes.values().next().unwrap().values().next().unwrap();
    assert_eq!(release.artifacts.len(), 2, "both machines");
    // One that was released by its own tag does not stop the others.
    for name in ["a", "b", "c"] {
        world.write(name, "3.0.0", "third\n");
    }
    world.push("third");
    world.tag("a@3.0.0");
    world.release_all_of("a@3.0.0", "3.0.0");
    world.tag("v3.0.0");
    world.git(&["fetch", "--quiet", "origin"]);
    let plan = world.done("plan", "v3.0.0");
    assert!(plan.contains(r#""runtimes":["b","c"]"#), "{plan}");
}

#[test]
fn the_registry_is_signed_whenever_it_changes() {
    let world = World::new(&["a", "b"]);
    let keygen = world.publish(&["keygen", "../key", "--no-password"]).output().unwrap();
    assert!(keygen.status.success(), "{keygen:?}");
    let reconciled = || {
        let mut command = world.publish(&["reconcile", "--key", "../key", "--host", "../host"]);
        let output = command.args(["--repository", "../origin.git"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        world.versions();
        world.git(&["show", "FETCH_HEAD:registry.json.minisig"])
    };
    let mut signatures = Vec::new();
    for tag in ["a@1.0.0", "b@1.0.0"] {
        world.tag(tag);
        world.done("build", tag);
        world.done("release", tag);
        signatures.push(reconciled());
    }
    assert_ne!(signatures[0], signatures[1]);
    assert_eq!(reconciled(), signatures[1], "nothing new, nothing to sign");
    let public = fs::read_to_string(world.path("key.pub")).unwrap();
    let public = minisign::PublicKeyBox::from_string(&public).unwrap().into_public_key().unwrap();
    let signature = minisign::SignatureBox::from_string(&signatures[1]).unwrap();
    let registry = world.git(&["show", "FETCH_HEAD:registry.json"]) + "\n";
    minisign::verify(&public, &signature, std::io::Cursor::new(registry), true, false, false)
        .unwrap();
}

/// The same by `gh`, replaced by a script that keeps releases in a directory.
#[test]
fn github_is_asked_through_its_own_program() {
    let world = World::new(&["a"]);
    world.tag("a@1.0.0");
    world.done("build", "a@1.0.0");
    let gh = world.programs().join("gh");
    fs::write(&gh, GH).unwrap();
    fs::set_permissions(&gh, PermissionsExt::from_mode(0o755)).unwrap();
    let run = |name: &str| {
        let mut command = world.step(name, "a@1.0.0");
        command.env("HOST", "github:o/r").env("RELEASES", world.path("host")).output().unwrap()
    };
    for (name, said) in
        [("release", "published"), ("record", "recorded a@1.0.0"), ("release", "0 uploaded")]
    {
        let output = run(name);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(said), "{output:?}");
    }
    assert_eq!(world.versions(), ["a@1.0.0"]);
    fs::write(&gh, "#!/bin/sh\necho 'HTTP 401: Bad credentials' >&2\nexit 1\n").unwrap();
    let said = complaint(&run("release"), 19);
    assert_eq!(said, "error[TOOL]: gh: release list failed: HTTP 401: Bad credentials\n");
}

const GH: &str = r#"#!/usr/bin/env bash
set -euo pipefail
[ "$1" = release ]; verb=$2; shift 2
[[ " $* " == *" --repo o/r "* ]]
case $verb in
    view)
        [ -d "$RELEASES/$1" ] || { echo 'release not found' >&2; exit 1; }
        draft=false; [ ! -e "$RELEASES/$1/.draft" ] || draft=true
        files=()
        for file in "$RELEASES/$1"/*; do
            [ -e "$file" ] || continue
            files+=("{\"name\":\"${file##*/}\",\"size\":$(stat -c %s "$file"),\"state\":\"uploaded\"}")
        done
        echo "{\"isDraft\":$draft,\"assets\":[$(IFS=,; echo "${files[*]}")]}" ;;
    create) [[ " $* " == *" --draft --verify-tag "* ]]; mkdir -p "$RELEASES/$1"; touch "$RELEASES/$1/.draft" ;;
    upload) cp -L "$2" "$RELEASES/$1/" ;;
    download) [ "$2 $4 $5" = "--pattern --output -" ]; cat "$RELEASES/$1/$3" ;;
    edit) [ "$2" = --draft=false ]; rm "$RELEASES/$1/.draft" ;;
    list)
        lines=()
        for release in "$RELEASES"/*; do lines+=("{\"tagName\":\"${release##*/}\",\"isDraft\":false}"); done
        echo "[$(IFS=,; echo "${lines[*]}")]" ;;
    *) exit 2 ;;
esac
"#;
