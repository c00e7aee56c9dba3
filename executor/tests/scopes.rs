//! Limits of a user whose control groups are systemd's: a kernel in an emulator, in it a session and this host's
//! systemd as the user's manager, on a bus of this host's dbus-daemon.

use crate::common::skip::skip;
use crate::minimal::{SCRIPT_BEGIN, add, assert_cases, kernel};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const DBUS: &str = "/usr/bin/dbus-daemon";

/// Programs of busybox for jobs.
const TOOLS: [&str; 4] = ["cat", "dd", "id", "sleep"];

/// A bus of one user.
const CONFIGURATION: &str = "<busconfig><type>session</type><listen>unix:path=/run/user/1000/bus</listen>\
    <auth>EXTERNAL</auth><policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
    <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy>\
    </busconfig>";

/// The manager's unit: its bus.
const UNITS: [(&str, &str); 3] = [
    (
        "default.target",
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.service\nAfter=dbus.service\n",
    ),
    ("dbus.socket", "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=%t/bus\n"),
    (
        "dbus.service",
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\nAfter=dbus.socket\n[Service]\nType=notify\n\
         ExecStart=$DBUS --config-file=/bus.conf --address=systemd: --nofork --nopidfile\n",
    ),
];

/// Output, in which `…` matches anything, and status of each case of `scopes-init.sh`.
const CASES: [(&str, &str, i32); 16] = [
    (
        "no-bus",
        "error[LAUNCH]: cannot limit to 64 MiB of memory: /user.slice/user-1000.slice/session-1.scope belongs to another user; start it in a scope of its own: systemd-run --user --scope joblet-exec …\n",
        125,
    ),
    (
        "no-manager",
        "…session-1.scope belongs to another user; …; no scope from the user's systemd manager: The name org.freedesktop.systemd1 was not provided by any .service files\n",
        125,
    ),
    (
        "doctor",
        "…PASS  limits      memory, processors and processes, by a scope of the user's systemd manager\n…",
        15,
    ),
    ("limits", "0::/\n67108864\n50000 100000\n20\n", 0),
    (
        "out-of-memory",
        "the job was killed: it needed more than its 16 MiB of memory (--memory)\n",
        137,
    ),
    // A JVM sees no memory limit without a cpu controller.
    ("controllers", "cpu memory pids\n", 0),
    ("left", "left: \n", 0),
    (
        "launcher",
        "0::/user.slice/user-1000.slice/user@1000.service/…/joblet-exec-….scope/launcher-of-joblet\n…143\n",
        0,
    ),
    (
        "killed",
        "0::/user.slice/user-1000.slice/user@1000.service/…/joblet-exec-….scope/launcher-of-joblet\n…137\n",
        0,
    ),
    ("left-again", "left: \n", 0),
    ("engine", "error[LAUNCH]: cannot limit to 64 MiB of memory: /slurm/job_7 …\n", 125),
    // A job leaves a group with a limit neither for a parent nor for a scope; a limit that is as low is satisfied.
    (
        "bounded",
        "error[LAUNCH]: cannot limit to 32 MiB of memory: …/user@1000.service/app.slice/a.service holds other processes; …; a job stays within the limits of /user.slice/user-1000.slice/user@1000.service/app.slice/a.service\n",
        125,
    ),
    ("met", "0::/\n67108864\n50000 100000\n", 0),
    (
        "bounded-root",
        "error[LAUNCH]: cannot limit to 9 processes: /cron.slice/cron.service holds other processes; …; a job stays within the limits of /cron.slice/cron.service\n",
        125,
    ),
    ("within", "0::/cron.slice/joblet-exec.job.…\n", 137),
    ("free", "0::/\n9\n", 0),
];

#[test]
fn a_session_is_limited_by_the_users_manager() {
    if [SYSTEMD, DBUS, "/usr/bin/ldd"].iter().any(|program| !Path::new(program).exists()) {
        return skip("this host has no systemd, or no dbus-daemon");
    }
    let Some(kernel) = kernel("bookworm") else { return };
    assert_cases(&kernel, &root(), &CASES);
}

/// The initramfs of the host.
fn root() -> Vec<u8> {
    let mut files: BTreeSet<PathBuf> = [SYSTEMD, DBUS].map(PathBuf::from).into();
    for program in [SYSTEMD, DBUS] {
        let output = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        files.extend(paths.map(PathBuf::from));
    }
    let script = [SCRIPT_BEGIN, include_str!("support/scopes-init.sh")].concat();
    let script = script.replace("$SYSTEMD", SYSTEMD).replace("$DBUS", DBUS);
    let demo = "store/demo-1.0.0/isolated/bin";
    let mut contents: Vec<(PathBuf, u32, Vec<u8>)> = vec![
        ("init".into(), 0o755, script.into_bytes()),
        ("busybox".into(), 0o755, fs::read("/bin/busybox").unwrap()),
        ("joblet-exec".into(), 0o755, fs::read(crate::common::program()).unwrap()),
        ("bus.conf".into(), 0o644, CONFIGURATION.into()),
        (
            "store/demo-1.0.0/runtime.yml".into(),
            0o644,
            b"name: demo\nversion: 1.0.0\nmounts: [{ source: isolated/bin, target: /bin }]\n"
                .to_vec(),
        ),
        (Path::new(demo).join("busybox"), 0o755, fs::read("/bin/busybox").unwrap()),
    ];
    let unit = |(name, text): (&str, &str)| {
        let path = Path::new("usr/lib/systemd/user").join(name);
        (path, 0o644, text.replace("$DBUS", DBUS).into_bytes())
    };
    contents.extend(UNITS.map(unit));
    let own =
        |path: &PathBuf| (path.strip_prefix("/").unwrap().into(), 0o755, fs::read(path).unwrap());
    contents.extend(files.iter().map(own));
    let mut image = Vec::new();
    let mut made = BTreeSet::new();
    for (path, mode, content) in &contents {
        let above: Vec<_> =
            path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()).collect();
        for directory in above.into_iter().rev() {
            if made.insert(directory.to_owned()) {
                add(&mut image, directory.to_str().unwrap(), 0o040_755, b"");
            }
        }
        add(&mut image, path.to_str().unwrap(), 0o100_000 | mode, content);
    }
    for tool in TOOLS {
        add(&mut image, &format!("{demo}/{tool}"), 0o120_777, b"busybox");
    }
    add(&mut image, "TRAILER!!!", 0, b"");
    image
}
