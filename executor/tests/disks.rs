//! Stores on other file systems: full, read-only, overlays, and after power loss.

use crate::common::members::{directory, file, noise, pack, runtime};
use crate::common::skip::{not_applicable, skip};
use crate::common::tar::{ATTRIBUTES, Tar};
use crate::common::{World, gzip, tar};
use std::process::{Command, Output};

/// Runs `script` in a new mount namespace, with `$exec` for the program and `$base` for the world's
/// directory; reports a skip where that is not possible.
fn in_mounts(world: &World, script: &str) -> Option<Output> {
    let root = rustix::process::geteuid().is_root();
    let kind = if root { "-m" } else { "-rm" };
    let works = Command::new("unshare").args([kind, "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        skip("mount namespaces do not work");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args([kind, "sh", "-ec", script]).env_clear();
    command.envs(world.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("exec", crate::common::program()).env("base", world.base.path());
    Some(command.output().unwrap())
}

fn assert_all_went_well(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}

/// Checks that `$store` has no leftovers, and that its disk is empty.
const NOTHING_LEFT: &str = r#"
    nothing_left() {
        found=$(find "$store" -not -type d -not -path '*/.joblet/lock' -o -path '*/staging/*')
        [ -z "$found" ] || { echo "left: $found"; exit 1; }
    }
    fails() { # STATUS TEXT COMMAND…
        want=$1 text=$2; shift 2
        if got=$("$@" 2>&1); then status=0; else status=$?; fi
        [ $status = $want ] || { echo "status $status, not $want: $got"; exit 1; }
        case $got in *"$text"*) ;; *) echo "$text is not in: $got"; exit 1 ;; esac
    }
"#;

fn script(world: &World, text: &str) {
    if let Some(output) = in_mounts(world, &format!("{NOTHING_LEFT}\n{text}")) {
        assert_all_went_well(&output);
        let stdout = String::from_utf8_lossy(&output.stdout);
        if let Some((_, why)) = stdout.split_once("SKIPPED: ") {
            skip(why.trim_end());
        }
    }
}

/// Runtimes of 20 MiB: in members, ordinary, and one of unknown unpacked size.
fn large() -> World {
    let mut world = World::new();
    let more = vec![directory("isolated/lib"), file("isolated/lib/big", &noise(20 << 20))];
    let packed = pack("members-1.0.0", runtime("members", "1.0.0", more), 256 << 10);
    world.publish_members("members", "1.0.0", &packed);
    let big = "x".repeat(20 << 20);
    let yml = "name: plain\nversion: 1.0.0\nmounts:\n  - { source: isolated, target: /data }\n";
    let files = [("plain-1.0.0/runtime.yml", yml), ("plain-1.0.0/isolated/big", &big)];
    let stream = tar(&files);
    world.publish_archive("plain", "1.0.0", &gzip(&stream));
    // Its last member is short.
    let (first, last) = stream.split_at(stream.len() - 1024);
    world.publish_archive("sudden", "1.0.0", &[gzip(first), gzip(last)].concat());
    world.publish("small", "1.0.0");
    world
}

/// SEC-D04: a runtime of 20 MiB in a store of 8.
#[test]
fn a_full_disk_is_named_with_what_is_needed_and_free() {
    script(
        &large(),
        r#"
        store=$base/store; mkdir "$store"
        mount -t tmpfs -o size=8m,mode=755 none "$store"
        "$exec" install small; "$exec" remove small
        for name in members plain sudden; do
            fails 15 ' are needed and ' "$exec" install $name
            nothing_left
        done
        fails 15 ": 21.0 MB are needed and 8.4 MB are free; " "$exec" install members
        # A command that needs little works as before.
        "$exec" install small
        "$exec" verify small
        "#,
    );
}

/// SEC-A07: a store on a file system without extended attributes: those of an archive are ignored as elsewhere.
#[test]
fn archives_with_attributes_install_on_disks_without() {
    let mut world = World::new();
    let yml = "name: demo\nversion: 1.0.0\nmounts:\n  - { source: etc, target: /etc }\n";
    let tar =
        Tar::default().file("runtime.yml", yml).pax(&ATTRIBUTES).file("etc/with", "attributes");
    world.publish_archive("demo", "1.0.0", &gzip(&tar.end()));
    script(
        &world,
        r#"
        store=$base/store; mkdir "$store"
        mount -t ramfs none "$store"
        "$exec" install demo
        [ "$(cat "$store/demo-1.0.0/etc/with")" = attributes ]
        [ "$(stat -c %a "$store/demo-1.0.0/etc/with")" = 644 ]
        "$exec" verify demo
        "#,
    );
}

/// SEC-D04: a file system without free inodes.
#[test]
fn a_disk_without_inodes_is_full() {
    script(
        &large(),
        r#"
        store=$base/store; mkdir "$store"
        mount -t tmpfs -o nr_inodes=9,mode=755 none "$store"
        fails 15 'error[STORE]: ' "$exec" install small
        [ -z "$(find "$store/.joblet/staging" -mindepth 1)" ]
        "#,
    );
}

/// SEC-D04: a read-only store.
#[test]
fn a_read_only_store_is_read() {
    script(
        &large(),
        r#"
        store=$base/store
        "$exec" install small
        mount --bind "$store" "$store"
        mount -o remount,bind,ro "$store"
        fails 15 'choose a writable store with --store DIR' "$exec" install plain
        fails 15 'Read-only file system' "$exec" remove small
        "$exec" list; "$exec" verify; "$exec" prune; "$exec" info small
        "$exec" run --dry-run --runtime=small true >/dev/null
        "#,
    );
}

/// SEC-D04: a process that may open few files.
#[test]
fn few_descriptors_suffice_or_are_named() {
    let mut world = World::new();
    let mut tree = Vec::new();
    let mut path = "isolated".to_owned();
    for _ in 0..60 {
        path += "/d";
        tree.push(directory(&path));
    }
    tree.push(file(&format!("{path}/file"), b"deep"));
    let yml = "name: deep\nversion: 1.0.0\nmounts:\n  - { source: isolated/d, target: /data }\n";
    let mut all = vec![directory(""), directory("isolated")];
    all.extend(tree);
    all.push(file("runtime.yml", yml.as_bytes()));
    world.publish_members("deep", "1.0.0", &pack("deep-1.0.0", all, 4096));
    let name = format!("plain-1.0.0/{path}/file");
    let files = [("plain-1.0.0/runtime.yml", yml), (name.as_str(), "deep")];
    world.publish_archive("plain", "1.0.0", &gzip(&tar(&files)));
    world.publish("small", "1.0.0");
    script(
        &world,
        r#"
        store=$base/store; mkdir "$store"
        ulimit -n 32
        for name in deep plain; do
            fails 15 ': cannot unpack ' "$exec" install $name
            nothing_left
        done
        "$exec" install small
        "#,
    );
}

/// SEC-D02: a store on an overlay, also one whose lower layer has runtimes already.
#[test]
fn a_store_may_be_on_an_overlay() {
    script(
        &large(),
        r#"
        "$exec" install small --store "$base/lower" -q
        mkdir "$base/layers"; mount -t tmpfs none "$base/layers"
        mkdir "$base/layers/upper" "$base/layers/work" "$base/store"
        if ! mount -t overlay none -o "lowerdir=$base/lower,upperdir=$base/layers/upper,workdir=$base/layers/work" "$base/store"
        then echo "SKIPPED: no overlay can be mounted"; exit 0; fi
        store=$base/store
        "$exec" install members plain
        "$exec" verify
        "$exec" remove small members plain
        nothing_left
        [ -e "$base/lower/small-1.0.0/runtime.yml" ]
        "$exec" install small
        "$exec" verify
        "#,
    );
}

/// SEC-D02: power loss. A copy of the disk's image is its state at a moment; mounting the copy replays the journal.
fn power_cut(kind: &str, megabytes: u32) {
    if !rustix::process::geteuid().is_root() {
        return not_applicable("only root may mount an image");
    }
    if !Command::new(format!("mkfs.{kind}")).arg("-V").output().is_ok_and(|it| it.status.success())
    {
        return skip(&format!("there is no mkfs.{kind} (.ci/deps faults)"));
    }
    let text = r#"
        store=$base/store; mkdir "$store"
        truncate -s "$megabytes"M "$base/image"
        "mkfs.$kind" -q "$base/image"
        mount -o loop "$base/image" "$store"
        "$exec" install small
        cut() { # what must be there then
            cp --sparse=always "$base/image" "$base/cut.$1"
        }
        whole() { # COPY, what must be there, what must not
            mount -o loop "$base/cut.$1" "$store"
            "$exec" verify
            for runtime in $2; do [ -e "$store/$runtime/runtime.yml" ]; done
            for runtime in $3; do [ ! -e "$store/$runtime" ]; done
            "$exec" install members small
            "$exec" verify
            umount "$store"
        }
        # At some moments of an installation, and after the command.
        "$exec" install members & pid=$!
        for moment in 1 2; do
            sleep 0.02
            kill -STOP $pid 2>/dev/null && cut "$moment" && kill -CONT $pid || cut "$moment"
        done
        wait $pid
        cut installed
        "$exec" remove small
        cut removed
        umount "$store"
        for moment in 1 2; do whole $moment small-1.0.0; done
        whole installed "members-1.0.0 small-1.0.0"
        whole removed members-1.0.0 small-1.0.0
    "#;
    let mut world = World::new();
    world.publish("small", "1.0.0");
    let more = vec![directory("isolated/lib"), file("isolated/lib/big", &noise(6 << 20))];
    let packed = pack("members-1.0.0", runtime("members", "1.0.0", more), 256 << 10);
    world.publish_members("members", "1.0.0", &packed);
    script(&world, &format!("kind={kind} megabytes={megabytes}\n{text}"));
}

#[test]
fn power_loss_on_ext4() {
    power_cut("ext4", 96);
}

#[test]
fn power_loss_on_xfs() {
    power_cut("xfs", 320);
}

#[test]
fn power_loss_on_btrfs() {
    power_cut("btrfs", 128);
}
