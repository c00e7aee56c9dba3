//! The bytes of an archive depend on its sources alone: not on user, umask, time zone, locale,
//! directory or time.

use crate::skip::skip;
use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_joblet-publish");
const NOBODY: u32 = 65534;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtimes-src")
}

/// Differences between builds.
struct Setting {
    umask: &'static str,
    variables: [(&'static str, &'static str); 3],
    nobody: bool,
    /// On another day, by faketime.
    later: bool,
}

fn build(
    name: &str,
    setting: &Setting,
    dir: &Path,
    program: &Path,
    sources: &Path,
    cache: &Path,
) -> Output {
    let out = dir.join("out");
    fs::create_dir_all(&out).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", setting.umask]);
    if setting.later {
        command.args(["faketime", "2031-07-01 12:00:00"]);
    }
    command.arg(program).args(["build", name, "--json", "--sources"]).arg(sources);
    command.arg("--out").arg(&out).arg("--cache").arg(cache).arg("--offline");
    command.envs(setting.variables).current_dir(dir);
    if setting.nobody {
        for path in [dir, &out] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

/// Name and checksum of each archive and index in a `build --json` report.
fn checksums(output: &Output) -> Vec<(String, String)> {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert_eq!(complaint, "", "silent in a pipe");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let entry = |entry: &serde_json::Value| {
        let path = Path::new(entry["path"].as_str().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
        let index = &entry["index"];
        let mode = fs::metadata(index["path"].as_str().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let checksum = |value: &serde_json::Value| value["checksum"].as_str().unwrap().to_owned();
        [(name.clone(), checksum(entry)), (format!("{name}.index"), checksum(index))]
    };
    report.as_array().unwrap().iter().flat_map(entry).collect()
}

/// Whether `faketime` works here; a skip if not.
pub(crate) fn has_faketime() -> bool {
    let found = Command::new("faketime").args(["2031-07-01 12:00:00", "date", "+%Y"]).output();
    let found = found.is_ok_and(|output| output.stdout == b"2031\n");
    if !found {
        skip("faketime does not work (.ci/deps clock): all builds are of the same day");
    }
    found
}

fn copy_tree(from: &Path, to: &Path, mode: u32) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).unwrap();
            fs::set_permissions(&target, PermissionsExt::from_mode(0o755)).unwrap();
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
}

#[test]
fn builds_are_equal_for_any_user_place_and_time() {
    // The first build fills a cache that is kept for later runs of the tests.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inputs");
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let warm = Command::new(PROGRAM)
        .args(["build", "python-3.11", "--json", "--sources"])
        .arg(sources())
        .arg("--out")
        .arg(dir.path().join("first"))
        .arg("--cache")
        .arg(&cache)
        .output()
        .unwrap();
    if matches!(warm.status.code(), Some(10 | 17)) {
        let complaint = String::from_utf8_lossy(&warm.stderr);
        return skip(&format!("the locked inputs are not available: {complaint}"));
    }
    let want = checksums(&warm);
    assert!(!want.is_empty());

    // Another user must reach all files.
    let (program, sources_copy) = (dir.path().join("program"), dir.path().join("elsewhere"));
    // With joblet-exec beside it.
    let built = || Path::new(PROGRAM).with_file_name("joblet-exec");
    let jobs = std::env::var_os("JOBLET_EXEC_UNDER_TEST").map_or_else(built, PathBuf::from);
    for (from, to) in [(Path::new(PROGRAM), &program), (&jobs, &dir.path().join("joblet-exec"))] {
        // By another process: children of other tests would inherit a descriptor for writing.
        assert!(
            Command::new("cp").arg("--preserve=mode").arg(from).arg(to).status().unwrap().success()
        );
    }
    copy_tree(&sources(), &sources_copy, 0o600 | 0o044);
    let cache_copy = dir.path().join("cache");
    copy_tree(&cache, &cache_copy, 0o644);
    let root =
        fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    let settings = [
        Setting {
            umask: "077",
            variables: [("TZ", "Asia/Tokyo"), ("LC_ALL", "C"), ("HOME", "/nonexistent")],
            nobody: root,
            later: has_faketime(),
        },
        Setting {
            umask: "022",
            variables: [("TZ", "America/Lima"), ("LC_ALL", "tr_TR.UTF-8"), ("LANG", "de")],
            nobody: false,
            later: false,
        },
    ];
    for (index, setting) in settings.iter().enumerate() {
        let place = dir.path().join(format!("{index}/{}", "deep/".repeat(index * 5)));
        fs::create_dir_all(&place).unwrap();
        let output = build("python-3.11", setting, &place, &program, &sources_copy, &cache_copy);
        assert_eq!(checksums(&output), want, "umask {}", setting.umask);
    }
}

/// The same without a mirror: a generated package in the cache.
#[test]
fn a_small_build_is_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 2] = [("./usr/bin/demo", b"hello\n"), ("./etc/demo", b"x\n")];
    let (sources, cache) = crate::common::small::locked(dir.path(), &files);
    let mut seen = Vec::new();
    for (umask, zone) in [("077", "Asia/Tokyo"), ("000", "UTC")] {
        let variables = [("TZ", zone), ("LC_ALL", "C"), ("LANG", "C")];
        let place = dir.path().join(umask);
        let setting =
            Setting { umask, variables, nobody: false, later: umask == "077" && has_faketime() };
        let output = build("d", &setting, &place, Path::new(PROGRAM), &sources, &cache);
        seen.push(checksums(&output));
        let record = place.join("out/records/d/1.0.0.json");
        let before = fs::read(&record).unwrap();
        let that_day = String::from_utf8_lossy(&before).contains("\"2031-07-01T");
        assert_eq!(that_day, setting.later, "records alone say when");
        build("d", &setting, &place, Path::new(PROGRAM), &sources, &cache);
        assert_eq!(fs::read(&record).unwrap(), before, "a rerun changes no byte of the record");
        let left: Vec<_> = fs::read_dir(place.join("out")).unwrap().collect();
        assert_eq!(left.len(), 5, "two archives, their indexes, records, nothing else");
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].len(), 4);
}
