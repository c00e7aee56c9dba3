//! Jobs that start while another process installs their runtime.

use super::faults::{HELD, LARGE, comes, end, goes_on, held, kill, server, start};
use super::host::Host;
use super::world::{Cold, Encoding};
use crate::common::members::{directory, file, noise};
use crate::support::World as Sandbox;
use nix::sys::signal::Signal;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Prints a line, then the length of the file that the host holds back.
fn script() -> String {
    format!("echo begun; cat {HELD} | wc -c; exit 3")
}

/// Length of the archive that is fetched, in bytes.
fn length(cold: &Cold, encoding: Encoding) -> u64 {
    let kind = if encoding == Encoding::Frames { "zst" } else { "gz" };
    fs::metadata(cold.path(&format!("registry/demo-1.0.0.tar.{kind}"))).unwrap().len()
}

/// The progress file of the installation.
fn progress(cold: &Cold) -> PathBuf {
    let mut all = fs::read_dir(cold.path("store/.joblet/staging")).unwrap();
    all.next().unwrap().unwrap().path().join(".joblet-progress")
}

/// The second job starts while the first one's runtime arrives, of one download; neither sees where that is written down,
/// and no other user does.
#[test]
fn the_second_job_starts_while_the_runtime_arrives() {
    // wc(1) reads the end of the file alone, which arrives: what the second job reads is fetched meanwhile.
    let script = format!("echo begun; wc -c < {HELD}; exit 3");
    for encoding in [Encoding::Members, Encoding::Frames] {
        for user in Sandbox::users() {
            let Some((cold, host)) = held(user, encoding) else { return };
            let first = start(&cold, &[], &script);
            let hidden = "find / -xdev -name '.joblet*' 2>/dev/null; ls -d /.joblet* 2>/dev/null";
            let second = start(&cold, &["-v"], &format!("{hidden}; {script}"));
            assert_eq!([first.2.as_str(), second.2.as_str()], ["begun\n"; 2]);
            let all = length(&cold, encoding);
            assert!(host.rules.sent.load(Ordering::SeqCst) < all - (1 << 20), "it was all there");
            let file = fs::metadata(progress(&cold)).unwrap();
            let around = fs::metadata(cold.path("store/.joblet/staging")).unwrap();
            assert_eq!((file.mode() & 0o7777, around.mode() & 0o7777), (0o600, 0o700));
            host.rules.release.store(true, Ordering::SeqCst);
            for (child, out, _) in [first, second] {
                let (rest, status, messages) = end(child, out);
                assert_eq!(
                    (rest.trim(), status),
                    (LARGE.to_string().as_str(), Some(3)),
                    "{messages}"
                );
                let told = "demo@1.0.0: serving what another process is installing\n";
                assert!(messages.is_empty() || messages.contains(told), "{messages}");
            }
            assert_eq!(host.rules.sent.load(Ordering::SeqCst), all, "one download");
            goes_on(&cold, &host);
        }
    }
}

/// Ten jobs at once on an empty store: all of them start before the runtime is here, and it is fetched once.
#[test]
fn ten_jobs_at_once_share_one_download() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let command = || {
        let mut command = cold.command(&["--lazy"], &["bash", "-c", &script()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut jobs: Vec<_> = (0..10).map(|_| command()).collect();
    let outs: Vec<_> = jobs
        .iter_mut()
        .map(|job| {
            let (mut out, mut line) = (BufReader::new(job.stdout.take().unwrap()), String::new());
            out.read_line(&mut line).unwrap();
            assert_eq!(line, "begun\n");
            out
        })
        .collect();
    let all = length(&cold, Encoding::Members);
    assert!(host.rules.sent.load(Ordering::SeqCst) < all - (1 << 20), "it was all there");
    host.rules.release.store(true, Ordering::SeqCst);
    for (job, out) in jobs.into_iter().zip(outs) {
        let (rest, status, messages) = end(job, out);
        assert_eq!((rest.trim(), status), (LARGE.to_string().as_str(), Some(3)), "{messages}");
        assert_eq!(messages, "");
    }
    assert_eq!(host.rules.sent.load(Ordering::SeqCst), all, "one download");
    goes_on(&cold, &host);
}

/// What the second job reads, far back in the archive, is fetched before what nobody reads.
#[test]
fn reads_of_the_second_job_are_fetched_first() {
    const SIZE: usize = 20 << 20;
    let content = noise(SIZE);
    let size = SIZE as u64;
    let more = vec![directory("isolated/usr/zz"), file("isolated/usr/zz/file", &content)];
    let Some(mut cold) = Cold::with(None, Encoding::Members, more) else { return };
    let host = Host::new(cold.path("registry"));
    cold.registry = Some(format!("{}/registry.json", host.address));
    // It does not compress, and little follows it: where it begins, and where nobody reads for long. Requests in the
    // background are of 16 MiB at most.
    let begin = length(&cold, Encoding::Members) - size - (64 << 10);
    let later = begin + size - (3 << 19);
    *host.rules.held.lock().unwrap() = Some(begin + (1 << 20)..begin + size - (2 << 20));
    // `od` is there before everything waits, and the job for longer than the other one.
    let waits = "od /usr/empty >/dev/null; echo begun; od -An -j 5000000 -N 1 /usr/zz/file";
    let first = start(&cold, &[], waits);
    assert_eq!(first.2, "begun\n");
    // In front of the member with `runtime.yml`, which is here.
    let place = content.len() - (1 << 20);
    let read = format!("echo begun; od -An -tu1 -j {place} -N 1 /usr/zz/file");
    let second = start(&cold, &[], &read);
    assert_eq!(second.2, "begun\n");
    let path = progress(&cold);
    let asked = || {
        let bytes = fs::read(&path).unwrap();
        bytes[bytes.len() - 9..bytes.len() - 1].contains(&1)
    };
    assert!(comes(asked), "the second job asks for nothing near the end");
    host.rules.release.store(true, Ordering::SeqCst);
    let (rest, status, messages) = end(second.0, second.1);
    assert_eq!((rest.trim(), status), (content[place].to_string().as_str(), Some(0)), "{messages}");
    assert_eq!(end(first.0, first.1).1, Some(0));
    let asked = host.rules.asked.lock().unwrap();
    let when = |place: u64| asked.iter().rposition(|range| range.contains(&place)).unwrap();
    assert!(when(begin + place as u64) < when(later), "{asked:?}");
}

/// SEC-F11: the process that installs is killed while two other jobs wait for a file: one of them goes on with the
/// installation where it was, for both.
#[test]
fn another_job_goes_on_with_the_installation_of_one_that_is_killed() {
    for encoding in [Encoding::Members, Encoding::Frames] {
        for user in Sandbox::users() {
            let Some((cold, host)) = held(user, encoding) else { return };
            let (mut first, _out, line) = start(&cold, &[], &script());
            assert_eq!(line, "begun\n");
            let others = [start(&cold, &[], &script()), start(&cold, &[], &script())];
            assert!(others.iter().all(|other| other.2 == "begun\n"));
            let before = host.rules.asked.lock().unwrap().len();
            first.kill().unwrap();
            first.wait().unwrap();
            host.rules.release.store(true, Ordering::SeqCst);
            for (child, out, _) in others {
                let (rest, status, messages) = end(child, out);
                let want = (LARGE.to_string(), Some(3));
                assert_eq!((rest.trim().to_owned(), status), want, "{messages}");
                assert_eq!(messages, "");
            }
            let asked = host.rules.asked.lock().unwrap();
            let again: u64 = asked[before..].iter().map(|range| range.end - range.start).sum();
            drop(asked);
            // The host holds back 2 MB of it; two batches of 1 MiB may have been on their way.
            assert!(
                again < length(&cold, encoding) - (1 << 20),
                "{again} bytes were fetched again"
            );
            goes_on(&cold, &host);
        }
    }
}

/// SEC-F11: a process that was stopped with its launcher goes on later; meanwhile the other job waits.
#[test]
fn a_job_waits_for_a_stopped_installation_and_goes_on_with_it() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let first = start(&cold, &[], &script());
    let second = start(&cold, &[], &script());
    assert_eq!([first.2.as_str(), second.2.as_str()], ["begun\n"; 2]);
    let stopped = [first.0.id(), server(first.0.id())];
    for pid in stopped {
        kill(pid, Signal::SIGSTOP);
    }
    let is_stopped =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
    assert!(comes(|| stopped.into_iter().all(is_stopped)));
    host.rules.release.store(true, Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(300));
    for pid in stopped {
        kill(pid, Signal::SIGCONT);
    }
    for (child, out, _) in [second, first] {
        let (rest, status, messages) = end(child, out);
        assert_eq!((rest.trim(), status), (LARGE.to_string().as_str(), Some(3)), "{messages}");
    }
    assert_eq!(host.rules.sent.load(Ordering::SeqCst), length(&cold, Encoding::Members));
    goes_on(&cold, &host);
}

/// SEC-F11: the network of the process that installs is down for half a minute: reads of the other job fail as its own do,
/// with a word about the file, and succeed when it is back.
#[test]
fn reads_of_the_second_job_fail_while_the_network_is_down() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let waits = format!(
        "echo begun; cat {HELD} >/dev/null; echo $?; until cat {HELD} >/dev/null; do sleep 0.1; done; exit 4"
    );
    let first = start(&cold, &[], &waits);
    let mut second = start(&cold, &[], &waits);
    assert_eq!([first.2.as_str(), second.2.as_str()], ["begun\n"; 2]);
    host.rules.away.store(true, Ordering::SeqCst);
    let (begin, mut line) = (Instant::now(), String::new());
    second.1.read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    assert!((20..90).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    host.rules.release.store(true, Ordering::SeqCst);
    host.rules.away.store(false, Ordering::SeqCst);
    for (child, out, _) in [second, first] {
        let (_, status, messages) = end(child, out);
        assert_eq!(status, Some(4), "{messages}");
        let named = "usr/zz/held of the runtime cannot be read: the network is down; the job got an I/O error";
        assert!(messages.contains(named), "{messages}");
    }
    goes_on(&cold, &host);
}

/// A short job ends although the installation that it uses goes on.
#[test]
fn a_short_second_job_does_not_wait_for_the_installation() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let first = start(&cold, &[], &script());
    assert_eq!(first.2, "begun\n");
    let second = cold.run(&["--lazy"], "echo short; exit 5");
    assert_eq!(
        (second.status, second.stdout.as_str(), second.stderr.as_str()),
        (Some(5), "short\n", "")
    );
    let sent = host.rules.sent.load(Ordering::SeqCst);
    assert!(sent < length(&cold, Encoding::Members) - (1 << 20), "it was all there");
    host.rules.release.store(true, Ordering::SeqCst);
    let (rest, status, messages) = end(first.0, first.1);
    assert_eq!((rest.trim(), status), (LARGE.to_string().as_str(), Some(3)), "{messages}");
    goes_on(&cold, &host);
}

/// SEC-F12: a progress file that is not what it should be, or that others could write, is not used: the job waits.
#[test]
fn without_a_sound_progress_file_the_second_job_waits() {
    type Change = fn(&PathBuf);
    let removed: Change = |path| fs::remove_file(path).unwrap();
    let cut: Change = |path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(fs::metadata(path).unwrap().len() - 1).unwrap();
    };
    let opened: Change = |path| fs::set_permissions(path, Permissions::from_mode(0o622)).unwrap();
    let linked: Change = |path| fs::hard_link(path, path.with_file_name("other")).unwrap();
    let replaced: Change = |path| {
        fs::rename(path, path.with_file_name("other")).unwrap();
        std::os::unix::fs::symlink("other", path).unwrap();
    };
    for change in [removed, cut, opened, linked, replaced] {
        let Some((cold, host)) = held(None, Encoding::Members) else { return };
        let first = start(&cold, &[], &script());
        assert_eq!(first.2, "begun\n");
        let path = progress(&cold);
        change(&path);
        let mut command = cold.command(&["--lazy", "-v"], &["bash", "-c", "echo two"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut second = command.spawn().unwrap();
        let mut messages = BufReader::new(second.stderr.take().unwrap()).lines();
        let waits = "another process is installing it; waiting for that";
        assert!(messages.any(|line| line.unwrap().contains(waits)));
        // An entry beside the runtime would change the installation.
        _ = fs::remove_file(path.with_file_name("other"));
        host.rules.release.store(true, Ordering::SeqCst);
        let output = second.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(0), b"two\n".as_slice())
        );
        assert_eq!(end(first.0, first.1).1, Some(3));
        goes_on(&cold, &host);
    }
}

/// SEC-F12: what is cut off or lied about in the progress file while a job uses it harms no other job, and hangs none.
#[test]
fn a_progress_file_that_is_cut_off_meanwhile_is_survived() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let first = start(&cold, &[], &script());
    let second = start(&cold, &[], &script());
    assert_eq!([first.2.as_str(), second.2.as_str()], ["begun\n"; 2]);
    let file = fs::OpenOptions::new().write(true).open(progress(&cold)).unwrap();
    file.set_len(0).unwrap();
    host.rules.release.store(true, Ordering::SeqCst);
    for (child, out, _) in [first, second] {
        let (rest, status, messages) = end(child, out);
        assert_eq!((rest.trim(), status), (LARGE.to_string().as_str(), Some(3)), "{messages}");
    }
    // Nor is what says more than there was.
    file.write_all_at(&[1; 4096], 0).unwrap();
    goes_on(&cold, &host);
}

/// SEC-F04 for the second job: it gets no byte of what has a wrong digest, and is told.
#[test]
fn the_second_job_gets_errors_for_content_with_wrong_digests() {
    let Some((cold, host)) = held(None, Encoding::Members) else { return };
    let archive = cold.path("registry/demo-1.0.0.tar.gz");
    let good = fs::read(&archive).unwrap();
    let mut bytes = good.clone();
    let at = bytes.len() - LARGE / 2;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    // `cat` is there before the lie: afterwards nothing more is fetched.
    let waits = format!(
        "cat /usr/empty; echo begun; cat {HELD} >/dev/null; echo $?; echo {{1..9}}; exit 6"
    );
    let first = start(&cold, &[], &waits);
    let second = start(&cold, &[], &waits);
    assert_eq!([first.2.as_str(), second.2.as_str()], ["begun\n"; 2]);
    host.rules.release.store(true, Ordering::SeqCst);
    for (child, out, _) in [first, second] {
        let (rest, status, messages) = end(child, out);
        assert_eq!((rest.as_str(), status), ("1\n1 2 3 4 5 6 7 8 9\n", Some(6)), "{messages}");
        assert!(messages.contains("usr/zz/held of the runtime cannot be read; "), "{messages}");
    }
    assert_eq!(cold.exec(&["path", "demo"]).status, Some(12), "it must not be installed");
    assert_eq!(cold.left(), [""; 0]);
    fs::write(&archive, good).unwrap();
    goes_on(&cold, &host);
}
