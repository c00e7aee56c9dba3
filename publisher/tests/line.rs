//! All stages on a real runtime: committed lock → archive → registry and site → loopback server →
//! installed by `joblet-exec` → a Python script that runs in it.

use crate::server::Server;
use crate::skip::skip;
#[allow(dead_code, reason = "this test uses a part of it")]
use joblet_format::Arch;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NOBODY: u32 = 65534;
const RUNTIME: &str = "python-3.11";
const VERSION: &str = "1.4.0";

/// Runs in the job. Prints what a job can and cannot do.
const SCRIPT: &str = r#"
import errno, os, sys
print("pid", os.getpid())
print("python", ".".join(map(str, sys.version_info[:2])))
for place in "/usr/x", "/etc/x", "/x":
    try:
        open(place, "w")
        print(place, "written")
    except OSError as error:
        print(place, errno.errorcode[error.errno])
open("/tmp/own", "w").write("x")
open("own", "w").write("x")
print("input", open("input.txt").read().strip(), "in", os.getcwd())
print("result", sum(n * n for n in range(1000)))
sys.exit(7)
"#;
const SAID: &str = "pid 1\npython 3.11\n/usr/x EROFS\n/etc/x EROFS\n/x EROFS\n\
                    input 42 in /work\nresult 332833500\n";

/// The directories and programs of this test.
struct Line {
    dir: tempfile::TempDir,
}

impl Line {
    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn exec(&self, user: Option<u32>, args: &[&str]) -> Output {
        let mut command = Command::new(self.path("joblet-exec"));
        command.env_clear().args(args).current_dir(self.path("job"));
        let home = self.path(if user.is_some() { "home-nobody" } else { "home" });
        command.env("XDG_CACHE_HOME", home.join("cache")).env("HOME", &home);
        command.env("JOBLET_EXEC_STORE", home.join("store"));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.output().unwrap()
    }
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The program under test: the shipped binary where `make test` names it, else cargo's own build.
fn joblet_exec() -> PathBuf {
    std::env::var_os("JOBLET_EXEC_UNDER_TEST").map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_joblet-publish")).with_file_name("joblet-exec"),
        PathBuf::from,
    )
}

/// Builds the runtime for this host and its registry; None if the inputs are not available.
fn publish(out: &Path) -> bool {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtimes-src");
    let publish = || Command::new(env!("CARGO_BIN_EXE_joblet-publish"));
    let built = publish()
        .args(["build", RUNTIME, "--arch", Arch::NATIVE.as_str(), "--sources"])
        .arg(sources)
        .arg("--cache")
        // Shared with the test of reproducibility, so that inputs are downloaded once.
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("inputs"))
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    if matches!(built.status.code(), Some(10 | 17)) {
        let complaint = String::from_utf8_lossy(&built.stderr);
        skip(&format!("the locked inputs are not available: {complaint}"));
        return false;
    }
    succeeded(&built);
    let records = out.join("records");
    let site = publish().args(["site", "--records"]).arg(records).arg("--out").arg(out).output();
    succeeded(&site.unwrap());
    true
}

#[test]
fn from_a_committed_lock_to_a_running_job() {
    let line = Line { dir: tempfile::tempdir().unwrap() };
    fs::set_permissions(line.dir.path(), Permissions::from_mode(0o755)).unwrap();
    if !publish(&line.path("registry")) {
        return;
    }
    for page in ["index.html", "registry.json", &format!("runtimes/{RUNTIME}/index.html")] {
        assert!(line.path("registry").join(page).is_file(), "{page}");
    }
    // By another process: children of other tests would inherit a descriptor for writing.
    let copied = Command::new("cp")
        .arg("--preserve=mode")
        .arg(joblet_exec())
        .arg(line.path("joblet-exec"))
        .status()
        .unwrap();
    assert!(copied.success(), "first: cargo build");
    for home in ["home", "home-nobody", "job"] {
        fs::create_dir(line.path(home)).unwrap();
        fs::set_permissions(line.path(home), Permissions::from_mode(0o777)).unwrap();
    }
    fs::write(line.path("job/input.txt"), "42\n").unwrap();
    let server = Server::files(line.path("registry"));
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let users: &[Option<u32>] = if root { &[None, Some(NOBODY)] } else { &[None] };
    for user in users {
        installs_once_an_hour(&line, *user, &server);
        let run = ["run", "--runtime=python-3.11", "--", "python", "-c", SCRIPT];
        let output = line.exec(*user, &run);
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stdout)),
            (Some(7), SAID.into()),
            "{output:?}"
        );
    }
    assert_eq!(fs::read_dir(line.path("job")).unwrap().count(), 1, "a job leaves nothing");
    unpacks_like_gnu_tar(&line);
    refuses_a_flipped_byte(&line, &server);
}

/// The registry is requested once; a second installation within an hour uses the cached copy.
fn installs_once_an_hour(line: &Line, user: Option<u32>, server: &Server) {
    let before = server.requests().len();
    let install = ["install", RUNTIME, "--registry", server.address.as_str()];
    succeeded(&line.exec(user, &install));
    succeeded(&line.exec(user, &["remove", RUNTIME]));
    succeeded(&line.exec(user, &install));
    let requests = &server.requests()[before..];
    let registry = requests.iter().filter(|path| path.as_str() == "/registry.json").count();
    // Twice an archive and its index.
    assert_eq!((registry, requests.len()), (1, 5), "{requests:?}");
}

/// `joblet-exec` unpacks the same tree as GNU tar, except for the sticky bit of `tmp`.
fn unpacks_like_gnu_tar(line: &Line) {
    let archive = format!("{RUNTIME}-{VERSION}-{}.tar.gz", Arch::NATIVE);
    let gnu = line.path("gnu");
    fs::create_dir(&gnu).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xzpf").arg(line.path("registry").join(archive)).arg("-C").arg(&gnu);
    succeeded(&tar.output().unwrap());
    let name = format!("{RUNTIME}-{VERSION}");
    let mut theirs = tree(&gnu.join(&name));
    let tmp = theirs.get_mut(Path::new("isolated/tmp")).unwrap();
    assert_eq!(tmp.0 & 0o7777, 0o1777);
    tmp.0 &= !0o1022;
    let ours = tree(&line.path("home/store").join(name));
    let differs = ours.iter().find(|(path, entry)| theirs.get(*path) != Some(*entry));
    assert_eq!(differs.map(|(path, entry)| (path, entry.0, theirs.get(path).map(|it| it.0))), None);
    assert_eq!(ours.len(), theirs.len());
}

/// Mode, time, and content or link target of everything below a directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            Vec::new()
        };
        let path = entry.path().strip_prefix(root).unwrap().to_owned();
        (path, (metadata.mode(), metadata.mtime(), content))
    });
    entries.collect()
}

fn refuses_a_flipped_byte(line: &Line, server: &Server) {
    let archive = format!("{RUNTIME}-{VERSION}-{}.tar.gz", Arch::NATIVE);
    let archive = line.path("registry").join(archive);
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    succeeded(&line.exec(None, &["remove", RUNTIME]));
    let output = line.exec(None, &["install", RUNTIME, "--registry", server.address.as_str()]);
    assert_eq!(output.status.code(), Some(13), "{output:?}");
    assert!(output.stderr.starts_with(b"error[INTEGRITY]: "), "{output:?}");
    let store = line.path("home/store");
    // A missing directory counts as an empty one.
    let names = |directory: &Path| fs::read_dir(directory).into_iter().flatten().count();
    assert_eq!(names(&store), 1, "only .joblet");
    for part in ["staging", "downloads", "locks", "receipts"] {
        assert_eq!(names(&store.join(".joblet").join(part)), 0, "{part}");
    }
}
