//! Standard files: a job can read its input and write to its outputs, in order, and do nothing else to the caller's.

use crate::support::attack::{WEAKEN, can_weaken, files, program, wrapper};
use crate::support::{Output, World, finish};
use rustix::{
    fs::{OFlags, fcntl_getfl, fstat},
    pipe::pipe,
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, Permissions},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
            net::UnixStream,
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A run of `words` in the runtime, with the protections `weak` disabled.
fn job(world: &World, user: Option<u32>, weak: &str, options: &[&str], words: &[&str]) -> Command {
    let all = program(world, !weak.is_empty());
    let mut run = Command::new(&all[0]);
    run.args(&all[1..]).args(options).arg("--runtime=demo").arg("--").args(words);
    run.current_dir(world.path("cwd")).env_clear().env(WEAKEN, weak);
    run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        run.uid(user).gid(user);
    }
    run
}

fn done(run: &mut Command) -> Output {
    finish(run.spawn().unwrap())
}

/// A new file of the user with this content.
fn own_file(world: &World, user: Option<u32>, name: &str, content: &str) -> PathBuf {
    // A file for each call: a lock is held as long as a process that another test starts has inherited the
    // descriptor.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = world.path("outside").join(format!("{name}-{number}"));
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    chown(&path, user, user).unwrap();
    path
}

/// The report of the program `files`: the error number of each call.
fn report(output: &Output) -> BTreeMap<&str, i32> {
    let pairs = output.stderr.lines().filter_map(|line| line.rsplit_once(' '));
    pairs.filter_map(|(name, errno)| Some((name, errno.parse().ok()?))).collect()
}

/// Mode, owner, length, timestamp and content of a file.
fn state(path: &Path) -> (u32, u32, u64, i64, Vec<u8>) {
    let data = fs::symlink_metadata(path).unwrap();
    let content = if data.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    (data.mode(), data.uid(), data.len(), data.mtime_nsec(), content)
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).open(path).unwrap()
}

/// SEC-E02: no call gives a file set-user-ID bits or capabilities, neither an output nor a file on a mount of the host.
#[test]
fn nothing_becomes_set_id() {
    let Some(world) = files() else { return };
    for user in World::users() {
        for mode in ["4755", "2755", "6755", "4000", "2000"] {
            let given = world.path("outside").join(format!("given-{}-{mode}", user.unwrap_or(0)));
            fs::create_dir(&given).unwrap();
            chown(&given, user, user).unwrap();
            let bind = format!("--bind={}:/given:rw", given.display());
            let out = own_file(world, user, "set-id", "");
            let run = |weak: &str| {
                let words = ["files", "set-id", "/given", mode];
                done(job(world, user, weak, &[&bind], &words).stdout(append(&out)))
            };
            let output = run("");
            let found = report(&output);
            assert!(found.len() >= 14, "{output:?}");
            for (name, errno) in found {
                let want = match name {
                    "openat2" => 38,
                    _ if name.starts_with("works") => 0,
                    _ => 1,
                };
                let unknown = name.starts_with("fchmodat2") && errno == 38;
                assert!(errno == want || unknown, "{user:?} {mode} {name} {output:?}");
            }
            let all: Vec<_> = fs::read_dir(&given).unwrap().map(|e| e.unwrap().path()).collect();
            assert_eq!(all, [given.join("plain")]);
            let mode_of = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
            assert_eq!((mode_of(&all[0]), mode_of(&out)), (0o1755, 0o644));
            if can_weaken(world) {
                let output = run("seccomp,standard-files");
                assert_eq!(report(&output)["fchmod"], 0, "{output:?}");
                assert_eq!(mode_of(&out), u32::from_str_radix(mode, 8).unwrap(), "{output:?}");
            }
        }
    }
}

/// SEC-E02, SEC-E10: an input file can only be read.
#[test]
fn an_input_is_only_read() {
    let Some(world) = files() else { return };
    for user in World::users() {
        for write in [false, true] {
            for path in ["/proc/self/fd/0", "/dev/stdin", "/dev/fd/0"] {
                let input = own_file(world, user, "input", "first\nsecond\n");
                let open = || OpenOptions::new().read(true).write(write).open(&input).unwrap();
                let before = state(&input);
                let words = ["files", "change", "0", path];
                let output = done(job(world, user, "", &[], &words).stdin(open()));
                let found = report(&output);
                assert!(found.len() >= 25, "{output:?}");
                for (name, errno) in found {
                    let allowed = name.starts_with("works");
                    assert!((errno == 0) == allowed, "{user:?} {write} {path} {name} {output:?}");
                }
                assert!(state(&input) == before, "{user:?} {path}");
                if can_weaken(world) {
                    let weak = "standard-files,seccomp";
                    let output = done(job(world, user, weak, &[], &words).stdin(open()));
                    assert_eq!(report(&output)["open"], 0, "{output:?}");
                    assert!(state(&input) != before, "{user:?} {path}");
                }
            }
        }
    }
}

/// SEC-E10: neither a lease nor a signal-driven watch on a file of the runtime.
#[test]
fn a_job_cannot_delay_others_by_leases() {
    let Some(world) = files() else { return };
    let file = own_file(world, None, "leased", "x");
    let bind = format!("--bind={}:/given", file.display());
    for user in World::users() {
        for path in ["/usr/bin/bash", "/given", "/work/in.txt", "/dev/null"] {
            let output = done(&mut job(world, user, "", &[&bind], &["files", "lease", path]));
            assert_eq!(output.stderr, "lease 1\nnotify 1\nnotify-directory 1\n", "{output:?}");
        }
        if can_weaken(world) {
            let words = ["files", "lease", "/usr/bin/bash"];
            let output = done(&mut job(world, user, "seccomp", &[], &words));
            assert_eq!(report(&output)["notify-directory"], 0, "{output:?}");
        }
    }
}

/// SEC-E02: a caller continues to read at the offset where its job stopped.
#[test]
fn a_caller_reads_on_where_its_job_stopped() {
    let Some(world) = files() else { return };
    for user in World::users() {
        let list = own_file(world, user, "list", "1\n2\n3\n4\n5\n");
        for (script, want) in [
            ("while read -r line; do \"$@\" true; echo $line; done", "1\n2\n3\n4\n5\n"),
            (
                "read -r a; \"$@\" bash -c 'read -r b; echo job-$b'; read -r c; echo $c",
                "job-2\n3\n",
            ),
            ("\"$@\" bash -c 'cat >/dev/null'; read -r a || echo end", "end\n"),
            ("\"$@\" --no-such; read -r a; echo $a", "1\n"),
        ] {
            let mut run = Command::new("bash");
            run.args(["-c", &script.replace("\"$@\"", "\"$@\" --"), "bash"]);
            run.args(program(world, false)).arg("--runtime=demo").current_dir(world.path("cwd"));
            run.stdin(File::open(&list).unwrap()).stdout(Stdio::piped()).stderr(Stdio::null());
            if let Some(user) = user {
                run.uid(user).gid(user);
            }
            let output = done(&mut run);
            assert_eq!(output.stdout, want, "{user:?} {script}");
        }
    }
}

/// SEC-E02: an output changes only by what is written to it.
#[test]
fn an_output_is_only_written_to() {
    let Some(world) = files() else { return };
    let script = "echo one; files change 1 /proc/self/fd/1; echo two";
    for user in World::users() {
        let run = |log: &Path, weak: &str| {
            let file = append(log);
            let (given, kept) = (file.try_clone().unwrap(), fcntl_getfl(&file).unwrap());
            let output = done(job(world, user, weak, &[], &["bash", "-c", script]).stdout(given));
            (output, fcntl_getfl(&file).unwrap() == kept)
        };
        let log = own_file(world, user, "log", "before\n");
        let (mode, owner, ..) = state(&log);
        let (output, kept) = run(&log, "");
        let found = report(&output);
        assert_eq!((found["lease"], found["notify"]), (1, 1), "{output:?}");
        let now = state(&log);
        assert_eq!((now.0, now.1, kept), (mode, owner, true), "{output:?}");
        assert_eq!(String::from_utf8(now.4).unwrap(), "before\none\ntwo\n", "{output:?}");
        if can_weaken(world) {
            let log = own_file(world, user, "weak", "before\n");
            let (_, kept) = run(&log, "standard-files");
            assert!(!kept && state(&log).0 == 0o100_000 && !state(&log).4.starts_with(b"before"));
        }
    }
}

/// SEC-E02: data of two outputs to one file stays in order; outputs to two files are separate.
#[test]
fn outputs_stay_in_order() {
    let Some(world) = files() else { return };
    let script = "for i in {1..300}; do echo $i; echo $i >&2; done";
    let want: String = (1..=300).map(|i| format!("{i}\n{i}\n")).collect();
    for user in World::users() {
        let words = ["bash", "-c", script];
        for truncated in [true, false] {
            let path = own_file(world, user, "both", "");
            let file = OpenOptions::new().write(true).append(!truncated).open(&path).unwrap();
            let mut run = job(world, user, "", &[], &words);
            done(run.stdout(file.try_clone().unwrap()).stderr(file));
            assert_eq!(fs::read_to_string(&path).unwrap(), want, "{user:?}");
        }
        let (one, two) = (own_file(world, user, "one", ""), own_file(world, user, "two", ""));
        done(job(world, user, "", &[], &words).stdout(append(&one)).stderr(append(&two)));
        let apart: String = (1..=300).map(|i| format!("{i}\n")).collect();
        for path in [one, two] {
            assert_eq!(fs::read_to_string(&path).unwrap(), apart, "{user:?}");
        }
    }
}

/// SEC-E02: every kind of input can be read, and is unchanged afterwards.
#[test]
fn inputs_of_every_kind() {
    let Some(world) = files() else { return };
    let script = "cat; files change 0 /proc/self/fd/0";
    for user in World::users() {
        let run = |input: Stdio, what: &str, want: &str| {
            let mut run = job(world, user, "", &[], &["bash", "-c", script]);
            let output = done(run.stdin(input));
            assert_eq!(output.stdout, want, "{user:?} {what}");
        };
        let file = own_file(world, user, "gone", "gone\n");
        let open = File::open(&file).unwrap();
        fs::remove_file(&file).unwrap();
        run(open.try_clone().unwrap().into(), "deleted file", "gone\n");
        assert_eq!(fstat(&open).unwrap().st_mode & 0o777, 0o644);

        let fifo = world.path("outside").join(format!("fifo-{}", user.unwrap_or(0)));
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        chown(&fifo, user, user).unwrap();
        let before = state(&fifo);
        let mut both = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        both.write_all(b"fifo\n").unwrap();
        let reader = File::open(&fifo).unwrap();
        let mut started = job(world, user, "", &[], &["bash", "-c", script]);
        let child = started.stdin(reader).spawn().unwrap();
        drop((both, started));
        assert_eq!(finish(child).stdout, "fifo\n");
        assert_eq!((state(&fifo).0, state(&fifo).1), (before.0, before.1));

        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"socket\n").unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        let kept = fcntl_getfl(&far).unwrap();
        run(OwnedFd::from(far.try_clone().unwrap()).into(), "socket", "socket\n");
        assert_eq!(fcntl_getfl(&far).unwrap(), kept);

        let null = || fs::metadata("/dev/null").unwrap();
        let (mode, owner) = (null().mode(), null().uid());
        for write in [false, true] {
            let open = OpenOptions::new().read(true).write(write).open("/dev/null").unwrap();
            run(open.into(), "/dev/null", "");
        }
        assert_eq!((null().mode(), null().uid()), (mode, owner));
        let path = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::PATH.bits().cast_signed())
            .open(world.path("outside"));
        let output = done(job(world, user, "", &[], &["true"]).stdin(path.unwrap()));
        assert!(output.stderr.contains("standard input is a directory"), "{output:?}");
        let zero = File::open("/dev/zero").unwrap();
        let words = ["bash", "-c", "head -c 3 | cat -v; files change 0 /dev/stdin"];
        let mode = fs::metadata("/dev/zero").unwrap().mode();
        assert_eq!(done(job(world, user, "", &[], &words).stdin(zero)).stdout, "^@^@^@");
        assert_eq!(fs::metadata("/dev/zero").unwrap().mode(), mode);
    }
}

/// SEC-E02: status flags of the caller's pipe are restored.
#[test]
fn a_pipe_keeps_its_flags() {
    let Some(world) = files() else { return };
    for user in World::users() {
        let ((input, feed), (read, output)) = (pipe().unwrap(), pipe().unwrap());
        drop(feed);
        let script = "files change 0 /proc/self/fd/0; files change 1 /proc/self/fd/1; echo on";
        let flags = || (fcntl_getfl(&input).unwrap(), fcntl_getfl(&output).unwrap());
        let (before, mode) = (flags(), |fd: &OwnedFd| fstat(fd).unwrap().st_mode);
        let modes = || (mode(&input), mode(&output));
        let kept = modes();
        let mut run = job(world, user, "", &[], &["bash", "-c", script]);
        run.stdin(input.try_clone().unwrap()).stdout(output.try_clone().unwrap());
        let end = done(&mut run);
        assert_eq!(flags(), before, "{user:?} {end:?}");
        assert_eq!(modes(), kept, "{user:?} {end:?}");
        drop((run, output));
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        assert!(text.ends_with("on\n"), "{text}");
    }
}

/// SEC-E02: large data is relayed unchanged by every mechanism.
#[test]
fn much_data_is_exact() {
    let Some(world) = files() else { return };
    let big = world.path("outside/big");
    let script =
        "i=0; while [ $i -lt 300 ]; do echo part $i; head -c 1000000 \"$0\"; i=$((i+1)); done";
    let mut made = Command::new("bash");
    made.args(["-c", script]).arg(world.path("joblet-exec")).stdout(File::create(&big).unwrap());
    assert!(made.status().unwrap().success());
    let user = *World::users().last().unwrap();
    let out = own_file(world, user, "copy", "");
    let same = || {
        let compared = Command::new("cmp").args([&big, &out]).status().unwrap();
        assert!(compared.success());
    };
    let writer = || OpenOptions::new().write(true).truncate(true).open(&out).unwrap();
    let run = |output: Stdio| {
        let mut run = job(world, user, "", &[], &["cat"]);
        run.stdin(File::open(&big).unwrap()).stdout(output).spawn().unwrap()
    };
    assert!(run(writer().into()).wait().unwrap().success());
    same();
    let mut child = run(Stdio::piped());
    std::io::copy(&mut child.stdout.take().unwrap(), &mut writer()).unwrap();
    assert!(child.wait().unwrap().success());
    same();
    let (mut near, far) = UnixStream::pair().unwrap();
    let mut child = run(OwnedFd::from(far).into());
    std::io::copy(&mut near, &mut writer()).unwrap();
    assert!(child.wait().unwrap().success());
    same();
    fs::remove_file(&big).unwrap();
}

/// SEC-E02: a full output is reported with its name.
#[test]
fn a_full_output_is_reported() {
    let Some(world) = files() else { return };
    let full = world.path("full");
    fs::create_dir(&full).unwrap();
    let prepare = format!("mount -t tmpfs -o size=64k,mode=777 t {}", full.display());
    let name = |redirect: &str| redirect.replace("DIR", full.to_str().unwrap());
    for user in World::users() {
        for (redirect, status, text) in [
            (">DIR/out", 125, "standard output: No space left on device"),
            ("2>&1 >>DIR/out", 125, "standard output: No space left on device"),
            ("3>&2 2>DIR/out >&3 2>&1 >DIR/out", 125, "standard output: No space left on device"),
            // A job that ignores the signal gets the error of the call.
            ("| head -c 10 >/dev/null; exit ${PIPESTATUS[0]}", 0, "Broken pipe"),
            ("--init | head -c 10 >/dev/null; exit ${PIPESTATUS[0]}", 141, ""),
        ] {
            let mut before = wrapper(user, &prepare, "private");
            let init = redirect.strip_prefix("--init");
            let options = if init.is_some() { &["--init"][..] } else { &[] };
            let script = format!("\"$@\" {}", name(init.unwrap_or(redirect)));
            before.extend(["bash", "-c", &script, "bash"].map(Into::into));
            let job = "while echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; do :; done";
            let ignored = if status == 0 { "trap '' PIPE; " } else { "" };
            let job = &format!("{ignored}{job}");
            let output = finish(crate::support::attack::start(
                world,
                &before,
                "",
                &World::shell(options, job),
            ));
            assert_eq!(output.status, Some(status), "{user:?} {redirect} {output:?}");
            let told = format!("{}{}", output.stdout, output.stderr);
            assert!(told.contains(text), "{user:?} {redirect} {output:?}");
        }
        let out = own_file(world, user, "limited", "");
        let mut run = Command::new("bash");
        let script = "ulimit -f 8; exec \"$@\"";
        run.args(["-c", script, "bash"]).args(program(world, false)).stdout(append(&out));
        run.args(["--runtime=demo", "--", "bash", "-c", "while echo xxxxxxxxxx; do :; done"]);
        run.current_dir(world.path("cwd")).stderr(Stdio::piped()).stdin(Stdio::null());
        if let Some(user) = user {
            run.uid(user).gid(user);
        }
        let output = done(&mut run);
        assert_eq!(output.status, Some(125), "{output:?}");
        assert!(output.stderr.contains("standard output: File too large"), "{output:?}");
    }
}
