//! Attacks of a job on its host. Each fails against the program under test, and succeeds against a build
//! with one protection disabled (`examples/weakened.rs`): otherwise the test proves nothing.

use crate::common::skip::not_applicable;
use crate::support::attack::{
    Attack, WEAKEN, attack, can_weaken, probed, program, root, start, wrapper,
};
use crate::support::pty::Pty;
use crate::support::{Output, World, becomes, finish, kill_sleepers, processes};
use serde_json::Value;
use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{PermissionsExt, symlink},
            net::{SocketAddr, UnixListener},
        },
    },
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

#[test]
fn the_shipped_program_cannot_be_weakened() {
    let Some(world) = probed() else { return };
    let contains = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(WEAKEN.len()).any(|part| part == WEAKEN.as_bytes())
    };
    assert!(!contains(&crate::common::program()));
    if can_weaken(world) {
        assert!(contains(&world.path("weakened")));
    }
    let words = World::shell(&[], "probe userns");
    let mut run = world.command(None, &words);
    let output = finish(run.env(WEAKEN, "seccomp,drop-privileges").spawn().unwrap());
    assert_eq!(output.stdout, "{\"result\": -1, \"errno\": 1}\n");
}

/// SEC-B01: a symlink of the runtime to the host.
#[test]
fn a_link_leads_to_no_file_of_the_host() {
    let Some(world) = probed() else { return };
    let (root, victim) = (world.copy_runtime("leaky"), world.path("outside/secret"));
    fs::create_dir_all(&victim).unwrap();
    fs::write(victim.join("file"), "secret\n").unwrap();
    symlink(&victim, root.join("isolated/data")).unwrap();
    let yaml = fs::read_to_string(root.join("runtime.yml")).unwrap();
    let mount = "mounts:\n  - { source: isolated/data, target: /data }";
    fs::write(root.join("runtime.yml"), yaml.replace("mounts:", mount)).unwrap();
    for user in World::users() {
        let before = wrapper(user, ":", "private");
        let words = ["--runtime=leaky", "cat", "/data/file"].map(str::to_owned);
        let output = finish(start(world, &before, "", &words));
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)), "{output:?}");
        if can_weaken(world) {
            let output = finish(start(world, &before, "within", &words));
            assert_eq!(output.stdout, "secret\n", "{output:?}");
        }
    }
}

/// SEC-B02: a job's own mounts cannot be redirected by symlinks, or covered.
#[test]
fn odd_root_directories_lead_nowhere() {
    let Some(world) = probed() else { return };
    let (root, victim) = (world.copy_runtime("odd"), world.path("outside/victim"));
    fs::create_dir_all(&victim).unwrap();
    for name in ["proc", "sys", "dev"] {
        symlink(&victim, root.join("isolated").join(name)).unwrap();
    }
    let yaml = fs::read_to_string(root.join("runtime.yml")).unwrap();
    for (link, target, status) in [
        ("/dev", "/usr/share/link/null", 0),
        ("/dev/pts", "/usr/share/link", 0),
        ("/dev/shm", "/usr/share/link", 0),
        ("/proc", "/usr/share/link/sys", 125),
        ("/proc/self/root", "/usr/share/link/x", 0),
        ("/sys", "/usr/share/link/x", 0),
        (victim.to_str().unwrap(), "/usr/share/link/x", 0),
    ] {
        let at = root.join("isolated/usr/share/link");
        _ = fs::remove_file(&at);
        symlink(link, &at).unwrap();
        let source = if target.ends_with("null") { "isolated/file" } else { "isolated/var" };
        fs::write(root.join("isolated/file"), "").unwrap();
        let mount = format!("mounts:\n  - {{ source: {source}, target: {target} }}");
        fs::write(root.join("runtime.yml"), yaml.replace("mounts:", &mount)).unwrap();
        for user in World::users() {
            let words = ["--runtime=odd", "--", "bash", "-c", "echo $$ /proc/self/fd/1"];
            let output = finish(world.command(user, &words).spawn().unwrap());
            assert_eq!(output.status, Some(status), "{user:?} {link} {target} {output:?}");
            let out = if status == 0 { "1 /proc/self/fd/1\n" } else { "" };
            assert_eq!(output.stdout, out, "{output:?}");
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{link}");
    }
}

/// SEC-B03: links inside the root are followed.
#[test]
fn legal_links_work() {
    let Some(world) = probed() else { return };
    let root = world.copy_runtime("legal");
    symlink("/run", root.join("isolated/var/run")).unwrap();
    fs::create_dir(root.join("isolated/etc")).unwrap();
    fs::write(root.join("isolated/etc/f"), "there\n").unwrap();
    let yaml = fs::read_to_string(root.join("runtime.yml")).unwrap();
    let yaml = yaml
        .replace("environment:", "  - { source: isolated/etc, target: /var/run/x }\nenvironment:");
    fs::write(root.join("runtime.yml"), yaml).unwrap();
    for user in World::users() {
        let words = ["--runtime=legal", "--", "cat", "/run/x/f", "/var/run/x/f"];
        let output = finish(world.command(user, &words).spawn().unwrap());
        assert_eq!(output.stdout, "there\nthere\n", "{output:?}");
    }
}

/// SEC-B04, SEC-B15, SEC-B16: an invalid `runtime.yml` is refused, by install and run.
#[test]
fn a_runtime_yml_is_checked_before_anything_is_done() {
    let Some(world) = probed() else { return };
    let mount = |source: &str, target: &str| {
        format!(
            "name: bad\nmounts:\n  - {{ source: isolated/usr, target: /usr }}\n  - {{ source: {source}, target: {target} }}\n"
        )
    };
    let env = |pair: &str| format!("name: bad\nmounts: []\nenvironment: {{ {pair} }}\n");
    let many: String =
        (0..10_000).map(|n| format!("  - {{ source: isolated/usr, target: /m{n} }}\n")).collect();
    let bomb = (0..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        format!("{text}a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}]\n", n + 1, n + 1)
    });
    let cases = [
        (mount("../other-1.0.0", "/x"), "mounts[1]"),
        (mount("/etc", "/x"), "mounts[1]"),
        (mount(".", "/x"), "mounts[1]"),
        (mount("isolated/usr", "/"), "mounts[1]"),
        (mount("isolated/usr", "/a/../x"), "mounts[1]"),
        (mount("isolated/usr", "rel"), "mounts[1]"),
        (mount("isolated/usr", "/proc/x"), "mounts[1]"),
        (mount("isolated/usr", "/usr"), "mounts[1]"),
        (format!("name: bad\nmounts:\n{many}"), "larger than"),
        (env("\"A=B\": c"), "A=B"),
        (env("\"\": c"), "environment"),
        (env("A: \"a\\0b\""), "A"),
        (format!("{bomb}name: bad\nmounts: []\n"), "a0"),
        (
            format!("name: bad\nmounts: {}{}\n", "[".repeat(10_000), "]".repeat(10_000)),
            "line 2 nests too deeply",
        ),
        ("name: bad\nname: bad\nmounts: []\n".into(), "duplicate field `name`"),
        (
            "name: bad\nmounts:\n  - { source: isolated/usr, target: /usr, readonly: \"no\" }\n"
                .into(),
            "line 3",
        ),
        (format!("name: bad\nmounts: []\n#{}\n", "x".repeat(1 << 20)), "larger than"),
        ("\u{feff}name: bad\nmounts: []\n".into(), "line 1 begins with a byte order mark"),
    ];
    let root = world.copy_runtime("bad");
    let mut installer = crate::common::World::new();
    for (index, (yaml, reason)) in cases.iter().enumerate() {
        fs::write(root.join("runtime.yml"), yaml).unwrap();
        let begin = Instant::now();
        let words = ["--runtime=bad", "--", "true"];
        let output = finish(world.command(None, &words).spawn().unwrap());
        assert_eq!(output.status, Some(125), "{yaml:.300} {output:?}");
        let stderr = &output.stderr;
        assert!(
            stderr.starts_with("error[CONFIG]") && stderr.contains(reason),
            "{yaml:.300} {stderr}"
        );
        assert!(begin.elapsed() < Duration::from_secs(5), "{yaml:.300}");
        let version = format!("1.0.{index}");
        let (directory, usr) =
            (format!("bad-{version}/runtime.yml"), format!("bad-{version}/isolated/usr/x"));
        let archive = crate::common::gzip(&crate::common::tar(&[(&directory, yaml), (&usr, "")]));
        installer.publish_archive("bad", &version, &archive);
        let outcome = installer.exec(["install", &format!("bad@{version}")]);
        assert_eq!(outcome.status, Some(17), "{yaml:.300} {outcome:?}");
    }
    installer.assert_store(&[]);
    // CRLF line ends are valid.
    let yaml = fs::read_to_string(world.path("store/demo/runtime.yml")).unwrap();
    fs::write(root.join("runtime.yml"), yaml.replace('\n', "\r\n")).unwrap();
    let output = finish(world.command(None, &["--runtime=bad", "id"]).spawn().unwrap());
    assert_eq!(output.stderr, "");
}

/// SEC-B05: the runtime and all mounts below it are read-only, for root too.
#[test]
fn a_job_cannot_write_its_runtime() {
    let Some(world) = probed() else { return };
    let loose = world.path("store/demo/isolated/usr/share/loose");
    let prepare = format!("mount -t tmpfs -o mode=777 t {}/nested", loose.display());
    let before = crate::common::snapshot(&loose);
    let script = "cd /usr/share/loose; { echo x > x && echo here; echo x > nested/x && echo below; \
                  mv x y && echo moved; mount -o remount,rw /usr && echo remounted; \
                  chmod 700 nested && echo mode; rm -rf /usr; } 2>/dev/null; ls -d /usr/bin/bash";
    let held = "/usr/bin/bash\n";
    attack(
        &World::users(),
        &prepare,
        &[Attack {
            without: "recursive",
            options: &[],
            script: "cd /usr/share/loose; { echo x > nested/x && echo below; } 2>/dev/null; :",
            held: "",
            broken: "below\n",
        }],
    );
    for user in World::users() {
        let output = finish(start(
            world,
            &wrapper(user, &prepare, "private"),
            "",
            &World::shell(&[], script),
        ));
        assert_eq!(output.stdout, held, "{output:?}");
    }
    assert!(crate::common::snapshot(&loose) == before);
    attack(
        &World::users(),
        ":",
        &[Attack {
            without: "read-only",
            options: &[],
            script: "cd /usr/share/loose; { echo x > x && echo here; rm -f x; } 2>/dev/null; :",
            held: "",
            broken: "here\n",
        }],
    );
}

/// SEC-B05: mount flags of the store's file system are kept, and noexec is named in the message.
#[test]
fn flags_of_the_store_are_kept() {
    let Some(world) = probed() else { return };
    let at = world.path("mounted");
    fs::create_dir_all(&at).unwrap();
    let store = world.path("store/demo");
    for (flags, status, text) in [("nosuid,nodev", 0, ""), ("noexec", 126, "mounted noexec")] {
        let prepare = format!(
            "mount -t tmpfs -o mode=755,{flags} t {at}; cp -r {store} {at}",
            at = at.display(),
            store = store.display()
        );
        for user in World::users() {
            let script = "grep -c ' /usr ro,nosuid,nodev' /proc/self/mountinfo";
            let mut words = World::shell(&[], script);
            words.insert(0, format!("--store={}", at.display()));
            let mut all = program(world, false);
            let twice = all.iter().position(|word| word == "--store").unwrap();
            all.drain(twice..twice + 2);
            let before: Vec<_> =
                wrapper(user, &prepare, "private").into_iter().chain(all).collect();
            let output = Command::new(&before[0]).args(&before[1..]).args(&words).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(status), "{stderr}");
            assert!(stderr.contains(text), "{stderr}");
            assert_eq!(output.stdout, if status == 0 { &b"1\n"[..] } else { b"" });
        }
    }
}

/// SEC-B06: mounts propagate neither from the job nor to it.
#[test]
fn mounts_do_not_propagate() {
    let Some(world) = probed() else { return };
    let (loose, flag) = (world.path("store/demo/isolated/usr/share/loose"), world.path("flag"));
    // A process outside of the job.
    let prepare = format!(
        "(until [ -e {flag} ]; do sleep 0.02; done; mount -t tmpfs t {}/nested; rm {flag}) \
         >/dev/null 2>&1 &",
        loose.display(),
        flag = flag.display()
    );
    let script = "echo ready; read; grep -c ' /usr/share/loose/nested ' /proc/self/mountinfo";
    let weak = can_weaken(world);
    for user in World::users() {
        for (without, new) in [("", "0\n"), ("private-mounts", "1\n")] {
            if !without.is_empty() && !weak {
                continue;
            }
            let words = World::shell(&[], script);
            let mut child = start(world, &wrapper(user, &prepare, "shared"), without, &words);
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            let outside = fs::read_to_string(format!("/proc/{}/mountinfo", child.id())).unwrap();
            let roots = outside.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
            // Mounts of a user namespace never propagate to its parent.
            let out_there = if without.is_empty() || user.is_some() { 1 } else { 2 };
            assert_eq!(roots, out_there, "{user:?} {without} {outside}");
            fs::write(&flag, "").unwrap();
            while flag.exists() {
                thread::sleep(Duration::from_millis(5));
            }
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
            line.clear();
            out.read_line(&mut line).unwrap();
            assert_eq!(line, new, "{user:?} {without}");
            child.wait().unwrap();
        }
    }
}

/// SEC-B07: a job has no descriptor of the caller.
#[test]
fn descriptors_of_the_caller_stay_out() {
    let Some(world) = probed() else { return };
    fs::write(world.path("outside/here"), "").unwrap();
    let weak = can_weaken(world);
    for user in World::users() {
        for (open, without, script, broken) in [
            ("7<", "close-files", "ls /proc/self/fd/7/ 2>/dev/null | grep -x here", "here\n"),
            ("<", "standard-files", "ls /proc/self/fd/0/../outside | grep -x here", "here\n"),
        ] {
            let mut before = wrapper(user, ":", "private");
            let opened = format!("exec {open}{}; exec \"$@\"", world.path("outside").display());
            before.extend(["bash", "-c", &opened, "bash"].map(OsString::from));
            let words = World::shell(&[], script);
            let output = finish(start(world, &before, "", &words));
            assert_eq!(output.stdout, "", "{output:?}");
            if weak {
                let output = finish(start(world, &before, without, &words));
                assert_eq!(output.stdout, broken, "{without} {output:?}");
            }
        }
    }
}

/// SEC-B08: a job cannot open this program for writing, or inspect its parent.
#[test]
fn the_program_is_out_of_reach() {
    let Some(world) = probed() else { return };
    let before = fs::read(world.path("joblet-exec")).unwrap();
    let attack_with = |script, held, broken| Attack {
        without: "not-dumpable",
        options: &["--init"],
        script,
        held,
        broken,
    };
    let read = "probe read /proc/1/exe";
    let (refused, opened) =
        ("{\"result\": -1, \"errno\": 13}\n", "{\"result\": 3, \"errno\": 0}\n");
    attack(&World::users(), ":", &[attack_with(read, refused, opened)]);
    let (none, all) = ("{\"result\": 0, \"errno\": 0}\n", "{\"result\": 1000, \"errno\": 0}\n");
    let (refused, traced) = ("{\"result\": -1, \"errno\": 1}\n", none);
    attack(
        &root(),
        ":",
        &[
            attack_with("probe reopen /proc/1/exe", none, all),
            attack_with("probe ptrace 1", refused, traced),
        ],
    );
    assert!(fs::read(world.path("joblet-exec")).unwrap() == before);
}

/// SEC-B09: sysctls are read-only for root too.
#[test]
fn kernel_settings_are_read_only() {
    const REFUSED: &str = "-1 -1 -1 -1";
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches \
                  /proc/sysrq-trigger /sys/kernel/uevent_helper; do probe write $f; done | \
                  { while read a b c; do echo -n \"${b%,} \"; done; } ; \
                  probe read /proc/kcore | grep -c -e -1 -e 'result.: 3'; ls -A /sys 2>/dev/null; \
                  mount -t proc p /tmp 2>/dev/null || mount -t sysfs s /tmp 2>/dev/null || \
                  mount -t cgroup2 c /tmp 2>/dev/null || echo no mount";
    let held = format!("{REFUSED} 1\ndevices\nfs\nno mount\n");
    let Some(world) = probed() else { return };
    let pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let before = pattern();
    for user in World::users() {
        let output = world.run(user, &[], script);
        assert_eq!(output.stdout, held, "{user:?} {output:?}");
    }
    assert_eq!(pattern(), before);
    attack(
        &root(),
        ":",
        &[Attack {
            without: "kernel-settings",
            options: &[],
            script: "probe write /proc/sys/kernel/core_pattern",
            held: "{\"result\": -1, \"errno\": 30}\n",
            broken: "{\"result\": 3, \"errno\": 0}\n",
        }],
    );
}

/// SEC-B10: a job cannot insert input into the caller's terminal.
#[test]
fn a_job_cannot_type_for_its_caller() {
    let Some(world) = probed() else { return };
    let legacy = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    let possible = legacy.map_or(true, |value| value.trim() == "1");
    if !possible {
        crate::support::not_applicable(
            "the kernel lets nobody insert input (dev.tty.legacy_tiocsti=0)",
        );
    }
    let weak = can_weaken(world) && possible;
    for user in World::users() {
        for (option, without, got) in [
            ("--tty=never", "", "got-."),
            ("--tty", "", "got-."),
            ("--tty", "seccomp", "got-."),
            ("--tty=never", "seccomp,standard-files,session", "got-t"),
        ] {
            if !without.is_empty() && !weak {
                continue;
            }
            let mut pty = Pty::new();
            let variable = format!("{WEAKEN}={without}");
            let mut words: Vec<OsString> = vec!["env".into(), variable.into()];
            words.extend(program(world, !without.is_empty()));
            let job = World::shell(&[option], "probe type; echo done-$?");
            words.extend(job.into_iter().map(OsString::from));
            let after = "read -t 0.3 x; echo \"got-$x.\"";
            let mut child = pty.start(user, &words, after);
            pty.expect("done-");
            pty.expect(got);
            child.wait().unwrap();
        }
    }
}

/// The report of the probe.
fn report(world: &World, user: Option<u32>, options: &[&str]) -> Value {
    let output = world.run(user, options, "exec probe");
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error} {output:?}"))
}

/// SEC-B11: a job has no privileges, and no system call gives it any.
#[test]
fn a_job_has_no_privileges_and_cannot_gain_any() {
    let Some(world) = probed() else { return };
    for user in World::users() {
        for (options, pid) in [(&[][..], 1), (&["--init"], 2), (&["--user=1234:55"], 1)] {
            let found = report(world, user, options);
            for capability in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk", "SigIgn"]
            {
                assert_eq!(found[capability], "0000000000000000", "{capability} {found}");
            }
            let want = [("NoNewPrivs", "1"), ("Seccomp", "2")];
            assert!(want.iter().all(|(name, value)| found[name] == *value), "{found}");
            assert_eq!(found["pid"], pid);
            assert_eq!(found["fds"], serde_json::json!([0, 1, 2]));
            assert_eq!(found["core"], 0);
            let calls = found["calls"].as_object().unwrap();
            assert_eq!(calls.len(), 31);
            for (name, errno) in calls {
                // EPERM, ENOSYS, and EAFNOSUPPORT for an address family.
                let want: &[i64] = if name.starts_with("works") { &[0] } else { &[1, 38, 97] };
                assert!(want.contains(&errno.as_i64().unwrap()), "{user:?} {name} {errno}");
            }
        }
    }
    let file = world.path("store/demo/isolated/usr/bin/su-id");
    crate::common::copy_program(world.path("store/demo/isolated/usr/bin/id"), &file);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    for user in World::users() {
        assert_eq!(world.run(user, &["--user=1234"], "su-id -u").stdout, "1234\n");
    }
    let held = "{\"result\": -1, \"errno\": 1}\n";
    let attack_with =
        |without, script, held, broken| Attack { without, options: &[], script, held, broken };
    attack(
        &World::users(),
        ":",
        &[
            attack_with("seccomp", "probe userns", held, "{\"result\": 0, \"errno\": 0}\n"),
            attack_with(
                "drop-privileges",
                "probe | grep -c '\"CapBnd\": \"0000000000000000\"'",
                "1\n",
                "0\n",
            ),
        ],
    );
}

/// SEC-B12: a host with a masked `/proc` is an error, and no weaker sandbox is used.
#[test]
fn a_masked_proc_is_named_with_its_fix() {
    let Some(world) = probed() else { return };
    for user in World::users().into_iter().flatten() {
        let before = wrapper(Some(user), "mount -t tmpfs t /proc/sys", "private");
        let begin = Instant::now();
        let output = finish(start(world, &before, "", &World::shell(&[], "echo on")));
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)), "{output:?}");
        assert!(output.stderr.contains("partly hidden, as in containers"), "{output:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}

/// SEC-B13: all processes of a job end with it.
#[test]
fn orphans_end_with_the_job() {
    let Some(world) = probed() else { return };
    let mark = format!("mark-{}", std::process::id());
    for user in World::users() {
        for options in [&[][..], &["--init"]] {
            let words = ["--runtime=demo", "--", "probe", "orphans", "1000", &mark];
            let words = [options, &words].concat();
            // Reads the output to its end: no process keeps it open.
            let output: Output = finish(world.command(user, &words).spawn().unwrap());
            assert_eq!(output.status, Some(0), "{output:?}");
            assert_eq!(processes(&mark), 0);
        }
    }
}

/// SEC-B14: no process outlives the launcher, at whatever moment it is killed.
#[test]
fn nothing_outlives_a_killed_launcher() {
    let Some(world) = probed() else { return };
    let mark = format!("88{}", std::process::id());
    for user in World::users() {
        for options in [&[][..], &["--init"], &["--user=1234:55"]] {
            for delay in 0..70 {
                let words = World::shell(options, &format!("sleep {mark}; :"));
                // Started by a thread that ends at once, which must not kill the job.
                let mut child = thread::scope(|scope| {
                    let start = || world.command(user, &words).spawn().unwrap();
                    scope.spawn(start).join().unwrap()
                });
                thread::sleep(Duration::from_micros(delay * delay * 8));
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        assert!(becomes(&mark, 0, Duration::from_secs(5)), "processes remain");
    }
    if !can_weaken(world) {
        return;
    }
    let words = World::shell(&[], &format!("echo ready; exec sleep {mark}"));
    let mut child = start(world, &["env".into()], "follow-launcher", &words);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.kill().unwrap();
    child.wait().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(processes(&mark), 1);
    kill_sleepers(&mark);
    assert!(becomes(&mark, 0, Duration::from_secs(5)), "processes remain");
}

/// SEC-B15: the caller's environment is not inherited.
#[test]
fn a_large_environment_stays_outside() {
    let Some(world) = probed() else { return };
    for user in World::users() {
        let mut run = world.command(user, &["--runtime=demo", "--", "env"]);
        for n in 0..16 {
            run.env(format!("JOBLET_EXEC_TOKEN{n}"), "x".repeat(100_000));
        }
        let run = run.env("LD_PRELOAD", "/nowhere/evil.so").env("LD_LIBRARY_PATH", "/nowhere");
        let output = finish(run.spawn().unwrap());
        let uid = user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let name = crate::places::name_on_host("/etc/passwd", uid);
        let tar = crate::places::tar_options(uid);
        let want =
            format!("FOO=bar\nHOME=/tmp\nLOGNAME={name}\nPATH=/usr/bin:/bin\n{tar}USER={name}\n");
        assert_eq!(output.stdout, want, "{output:?}");
    }
}

/// A job of root cannot write to its `/sys`, for its own control group or the host.
#[test]
fn sys_is_only_read() {
    if !nix::unistd::geteuid().is_root() {
        not_applicable("what is in /sys is root's to write");
        return;
    }
    // Writing back the same value; the file exists on every host with several processors.
    let path = "/sys/devices/system/cpu/cpu1/online";
    if fs::metadata(path).is_err() {
        not_applicable("no processor here can be switched off");
        return;
    }
    let script: &'static str = "probe write /sys/devices/system/cpu/cpu1/online";
    attack(
        &[None],
        ":",
        &[Attack {
            without: "sealed-sys",
            options: &[],
            script,
            held: "{\"result\": -1, \"errno\": 30}\n",
            broken: "{\"result\": 3, \"errno\": 0}\n",
        }],
    );
}

/// SEC-B18: a network of its own.
#[test]
fn the_hosts_network_is_out_of_reach() {
    let Some(world) = probed() else { return };
    let name = format!("joblet-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _socket = UnixListener::bind_addr(&address).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let weak = can_weaken(world);
    for user in World::users() {
        assert_eq!(report(world, user, &[])["interfaces"], serde_json::json!(["lo"]));
        let before = wrapper(user, ":", "private");
        // If the namespace of the helper process cannot be entered, the child makes one.
        let mut alone = before.clone();
        if world.path("without").exists() {
            alone.extend([world.path("without").into(), "setns".into()]);
        }
        for attack in [["abstract", &name], ["tcp", &port]] {
            let words = World::shell(&[], &format!("probe {}", attack.join(" ")));
            for before in [&before, &alone] {
                let output = finish(start(world, before, "", &words));
                assert_eq!(output.stdout, "{\"result\": -1, \"errno\": 111}\n", "{output:?}");
            }
            if weak {
                let output = finish(start(world, &before, "network", &words));
                assert_eq!(output.stdout, "{\"result\": 0, \"errno\": 0}\n", "{output:?}");
            }
        }
    }
}
