//! A build does not start without enough disk space.

use std::process::Command;

#[test]
fn a_small_disk_is_refused_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, cache) =
        crate::common::small::locked(dir.path(), &[("./usr/bin/demo", &vec![7; 1 << 20])]);
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let build = |size: &str| {
        let script = "mount -t tmpfs -o size=$1 none \"$2\" || exit 99; shift; \
                      \"$0\" build d --arch amd64 --offline --sources \"$2\" --cache \"$3\" --out \"$1\"; \
                      status=$?; ls -A \"$1\"; exit $status";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(env!("CARGO_BIN_EXE_joblet-publish")).arg(size).args([&out, &sources, &cache]);
        command.output().unwrap()
    };
    let small = build("2m");
    let complaint = String::from_utf8_lossy(&small.stderr);
    if !complaint.contains("error[") && !small.status.success() {
        return crate::skip::skip(&format!("mount namespaces do not work: {complaint}"));
    }
    assert_eq!(small.status.code(), Some(15), "{complaint}");
    let want = format!(
        "error[STORE]: {}: the build needs about 5 MB there, 2 MB are free; free some space, or use \
         --out and --cache on another disk\n",
        out.display()
    );
    assert_eq!((&*complaint, small.stdout.as_slice()), (&*want, b"".as_slice()), "nothing is left");
    let large = build("16m");
    assert!(large.status.success(), "{}", String::from_utf8_lossy(&large.stderr));
}
