//! The command line: stdout, stderr and status of each command.

use std::{fs, path::Path, process::Command};

struct Outcome {
    status: i32,
    stdout: String,
    stderr: String,
}

fn publish(dir: &Path, line: &str) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_joblet-publish"))
        .args(line.split_whitespace())
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("JOBLET_EXEC")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        status: output.status.code().unwrap(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

fn manifest(dir: &Path, text: &str) {
    fs::create_dir_all(dir.join("runtimes-src/demo")).unwrap();
    fs::write(dir.join("runtimes-src/demo/manifest.yaml"), text).unwrap();
}

const FILES_ONLY: &str = "name: demo\nversion: 1.0.0\nplatforms: [ubuntu-amd64, ubuntu-arm64]\n\
                          description: a demo\nfiles: files/\nlinks: { bin/hi: hello }\n";

/// A runtime of plain files needs neither mirror nor apt.
fn demo(dir: &Path) {
    manifest(dir, FILES_ONLY);
    fs::create_dir_all(dir.join("runtimes-src/demo/files/bin")).unwrap();
    fs::write(dir.join("runtimes-src/demo/files/bin/hello"), "#!/bin/sh\n").unwrap();
}

#[test]
fn a_runtime_goes_from_new_to_registry() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = publish(dir, "new other");
    assert_eq!((made.status, made.stderr.as_str()), (0, ""));
    assert!(made.stdout.starts_with("runtimes-src/other/manifest.yaml\n"));
    demo(dir);
    let locked = publish(dir, "lock demo --mirror http://127.0.0.1:9");
    let lines = "runtimes-src/demo/versions.lock: amd64: 0 inputs, 0 B\n\
                 runtimes-src/demo/versions.lock: arm64: 0 inputs, 0 B\n";
    assert_eq!((locked.status, locked.stdout.as_str(), locked.stderr.as_str()), (0, lines, ""));
    let lock = fs::read(dir.join("runtimes-src/demo/versions.lock")).unwrap();
    publish(dir, "lock demo --arch arm64 --mirror http://127.0.0.1:9");
    assert_eq!(fs::read(dir.join("runtimes-src/demo/versions.lock")).unwrap(), lock);
    let built = publish(dir, "build demo --offline");
    assert_eq!((built.status, built.stderr.as_str()), (0, ""));
    assert!(
        built.stdout.starts_with("dist/demo-1.0.0-amd64.tar.gz\n  sha256:"),
        "{}",
        built.stdout
    );
    let indexed = publish(dir, "index --records dist/records");
    let line = "registry.json: runtimes: 1, versions: 1\n";
    assert_eq!((indexed.status, indexed.stdout.as_str(), indexed.stderr.as_str()), (0, line, ""));
    let registry = fs::read(dir.join("registry.json")).unwrap();
    publish(dir, "build demo --offline");
    publish(dir, "index --records dist/records");
    assert_eq!(fs::read(dir.join("registry.json")).unwrap(), registry, "a rerun changes no byte");

    // A clean build of a published version keeps its time.
    let record = fs::read(dir.join("dist/records/demo/1.0.0.json")).unwrap();
    let kept = String::from_utf8(record).unwrap().replace("\"20", "\"19");
    fs::create_dir_all(dir.join("registry-site/records/demo")).unwrap();
    fs::write(dir.join("registry-site/records/demo/1.0.0.json"), &kept).unwrap();
    assert_eq!(publish(dir, "build demo --offline --out clean").status, 0);
    assert_eq!(fs::read_to_string(dir.join("clean/records/demo/1.0.0.json")).unwrap(), kept);

    // Other bytes under a published version: refused, and nothing is changed.
    fs::write(dir.join("runtimes-src/demo/files/bin/hello"), "#!/bin/sh\necho\n").unwrap();
    assert_eq!(publish(dir, "build demo --offline").status, 0);
    let refused = publish(dir, "index --records dist/records");
    assert_eq!((refused.status, refused.stdout.as_str()), (13, ""));
    assert!(
        refused
            .stderr
            .starts_with("error[INTEGRITY]: demo@1.0.0: checksum differs: expected sha256:"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read(dir.join("registry.json")).unwrap(), registry);
}

#[test]
fn faults_have_a_class_and_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    for (line, status, message) in [
        ("bulid demo", 2, "error[USAGE]: unknown command \"bulid\"; did you mean \"build\"?\n"),
        ("build demoo --offline", 12, "error[NOTFOUND]: no runtime `demoo`: "),
        (
            "build demo --offline",
            17,
            "error[CONFIG]: runtimes-src/demo/versions.lock: does not exist",
        ),
        ("lock demo --mirror nowhere", 2, "error[USAGE]: \"nowhere\" is not an http or https"),
        (
            "index",
            12,
            "error[NOTFOUND]: no records: registry-site/records is not a directory; name that of the records with --records DIR\n",
        ),
        ("check demo --joblet-exec x", 19, "error[TOOL]: joblet-exec: x does not exist\n"),
        ("build --all --sources none", 12, "error[NOTFOUND]: no runtime in none; `new NAME`"),
    ] {
        let outcome = publish(dir, line);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (status, ""), "{line}");
        assert!(outcome.stderr.starts_with(message), "{line}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{line}: {}", outcome.stderr);
    }
    for (text, message) in [
        (
            "python: { version: '3.11', before: x, packages: [] }\n",
            "python.before: \"x\" is not a day like 2024-01-01",
        ),
        ("enviroment: {}\n", "line 7: unknown key `enviroment`; did you mean `environment`?"),
    ] {
        manifest(dir, &format!("{FILES_ONLY}{text}"));
        for command in ["lock demo --mirror http://127.0.0.1:9", "build demo --offline"] {
            let outcome = publish(dir, command);
            assert_eq!(outcome.status, 17, "{text}");
            let start = "error[CONFIG]: runtimes-src/demo/manifest.yaml: ";
            assert!(outcome.stderr.starts_with(&format!("{start}{message}")), "{}", outcome.stderr);
        }
    }
    assert!(!dir.join("dist").exists(), "nothing is left of a failure");
}

#[test]
fn an_architecture_that_was_never_locked_is_not_built_empty() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    assert_eq!(publish(dir, "lock demo --arch amd64 --mirror http://127.0.0.1:9").status, 0);
    assert_eq!(publish(dir, "build demo --offline --arch amd64").status, 0);
    let outcome = publish(dir, "build demo --offline");
    let message = "error[CONFIG]: runtimes-src/demo/versions.lock: has nothing for arm64; run \
                   `joblet-publish lock demo`\n";
    assert_eq!((outcome.status, outcome.stderr.as_str()), (17, message));
}

#[test]
fn a_dangling_symlink_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    manifest(dir, &FILES_ONLY.replace("hello", "gone"));
    publish(dir, "lock demo --mirror http://127.0.0.1:9");
    let outcome = publish(dir, "build demo --offline");
    let message = "error[CONFIG]: runtimes-src/demo/manifest.yaml: links: `bin/hi` is a dangling symlink; is \
                   its package listed?\n";
    assert_eq!((outcome.status, outcome.stderr.as_str()), (17, message));
}

#[test]
fn a_failed_runtime_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    assert_eq!(publish(dir, "lock demo --mirror http://127.0.0.1:9").status, 0);
    publish(dir, "new a");
    publish(dir, "new b");
    let outcome = publish(dir, "build --all --offline --arch amd64");
    assert_eq!(outcome.status, 17, "{}", outcome.stderr);
    let lines: Vec<_> = outcome.stderr.lines().collect();
    for (line, name) in lines.iter().zip(["a", "b"]) {
        let start =
            format!("error[CONFIG]: runtimes-src/{name}/versions.lock: does not exist; run");
        assert!(line.starts_with(&start), "{line}");
    }
    assert_eq!(lines.len(), 2);
    assert!(dir.join("dist/demo-1.0.0-amd64.tar.gz").is_file());
}

#[test]
fn an_unchanged_source_is_built_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    assert_eq!(publish(dir, "lock demo --mirror http://127.0.0.1:9").status, 0);
    let line = "build demo --offline --arch amd64";
    let archive = dir.join("dist/demo-1.0.0-amd64.tar.gz");
    let first = publish(dir, line);
    assert_eq!((first.status, first.stdout.contains("unchanged")), (0, false), "{}", first.stdout);
    let bytes = fs::read(&archive).unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&archive).unwrap());
    let before = inode();
    let again = publish(dir, line);
    let want = format!("{}  unchanged: there was nothing to build\n", first.stdout);
    assert_eq!((again.status, again.stdout), (0, want));
    assert_eq!(inode(), before, "nothing was written");
    assert!(publish(dir, &format!("{line} --json")).stdout.contains("\"unchanged\": true"));
    // Only the record is written if nothing else changes.
    let moved = publish(dir, &format!("{line} --base-url https://example.org/x"));
    assert!(moved.stdout.contains("unchanged"), "{}", moved.stdout);
    let record = fs::read_to_string(dir.join("dist/records/demo/1.0.0.json")).unwrap();
    assert!(record.contains("https://example.org/x/demo-1.0.0-amd64.tar.gz"), "{record}");

    // Damaged or missing files are built again.
    let index = dir.join("dist/demo-1.0.0-amd64.tar.gz.index");
    let contents = dir.join("dist/records/demo/1.0.0.files/amd64.contents.txt");
    for path in [&archive, &index, &contents] {
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        for bad in [Some(bad), None] {
            match bad {
                Some(bad) => fs::write(path, bad).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let built = publish(dir, line);
            assert_eq!((built.status, built.stdout.as_str()), (0, first.stdout.as_str()));
            assert_eq!(fs::read(path).unwrap(), good, "{}", path.display());
        }
    }
    // So are files of other options or inputs.
    let all = publish(dir, "build demo --offline");
    assert_eq!(all.stdout.matches("unchanged").count(), 1, "{}", all.stdout);
    fs::write(dir.join("runtimes-src/demo/files/bin/hello"), "#!/bin/sh\necho\n").unwrap();
    assert!(!publish(dir, line).stdout.contains("unchanged"));
    assert_ne!(fs::read(&archive).unwrap(), bytes);
}

#[test]
fn all_runtimes_are_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    assert_eq!(publish(dir, "lock demo --mirror http://127.0.0.1:9").status, 0);
    assert_eq!(publish(dir, "build demo --offline --arch arm64").status, 0);
    publish(dir, "new other");
    let outcome = publish(dir, "build --all --offline");
    // Built runtimes are reported although another failed.
    assert_eq!(outcome.status, 17);
    assert!(outcome.stderr.starts_with("error[CONFIG]: runtimes-src/other/"), "{}", outcome.stderr);
    let rows: Vec<Vec<_>> =
        outcome.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let head = ["RUNTIME", "ARCH", "INPUTS", "DOWNLOAD", "PACKED", "UNPACKED", "SECONDS"];
    assert_eq!(rows[0], head);
    // Each size is a number and a unit.
    assert_eq!((&rows[1][..5], rows[1].len()), (&["demo@1.0.0", "amd64", "0", "0", "B"][..], 10));
    assert!(rows[1][9].parse::<f64>().is_ok(), "{}", outcome.stdout);
    assert_eq!((rows[2][1], rows[2][9]), ("arm64", "unchanged"));
    assert_eq!(rows[3..], [["other@1.0.0", "not", "built"]]);
    let ends: Vec<_> = outcome.stdout.lines().map(str::len).collect();
    assert!(ends.iter().all(|end| *end == ends[0]), "{}", outcome.stdout);
}

/// Published files never change, not even by a site of other records in the same directory.
#[test]
fn a_site_that_would_change_published_files_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    assert_eq!(publish(dir, "lock demo --mirror http://127.0.0.1:9").status, 0);
    assert_eq!(publish(dir, "build demo --offline").status, 0);
    let site = "site --records dist/records --out dist";
    assert_eq!(publish(dir, site).status, 0);
    let files = || -> Vec<_> {
        let files = walkdir::WalkDir::new(dir.join("dist")).sort_by_file_name().into_iter();
        let state = |file: walkdir::DirEntry| {
            let metadata = file.metadata().unwrap();
            let bytes = metadata.is_file().then(|| fs::read(file.path()).unwrap());
            (file.path().to_owned(), metadata.modified().unwrap(), bytes)
        };
        files.map(Result::unwrap).map(state).collect()
    };
    let record = dir.join("dist/records/demo/1.0.0.json");
    let published = fs::read_to_string(&record).unwrap();
    let other = published.replace("\"description\": \"a demo\"", "\"description\": \"other\"");
    assert_ne!(other, published);
    for (name, change) in [("other", Some(other)), ("none", None)] {
        match change {
            Some(text) => fs::write(&record, text).unwrap(),
            None => fs::remove_file(&record).unwrap(),
        }
        let before = files();
        let refused = publish(dir, site);
        assert_eq!((refused.status, refused.stdout.as_str()), (13, ""), "{name}");
        assert!(refused.stderr.starts_with("error[INTEGRITY]: demo@1.0.0: "), "{}", refused.stderr);
        assert_eq!(files(), before, "{name}");
        fs::write(&record, &published).unwrap();
    }
}

/// A line is erased only where one was drawn.
#[test]
fn a_line_is_erased_only_where_one_was_drawn() {
    let dir = tempfile::tempdir().unwrap();
    demo(dir.path());
    let shown = |line: &str| {
        let line = format!("{} {line}", env!("CARGO_BIN_EXE_joblet-publish"));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(dir.path());
        let output = command.env("HOME", dir.path()).env("TERM", "xterm").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // In a locale without UTF-8 the output is ASCII.
    let mut help = Command::new("script");
    help.args(["-qec", &format!("{} --help", env!("CARGO_BIN_EXE_joblet-publish")), "/dev/null"]);
    let help = help.env("LC_ALL", "C").output().unwrap().stdout;
    assert!(help.is_ascii() && help.starts_with(b"Build"), "{}", String::from_utf8_lossy(&help));
    let version = shown("--version");
    assert!(version.starts_with("joblet-publish "), "{version:?}");
    let lock = shown("lock demo");
    assert!(!lock.contains("\r\x1b[K\r\x1b[K"), "{lock:?}");
    let built = shown("build demo --arch amd64");
    assert!(built.starts_with("\r\x1b[K") && built.contains("demo-1.0.0"), "{built:?}");
}

#[test]
fn a_changed_source_of_a_recorded_version_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    demo(dir);
    publish(dir, "lock demo --mirror http://127.0.0.1:9");
    let first = publish(dir, "build demo --offline --arch amd64 --out first");
    assert_eq!((first.status, first.stderr.as_str()), (0, ""));
    let same = publish(dir, "build demo --offline --arch amd64 --out same --records first/records");
    assert_eq!((same.status, same.stderr.as_str()), (0, ""));
    fs::write(dir.join("runtimes-src/demo/files/bin/hello"), "#!/bin/sh\necho\n").unwrap();
    let other =
        publish(dir, "build demo --offline --arch amd64 --out other --records first/records");
    let warning = "warning: demo@1.0.0 amd64: is recorded with another checksum, which never changes: raise `version`\n";
    assert_eq!((other.status, other.stderr.as_str()), (0, warning));
}
