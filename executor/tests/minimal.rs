//! Minimal hosts: Debian's cloud kernels, from 5.10 to the newest, booted in an emulator with the
//! static binary and a registry in an initramfs.
//!
//! Only here: cgroup v2 with all controllers, a root that pivot_root(2) refuses
//! (an initramfs), no /proc, no overlayfs until its module is loaded.

use crate::common::members::{directory, file, link, pack};
use crate::common::skip::skip;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The beginning of the scripts that are the first process of a host in the emulator.
pub(crate) const SCRIPT_BEGIN: &str = include_str!("support/init-begin.sh");

/// Programs of busybox for the jobs of `minimal-init.sh`.
const TOOLS: [&str; 5] = ["cat", "dd", "id", "sh", "sleep"];

/// What each case of `minimal-init.sh` must print (in part, where it ends with `…`), and its status.
const CASES: [(&str, &str, i32); 30] = [
    ("version", concat!("joblet-exec ", env!("CARGO_PKG_VERSION"), "\n"), 0),
    ("bare-list", "no runtime is installed in /opt/joblet/runtimes; …", 0),
    ("bare-install", "installed demo@1.0.0 …", 0),
    ("bare-run", "alive\n", 0),
    ("install", "demo@1.0.0 is installed already\n", 0),
    ("run", "1 0 /work\njoblet\n", 0),
    ("limited", "0::/\n", 0),
    // Files in memory are limited to half of the limit.
    ("full", FULL, 1),
    ("out-of-memory", OUT_OF_MEMORY, 137),
    // Before the job starts: the launcher survives and reports it.
    ("starved", STARVED, 137),
    ("limits", "67108864\n50000 100000\n20\n", 143),
    ("processes", "sh: can't fork: Resource temporarily unavailable\n", 2),
    // Started outside of the group that it joins.
    ("old-processes", "sh: can't fork: Resource temporarily unavailable\n", 2),
    // The group of a killed launcher is removed by the next job.
    ("orphan", "./joblet-exec.job.…", 0),
    // SEC-E06: groups of other users, and the launcher's own.
    ("siblings", "4\n", 0),
    ("own", "0::/\n0\n./joblet-exec.job.77.0123456789abcdef\n\n", 0),
    ("no-overlay", "hello\n", 0),
    ("overlay", "hello\nmine\n", 0),
    ("private", "hello\n", 0),
    // SEC-E07: in an overlay; of the host, on request; and without overlays before Linux 5.11.
    ("fifo", "hello\n", 124),
    ("bound", "hello\nlive\n", 0),
    ("user", "1000 1000\n", 0),
    ("user-fifo", "hello\n", 124),
    ("user-refused", "error[LAUNCH]: cannot limit to 5 processes: /other …", 125),
    ("user-limited", USER_LIMITED, 0),
    ("user-siblings", "", 0),
    ("user-alone", "0::/\n", 0),
    ("served", "fuse\n0\n", 0),
    ("user-served", "fuse\n1000\n", 0),
    ("clean", "\n", 0),
];

const FULL: &str =
    "dd: error writing '/tmp/x': No space left on device\n8+0 records in\n7+0 records out\n";

const OUT_OF_MEMORY: &str =
    "the job was killed: it needed more than its 16 MiB of memory (--memory)\n";

const STARVED: &str =
    "the job was killed: it needed more than its 16384 bytes of memory (--memory)\n";

const USER_LIMITED: &str = concat!(
    "0::/\n",
    "the job was killed: it needed more than its 16 MiB of memory (--memory)\n",
    "137\n",
);

#[test]
fn linux_5_10() {
    boot("bullseye");
}

#[test]
fn linux_6_1() {
    boot("bookworm");
}

#[test]
fn linux_6_12() {
    boot("trixie");
}

#[test]
fn the_newest_linux() {
    boot("sid");
}

/// Unpacked kernels of this architecture; reports a skip without them.
pub(crate) fn kernel(suite: &str) -> Option<PathBuf> {
    let skip = |why: &str| skip(&format!("Linux of {suite} does not boot here: {why}"));
    if std::env::var_os("JOBLET_EXEC_UNDER_TEST").is_none() {
        skip("needs the static binary: make test");
        return None;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/kernels");
    let output = Command::new(script).arg(&dir).arg(suite).output().unwrap();
    if !output.status.success() {
        skip(&String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(dir.join(suite))
}

/// Boots the kernel of `suite` and compares the output of the cases.
fn boot(suite: &str) {
    if let Some(kernel) = kernel(suite) {
        assert_cases(&kernel, &root_of(&kernel), &CASES);
    }
}

/// Boots `kernel` with the root file system `root`, and compares its cases: name, output, in which
/// `…` matches anything, and status.
pub(crate) fn assert_cases(kernel: &Path, root: &[u8], wanted: &[(&str, &str, i32)]) {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("initrd");
    fs::write(&image, root).unwrap();
    let output = Command::new("timeout")
        .args(["300", "qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nodefaults"])
        .args(["-nographic", "-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(kernel.join("vmlinuz"))
        // On a busy host timer interrupts are late, and the kernel would panic (IO-APIC + timer doesn't work).
        .args(["-append", "console=ttyS0 loglevel=0 panic=-1 no_timer_check", "-initrd"])
        .arg(&image)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let mut cases = console.split("@@ ").skip(1);
    for (name, want, status) in wanted {
        let Some(case) = cases.next() else {
            panic!("{name}: the host went down, {}\n{console}", output.status)
        };
        let found = case.strip_prefix(&format!("{name}\n")).and_then(|it| it.split_once("@@= "));
        let Some((printed, end)) = found else { panic!("{name}: {case}\n{console}") };
        assert!(
            is_like(printed, want) && end.trim_end() == status.to_string(),
            "{name}: {case}\n{console}"
        );
    }
}

/// Whether `text` matches `pattern`, in which `…` matches anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// The initramfs of the host.
fn root_of(kernel: &Path) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    let mut world = crate::common::World::new();
    let mut tree = vec![directory(""), directory("isolated"), directory("isolated/bin")];
    tree.push(file("isolated/bin/busybox", &busybox));
    tree.extend(TOOLS.map(|tool| link(&format!("isolated/bin/{tool}"), "busybox")));
    let yml = "name: demo\nversion: 1.0.0\nmounts: [{ source: isolated/bin, target: /bin }]\n";
    tree.push(file("runtime.yml", yml.as_bytes()));
    world.publish_members("demo", "1.0.0", &pack("demo-1.0.0", tree, 1 << 18));
    let mut image = Vec::new();
    let init = [SCRIPT_BEGIN, include_str!("support/minimal-init.sh")].concat();
    add(&mut image, "init", 0o100_755, init.as_bytes());
    add(&mut image, "busybox", 0o100_755, &busybox);
    for name in ["old", "mark"] {
        let (to, mut cc) = (world.path(name), Command::new("cc"));
        let source = format!("{}/tests/support/{name}.c", env!("CARGO_MANIFEST_DIR"));
        assert!(cc.args(["-static", "-o"]).arg(&to).arg(source).status().unwrap().success());
        add(&mut image, name, 0o100_755, &fs::read(to).unwrap());
    }
    add(&mut image, "joblet-exec", 0o100_755, &fs::read(crate::common::program()).unwrap());
    add(&mut image, "overlay.ko", 0o100_644, &fs::read(kernel.join("overlay.ko")).unwrap());
    if let Ok(module) = fs::read(kernel.join("fuse.ko")) {
        add(&mut image, "fuse.ko", 0o100_644, &module);
    }
    add(&mut image, "registry", 0o040_755, b"");
    for name in crate::common::list(&world.path("registry")) {
        let content = fs::read(world.path("registry").join(&name)).unwrap();
        add(&mut image, &format!("registry/{name}"), 0o100_644, &content);
    }
    add(&mut image, "TRAILER!!!", 0, b"");
    image
}

/// Adds an entry to an archive in cpio's `newc` format, of the kernel's buffer-format.rst.
pub(crate) fn add(image: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let number = image.len(); // any unique number
    let fields = [number, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    image.extend(b"070701");
    image.extend(fields.map(|field| format!("{field:08x}")).concat().bytes());
    image.extend(name.bytes().chain([0]));
    image.resize(image.len().next_multiple_of(4), 0);
    image.extend(content);
    image.resize(image.len().next_multiple_of(4), 0);
}
