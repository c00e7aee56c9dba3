//! Malicious archives: each is refused, and nothing else changes.
//!
//! As root every case also runs as an ordinary user.

use crate::common::skip::skip;
use crate::common::tar::{ATTRIBUTES, Tar, listing};
use crate::common::victim::Victim;
use crate::common::{Outcome, World, gzip, list, program, snapshot};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The user of the second half of each test, when the tests run as root.
const NOBODY: u32 = 65534;

/// The world of one user, with files that an attack could change.
struct Place {
    world: World,
    user: Option<u32>,
    victim: Victim,
    /// Lines of shell before the program: limits, umask.
    setup: String,
    /// The installed runtime, which must not change.
    installed: Vec<&'static str>,
}

impl Place {
    fn all() -> Vec<Self> {
        let root = rustix::process::geteuid().is_root();
        let users = if root { vec![None, Some(NOBODY)] } else { vec![None] };
        users.into_iter().map(Self::new).collect()
    }

    fn new(user: Option<u32>) -> Self {
        let world = World::new();
        if user.is_some() {
            for directory in ["", "home", "cache", "registry"] {
                chown(world.path(directory), user, user).unwrap();
            }
            // Another user cannot reach the built one.
            crate::common::copy_program(program(), world.path("joblet-exec"));
        }
        let victim = Victim::new(world.path("victim"), user);
        Self { world, user, victim, setup: String::new(), installed: Vec::new() }
    }

    fn command(&self) -> Command {
        let inner = self.world.command();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{} exec \"$0\" \"$@\"", self.setup));
        command.env_clear().current_dir(self.world.base.path());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        match self.user {
            Some(user) => {
                command.arg(self.world.path("joblet-exec")).uid(user).gid(user);
            }
            None => drop(command.arg(program())),
        }
        command
    }

    fn exec(&self, args: &[&str]) -> Outcome {
        self.world.outcome(self.command().args(args).output().unwrap())
    }

    fn install(&self) -> Outcome {
        self.exec(&["install", "demo@1.3.1"])
    }

    /// Publishes a stream as the archive of demo@1.3.1.
    fn publish(&mut self, tar: &[u8]) {
        self.world.publish_archive("demo", "1.3.1", &gzip(tar));
    }

    /// A failed installation changes nothing.
    fn assert_as_before(&self) {
        self.world.assert_store(&self.installed);
        let receipts = list(&self.world.path("store/.joblet/receipts"));
        assert!(!receipts.iter().any(|name| name.starts_with("demo-1.3.1.")), "{receipts:?}");
        self.victim.assert_untouched();
        let mut beside = list(self.world.base.path());
        beside.retain(|name| name != "joblet-exec");
        let known = ["cache", "home", "registry", "store", "victim"];
        assert!(beside.iter().all(|name| known.contains(&name.as_str())), "{beside:?}");
    }

    fn assert_refused(&self, status: i32, rule: &str) {
        let outcome = self.install();
        assert_eq!(outcome.status, Some(status), "{rule}: {outcome:?}");
        assert!(outcome.stderr.contains(rule), "{rule}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{}", outcome.stderr);
        self.assert_as_before();
    }

    /// The stream, within a runtime, is refused, and nothing is left behind.
    fn refuse(&mut self, tar: Tar, rule: &str) {
        self.publish(&tar.end());
        self.assert_refused(14, rule);
    }
}

/// The beginning of a valid archive, which attacks follow.
fn runtime() -> Tar {
    let yml = "name: demo\nversion: 1.3.1\nmounts:\n  - { source: isolated/etc, target: /etc }\n";
    Tar::default()
        .directory("demo-1.3.1/")
        .file("demo-1.3.1/runtime.yml", yml)
        .file("demo-1.3.1/isolated/etc/version", "1.3.1")
}

/// SEC-A01: names that lead out of the directory, or to a sibling of it.
#[test]
fn sec_a01_names_that_lead_out() {
    for mut place in Place::all() {
        place.world.publish("demo", "1.3.10");
        assert_eq!(place.exec(&["install", "demo@1.3.10"]).status, Some(0));
        place.installed = vec!["demo-1.3.10"];
        let before = snapshot(&place.world.path("store/demo-1.3.10"));
        for (name, rule) in [
            ("../x", "\"../x\": a name that contains `..`"),
            ("/x", "\"/x\": an absolute name"),
            ("//x", "\"//x\": an absolute name"),
            ("a/../../x", "\"a/../../x\": a name that contains `..`"),
            ("..", "\"..\": a name that contains `..`"),
            ("", "\"\": an empty name"),
            ("../demo-1.3.10/bin/sh", "a name that contains `..`"),
            ("../../demo-1.3.10/isolated/etc/version", "a name that contains `..`"),
            ("../\u{1b}[2J", "\"../\\x1b[2J\": a name that contains `..`"),
        ] {
            place.refuse(runtime().file(name, "x"), rule);
            place.refuse(Tar::default().file(name, "x"), rule);
            place.refuse(runtime().raw(b'5', name.as_bytes(), b"", 0o755, b""), rule);
            place.refuse(runtime().symlink(name, "victim"), rule);
            assert_eq!(snapshot(&place.world.path("store/demo-1.3.10")), before, "{name}");
        }
    }
}

/// SEC-A02: links, and files through them, also without openat2.
#[test]
fn sec_a02_files_through_links() {
    // Again without openat2, which Linux 5.5 lacks.
    let built = Path::new(env!("CARGO_BIN_EXE_joblet-exec")).with_file_name("examples/without");
    let old = Place::all().into_iter().map(|mut place| {
        crate::common::copy_program(&built, place.world.path("home/without"));
        place.setup = "exec home/without openat2 \"$0\" \"$@\";".to_owned();
        place
    });
    for mut place in Place::all().into_iter().chain(old) {
        let victim = place.victim.path.to_str().unwrap().to_owned();
        let link = "a parent that is a link or a file";
        for (tar, rule) in [
            (runtime().symlink("l", &victim).file("l/f", "x"), link),
            (runtime().symlink("l", &victim).file("l/new", "x"), link),
            (runtime().symlink("l", &victim).file("l/d/new", "x"), link),
            (runtime().symlink("l", "../../../../victim").file("l/new", "x"), link),
            (runtime().symlink("cur", ".").symlink("par", "cur/..").file("par/new", "x"), link),
            (runtime().symlink("cur", ".").symlink("cur/par", "..").file("cur/par/n", "x"), link),
            (runtime().symlink("a", &victim).symlink("b", "a").file("b/new", "x"), link),
            (runtime().symlink("a", &victim).symlink("b", "a").file("b/d/new", "x"), link),
            (runtime().symlink("l/", &victim).file("l/new", "x"), link),
            (runtime().symlink("l", &victim).file("l", "x"), "the same path twice"),
            (runtime().symlink("l", ""), "a symbolic link with an empty or overlong target"),
            (runtime().symlink("", &victim), "an empty name"),
            // A directory that is replaced by a link.
            (runtime().directory("d").symlink("d", &victim).file("d/n", ""), "the same path twice"),
        ] {
            place.refuse(tar, rule);
        }
    }
}

/// SEC-A03: a link, then directories of the same name, which would change its target.
#[test]
fn sec_a03_directories_over_links() {
    for mut place in Place::all() {
        let victim = place.victim.path.to_str().unwrap().to_owned();
        for name in ["foo", "foo/", "foo/.", "./foo"] {
            let tar = runtime().symlink("foo", &victim);
            let tar = tar.raw(b'5', name.as_bytes(), b"", 0o777, b"");
            place.refuse(tar, "a parent that is a link or a file");
        }
    }
}

/// SEC-A04: hard links to other objects than earlier files of the archive.
#[test]
fn sec_a04_hard_links_that_lead_out() {
    for mut place in Place::all() {
        let victim = place.victim.path.join("f").to_str().unwrap().to_owned();
        let dir = place.victim.path.to_str().unwrap().to_owned();
        for (tar, rule) in [
            (runtime().hard_link("h", &victim), "hard link target: an absolute name"),
            (runtime().hard_link("h", "../victim/f"), "hard link target: a name that contains"),
            (runtime().symlink("l", &dir).hard_link("h", "l/f"), "a link or a file"),
            (runtime().symlink("l", &victim).hard_link("h", "l"), "to no earlier regular file"),
            (runtime().hard_link("h", "later").file("later", ""), "to no earlier regular file"),
            (runtime().directory("d").hard_link("h", "d"), "to no earlier regular file"),
            (runtime().hard_link("h", "h"), "to no earlier regular file"),
            (runtime().hard_link("h", ""), "hard link target: an empty name"),
        ] {
            // With and without the file that would be written through the link.
            place.refuse(tar.clone(), rule);
            place.refuse(tar.file("h", "spoiled"), rule);
        }
    }
}

/// SEC-A05: entries that are not directories, files or links. Opening a FIFO does not block.
#[test]
fn sec_a05_devices_and_unknown_kinds() {
    for mut place in Place::all() {
        let device = |kind, major: &[u8], minor: &[u8]| {
            let tar = runtime().raw(kind, b"n", b"", 0o666, b"");
            tar.patch(512, 329, major).patch(512, 337, minor)
        };
        let other = "an entry that is not a directory, file or link";
        let start = Instant::now();
        for (tar, rule) in [
            (runtime().raw(b'6', b"demo-1.3.1/fifo", b"", 0o666, b""), "a FIFO"),
            (device(b'3', b"0000001\0", b"0000003\0"), "a device"),
            (device(b'4', b"0000008\0", b"0000000\0"), "a device"),
            (device(b'3', b"0000000\0", b"0000000\0"), "a device"), // an overlay's whiteout
            (runtime().raw(b's', b"n", b"", 0o666, b""), other),    // sockets have no letter
            (runtime().raw(b'D', b"n", b"", 0o666, b""), other),
            (runtime().raw(b'M', b"n", b"", 0o666, b""), other),
            (runtime().raw(b'V', b"n", b"", 0o666, b""), other),
            (runtime().raw(b'Z', b"n", b"", 0o666, b""), other),
            (runtime().raw(b'7', b"n", b"", 0o666, b""), other),
            (runtime().raw(b'S', b"n", b"", 0o666, b""), "a sparse file"),
        ] {
            place.refuse(tar, rule);
        }
        assert!(start.elapsed() < Duration::from_secs(55), "5 s for each");
    }
}

/// SEC-A06: set-id and sticky bits and write permission of others are dropped under any umask.
#[test]
fn sec_a06_dangerous_modes() {
    for mut place in Place::all() {
        place.setup = "umask 000;".to_owned();
        let id = fs::read("/usr/bin/id").unwrap();
        let tar = runtime()
            .raw(b'0', b"demo-1.3.1/setuid", b"", 0o4755, &id)
            .raw(b'0', b"demo-1.3.1/setgid", b"", 0o2755, &id)
            .raw(b'0', b"demo-1.3.1/sticky", b"", 0o1777, b"")
            .raw(b'0', b"demo-1.3.1/open", b"", 0o666, b"")
            .raw(b'5', b"demo-1.3.1/shared", b"", 0o2777, b"")
            .file("demo-1.3.1/implied/file", "");
        place.publish(&tar.end());
        let outcome = place.install();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let root = place.world.path("store/demo-1.3.1");
        for (path, (mode, ..)) in snapshot(&root) {
            let link = mode & 0o170_000 == 0o120_000;
            assert!(link || mode & 0o7022 == 0, "{path}: {mode:o}");
        }
        if place.user.is_none() && rustix::process::geteuid().is_root() {
            fs::set_permissions(place.world.base.path(), fs::Permissions::from_mode(0o755))
                .unwrap();
            for name in ["setuid", "setgid"] {
                let mut id = Command::new(root.join(name));
                let ids = id.uid(NOBODY).gid(NOBODY).output().unwrap().stdout;
                let ids = String::from_utf8(ids).unwrap();
                assert!(ids.contains("uid=65534") && !ids.contains("euid"), "{ids}");
                assert!(!ids.contains("egid"), "{ids}");
            }
        }
    }
}

/// SEC-A07: extended attributes, ACLs and labels are not restored.
#[test]
fn sec_a07_attributes_are_not_restored() {
    for mut place in Place::all() {
        let tar = runtime().pax(&ATTRIBUTES).file("demo-1.3.1/isolated/etc/with", "attributes");
        place.publish(&tar.end());
        let outcome = place.install();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let file = place.world.path("store/demo-1.3.1/isolated/etc/with");
        assert_eq!(fs::read(&file).unwrap(), b"attributes");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644);
        let mut names = [0; 1024];
        let count = rustix::fs::llistxattr(&file, &mut names).unwrap_or(0);
        // A label that the file system gives to every file is not from the archive.
        let names = String::from_utf8_lossy(&names[..count]).replace("security.selinux\0", "");
        assert_eq!(names, "");
    }
}

/// SEC-A08: ambiguous streams: the tree is GNU tar's, or the archive is refused. Also counts the installed ones.
#[test]
fn sec_a08_smuggled_entries() {
    let inner = Tar::default().file("demo-1.3.1/smuggled", "inner").end();
    let inner_text = String::from_utf8(inner.clone()).unwrap();
    let outer = |size: &str| runtime().pax(&[("size", size)]);
    let cases = [
        // A size in the pax header, another in the header itself.
        outer(&inner.len().to_string()).raw(b'0', b"demo-1.3.1/a", b"", 0o644, b"").body(&inner),
        outer("0").raw(b'0', b"demo-1.3.1/a", b"", 0o644, &inner),
        outer("512").raw(b'0', b"demo-1.3.1/a", b"", 0o644, &inner),
        outer("1024").raw(b'0', b"demo-1.3.1/a", b"", 0o644, &inner[..512]),
        // A pax header before a long name.
        runtime()
            .pax(&[("path", "demo-1.3.1/x")])
            .long(b'L', b"demo-1.3.1/y\0")
            .file("demo-1.3.1/z", "which?"),
        // Its size for the long name instead of for the entry.
        runtime()
            .pax(&[("size", "0")])
            .long(b'L', b"demo-1.3.1/smuggled\0")
            .file("demo-1.3.1/z", "which?"),
        // A body that is an archive is an ordinary file.
        runtime().file("demo-1.3.1/inner.tar", &inner_text),
        // A directory and a link with a size.
        runtime().raw(b'5', b"demo-1.3.1/d", b"", 0o755, &inner),
        runtime().raw(b'1', b"demo-1.3.1/h", b"demo-1.3.1/runtime.yml", 0o644, &inner),
        runtime().raw(b'2', b"demo-1.3.1/s", b"t", 0o644, &inner),
        // A size that is not an octal number, a negative one, one in base 256.
        runtime().file("demo-1.3.1/a", "x").patch(1024, 124, b"0000000001 \0"),
        runtime().file("demo-1.3.1/a", "x").patch(1024, 124, b"-0000000001\0"),
        runtime().file("demo-1.3.1/a", "x").patch(1024, 124, b"\x80\0\0\0\0\0\0\0\0\0\0\x01"),
        runtime().file("demo-1.3.1/a", "x").patch(
            1024,
            124,
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        // A name with a prefix in an old header, a type of the seventh edition.
        runtime().raw(0, b"demo-1.3.1/old", b"", 0o644, b"x"),
        runtime().raw(0, b"demo-1.3.1/old/", b"", 0o755, b""),
        runtime().file("demo-1.3.1/a", "x").patch(1024, 257, b"ustar  \0"),
        runtime().file("b", "x").patch(1024, 345, b"demo-1.3.1/isolated"),
    ];
    let installed: usize = Place::all()
        .into_iter()
        .map(|mut place| {
            let gnu = place.world.path("gnu");
            let mut installed = 0;
            for (number, tar) in cases.iter().enumerate() {
                let stream = tar.clone().end();
                place.publish(&stream);
                let outcome = place.install();
                if outcome.status == Some(0) {
                    fs::create_dir(&gnu).unwrap();
                    let file = place.world.path("registry/demo-1.3.1.tar.gz");
                    let mut tar = Command::new("tar");
                    let tar = tar.arg("-xzf").arg(file).arg("-C").arg(&gnu).output().unwrap();
                    assert!(tar.status.success(), "{number}: {tar:?}");
                    let ours = listing(&place.world.path("store/demo-1.3.1"));
                    assert_eq!(ours, listing(&gnu.join("demo-1.3.1")), "{number}");
                    fs::remove_dir_all(&gnu).unwrap();
                    assert_eq!(place.exec(&["remove", "demo"]).status, Some(0));
                    installed += 1;
                } else {
                    assert_eq!(outcome.status, Some(14), "{number}: {outcome:?}");
                    place.assert_as_before();
                }
            }
            installed
        })
        .sum();
    let places = Place::all().len();
    assert_eq!(installed, 6 * places, "the inner archive, two sizes, old headers, a prefix");
}

/// SEC-A09: a safe name in the header, another one in a preceding extended header.
#[test]
fn sec_a09_names_that_are_overridden() {
    for mut place in Place::all() {
        let dots = "a name that contains `..`";
        let long = |kind, text: &[u8]| runtime().long(kind, text);
        for (tar, rule) in [
            (runtime().pax(&[("path", "../x")]).file("safe", ""), dots),
            (runtime().pax(&[("path", "/x")]).file("safe", ""), "an absolute name"),
            (runtime().pax(&[("linkpath", "../victim/f")]).hard_link("h", "safe"), dots),
            (long(b'L', b"../x\0").file("safe", ""), dots),
            (long(b'K', b"../victim/f\0").hard_link("h", "safe"), dots),
            (
                runtime().raw(b'g', b"g", b"", 0, b"13 path=../x\n").file("safe", ""),
                "names or sizes",
            ),
            (
                runtime().raw(b'g', b"g", b"", 0, b"14 linkpath=x\n").file("s", ""),
                "global pax header",
            ),
            (runtime().pax(&[("path", "a")]).long(b'L', b"b\0").file("c", ""), "for one entry"),
            (long(b'L', b"a\0").pax(&[("path", "b")]).file("c", ""), "for one entry"),
            (runtime().pax(&[("path", "a")]).pax(&[("path", "b")]).file("c", ""), "for one entry"),
            (long(b'L', b"a\0").long(b'L', b"b\0").file("c", ""), "for one entry"),
            (long(b'K', b"a\0").long(b'K', b"b\0").symlink("c", "d"), "for one entry"),
            (runtime().pax(&[("path", "a")]), "pax header without an entry after it"),
            (long(b'L', b"a\0"), "GNU long name without an entry after it"),
            (runtime().raw(b'x', b"p", b"", 0, b"99 path=a\n").file("c", ""), "length is wrong"),
            (runtime().raw(b'x', b"p", b"", 0, b"8 path=a\n").file("c", ""), "length is wrong"),
            (runtime().raw(b'x', b"p", b"", 0, b"123").file("c", ""), "length is wrong"),
            (runtime().raw(b'x', b"p", b"", 0, b"12 path=a\0b\n").file("c", ""), "a NUL byte"),
            (runtime().raw(b'x', b"p", b"", 0, b"8 path=\n").file("c", ""), "path is empty"),
            (long(b'L', b"a\0b\0").file("c", ""), "not one NUL-terminated string"),
            (long(b'L', b"").file("c", ""), "not one NUL-terminated string"),
        ] {
            place.refuse(tar, rule);
        }
    }
}

/// Shell code that limits the program's memory to 64 MiB; ulimit takes KiB.
const LIMITED: &str = "ulimit -d 65536;";

/// The same bytes repeated, as consecutive members.
fn repeated(bytes: &[u8], count: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().repeat(count)
}

/// SEC-A11: decompression bombs, in 64 MiB of memory.
#[test]
fn sec_a11_bombs() {
    let mut place = Place::all().remove(0);
    place.setup = LIMITED.to_owned();
    let promised = |place: &mut Place, unpacked: Option<u64>, entries: Option<u64>| {
        place.world.edit("demo", "1.3.1", |entry| {
            let artifact = json!({
                "download_url": entry["download_url"], "checksum": entry["checksum"],
                "size": entry["size"], "unpacked_size": unpacked, "entries": entries,
            });
            entry["artifacts"] = json!({ "amd64": artifact, "arm64": artifact });
        });
    };
    // One file of 1 GiB, many of 1 MiB, with a stated size of 10 MiB and with none.
    let giant = {
        let tar = runtime().file("demo-1.3.1/zeros", "").patch(512, 124, b"10000000000\0").0;
        [gzip(&tar), repeated(&vec![0; 1 << 20], 1024), gzip(&[0; 1024])].concat()
    };
    let many = {
        let zeros = vec![0; 1 << 20];
        let file = |n| {
            let name = format!("demo-1.3.1/z{n}");
            Tar::default().raw(b'0', name.as_bytes(), b"", 0o644, &zeros).0
        };
        let files: Vec<u8> = (0..100).flat_map(file).collect();
        repeated(&[runtime().0, files, vec![0; 1024]].concat(), 1)
    };
    for bomb in [giant, many] {
        place.world.publish_archive("demo", "1.3.1", &bomb);
        for promise in [Some(10 << 20), None] {
            promised(&mut place, promise, None);
            place.assert_refused(14, "more bytes than the registry states, or than the limit");
        }
    }
    // Two million entries for one directory; then a stated number of ten.
    let entries = Tar::default().directory("demo-1.3.1/").0.repeat(2000);
    let archive = [gzip(&runtime().0), repeated(&entries, 1000), gzip(&[0; 1024])].concat();
    place.world.publish_archive("demo", "1.3.1", &archive);
    place.assert_refused(14, "more entries than the registry states, or than the limit");
    promised(&mut place, None, Some(10));
    place.assert_refused(14, "more entries than the registry states, or than the limit");
    // Nested directories, names and headers that are too long.
    let nested = "d/".repeat(5000);
    for (tar, rule) in [
        (runtime().pax(&[("path", &nested)]).directory("d"), "a path of more than 4095 bytes"),
        (runtime().pax(&[("path", &nested[..4000])]).directory("d"), "more than 128 nested"),
        (
            runtime().pax(&[("comment", &"x".repeat(2 << 20))]).file("a", ""),
            "an extension header of",
        ),
    ] {
        place.refuse(tar, rule);
    }
    let mut tar = runtime();
    let mut path = String::new();
    for _ in 0..5000 {
        path.push_str("d/");
        tar = tar.long(b'L', format!("{path}\0").as_bytes()).directory("d");
    }
    place.refuse(tar, "more than 128 nested directories");
}

/// SEC-A11: sparse files, in all formats of GNU tar.
#[test]
fn sec_a11_sparse_files() {
    let mut place = Place::all().remove(0);
    place.setup = LIMITED.to_owned();
    let million: String = (0..40_000).map(|n| format!("{n},1,")).collect();
    let sparse = "a sparse file";
    for (tar, rule) in [
        // Old GNU, with a real size of 8 EiB.
        (
            runtime()
                .raw(b'S', b"demo-1.3.1/s", b"", 0o644, b"x")
                .patch(1024, 257, b"ustar  \0")
                .patch(1024, 483, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            "only a file may have a body",
        ),
        // 0.0, 0.1 and 1.0.
        (
            runtime()
                .pax(&[
                    ("GNU.sparse.size", "9223372036854775807"),
                    ("GNU.sparse.numblocks", "1"),
                    ("GNU.sparse.offset", "0"),
                    ("GNU.sparse.numbytes", "1"),
                ])
                .file("demo-1.3.1/s", "x"),
            sparse,
        ),
        (
            runtime()
                .pax(&[("GNU.sparse.size", "9223372036854775807"), ("GNU.sparse.map", &million)])
                .file("demo-1.3.1/s", "x"),
            sparse,
        ),
        (
            runtime()
                .pax(&[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "demo-1.3.1/s"),
                    ("GNU.sparse.realsize", "9223372036854775807"),
                ])
                .file("demo-1.3.1/GNUSparseFile.0/s", "1\n0\n1\nx"),
            sparse,
        ),
        (runtime().pax(&[("SCHILY.realsize", "9223372036854775807")]).file("s", "x"), sparse),
    ] {
        place.refuse(tar, rule);
    }
}

/// SEC-A12: the same path twice. Names that differ in case or normalization are different.
#[test]
fn sec_a12_the_same_path_twice() {
    for mut place in Place::all() {
        let (twice, parent) = ("the same path twice", "a parent that is a link or a file");
        for (tar, rule) in [
            (runtime().file("a", "1").file("a", "2"), twice),
            (runtime().file("a", "1").file("./a", "2"), twice),
            (runtime().file("a", "1").file("b/../a", "2"), "a name that contains `..`"),
            (runtime().file("a", "1").symlink("a", "b"), twice),
            (runtime().symlink("a", "b").directory("a"), parent),
            (runtime().directory("a").file("a", ""), twice),
            (runtime().file("a", "").directory("a"), parent),
            (runtime().file("a", "").hard_link("a", "a"), twice),
        ] {
            place.refuse(tar, rule);
        }
    }
}

/// SEC-A13: names that are too long, and a file through a deeply nested link.
#[test]
fn sec_a13_names_that_are_too_long() {
    for mut place in Place::all() {
        let victim = place.victim.path.to_str().unwrap().to_owned();
        let deep = format!("{}/l", vec!["d".repeat(100); 12].join("/"));
        let through = format!("{deep}/f");
        for (tar, rule) in [
            (runtime().pax(&[("path", &"x".repeat(256))]).file("s", ""), "more than 255 bytes"),
            (runtime().long(b'L', &[b'x'; 257]).file("s", ""), "not one NUL-terminated string"),
            (runtime().pax(&[("path", &"x/".repeat(2500))]).directory("s"), "more than 4095 bytes"),
            (
                runtime().pax(&[("linkpath", &"x/".repeat(2500))]).symlink("s", ""),
                "overlong target",
            ),
            (
                runtime()
                    .pax(&[("path", &deep)])
                    .symlink("s", &victim)
                    .pax(&[("path", &through)])
                    .file("s", "spoiled"),
                "a parent that is a link or a file",
            ),
        ] {
            place.refuse(tar, rule);
        }
    }
}

/// SEC-A14: streams that are truncated, too long or malformed at their end, with the right checksum.
#[test]
fn sec_a14_ends() {
    let mut place = Place::all().remove(0);
    let tar = runtime().file("demo-1.3.1/noise", &"some text\n".repeat(300)).end();
    let good = gzip(&tar);
    let cut = "it is cut off before its end";
    let damaged = "it is damaged or not a gzip file";
    let flipped = |from_end: usize| {
        let mut bytes = good.clone();
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        bytes
    };
    let end = tar.len() - 1024;
    let second = runtime().end();
    for (archive, rule) in [
        (good[..good.len() - 1].to_owned(), cut),
        (good[..good.len() - 9].to_owned(), cut),
        (good[..good.len().saturating_sub(1000).max(1)].to_owned(), cut),
        (good[..good.len() / 2].to_owned(), cut),
        (flipped(8), damaged),
        (flipped(4), damaged),
        (flipped(1), damaged),
        ([&good[..], b"GARBAGE AFTER THE END"].concat(), damaged),
        ([&good[..], &[0; 20]].concat(), damaged),
        ([&good[..], b"x"].concat(), cut),
        (gzip(&[&tar[..], &second].concat()), "bytes after the end of the archive"),
        ([good.clone(), gzip(&second)].concat(), "bytes after the end of the archive"),
        (gzip(&tar[..end + 512]), cut),
        (gzip(&tar[..end]), cut),
        (gzip(&tar[..end - 100]), cut),
        (gzip(b""), cut),
        (Vec::new(), cut),
    ] {
        place.world.publish_archive("demo", "1.3.1", &archive);
        place.assert_refused(14, rule);
    }
    let members = [gzip(&tar[..1800]), gzip(&tar[1800..])].concat();
    place.world.publish_archive("demo", "1.3.1", &members);
    assert_eq!(place.install().status, Some(0));
}

/// SEC-A15: directories without permissions are installed, removed, and leave nothing after a failure.
#[test]
fn sec_a15_directories_without_permissions() {
    for mut place in Place::all() {
        let closed = |tar: Tar| {
            tar.raw(b'5', b"demo-1.3.1/none/", b"", 0, b"")
                .file("demo-1.3.1/none/file", "x")
                .raw(b'5', b"demo-1.3.1/none/below/", b"", 0o555, b"")
                .raw(b'0', b"demo-1.3.1/none/below/file", b"", 0, b"x")
                .raw(b'5', b"demo-1.3.1/read/", b"", 0o555, b"")
                .raw(b'0', b"demo-1.3.1/read/file", b"", 0o444, b"x")
        };
        place.publish(&closed(runtime()).end());
        let outcome = place.install();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let file = place.world.path("store/demo-1.3.1/none/below/file");
        assert_eq!(fs::read(file).unwrap(), b"x");
        let outcome = place.exec(&["remove", "demo"]);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        place.assert_as_before();
        place.refuse(closed(runtime()).file("../x", ""), "a name that contains `..`");
    }
}

/// SEC-A16: a root file system like Debian's: the tree is GNU tar's.
#[test]
fn sec_a16_an_ordinary_root_file_system() {
    let long = format!("./demo-1.3.1/{}/{}", "long".repeat(30), "name".repeat(30));
    let yml = "name: demo\nversion: 1.3.1\nmounts:\n  - { source: isolated/usr, target: /usr }\n";
    let tar = Tar::default()
        .directory("./")
        .directory("./demo-1.3.1/")
        .file("./demo-1.3.1/runtime.yml", yml)
        .file("./demo-1.3.1/isolated/usr/bin/busybox", "box") // its directories have no entries
        .hard_link("./demo-1.3.1/isolated/usr/bin/ls", "./demo-1.3.1/isolated/usr/bin/busybox")
        .hard_link("./demo-1.3.1/isolated/usr/bin/sh", "demo-1.3.1/isolated/usr/bin/ls")
        .symlink("./demo-1.3.1/isolated/bin", "usr/bin")
        .symlink("./demo-1.3.1/isolated/etc/mtab", "/proc/mounts")
        .symlink("./demo-1.3.1/isolated/var/run", "/run")
        .pax(&[("path", &long)])
        .file("short", "a path of 250 bytes")
        .raw(b'0', b"./demo-1.3.1/isolated/\xff\xfe", b"", 0o644, b"no UTF-8")
        .file("./demo-1.3.1/isolated/empty", "")
        .raw(b'0', b"./demo-1.3.1/isolated/run", b"", 0o755, b"#!")
        .directory("./demo-1.3.1/isolated/tmp/");
    for mut place in Place::all() {
        place.publish(&tar.clone().end());
        let outcome = place.install();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let gnu = place.world.path("gnu");
        fs::create_dir(&gnu).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(place.world.path("registry/demo-1.3.1.tar.gz")).arg("-C").arg(&gnu);
        assert!(tar.status().unwrap().success());
        let ours = place.world.path("store/demo-1.3.1");
        assert_eq!(listing(&ours), listing(&gnu.join("demo-1.3.1")));
        for (path, (kind, _)) in listing(&ours) {
            let about = |root: &Path| {
                let data = root.join(&path).symlink_metadata().unwrap();
                // Directories without an entry have the time of their creation.
                (data.mode(), data.nlink(), (kind != 'd').then(|| data.mtime()))
            };
            assert_eq!(about(&ours), about(&gnu.join("demo-1.3.1")), "{path:?}");
        }
    }
}

/// SEC-A17: an invalid `runtime.yml`, and entries with the names of the store's own files.
#[test]
fn sec_a17_files_that_mean_something_here() {
    for mut place in Place::all() {
        let victim = place.victim.path.join("f").to_str().unwrap().to_owned();
        let start = || Tar::default().file("demo-1.3.1/isolated/etc/version", "1.3.1");
        let yml = "demo-1.3.1/runtime.yml";
        for (tar, status, rule) in [
            (start().symlink(yml, &victim), 17, "runtime.yml: is not a regular file"),
            (start().symlink(yml, "isolated/etc/version"), 17, "is not a regular file"),
            (start().directory(yml), 17, "is not a regular file"),
            (start().raw(b'6', yml.as_bytes(), b"", 0o644, b""), 14, "a FIFO"),
            (
                start().raw(b'0', yml.as_bytes(), b"", 0o644, &vec![b'#'; 2 << 20]),
                17,
                "larger than",
            ),
            (start(), 14, "it has no runtime.yml"),
            (start().file("runtime.yml/x", ""), 17, "is not a regular file"),
        ] {
            place.publish(&tar.end());
            place.assert_refused(status, rule);
        }
        // The receipt is the store's, even if the archive has a file of that name.
        let tar = runtime()
            .file("demo-1.3.1/.joblet/receipts/demo-1.3.1.json", "forged")
            .file("demo-1.3.1/demo-1.3.1.json", "forged");
        place.publish(&tar.end());
        assert_eq!(place.install().status, Some(0));
        let receipt =
            fs::read_to_string(place.world.path("store/.joblet/receipts/demo-1.3.1.json"));
        assert!(receipt.unwrap().contains("sha256:"));
        place.victim.assert_untouched();
    }
}

/// SEC-A17: a `runtime.yml` of 1 GiB is refused early, without its size in memory.
#[test]
fn sec_a17_a_huge_runtime_yml() {
    const SIZE: u64 = 1 << 30;
    for mut place in Place::all() {
        let start = Tar::default()
            .file("demo-1.3.1/isolated/etc/version", "1.3.1")
            .file("demo-1.3.1/runtime.yml", "")
            .patch(512, 124, format!("{SIZE:011o}").as_bytes());
        // The rest is irrelevant: each MiB is one member.
        let spaces = gzip(&vec![b' '; 1 << 20]).repeat(1 << 10);
        let archive = [gzip(&start.0), spaces, gzip(&[0; 1024])].concat();
        place.world.publish_archive("demo", "1.3.1", &archive);
        // KiB of address space.
        place.setup = "ulimit -v 150000;".into();
        let began = Instant::now();
        place.assert_refused(17, "larger than");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

/// SEC-A17: the file that such a link points to is never opened.
#[test]
fn sec_a17_the_target_of_a_link_is_never_opened() {
    let mut place = Place::all().remove(0);
    let victim = place.victim.path.join("f");
    let tar = Tar::default()
        .file("demo-1.3.1/isolated/etc/version", "1.3.1")
        .symlink("demo-1.3.1/runtime.yml", victim.to_str().unwrap());
    place.publish(&tar.end());
    let log = place.world.path("registry/strace.log");
    let inner = place.command();
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&log).args(["-e", "trace=file"]).arg(inner.get_program());
    strace.args(inner.get_args()).args(["install", "demo@1.3.1"]).env_clear();
    strace.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = strace.current_dir(place.world.base.path()).output();
    let Ok(outcome) = outcome.map(|output| place.world.outcome(output)) else {
        return skip("there is no strace (.ci/deps faults)");
    };
    assert_eq!(outcome.status, Some(17), "{outcome:?}");
    let calls = fs::read_to_string(log).unwrap();
    assert!(calls.contains("symlinkat(\""), "the link was made");
    let opened = calls.lines().filter(|line| line.contains("open") && line.contains("victim/f"));
    assert_eq!(opened.count(), 0, "{calls}");
}

/// SEC-A18: another process replaces directories by links while a failed installation is removed.
#[test]
fn sec_a18_cleanup_does_not_follow_symlinks() {
    let mut place = Place::all().remove(0);
    let mut tar = runtime();
    for number in 0..300 {
        tar = tar.file(&format!("demo-1.3.1/d{}/f{number}", number % 7), "x");
    }
    place.publish(&tar.file("../x", "").end());
    let staging = place.world.path("store/.joblet/staging");
    let rounds = AtomicUsize::new(0);
    let victim = place.victim.path.clone();
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let start = Instant::now();
            while rounds.load(Ordering::Relaxed) < 1000 && start.elapsed() < Duration::from_secs(60)
            {
                let names = list(&staging);
                let Some(name) = names.iter().find(|name| name.starts_with("demo-1.3.1@")) else {
                    continue;
                };
                let staging = staging.join(name).join("demo-1.3.1");
                for number in 0..7 {
                    let (here, aside) =
                        (staging.join(format!("d{number}")), staging.join(format!("a{number}")));
                    // Any of these may fail: the directory is restored, or removed.
                    if fs::rename(&here, &aside).is_ok() {
                        _ = std::os::unix::fs::symlink(&victim, &here);
                        std::thread::yield_now();
                        _ = fs::remove_file(&here);
                        _ = fs::rename(&aside, &here);
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        while !swapping.is_finished() {
            let outcome = place.install();
            // Refused for its content or for the replaced directory; never a success.
            assert!(matches!(outcome.status, Some(14 | 15)), "{outcome:?}");
            place.victim.assert_untouched();
        }
    });
    assert!(rounds.into_inner() >= 1000);
    place.victim.assert_untouched();
    // Undisturbed, the next command removes the leftovers.
    assert_eq!(place.install().status, Some(14));
    place.assert_as_before();
}
