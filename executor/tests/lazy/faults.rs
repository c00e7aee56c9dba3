//! Faults while a runtime is served.

use super::host::Host;
use super::world::{Cold, Encoding, describe_index};
use crate::common::gzip;
use crate::common::members::{file, noise};
use crate::common::skip::skip;
use crate::support::World as Sandbox;
use flate2::read::GzDecoder;
use joblet_format::index::{Body, Entry, Index, Member};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Length of the file that a host withholds, in bytes.
pub(super) const LARGE: usize = 6 << 20;
/// The file, as the job sees it.
pub(super) const HELD: &str = "/usr/zz/held";

/// A world whose archive is on a host that withholds most of one file.
pub(super) fn held(user: Option<u32>, encoding: Encoding) -> Option<(Cold, Host)> {
    let more = vec![
        crate::common::members::directory("isolated/usr/zz"),
        file("isolated/usr/zz/held", &noise(LARGE)),
    ];
    let mut cold = Cold::with(user, encoding, more)?;
    let host = Host::new(cold.path("registry"));
    cold.registry = Some(format!("{}/registry.json", host.address));
    let name =
        if encoding == Encoding::Frames { "demo-1.0.0.tar.zst" } else { "demo-1.0.0.tar.gz" };
    let length = fs::metadata(cold.path("registry").join(name)).unwrap().len();
    // It does not compress, and the files after it are small.
    *host.rules.held.lock().unwrap() = Some(length - LARGE as u64 + (2 << 20)..length - (2 << 20));
    Some((cold, host))
}

/// Starts a script, and waits for its first line.
pub(super) fn start(
    cold: &Cold,
    options: &[&str],
    script: &str,
) -> (Child, BufReader<ChildStdout>, String) {
    let all: Vec<_> = ["--lazy"].iter().chain(options).copied().collect();
    let mut command = cold.command(&all, &["bash", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    (child, out, line)
}

/// The rest of what a job printed, its status, and messages.
pub(super) fn end(
    mut child: Child,
    mut out: BufReader<ChildStdout>,
) -> (String, Option<i32>, String) {
    let (mut rest, mut messages) = (String::new(), String::new());
    out.read_to_string(&mut rest).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
    (rest, child.wait().unwrap().code(), messages)
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The server process: the launcher's child in the same PID namespace.
pub(super) fn server(launcher: u32) -> u32 {
    let serves = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        ids.is_some_and(|ids| ids.split_whitespace().count() == 1)
    };
    // unshare(1) and the launcher are one process, by exec.
    children(launcher).into_iter().find(serves).expect("a process that serves")
}

pub(super) fn kill(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Asserts that the installation is complete and has fetched nothing twice.
pub(super) fn goes_on(cold: &Cold, host: &Host) {
    host.rules.away.store(false, Ordering::SeqCst);
    host.rules.release.store(true, Ordering::SeqCst);
    let output = cold.run(&[], &format!("cat {HELD} | wc -c"));
    assert_eq!(
        (output.status, output.stdout.trim()),
        (Some(0), LARGE.to_string().as_str()),
        "{}",
        output.stderr
    );
    assert_eq!(cold.left(), [""; 0]);
    assert_eq!(cold.exec(&["verify"]).status, Some(0));
}

/// A job starts and ends before the download; it waits for the files that it reads.
#[test]
fn a_job_starts_before_the_download_ends() {
    for encoding in [Encoding::Members, Encoding::Frames] {
        let Some((cold, host)) = held(None, encoding) else { return };
        let script = format!("echo begun; cat {HELD} | wc -c; exit 3");
        let (child, out, line) = start(&cold, &[], &script);
        assert_eq!(line, "begun\n");
        let archive = fs::metadata(cold.path("registry/demo-1.0.0.tar.gz")).unwrap().len();
        assert!(host.rules.sent.load(Ordering::SeqCst) < archive - (1 << 20));
        host.rules.release.store(true, Ordering::SeqCst);
        let (rest, status, messages) = end(child, out);
        assert_eq!(
            (rest.trim(), status, messages.as_str()),
            (LARGE.to_string().as_str(), Some(3), "")
        );
        // Nothing was fetched twice.
        let all = ["gz", "zst"]
            .map(|kind| fs::metadata(cold.path(&format!("registry/demo-1.0.0.tar.{kind}"))));
        let all = if encoding == Encoding::Frames { &all[1] } else { &all[0] };
        assert_eq!(host.rules.sent.load(Ordering::SeqCst), all.as_ref().unwrap().len());
        goes_on(&cold, &host);
    }
}

/// SEC-F01
#[test]
fn a_killed_server_causes_errors_and_no_hang() {
    for user in Sandbox::users() {
        let Some((cold, host)) = held(user, Encoding::Members) else { return };
        let script = format!("echo begun; cat {HELD} >/dev/null && echo read; echo on; exit 4");
        let (child, out, line) = start(&cold, &[], &script);
        assert_eq!(line, "begun\n");
        kill(server(child.id()), nix::sys::signal::Signal::SIGKILL);
        let (rest, status, messages) = end(child, out);
        // Bash continues from memory or is killed by a signal; it never hangs.
        assert!(!rest.contains("read") && status.is_some(), "{rest} {status:?} {messages}");
        assert!(
            messages
                .contains("is not installed yet: the process that served the runtime was killed"),
            "{messages}"
        );
        goes_on(&cold, &host);
    }
}

/// SEC-F02
#[test]
fn a_job_that_waits_for_a_file_can_be_killed() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let script = format!("echo begun; cat {HELD} >/dev/null & sleep 0.5; exit 7");
    let (mut child, _out, line) = start(&cold, &[], &script);
    assert_eq!(line, "begun\n");
    // The job has ended, and the installation waits for the host.
    let ended = || children(child.id()) == [server(child.id())];
    assert!(comes(ended), "the job is still there");
    let jobs = children(child.id());
    // The launcher is killed, and with it its processes.
    let server = jobs[0];
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Its first thread may be a zombie while another one still holds the lock of the version.
    let gone = || {
        let threads = fs::read_dir(format!("/proc/{server}/task")).map_or(0, Iterator::count);
        let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
        threads == 0 || threads == 1 && stat.contains(") Z ")
    };
    assert!(comes(gone), "the process that serves is still there");
    goes_on(&cold, &host);
}

/// SEC-F02: a silent host delays neither a job's time limit nor a signal to the launcher.
#[test]
fn the_wait_after_the_job_ends_with_its_time_and_by_a_signal() {
    for (options, script, status, why) in [
        (&["--timeout=1s"][..], "exec cat HELD >/dev/null", 124, "the time is over"),
        (&["--timeout=3s"], "exit 5", 5, "the time is over"),
        (&[], "exit 5", 5, "it was stopped by a signal"),
    ] {
        let Some((cold, host)) = held(None, Encoding::Members) else { return };
        let script = format!("echo begun; {}", script.replace("HELD", HELD));
        let (child, out, line) = start(&cold, options, &script);
        assert_eq!(line, "begun\n");
        if options.is_empty() {
            assert!(comes(|| children(child.id()) == [server(child.id())]));
            // It may not wait yet.
            std::thread::sleep(Duration::from_millis(500));
            kill(child.id(), nix::sys::signal::Signal::SIGTERM);
        }
        let (_, ended, messages) = end(child, out);
        let why = format!("demo@1.0.0 is not installed yet: the job has ended, and {why}");
        assert!(
            ended == Some(status) && messages.contains(&why),
            "{options:?} {ended:?} {messages}"
        );
        goes_on(&cold, &host);
    }
}

/// Whether the condition becomes true within ten seconds.
pub(super) fn comes(so: impl Fn() -> bool) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        so()
    })
}

/// SEC-F06: a job that waits for a response could not be killed.
#[test]
fn a_stopped_server_process_is_continued() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let script = format!("echo begun; exec cat {HELD} >/dev/null");
    let (child, out, line) = start(&cold, &["--timeout", "2s"], &script);
    assert_eq!(line, "begun\n");
    let server = server(child.id());
    kill(server, nix::sys::signal::Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(1));
    let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
    assert!(!stat.contains(") T "), "{stat}");
    std::thread::sleep(Duration::from_secs(3));
    host.rules.release.store(true, Ordering::SeqCst);
    assert_eq!(end(child, out).1, Some(124));
    goes_on(&cold, &host);
}

/// SEC-F03: a long network failure; takes half a minute.
#[test]
fn a_network_that_stays_away_is_an_io_error_that_names_the_file() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let script =
        format!("echo begun; cat {HELD} >/dev/null; echo $?; cat {HELD} >/dev/null; exit 5");
    let (child, out, line) = start(&cold, &[], &script);
    assert_eq!(line, "begun\n");
    host.rules.away.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let (rest, status, messages) = end(child, out);
    assert!(begin.elapsed() > Duration::from_secs(20) && begin.elapsed() < Duration::from_secs(90));
    assert_eq!((rest.as_str(), status), ("1\n", Some(5)), "{messages}");
    let named =
        "usr/zz/held of the runtime cannot be read: the network is down; the job got an I/O error";
    assert!(messages.contains(named) && messages.contains("Input/output error"), "{messages}");
    assert!(messages.contains("demo@1.0.0 is not installed yet: "), "{messages}");
    goes_on(&cold, &host);
}

/// SEC-F04
#[test]
fn content_with_wrong_digests_is_never_served() {
    for encoding in [Encoding::Members, Encoding::Frames] {
        let Some((cold, host)) = held(None, encoding) else { return };
        let name = if encoding == Encoding::Frames { "tar.zst" } else { "tar.gz" };
        let archive = cold.path(&format!("registry/demo-1.0.0.{name}"));
        let good = fs::read(&archive).unwrap();
        let mut bytes = good.clone();
        let at = bytes.len() - LARGE / 2;
        bytes[at] ^= 1;
        fs::write(&archive, bytes).unwrap();
        let script = format!("echo begun; cat {HELD} >/dev/null; echo $?; echo {{1..9}}; exit 6");
        // The shell comes before the wrong content, after which nothing is fetched.
        let (child, out, line) = start(&cold, &[], &script);
        assert_eq!(line, "begun\n");
        host.rules.release.store(true, Ordering::SeqCst);
        let (rest, status, messages) = end(child, out);
        let want = ("1\n1 2 3 4 5 6 7 8 9\n", Some(6));
        assert_eq!((rest.as_str(), status), want, "{messages}");
        assert!(messages.contains("checksum differs"), "{messages}");
        assert_eq!(cold.exec(&["path", "demo"]).status, Some(12), "it must not be installed");
        assert_eq!(cold.left(), [""; 0]);
        fs::write(&archive, good).unwrap();
        goes_on(&cold, &host);
    }
}

/// SEC-F05
#[test]
fn a_job_cannot_harm_its_server() {
    for user in Sandbox::users() {
        let Some(cold) = Cold::new(user, Encoding::Members) else { return };
        let script = "umount /usr 2>/dev/null && echo unmounted; umount -l / 2>/dev/null && echo unmounted
            kill -9 -1 2>/dev/null; kill -STOP -1 2>/dev/null
            ls /proc | grep -c '^[0-9]' | { read n; [ $n -lt 10 ] || echo sees $n; }
            for i in {1..2000}; do exec {fd}</usr/share/small || break; done; read -ru $fd word; echo $word
            ls -d /.runtime 2>/dev/null; ls /dev/fuse 2>/dev/null
            cat /usr/bin/* /usr/lib/*/* 2>/dev/null | wc -c | grep -q . && echo read
            for i in {1..50}; do cat /usr/share/large & done >/dev/null; wait; exit 9";
        let output = cold.run(&["--lazy"], script);
        assert_eq!(
            (output.status, output.stdout.as_str()),
            (Some(9), "small\nread\n"),
            "{}",
            output.stderr
        );
        assert_eq!(output.stderr, "");
        assert_eq!(cold.exec(&["verify"]).status, Some(0));
    }
}

/// SEC-F09: an index with the registry's digest contradicts the archive: another name, mode or hash.
#[test]
fn a_wrong_index_is_an_error_and_installs_nothing() {
    type Lie = fn(&mut Vec<Member>, &mut Vec<Entry>);
    let renamed: Lie = |_, entries| {
        let entry = entries.iter_mut().find(|entry| entry.path.ends_with("zz/held")).unwrap();
        entry.path = entry.path.replace("held", "hemp");
    };
    let made_executable: Lie = |_, entries| {
        let entry = entries.iter_mut().find(|entry| entry.path.ends_with("zz/held")).unwrap();
        let Body::File { executable, .. } = &mut entry.body else { panic!() };
        *executable = true;
    };
    let rehashed: Lie = |members, _| {
        let at = members.len() - 8;
        members[at].sha256[0] ^= 1;
    };
    for (lie, name, rule) in [
        (renamed, "hemp", "tar header does not match the index"),
        (made_executable, "held", "tar header does not match the index"),
        (rehashed, "held", "checksum differs"),
    ] {
        let Some((mut cold, host)) = held(None, Encoding::Members) else { return };
        let path = cold.path("registry/demo-1.0.0.tar.gz.index");
        let (good, mut plain) = (fs::read(&path).unwrap(), Vec::new());
        GzDecoder::new(good.as_slice()).read_to_end(&mut plain).unwrap();
        let index = Index::parse(&plain).unwrap();
        let (mut members, mut entries) = (index.members().to_vec(), index.entries().to_vec());
        lie(&mut members, &mut entries);
        let index = Index::new(index.directory().to_owned(), members, entries).unwrap();
        let honest = describe_index(&good);
        let lying = gzip(&index.to_bytes());
        let described = describe_index(&lying);
        fs::write(&path, lying).unwrap();
        cold.index_is(&described);
        // The file is withheld until the shell has come, except for its end, which may share a
        // member with `runtime.yml`.
        let length = fs::metadata(cold.path("registry/demo-1.0.0.tar.gz")).unwrap().len();
        *host.rules.held.lock().unwrap() =
            Some(length - LARGE as u64 - (400 << 10)..length - (300 << 10));
        let script =
            format!("echo begun; cat /usr/zz/{name} >/dev/null; echo $?; echo {{1..9}}; exit 6");
        let (child, out, line) = start(&cold, &[], &script);
        host.rules.release.store(true, Ordering::SeqCst);
        let (rest, status, messages) = end(child, out);
        let want = ("begun\n1\n1 2 3 4 5 6 7 8 9\n", Some(6));
        assert_eq!(((line + &rest).as_str(), status), want, "{messages}");
        assert!(messages.contains(rule), "{messages}");
        assert_eq!(cold.exec(&["path", "demo"]).status, Some(12), "it must not be installed");
        assert_eq!(cold.left(), [""; 0]);
        fs::write(&path, good).unwrap();
        cold.index_is(&honest);
        fs::remove_dir_all(cold.path("cache")).unwrap();
        goes_on(&cold, &host);
    }
}

/// SEC-F10: the disk of the store fills up while a job waits for a file.
#[test]
fn a_disk_that_fills_up_is_an_error_and_leaves_nothing() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let root = rustix::process::geteuid().is_root();
    let kind = if root { "-m" } else { "-rm" };
    let script = r#"
        mount -t tmpfs -o size=64m,mode=755 none "$base/store"
        ( until [ -e "$base/fill" ]; do sleep 0.02; done
          dd if=/dev/zero of="$base/store/filler" bs=64k 2>/dev/null || :
          : >"$base/filled" ) &
        set +e
        "$exec" run --lazy --runtime=demo -- bash -c "echo begun; cat $0 >/dev/null; echo \$?; echo {1..9}; exit 6"
        echo "status $?"
        rm "$base/store/filler"
        find "$base/store/.joblet/staging" "$base/store/.joblet/interrupted" -mindepth 1 2>/dev/null
        "$exec" run --wait --runtime=demo -- bash -c "wc -c <$0"
        "$exec" verify demo >&2 && echo verified
        wait
    "#;
    let inner = cold.command(&[], &["true"]);
    let mut command = std::process::Command::new("unshare");
    command.args([kind, "sh", "-ec", script, HELD]);
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("exec", crate::common::program()).env("base", cold.world.base.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut out, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    out.read_line(&mut line).unwrap();
    if line.is_empty() {
        child.wait().unwrap();
        skip("mount namespaces do not work");
        return;
    }
    assert_eq!(line, "begun\n");
    fs::write(cold.path("fill"), "").unwrap();
    let filled = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        cold.path("filled").exists()
    });
    assert!(filled);
    host.rules.release.store(true, Ordering::SeqCst);
    let (rest, _, messages) = end(child, out);
    let want = format!("1\n1 2 3 4 5 6 7 8 9\nstatus 6\n{LARGE}\nverified\n");
    assert_eq!(rest, want, "{messages}");
    assert!(messages.contains("No space left on device"), "{messages}");
    assert!(messages.contains("demo@1.0.0 is not installed yet: "), "{messages}");
}
