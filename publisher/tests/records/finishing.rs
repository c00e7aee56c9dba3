//! `run` and maintainer scripts: their changes of a runtime, and messages about scripts that were
//! not run.

use super::world::{Deb, World, joblet_exec};
use crate::common::debs;
use crate::skip::skip;
use joblet_format::Arch;
use std::{fs, process::Command};

/// A package with a static shell and its tools, and this postinst.
fn busybox(postinst: &str) -> Option<Deb> {
    let bytes = fs::read("/bin/busybox").ok()?;
    let control = "Package: demo\nVersion: 1\n";
    let files: [(&str, &[u8]); 3] = [
        ("./usr/bin/busybox", &bytes),
        ("./usr/share/gone", b"x"),
        ("./usr/share/demo/convert", b"x"),
    ];
    Some(("debian/pool/demo_1_all.deb".into(), debs::deb_with(control, postinst, &files)))
}

/// The command line of a build with the `joblet-exec` under test.
fn line(more: &str) -> String {
    format!("--arch {} --joblet-exec {} {more}", Arch::NATIVE, joblet_exec().display())
}

#[test]
fn what_run_changes_becomes_part_of_the_runtime() {
    let Some(package) = busybox("") else { return skip("no static /bin/busybox here") };
    let world = World::new();
    let more = r#"
run:
  - [busybox, sh, -c, "test $(busybox id -u) = 0 && test $(busybox grep -c : /proc/net/dev) = 1"]
  - - busybox
    - sh
    - -c
    - |-
      set -e
      echo "$SOURCE_DATE_EPOCH $TZ $LC_ALL" >/etc/made
      busybox chmod 0600 /etc/made
      busybox rm /usr/share/gone
      busybox ln -s made /etc/link
      echo x >/tmp/x; echo x >/var/log/x
      busybox mkdir -p /var/lib/y; echo x >/var/lib/y/z
"#;
    world.runtime("1.0.0", std::slice::from_ref(&package), more);
    world.build(&line("")).done();
    let contents = format!("dist/records/demo/1.0.0.files/{}.contents.txt", Arch::NATIVE);
    let contents = world.read(&contents);
    for (path, there) in [
        ("etc/made", true),
        ("etc/link", true),
        ("var/lib/y/z", true),
        ("usr/share/gone", false),
        ("tmp/x", false),
        ("var/log", false),
    ] {
        assert_eq!(contents.contains(path), there, "{path}: {contents}");
    }
    let first = world.read("dist/records/demo/1.0.0.json");
    fs::remove_dir_all(world.path("dist")).unwrap();
    world.build(&line("")).done();
    let checksum =
        |record: &str| record.lines().find(|it| it.contains("sha256:")).unwrap().to_owned();
    assert_eq!(checksum(&world.read("dist/records/demo/1.0.0.json")), checksum(&first));
}

/// Like dpkg's triggers: a cache is made after the packages, and again after `run` adds files.
#[test]
fn changes_of_run_activate_triggers_again() {
    let Ok(bytes) = fs::read("/bin/busybox") else { return skip("no static /bin/busybox here") };
    let cache = b"#!/bin/sh\nbusybox ls /usr/share/fonts >/var/cache/list\n";
    let files: [(&str, &[u8]); 3] = [
        ("./usr/bin/busybox", &bytes),
        ("./usr/bin/fc-cache", cache),
        ("./usr/share/fonts/a", b"x"),
    ];
    let control = "Package: demo\nVersion: 1\n";
    let package = ("debian/pool/demo_1_all.deb".into(), debs::deb_with(control, "", &files));
    let world = World::new();
    for (run, length) in [
        ("", 2),                                                                  // a
        ("run: [[sh, -c, \"echo x >/usr/share/fonts/b\"]]\n", 4),                 // a, b
        ("run: [[sh, -c, \"echo x >/etc/x; busybox rm /var/cache/list\"]]\n", 0), // not triggered
    ] {
        let more = format!("links: {{ usr/bin/sh: busybox }}\n{run}");
        world.runtime("1.0.0", std::slice::from_ref(&package), &more);
        world.build(&line("")).done();
        let contents = format!("dist/records/demo/1.0.0.files/{}.contents.txt", Arch::NATIVE);
        let contents = world.read(&contents);
        let listed = contents.lines().find(|line| line.ends_with("var/cache/list"));
        let want = (length > 0).then(|| format!("file\t{length}\t"));
        assert_eq!(listed.is_some(), want.is_some(), "{run}: {contents}");
        assert!(
            listed.zip(want).is_none_or(|(line, want)| line.starts_with(&want)),
            "{run}: {listed:?}"
        );
        fs::remove_dir_all(world.path("dist")).unwrap();
    }
}

/// Only the user can write the tree in which programs run, whatever the umask is.
#[test]
fn programs_run_below_any_umask() {
    let Some(package) = busybox("") else { return skip("no static /bin/busybox here") };
    let world = World::new();
    let more = "run: [[busybox, sh, -c, \"echo x >/etc/made\"]]\n";
    world.runtime("1.0.0", std::slice::from_ref(&package), more);
    let program = env!("CARGO_BIN_EXE_joblet-publish");
    let script = format!("umask 0; exec {program} build demo --offline --cache cache {}", line(""));
    let output = Command::new("/bin/sh").args(["-c", &script]).current_dir(world.path("")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn files_that_differ_between_two_runs_are_named() {
    let Some(package) = busybox("") else { return skip("no static /bin/busybox here") };
    let world = World::new();
    for (command, status, want) in [
        (
            "busybox cat /proc/sys/kernel/random/uuid >/etc/uuid",
            18,
            "run: 1 files differ between two runs: etc/uuid; remove them in `run`",
        ),
        ("echo sorry >&2; exit 3", 19, "exit status: 3:\n  sorry"),
        ("busybox mkfifo /etc/fifo", 19, "left /etc/fifo, which is not a file, directory or link"),
    ] {
        let more = format!("run: [[busybox, sh, -c, {command:?}]]\n");
        world.runtime("1.0.0", std::slice::from_ref(&package), &more);
        let complaint = world.build(&line("")).failed(status);
        assert!(complaint.contains(want), "{complaint}");
        assert!(!world.path("dist/records").exists(), "{command}");
    }
}

#[test]
fn a_maintainer_script_is_done_or_named_and_a_release_needs_an_answer() {
    let postinst = "#!/bin/sh\nset -e\nupdate-alternatives --install /usr/bin/convert convert \
                    /usr/share/demo/convert 50\nadduser --system demo\nusermod -L demo\n";
    let control = "Package: demo\nVersion: 1\n";
    let files: [(&str, &[u8]); 1] = [("./usr/share/demo/convert", b"x")];
    let package = ("debian/pool/demo_1_all.deb".into(), debs::deb_with(control, postinst, &files));
    let world = World::new();
    let said = "demo: its postinst runs `usermod`";
    world.runtime("1.0.0", std::slice::from_ref(&package), "");
    let outcome = world.build("--arch amd64");
    let want = format!("warning: demo@1.0.0 amd64: {said}, which the build does not do\n");
    assert_eq!((outcome.status, outcome.stderr), (0, want));
    let contents = world.read("dist/records/demo/1.0.0.files/amd64.contents.txt");
    assert!(contents.contains("usr/bin/convert"), "{contents}");
    fs::remove_dir_all(world.path("dist")).unwrap();
    let complaint = world.build("--arch amd64 --release").failed(18);
    assert!(complaint.contains(said) && complaint.contains("answer `postinst: "), "{complaint}");
    for answer in ["postinst: { demo: ignore }\n", "exclude: [usr/share/demo]\n"] {
        world.runtime("1.0.0", std::slice::from_ref(&package), answer);
        world.build("--arch amd64 --release").done();
        fs::remove_dir_all(world.path("dist")).unwrap();
    }
}
