//! `doctor`, on this host and on hosts that lack something.

use crate::common::{World, skip::skip};
use serde_json::Value;
use std::process::Command;

/// The output of `doctor` for an ordinary user after `script` has changed the host, in a user
/// namespace. Reports a skip where that is not possible.
fn diagnosis(world: &World, script: &str) -> Option<(Option<i32>, Value)> {
    let inner =
        format!("{script}; exec setpriv --ambient-caps=-all --inh-caps=-all \"$0\" doctor --json");
    let mut command = Command::new("unshare");
    command
        .args(["-Um", "--map-user=1000", "--map-group=1000", "--keep-caps", "sh", "-c", &inner])
        .arg(crate::common::program());
    command.env("JOBLET_EXEC_STORE", world.path("store"));
    command.env("JOBLET_EXEC_REGISTRY", world.path("registry"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.stdout.is_empty() && stderr.contains("unshare") {
        skip(&format!("user namespaces do not work: {stderr}"));
        return None;
    }
    let report = serde_json::from_slice(&output.stdout);
    Some((output.status.code(), report.unwrap_or_else(|_| panic!("{stderr}"))))
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report.as_array().unwrap();
    rows.iter().find(|row| row["check"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

/// SEC-B12: `doctor` reports each cause with its remedy.
#[test]
fn each_cause_has_its_remedy() {
    let world = World::new();
    for (script, check, status, detail, remedy) in [
        (
            "echo 0 >/proc/sys/user/max_user_namespaces",
            "namespaces",
            "FAIL",
            "cannot make namespaces",
            "sysctl -w user.max_user_namespaces=15000",
        ),
        (
            // At every mount of proc: a second, unmasked /proc would suffice.
            "for proc in $(awk '$3 == \"proc\" { print $2 }' /proc/mounts); do mount -t tmpfs none $proc/sys; done",
            "proc",
            "FAIL",
            "cannot mount /proc",
            "systempaths=unconfined",
        ),
        (":", "sandbox", "PASS", "as an ordinary user", ""),
        ("mount --bind /dev/null /dev/fuse", "fuse", "WARN", "run --lazy: ", "in a user namespace"),
        // A file system that reports no size is not full.
        (
            "mkdir $JOBLET_EXEC_STORE; mount -t ramfs none $JOBLET_EXEC_STORE",
            "store",
            "PASS",
            "without a size",
            "",
        ),
    ] {
        let Some((code, report)) = diagnosis(&world, script) else { return };
        let row = row(&report, check);
        assert_eq!(row["status"], status, "{report}");
        assert!(row["detail"].as_str().unwrap().contains(detail), "{row}");
        assert!(row["remedy"].as_str().unwrap_or("").contains(remedy), "{row}");
        assert_eq!(code, Some(if status == "FAIL" { 125 } else { 0 }));
    }
}

#[test]
fn the_status_is_that_of_the_first_failure() {
    let mut world = World::new();
    world.publish("demo", "1.0.0");
    let good = world.exec(["doctor", "--json"]);
    let report: Value = serde_json::from_str(&good.stdout).unwrap();
    assert_eq!(row(&report, "registry")["detail"], "1 runtime in ~/registry/registry.json");
    assert_eq!(row(&report, "store")["status"], "PASS");
    assert!(!world.path("store").exists(), "nothing is changed");
    std::fs::write(world.path("broken.json"), "{").unwrap();
    for (options, status, line) in [
        (["--store", "/etc/passwd/store"], 15, "FAIL  store "),
        (["--registry", "broken.json"], 11, "FAIL  registry "),
    ] {
        let bad = world.exec(["doctor"].iter().chain(&options));
        if bad.stdout.contains("FAIL  namespaces") || bad.stdout.contains("FAIL  proc") {
            return skip("the sandbox does not work, which `doctor` reports first");
        }
        assert!(bad.stdout.contains(line), "{bad:?}");
        assert_eq!(bad.status, Some(status), "{bad:?}");
    }
    let profile = world.exec(["doctor", "--apparmor"]);
    let program = crate::common::program();
    let program = program.canonicalize().unwrap();
    let want =
        format!("profile joblet-exec \"{}\" flags=(unconfined) {{\n  userns,", program.display());
    assert!(profile.stdout.contains(&want), "{profile:?}");
}
