//! A job's files, variables, parent and terminal, and the report of its end.

use crate::support::pty::Pty;
use crate::support::{Output, World, finish};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::termios::{LocalModes, tcgetattr};
use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    os::unix::{fs::symlink, process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Runs `script` in the directory `cwd` of the world.
fn run_in(world: &World, cwd: &str, user: Option<u32>, options: &[&str], script: &str) -> Output {
    let mut run = world.command(user, &World::shell(options, script));
    finish(run.current_dir(world.path(cwd)).spawn().unwrap())
}

#[test]
fn uploads_are_private_copies() {
    let Some(world) = World::get() else { return };
    fs::create_dir_all(world.path("given/data/sub")).unwrap();
    fs::write(world.path("given/data/sub/x"), "deep\n").unwrap();
    fs::write(world.path("given/table.csv"), "1,2\n").unwrap();
    symlink("given/table.csv", world.path("cwd-links")).unwrap();
    let file = world.path("given/table.csv").to_str().unwrap().to_owned();
    let data = world.path("given/data").to_str().unwrap().to_owned();
    for user in World::users() {
        let options = ["--upload", &file, "--upload", &data];
        let script = "ls; cat in.txt table.csv data/sub/x; echo 3 > table.csv; \
                      echo 4 > data/new; ls data";
        let output = world.run(user, &options, script);
        assert_eq!(
            output.stdout, "data\nin.txt\ntable.csv\nhello\n1,2\ndeep\nnew\nsub\n",
            "{user:?} {output:?}"
        );
        // Its permissions are kept, the job owns it, and no other upload has its name.
        let script = "stat -c %a:%u table.csv";
        let owner = user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let output = world.run(user, &["--upload", &file, "--upload", &file], script);
        assert!(output.stderr.contains("have the same name in /work"), "{output:?}");
        let output = world.run(user, &["--upload", &file], script);
        assert_eq!(output.stdout, format!("644:{owner}\n"), "{output:?}");
        // Entries of the current directory are present anyway; a link's target is copied.
        let output = run_in(world, "given", user, &["--upload=table.csv"], "cat table.csv");
        assert_eq!(output.stdout, "1,2\n", "{output:?}");
        let output = run_in(world, "", user, &["--upload=./cwd-links"], "cat cwd-links");
        assert_eq!(output.stdout, "1,2\n", "{output:?}");
        for (path, reason) in [
            ("/no/such", "error[USAGE]: --upload /no/such: No such file"),
            ("..", "has no name"),
            ("/dev/null", "neither file nor directory"),
        ] {
            let output = world.run(user, &["--upload", path], ":");
            assert_eq!(output.status, Some(125), "{output:?}");
            assert!(output.stderr.contains(reason), "{output:?}");
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "1,2\n");
    assert_eq!(fs::read_to_string(world.path("given/data/sub/x")).unwrap(), "deep\n");
}

#[test]
fn variables_come_from_files_too() {
    let Some(world) = World::get() else { return };
    fs::write(world.path("outside/env"), "# a comment\n\nA=1\nB=x y\r\nC=file\nPASSED\nGONE\n")
        .unwrap();
    fs::write(world.path("outside/bad"), "A=1\n=x\n").unwrap();
    for user in World::users() {
        let options = ["--env-file", "env", "-e", "C=own", "--runtime=demo", "--", "env"];
        let mut run = world.command(user, &options);
        let run = run.current_dir(world.path("outside")).env("PASSED", "on");
        let output = finish(run.spawn().unwrap());
        let uid = user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let name = crate::places::name_on_host("/etc/passwd", uid);
        let tar = crate::places::tar_options(uid);
        let want = format!(
            "A=1\nB=x y\nC=own\nFOO=bar\nHOME=/tmp\nLOGNAME={name}\nPASSED=on\n\
             PATH=/usr/bin:/bin\n{tar}USER={name}\n"
        );
        assert_eq!(output.stdout, want, "{output:?}");
        let output = run_in(world, "outside", user, &["--env-file=bad"], ":");
        assert!(output.stderr.contains("bad: line 2: \"=x\" has no name"), "{output:?}");
        let output = run_in(world, "outside", user, &["--env-file=none"], ":");
        assert!(output.stderr.contains("--env-file none: No such file"), "{output:?}");
        let output = run_in(world, "outside", user, &["--env-file=/dev/zero"], ":");
        assert!(output.stderr.contains("--env-file /dev/zero is too long"), "{output:?}");
    }
}

#[test]
fn names_of_other_hosts_come_with_their_network() {
    let Some(world) = World::get() else { return };
    let root = world.copy_runtime("named");
    fs::create_dir(root.join("isolated/etc")).unwrap();
    fs::write(root.join("isolated/etc/resolv.conf"), "").unwrap();
    fs::write(root.join("isolated/etc/hosts"), "runtime\n").unwrap();
    let yaml = fs::read_to_string(root.join("runtime.yml")).unwrap();
    let mount = "mounts:\n  - { source: isolated/etc, target: /etc }";
    fs::write(root.join("runtime.yml"), yaml.replace("mounts:", mount)).unwrap();
    let host = |name| fs::read_to_string(name).unwrap_or_default();
    for user in World::users() {
        let run = |options: &[&str]| {
            let words = [options, &["--runtime=named", "cat", "/etc/resolv.conf", "/etc/hosts"]];
            finish(world.command(user, &words.concat()).spawn().unwrap())
        };
        assert_eq!(run(&[]).stdout, "runtime\n127.0.0.1\tjoblet\n");
        let want = host("/etc/resolv.conf") + &host("/etc/hosts");
        let output = run(&["--network", "host"]);
        assert_eq!(output.stdout, want, "{output:?}");
        // A runtime without these files has none.
        let output = world.run(user, &["--network=host"], "test -e /usr/bin/env");
        assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_parent_reaps_and_passes_signals_on() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (script, signal, status) in [
            ("echo ready; sleep 60", Some(Signal::SIGTERM), 143),
            ("echo ready; sleep 60", Some(Signal::SIGINT), 130),
            ("echo ready; sleep 60", Some(Signal::SIGUSR1), 138),
            ("trap 'exit 7' TERM; echo ready; sleep 60 & wait", Some(Signal::SIGTERM), 7),
            ("trap '' TERM; echo ready; sleep 0.5; exit 9", Some(Signal::SIGTERM), 9),
            ("echo ready; kill -KILL $$", None, 137),
            ("echo ready; exit 125", None, 125),
            // The job is not PID 1, and orphans are reaped.
            (
                "test $$ = 2 && (sleep 0 & exec sleep 0); sleep 0.2; \
              [ /proc/[0-9]* = /proc/1 ] || echo ready; test ! -e /proc/4",
                None,
                0,
            ),
        ] {
            let mut child =
                world.command(user, &World::shell(&["--init"], script)).spawn().unwrap();
            let mut line = [0; 6];
            child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
            if let Some(signal) = signal {
                kill(pid(&child), signal).unwrap();
            }
            let output = finish(child);
            assert_eq!(output.status, Some(status), "{user:?} {script} {signal:?} {output:?}");
        }
        let output = world.run(user, &["--init", "--timeout=0.3"], "sleep 60");
        assert_eq!(output.status, Some(124), "{output:?}");
        let words = ["--init", "--runtime=demo", "--", "no-such"];
        let output = finish(world.command(user, &words).spawn().unwrap());
        assert_eq!(output.status, Some(127), "{output:?}");
        assert!(output.stderr.contains("no-such: not found in the runtime"), "{output:?}");
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn kinds_of_exits_are_distinguished() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (options, script, want) in [
            (&[][..], "exit 125", "{\"by\":\"job\",\"status\":125,\"code\":125}\n"),
            (&["--init"], "exit 137", "{\"by\":\"job\",\"status\":137,\"code\":137}\n"),
            (&["--init"], "kill -KILL $$", "{\"by\":\"job\",\"status\":137,\"signal\":9}\n"),
            (&["--timeout=0.2"], "sleep 60", "{\"by\":\"timeout\",\"status\":124}\n"),
            (
                &["--workdir=/no"],
                ":",
                "{\"by\":\"joblet-exec\",\"status\":125,\"class\":\"LAUNCH\"}\n",
            ),
            // The job has no such descriptor.
            (&[], "{ echo >&9; } 2>/dev/null", "{\"by\":\"job\",\"status\":1,\"code\":1}\n"),
        ] {
            let words = World::shell(&[options, &["--status-fd=9"]].concat(), script);
            let wrapper = "exec 8>&1 >/dev/null 9>&8 8>&-; exec \"$@\"";
            let mut run = Command::new("bash");
            run.args(["-c", wrapper, "bash"]).args(world.program()).args(words);
            run.current_dir(world.path("cwd")).stdout(Stdio::piped()).stderr(Stdio::null());
            if let Some(user) = user {
                run.uid(user).gid(user);
            }
            let output = finish(run.spawn().unwrap());
            assert_eq!(output.stdout, want, "{user:?} {script}");
        }
        let output = world.run(user, &["--status-fd=77"], ":");
        assert!(output.stderr.contains("--status-fd 77 cannot be written to"), "{output:?}");
    }
}

/// The command line of `verb`, with `words` after the store.
fn words_of(world: &World, verb: &str, words: &[&str]) -> Vec<OsString> {
    let mut all = world.program();
    *all.iter_mut().find(|word| *word == "run").unwrap() = verb.into();
    all.extend(words.iter().map(OsString::from));
    all
}

fn type_in(pty: &mut Pty, text: &str) {
    pty.near.write_all(text.as_bytes()).unwrap();
}

/// The end of the session: counts the modes echo, isig and icanon of its terminal.
const COOKED: &str = "stty -a | tr ' ' '\\n' | grep -cx -e echo -e icanon -e isig";

/// Waits for the end of the session, whose terminal must have its original modes.
fn end(pty: &mut Pty, mut child: Child) -> Option<i32> {
    pty.expect("3\r\n");
    child.wait().unwrap().code()
}

#[test]
fn a_shell_has_a_terminal_of_its_own() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let mut pty = Pty::new();
        let child = pty.start(user, &words_of(world, "shell", &["demo"]), COOKED);
        type_in(&mut pty, "stty size; tty; echo end-of-$((1+1))\r");
        pty.expect("31 99");
        pty.expect("/dev/pts/0");
        pty.expect("end-of-2");
        assert!(!tcgetattr(&pty.near).unwrap().local_modes.contains(LocalModes::ICANON));
        // Keys of job control act on the job's terminal, and the shell continues.
        type_in(&mut pty, "sleep 50\r");
        pty.expect("sleep 50");
        std::thread::sleep(Duration::from_millis(300));
        type_in(&mut pty, "\x1a");
        pty.expect("Stopped");
        type_in(&mut pty, "jobs; fg\r");
        pty.expect("sleep 50");
        std::thread::sleep(Duration::from_millis(300));
        type_in(&mut pty, "\x03");
        type_in(&mut pty, "echo status-$?\r");
        pty.expect("status-130");
        // A new size is passed on.
        pty.resize(40, 120);
        type_in(&mut pty, "sleep 0.2; stty size; exit 9\r");
        pty.expect("40 120");
        assert_eq!(end(&mut pty, child), Some(9));
    }
}

#[test]
fn the_callers_terminal_is_restored_after_any_death() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (options, script, status) in [
            (&["--tty", "--init"][..], "stty raw -echo; echo ready; kill -KILL $$", 137),
            (&["--tty", "--timeout=0.5"], "stty raw -echo; echo ready; sleep 60", 124),
            (&["--tty", "--workdir=/no"], "", 125),
            (&["--tty"], "exec <&- >&- 2>&-; sleep 0.3; echo ready > /dev/tty; exit 4", 4),
        ] {
            let mut pty = Pty::new();
            let words = World::shell(options, script);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let child = pty.start(user, &words_of(world, "run", &words), COOKED);
            pty.expect(if script.is_empty() { "does not exist in the job" } else { "ready" });
            assert_eq!(end(&mut pty, child), Some(status), "{user:?} {script}");
        }
    }
    let output = world.run(None, &["--tty"], ":");
    assert!(output.stderr.contains("--tty needs a terminal"), "{output:?}");
}

/// A job ends when its caller's terminal is closed.
#[test]
fn a_hangup_ends_a_shell() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let mut pty = Pty::new();
        let mut child = pty.start(user, &words_of(world, "shell", &["demo"]), ":");
        type_in(&mut pty, "echo rea''dy\r");
        pty.expect("ready");
        drop(pty);
        // The session ends first; its processes are found by their store.
        child.wait().unwrap();
        let store = world.path("store").into_os_string().into_encoded_bytes();
        let begin = Instant::now();
        let alive = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()).any(|line| {
                let words: Vec<_> = line.split(|byte| *byte == 0).collect();
                words.get(1) == Some(&&b"shell"[..]) && words.contains(&&store[..])
            })
        };
        while alive() {
            assert!(begin.elapsed() < Duration::from_secs(5), "a shell remains");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Data passes unchanged, in both directions and in any amount.
#[test]
fn pipes_pass_data_unchanged() {
    let Some(world) = World::get() else { return };
    let bytes: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for user in World::users() {
        for options in [&[][..], &["--init"]] {
            let mut run = world.command(user, &World::shell(options, "exec cat"));
            let mut child = run.stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let sent = bytes.clone();
            let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.stdout == bytes, "{} bytes", output.stdout.len());
        }
    }
}
