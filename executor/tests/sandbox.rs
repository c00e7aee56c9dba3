//! Jobs in namespaces, as root and as an ordinary user.

use crate::common::skip;
use crate::support::{World, finish, hierarchy};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::symlink, process::CommandExt},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs each script as each user and compares its output and status.
fn check(table: &[(&[&str], &str, &str, i32)]) {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (options, script, stdout, status) in table {
            let output = world.run(user, options, script);
            let what = format!("{user:?} {options:?} {script}\n{output:#?}");
            assert_eq!((output.stdout.as_str(), output.status), (*stdout, Some(*status)), "{what}");
        }
    }
}

#[test]
fn a_job_sees_its_runtime_and_nothing_else() {
    check(&[
        (&[], "echo $$", "1\n", 0),
        (&[], "cd /; echo *", ROOT, 0),
        (&[], "echo /proc/[0-9]*", "/proc/1\n", 0),
        (&[], "cat /proc/sys/kernel/hostname", "joblet\n", 0),
        (&[], "grep -c : /proc/net/dev; grep -o lo: /proc/net/dev", "1\nlo:\n", 0),
        (&[], "echo /dev/*", DEV, 0),
        (
            &[],
            "echo x > /dev/null; head -c 2 /dev/zero | { read -rd x; echo ${#REPLY}; }",
            "0\n",
            0,
        ),
        (&[], "stat -c %t:%T:%f /dev/null", "1:3:21b6\n", 0),
        (&[], "ls -A /tmp /dev/shm /proc/acpi 2>&1 | grep -v :", "\n\n", 0),
        (&[], "umask; ulimit -c", "0022\n0\n", 0),
        (&["--network", "host"], "grep -c lo: /proc/net/dev", "1\n", 0),
    ]);
}

const ROOT: &str = "bin dev etc home lib lib64 media mnt opt proc run sys tmp usr var work\n";

const DEV: &str = "/dev/fd /dev/full /dev/null /dev/ptmx /dev/pts /dev/random /dev/shm /dev/stderr \
                   /dev/stdin /dev/stdout /dev/tty /dev/urandom /dev/zero\n";

#[test]
fn limits_hold_or_the_reason_is_reported() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let output = world.run(user, &["--pids", "7"], "cat /proc/self/cgroup");
        if world.can_limit(user) {
            assert!(output.stdout.contains("0::/\n"), "{output:?}");
            assert_eq!(output.status, Some(0), "{output:?}");
        } else {
            let reason = "error[LAUNCH]: cannot limit to 7 processes: ";
            assert!(output.stderr.starts_with(reason) && output.stdout.is_empty(), "{output:?}");
            assert_eq!(output.status, Some(125));
        }
    }
}

/// As root. An out-of-memory kill ends the whole job, and no group is left.
#[test]
fn limits_hold_in_version_1_of_control_groups() {
    let Some(world) = World::get() else { return };
    let all = ["memory", "cpu", "pids"].map(hierarchy);
    if !nix::unistd::geteuid().is_root() || all.contains(&None) {
        skip::not_applicable("root limits by cgroup v1 where a host has that");
        return;
    }
    let grow = "(a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done); echo survived";
    for (options, script, stdout, status) in [
        (&["--memory=50M"][..], "cat /sys/fs/cgroup/memory/memory.limit_in_bytes", "52428800\n", 0),
        (&["--cpu=0.5", "--memory=1G"], "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n", 0),
        (&["--pids=3"], "{ sleep 9 & sleep 9 & sleep 9 & } 2>/dev/null; echo alive", "", 254),
        (&["--memory=50M"], grow, "", 137),
        (&["--memory=50M", "--init"], grow, "", 137),
    ] {
        let child = world.command(None, &World::shell(options, script)).spawn().unwrap();
        let name = format!("joblet-exec.job.{}.", child.id());
        let output = finish(child);
        assert_eq!((output.stdout.as_str(), output.status), (stdout, Some(status)), "{output:?}");
        assert_eq!(output.stderr.contains("more than its 50 MiB"), status == 137, "{output:?}");
        let left = all.iter().flatten().flat_map(|dir| fs::read_dir(dir).unwrap().flatten());
        assert!(!left.into_iter().any(|it| it.file_name().to_string_lossy().starts_with(&name)));
    }
}

#[test]
fn a_job_changes_only_what_is_its_own() {
    let Some(world) = World::get() else { return };
    check(&[
        (
            &[],
            "for f in / /usr /usr/bin /bin /dev /dev/pts /proc; do touch $f/x; done 2>&1 | grep -c -e Read-only -e 'Permission denied' -e 'No such'",
            "7\n",
            0,
        ),
        (
            &[],
            "rm -rf /usr /bin 2>/dev/null; chmod 777 /usr 2>&1 | grep -o Read-only; ls -d /usr/bin/bash",
            "Read-only\n/usr/bin/bash\n",
            0,
        ),
        (&[], "touch /tmp/x /dev/shm/x /work/x; ls /tmp /dev/shm", "/dev/shm:\nx\n\n/tmp:\nx\n", 0),
        (&[], "ls /tmp", "", 0),
        (
            &[],
            "pwd; cat in.txt; echo new > in.txt; mkdir -p d/e; mv d f; cat in.txt; ls",
            "/work\nhello\nnew\nf\nin.txt\n",
            0,
        ),
        (&[], "rm in.txt; ls", "", 0),
        (&[], "cat /var/lib/state; mkdir /var/x; ls /var", "old\nlib\ntmp\nx\n", 0),
        (&[], "echo 1 > /proc/sys/kernel/core_pattern", "", 1),
        (&[], "echo h > /proc/sysrq-trigger", "", 1),
        (
            &[],
            "cd /proc; for f in key-users keys latency_stats sched_debug timer_list kcore kpage* pagetypeinfo slabinfo vmallocinfo; do head -c 1 $f; done 2>/dev/null; ls -A acpi asound scsi dynamic_debug 2>/dev/null | grep -v -e : -e '^$'",
            "",
            1,
        ),
        (
            &[],
            "test $(id -u) != 0 || for f in sys irq bus fs; do test ! -e /proc/$f || grep -q \" /proc/$f ro\" /proc/self/mountinfo || echo $f; done",
            "",
            0,
        ),
        (&["--tmpfs", "/scratch"], "touch /scratch/x; ls /scratch", "x\n", 0),
    ]);
    assert_eq!(fs::read_to_string(world.path("cwd/in.txt")).unwrap(), "hello\n");
    assert_eq!(fs::read_dir(world.path("cwd")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(world.path("store/demo/isolated/var")).unwrap().count(), 1);
}

#[test]
fn a_job_has_no_privileges() {
    check(&[
        (
            &[],
            "grep -h -e ^Cap -e ^NoNew -e ^Seccomp: -e SigIgn -e SigBlk /proc/self/status",
            STATUS,
            0,
        ),
        (
            &[],
            "echo /proc/self/fd/*",
            "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n",
            0,
        ),
        (
            &[],
            "unshare -U true; unshare -m true; nsenter -t 1 -m true; chroot / true; mount -t tmpfs x /tmp; mount -o remount,rw /usr; :",
            "",
            0,
        ),
    ]);
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for script in
            ["unshare -U echo in", "unshare -m echo in", "chroot / echo in", "mount -t proc x /tmp"]
        {
            let output = world.run(user, &[], script);
            assert!(output.stdout.is_empty() && output.status != Some(0), "{script} {output:?}");
        }
        let id = world.run(user, &[], "id -u").stdout;
        let want = user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        assert_eq!(id.trim(), want.to_string());
    }
}

const STATUS: &str = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n\
    CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
    CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

#[test]
fn the_environment_is_exact() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let words = ["--env", "A=B=C", "--env", "FOO=own", "--runtime=demo", "--", "env"];
        let output = finish(
            world.command(user, &words).env("TOKEN", "x").env("LD_PRELOAD", "/x").spawn().unwrap(),
        );
        let uid = user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let name = crate::places::name_on_host("/etc/passwd", uid);
        let (id, tar) = (format!("LOGNAME={name}"), crate::places::tar_options(uid));
        assert_eq!(
            output.stdout,
            format!("A=B=C\nFOO=own\nHOME=/tmp\n{id}\nPATH=/usr/bin:/bin\n{tar}USER={name}\n")
        );
    }
}

#[test]
fn the_status_is_the_jobs() {
    check(&[
        (&[], "exit 0", "", 0),
        (&[], "exit 1", "", 1),
        (&[], "exit 7", "", 7),
        (&[], "exit 125", "", 125),
        (&[], "exit 255", "", 255),
        (&[], "(kill -KILL $BASHPID); exit $?", "", 137),
        (&["--timeout", "0.3"], "echo on; sleep 60", "on\n", 124),
        (&["--timeout", "0.3"], "trap 'echo asked; exit 3' TERM; sleep 60 & wait", "asked\n", 124),
        (&[], "for i in {1..100}; do sleep 60 & done; exit 5", "", 5),
    ]);
}

#[test]
fn programs_that_cannot_run_are_reported_with_the_reason() {
    let Some(world) = World::get() else { return };
    let cwd = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = world.path("outside").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    cwd("plain", "echo\n", 0o755);
    cwd("image", "\u{0}\u{1}\n", 0o755);
    cwd("lost", "#!/opt/python\n", 0o755);
    cwd("data", "#!/bin/sh\n", 0o644);
    cwd("good", "#!/bin/sh\necho good\n", 0o755);
    for user in World::users() {
        for (command, status, reason) in [
            ("./good", 0, ""),
            ("no-such", 127, "no-such: not found in the runtime; PATH there is /usr/bin:/bin"),
            (
                "./no-such",
                127,
                "./no-such: not found in the job, which sees the runtime and the current",
            ),
            ("./plain", 0, ""),
            ("./image", 126, "no #! line"),
            ("./lost", 126, "its interpreter /opt/python is not in the runtime"),
            ("./data", 126, "has no execute permission"),
            ("/usr", 126, "is a directory"),
        ] {
            let mut run = world.command(user, &["--runtime=demo", "--", command]);
            let output = finish(run.current_dir(world.path("outside")).spawn().unwrap());
            assert_eq!(output.status, Some(status), "{command} {output:?}");
            assert!(output.stderr.contains(reason), "{command} {output:?}");
        }
    }
}

#[test]
fn the_hosts_root_is_out_of_reach() {
    let Some(world) = World::get() else { return };
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for user in World::users() {
        let mounts = world.run(user, &[], "cat /proc/self/mountinfo").stdout;
        let points: Vec<_> = mounts.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
        let known = "/ /proc /dev /sys /run /tmp /usr /bin /lib /lib64 /var /work"
            .split(' ')
            .collect::<Vec<_>>();
        let unknown = |point: &&&str| {
            !known.iter().any(|known| {
                *point == known || point.starts_with(&format!("{known}/")) && *known != "/"
            })
        };
        assert_eq!(points.iter().find(unknown), None, "{mounts}");
        assert_eq!(points.iter().filter(|point| **point == "/").count(), 1, "{mounts}");
        let writable = |line: &&str| {
            let fields: Vec<_> = line.split(' ').collect();
            ["/usr", "/bin", "/lib", "/lib64"].contains(&fields[4]) && !fields[5].starts_with("ro,")
        };
        assert_eq!(mounts.lines().find(writable), None);
        // The host's root directory is never shared.
        let mut run = world.command(user, &World::shell(&[], "ls -A"));
        let output = finish(run.current_dir("/").spawn().unwrap());
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(0)), "{output:?}");
        let mut run = world.command(user, &World::shell(&[], "ls -A"));
        let output = finish(run.current_dir("/sys").spawn().unwrap());
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(0)), "{output:?}");
    }
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(before, after);
}

#[test]
fn links_do_not_lead_out() {
    let Some(world) = World::get() else { return };
    let outside = world.path("outside/victim");
    fs::create_dir_all(&outside).unwrap();
    let out = outside.to_str().unwrap();
    for (name, link, mounts, status, reason) in [
        (
            "absolute-source",
            out,
            "{ source: isolated/data, target: /data }",
            125,
            "mounts[1]: source \"isolated/data\" leads out",
        ),
        (
            "relative-source",
            "../../../outside/victim",
            "{ source: isolated/data, target: /data }",
            125,
            "leads out",
        ),
        (
            "magic-source",
            "/proc/self/root",
            "{ source: isolated/data, target: /data }",
            125,
            "leads out",
        ),
        ("target", out, "{ source: isolated/etc, target: /usr/share/data/x }", 0, ""),
        ("legal-target", "/run", "{ source: isolated/etc, target: /usr/share/data/x }", 0, ""),
        (
            "odd-proc",
            "/proc",
            "{ source: isolated/etc, target: /usr/share/data/1/fd }",
            125,
            "is a link into /proc",
        ),
    ] {
        let root = world.path("store").join(name);
        fs::create_dir_all(root.join("isolated/etc")).unwrap();
        fs::create_dir_all(root.join("isolated/usr/share")).unwrap();
        for dir in ["bin", "lib", "lib64"] {
            let from = world.path("store/demo/isolated/usr").join(dir);
            let copied =
                Command::new("cp").arg("-r").arg(from).arg(root.join("isolated/usr")).status();
            assert!(copied.unwrap().success());
        }
        symlink(link, root.join("isolated/data")).unwrap();
        symlink(link, root.join("isolated/usr/share/data")).unwrap();
        for dir in ["lib", "lib64"] {
            symlink(format!("usr/{dir}"), root.join("isolated").join(dir)).unwrap();
        }
        let system = "  - { source: isolated/lib, target: /lib }\n  - { source: isolated/lib64, target: /lib64 }\n";
        let yaml = format!(
            "name: d\nmounts:\n  - {{ source: isolated/usr, target: /usr }}\n  - {mounts}\n{system}"
        );
        fs::write(root.join("runtime.yml"), yaml).unwrap();
        for user in World::users() {
            let spec = format!("--runtime={name}");
            let words = [spec.as_str(), "--", "/usr/bin/bash", "-c", ":"];
            let output = finish(world.command(user, &words).spawn().unwrap());
            assert_eq!(output.status, Some(status), "{name} {output:?}");
            assert!(output.stderr.contains(reason), "{name} {output:?}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn binds_and_directories_are_as_asked() {
    let Some(world) = World::get() else { return };
    let outside = world.path("outside").to_str().unwrap().to_owned();
    let (ro, rw) = (format!("{outside}:/data:ro"), format!("{outside}:/data:rw"));
    for user in World::users() {
        let write = "echo x > /data/written && cat /data/written";
        assert_eq!(world.run(user, &["--bind", &ro], write).status, Some(1));
        let output = world.run(user, &["--bind", &rw], write);
        assert_eq!(output.stdout, "x\n", "{output:?}");
        assert_eq!(fs::read_to_string(world.path("outside/written")).unwrap(), "x\n");
        fs::remove_file(world.path("outside/written")).unwrap();
        // Nothing is created on the host, not even a mount point.
        let output =
            world.run(user, &["--bind", &rw, "--tmpfs", "/other", "--bind", "/etc:/data/x"], ":");
        assert!(output.stderr.contains("/data/x does not exist"), "{output:?}");
        let file = fs::File::open("/etc").unwrap();
        let output =
            finish(world.command(user, &World::shell(&[], ":")).stdin(file).spawn().unwrap());
        assert!(output.stderr.contains("standard input is a directory"), "{output:?}");
        for (options, stdout, reason) in [
            (["--workdir", "/usr/bin"], "/usr/bin\n", ""),
            (["--workdir", "/no"], "", "does not exist in the job"),
            (["--workdir", "/proc/self/fd/7"], "", "not a directory to work in"),
            (["--workdir", "/proc/self/cwd"], "", "not a directory to work in"),
            (["--bind", "/no:/data"], "", "cannot mount /no on /data read-only: No such file"),
            (["--bind", "/etc:/usr/no"], "/work\n", ""),
            (["--bind", "/etc:/work/a/b"], "/work\n", ""),
            (["--bind", "/etc:/proc/x"], "", "is reserved: every job gets its own"),
        ] {
            let output = world.run(user, &options, "pwd");
            assert_eq!(output.stdout, stdout, "{options:?} {output:?}");
            assert!(output.stderr.contains(reason), "{options:?} {output:?}");
        }
    }
}

#[test]
fn open_files_of_the_caller_stay_out() {
    let Some(world) = World::get() else { return };
    let inner = World::shell(&[], "echo /proc/self/fd/*");
    let script = "for fd in {3..90}; do eval \"exec $fd<$1\"; done; shift; exec \"$@\"";
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(world.path("outside")).args(world.program());
    let output = bash.args(inner).current_dir(world.path("cwd")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    // The fourth is the shell's own, for the listed directory.
    assert_eq!(stdout.split_whitespace().last(), Some("/proc/self/fd/3"), "{stdout}");
}

#[test]
fn a_job_can_have_another_user() {
    check(&[
        (
            &["--user", "1234:55"],
            "id -u; id -g; touch x /tmp/x; stat -c %u:%g x",
            "1234\n55\n1234:55\n",
            0,
        ),
        (
            &["--user", "1234:55"],
            "grep -h -e ^CapPrm -e ^CapBnd /proc/self/status",
            "CapPrm:\t0000000000000000\nCapBnd:\t0000000000000000\n",
            0,
        ),
        (
            &["--user", "0:0"],
            "id -u; grep CapEff /proc/self/status",
            "0\nCapEff:\t0000000000000000\n",
            0,
        ),
    ]);
}

/// Starts a script and waits for its first line of output.
fn started(world: &World, user: Option<u32>, script: &str) -> Child {
    let mut child = world.command(user, &World::shell(&[], script)).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn signals_do_what_they_do_to_any_program() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (script, signal, status) in [
            ("echo ready; sleep 60", Signal::SIGTERM, 143),
            ("echo ready; sleep 60", Signal::SIGINT, 130),
            ("echo ready; sleep 60", Signal::SIGHUP, 129),
            ("echo ready; sleep 60", Signal::SIGUSR1, 138),
            ("trap 'exit 7' TERM; echo ready; sleep 60 & wait", Signal::SIGTERM, 7),
            ("trap 'exit 8' USR2; echo ready; sleep 60 & wait", Signal::SIGUSR2, 8),
            ("trap '' TERM; echo ready; sleep 0.5; exit 9", Signal::SIGTERM, 9),
            ("echo ready; sleep 0.5; exit 9", Signal::SIGWINCH, 9),
        ] {
            let child = started(world, user, script);
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
            let output = finish(child);
            assert_eq!(output.status, Some(status), "{user:?} {script} {signal}");
        }
    }
}

/// SEC-B13: including real-time signals, and those of watchdogs and limits.
#[test]
fn every_signal_that_can_be_caught_is_forwarded() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (script, number, status) in [
            ("echo ready; sleep 60", 37, 165),
            ("echo ready; sleep 60", 64, 192),
            ("trap 'exit 7' RTMIN+3; echo ready; sleep 60 & wait", 37, 7),
            ("echo ready; sleep 60", 6, 134),
            ("echo ready; sleep 60", 14, 142),
            ("trap 'exit 8' XCPU; echo ready; sleep 60 & wait", 24, 8),
            ("echo ready; sleep 0.5; exit 9", 23, 9), // URG does nothing by itself
        ] {
            for options in [&[][..], &["--init"]] {
                let words = World::shell(options, script);
                let mut child = world.command(user, &words).spawn().unwrap();
                child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
                send(&child, number);
                let output = finish(child);
                assert_eq!(output.status, Some(status), "{user:?} {options:?} {script} {number}");
            }
        }
    }
}

fn send(child: &Child, number: i32) {
    let words = [format!("-{number}"), child.id().to_string()];
    assert!(Command::new("kill").args(words).status().unwrap().success());
}

/// The kernel does not deliver SIGPIPE to PID 1; the launcher performs its default action.
#[test]
fn a_job_without_a_reader_ends_by_sigpipe() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (script, read, status) in [
            ("while :; do echo y; done", "head -1", 141),
            ("while sleep 0.1; do echo y; done", "head -1", 141),
            // It handles or ignores the signal, or does not write any more.
            ("trap '' PIPE; while echo y; do :; done; exit 7", "head -1", 7),
            ("echo y; sleep 1; exit 8", "head -1", 8),
            ("for n in 1 2 3; do echo y; sleep 0.1; done; exit 9", "cat", 9),
        ] {
            for options in [&[][..], &["--init"]] {
                let words = World::shell(options, script);
                let pipe =
                    format!("\"$@\" 2>/dev/null | {read} | sort -u; echo ${{PIPESTATUS[0]}}");
                let mut run = Command::new("timeout");
                run.args(["20", "bash", "-c", &pipe, "bash"]).args(world.program()).args(words);
                run.current_dir(world.path("cwd")).stdin(Stdio::null()).stdout(Stdio::piped());
                if let Some(user) = user {
                    run.uid(user).gid(user);
                }
                let output = finish(run.spawn().unwrap());
                assert_eq!(
                    output.stdout,
                    format!("y\n{status}\n"),
                    "{user:?} {options:?} {script}"
                );
            }
        }
    }
}

/// Number of processes whose command line contains `mark`.
fn processes(mark: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(mark)
        })
        .count()
}

#[test]
fn nothing_outlives_the_launcher() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let mark = format!("77{}", std::process::id());
        let mut child = started(world, user, &format!("sleep {mark} & echo ready; sleep {mark}"));
        assert!(processes(&mark) >= 2);
        child.kill().unwrap();
        child.wait().unwrap();
        gone(&mark);
        // At every moment of the start.
        for delay in 0..60 {
            let options: &[&str] = if delay % 2 == 0 { &[] } else { &["--user", "1234:55"] };
            let words = World::shell(options, &format!("sleep {mark}"));
            let mut child = world.command(user, &words).spawn().unwrap();
            thread::sleep(Duration::from_micros(delay * 150));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        gone(&mark);
    }
}

fn gone(mark: &str) {
    let begin = Instant::now();
    while processes(mark) > 0 {
        assert!(begin.elapsed() < Duration::from_secs(1), "processes remain");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Hosts like containers and hardened servers: commands that wrap the program.
#[test]
fn hosts_without_user_namespaces_are_named_with_their_cure() {
    let Some(world) = World::get() else { return };
    let inside = |words: &[&str]| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--user", "--map-root-user"]).args(words).args(world.program());
        let unshare = unshare.args(World::shell(&[], "id -u")).current_dir(world.path("cwd"));
        let output = unshare.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), output.stdout)
    };
    // Root of a user namespace needs no other one.
    let (status, stderr, stdout) = inside(&[]);
    assert_eq!((status, stderr.as_str(), stdout.as_slice()), (Some(0), "", &b"0\n"[..]));
    let none = "echo 0 > /proc/sys/user/max_user_namespaces
                exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    let (status, stderr, _) = inside(&["sh", "-c", none, "sh"]);
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains("disabled by user.max_user_namespaces=0"), "{stderr}");
    assert!(stderr.contains("`sysctl -w user.max_user_namespaces=15000` fixes it"), "{stderr}");
}

#[test]
fn versions_run_side_by_side() {
    let Some(world) = World::get() else { return };
    for version in ["1.9.0", "1.10.0"] {
        let root = world.copy_runtime(&format!("two-{version}"));
        fs::write(root.join("isolated/usr/version"), version).unwrap();
    }
    for user in World::users() {
        for (spec, version) in [("two", "1.10.0"), ("two@1.9.0", "1.9.0"), ("two@1.10.0", "1.10.0")]
        {
            let runtime = format!("--runtime={spec}");
            let words = [runtime.as_str(), "cat", "/usr/version"];
            let output = finish(world.command(user, &words).spawn().unwrap());
            assert_eq!(output.stdout, version, "{spec} {output:?}");
        }
    }
}
