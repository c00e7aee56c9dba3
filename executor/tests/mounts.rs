//! Files of the host that are mounted in a job: no sockets or FIFOs connected to processes of the host, unless bound, and no
//! devices whose mode or owner a job could change.

use crate::support::attack::{Attack, WEAKEN, attack, can_weaken, probed, program, start, wrapper};
use crate::support::pty::Pty;
use crate::support::{NOBODY, World, finish};
use rustix::fs::{CWD, FileType, Mode, makedev, mkfifoat, mknodat};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt, chown, symlink},
        net::UnixListener,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

/// Users in whose namespaces root's mounts are locked.
fn others() -> Vec<Option<u32>> {
    World::users().into_iter().filter(|user| *user == Some(NOBODY)).collect()
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// A directory with a file, a listening socket and a FIFO with a reader, which are closed when this is dropped.
pub(crate) struct Live {
    path: PathBuf,
    _socket: UnixListener,
    fifo: File,
}

impl Live {
    pub(crate) fn make(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let (socket, fifo) = (path.join("socket"), path.join("fifo"));
        let listener = UnixListener::bind(&socket).unwrap();
        mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o666)).unwrap();
        for path in [&path, &socket, &fifo] {
            open_to_all(path);
        }
        fs::write(path.join("file"), "a file\n").unwrap();
        open_to_all(&path.join("file"));
        let nonblocking = 0o4000; // O_NONBLOCK, on both architectures
        let fifo = File::options().read(true).custom_flags(nonblocking).open(&fifo).unwrap();
        Self { path, _socket: listener, fifo }
    }

    /// Whether anything was written to the FIFO.
    fn was_fed(&self) -> bool {
        (&self.fifo).read(&mut [0; 64]).is_ok_and(|len| len > 0)
    }
}

/// Connects to the socket and writes to the FIFO in the directory `$d`.
const TALK: &str = "{ probe socket $d/socket; probe fifo $d/fifo; } | \
                    while read a b c e; do echo -n \"${b%,} ${e%\\}};\"; done; cat $d/file; ";

/// Its output if no process is at the other end: ECONNREFUSED, ENXIO.
pub(crate) const DEAD: &str = "-1 111;-1 6;a file\n";
/// Its output if a process of the host is at the other end.
pub(crate) const LIVE: &str = "0 0;1 0;a file\n";

/// `script` with `d` as its `$d`, as long as the program lives: attacks are written once.
pub(crate) fn talk(directory: &str, more: &str) -> &'static str {
    format!("d={directory}; {TALK}{more}").leak()
}

/// SEC-E07: sockets and FIFOs in the current directory, and in mounts below it.
#[test]
fn sockets_of_the_current_directory_are_not_connected() {
    let Some(world) = probed() else { return };
    let here = Live::make(world.path("outside/live"));
    let far = Live::make(world.path("outside/far/deep"));
    for name in ["plain/deep", "mounted/other"] {
        fs::create_dir_all(here.path.join(name)).unwrap();
    }
    let mounted = here.path.join("mounted");
    let deep = Live::make(here.path.join("plain/deep"));
    // All files are visible except those of the mount below the directory.
    let bind = format!(
        "cd {here}; mount --bind {far} {mounted}; [ -d deep ] || cd .",
        here = here.path.display(),
        far = far.path.parent().unwrap().display(),
        mounted = mounted.display()
    );
    let plain = format!("cd {}", here.path.display());
    let live =
        |script| Attack { without: "private-copy", options: &[], script, held: DEAD, broken: LIVE };
    for prepare in [&plain, &bind] {
        attack(&World::users(), prepare, &[live(talk(".", "")), live(talk("plain/deep", ""))]);
    }
    // Root may uncover files under the mount.
    attack(&others(), &bind, &[live(talk("mounted/deep", ""))]);
    for live in [&here, &far, &deep] {
        assert_eq!(live.was_fed(), can_weaken(world), "the attack that succeeds must arrive");
    }
}

/// SEC-E07: sockets of an uploaded directory do not work; those of a read-only `--bind` do, as documented.
#[test]
fn uploaded_sockets_are_not_connected_and_bound_ones_are() {
    let Some(world) = probed() else { return };
    let given = Live::make(world.path("outside/given"));
    let path: &str = given.path.to_str().unwrap().to_owned().leak();
    let upload: &[_] = vec!["--upload", path].leak();
    let upload = Attack {
        without: "private-upload",
        options: upload,
        script: talk("given", ""),
        held: DEAD,
        broken: LIVE,
    };
    attack(&World::users(), ":", &[upload]);
    let to_work = format!("{path}:/work");
    for user in World::users() {
        let elsewhere = format!("{path}:/x");
        for (bind, at) in [(&elsewhere, "/x"), (&to_work, ".")] {
            let script = talk(at, "echo > $d/new");
            let output = world.run(user, &["--bind", bind], script);
            assert_eq!(output.stdout, LIVE, "{output:?}");
            assert!(output.stderr.contains("Read-only file system"), "{output:?}");
        }
    }
    let output = world.run(None, &["--bind", &to_work, "--upload", path], ":");
    let reason = "error[USAGE]: target /work would hide what --upload puts there";
    assert!(output.stderr.starts_with(reason), "{output:?}");
}

/// Stacks overlays in the directory `at` up to the kernel's limit.
fn layers(at: &Path) -> String {
    format!(
        "set -e; mount -t tmpfs t {at}; cd {at}; mkdir a b c m1 m2; chmod 777 . a
         mount -t tmpfs t b; mkdir b/u b/w b/u2 b/w2; chmod 777 b b/u b/u2
         mount -t overlay o -o lowerdir=a,upperdir=b/u,workdir=b/w m1
         mount -t overlay o -o lowerdir=m1,upperdir=b/u2,workdir=b/w2 m2; cd m2
         mkdir -p dir/sub closed; echo low > f; echo deep > dir/sub/f; ln -s dir/sub/f link
         chmod 700 closed; mkfifo fifo dir/fifo; chmod 666 f fifo dir/fifo; chmod 750 dir/sub; chmod 777 dir
         chown -R {NOBODY} dir 2>/dev/null || true; exec 8<>fifo 9<>dir/fifo",
        at = at.display()
    )
}

/// SEC-E07: where overlays are not possible, as for users on older kernels.
#[test]
fn a_mirrored_directory_is_private() {
    let Some(world) = probed() else { return };
    let at = world.path("layers");
    fs::create_dir(&at).unwrap();
    let prepare = layers(&at);
    let feed = "for f in fifo dir/fifo; do probe fifo $f; done";
    let (dead, live) = ("{\"result\": -1, \"errno\": 6}\n", "{\"result\": 1, \"errno\": 0}\n");
    let attack_with = Attack {
        without: "private-copy",
        options: &[],
        script: feed,
        held: format!("{dead}{dead}").leak(),
        broken: format!("{live}{live}").leak(),
    };
    attack(&World::users(), &prepare, &[attack_with]);
    let script = "cat f dir/sub/f link; echo x > f || echo no; rm f || echo nor; echo new > g; \
                  mkdir dir/new; echo y > dir/new/h; mv dir/new dir/sub/n; echo *; cat g dir/sub/n/h; \
                  stat -c %A dir/sub fifo; grep -c current-directory /proc/self/mountinfo; \
                  ls -A /; chmod 600 f || echo held";
    for user in World::users() {
        let before = wrapper(user, &prepare, "private");
        let output = finish(start(world, &before, "", &World::shell(&[], script)));
        let want = "low\ndeep\ndeep\nno\nnor\nclosed dir f fifo g link\nnew\ny\ndrwxr-x---\n\
                    prw-r--r--\n0\nbin\ndev\netc\nhome\nlib\nlib64\nmedia\nmnt\nopt\nproc\n\
                    run\nsys\ntmp\nusr\nvar\nwork\nheld\n";
        assert_eq!(output.stdout, want, "{user:?} {output:?}");
        for reason in ["f: Read-only file system", "'f': Device or resource busy"] {
            assert!(output.stderr.contains(reason), "{output:?}");
        }
        // Uploads take precedence.
        let given = world.path("f");
        fs::write(&given, "given\n").unwrap();
        let upload = ["--upload", given.to_str().unwrap()];
        let output = finish(start(world, &before, "", &World::shell(&upload, "cat f; rm f; ls")));
        assert_eq!(output.stdout, "given\nclosed\ndir\nfifo\nlink\n", "{output:?}");
        // An unreadable directory is not shown as an empty one.
        if user.is_some() {
            let script = "ls closed; ls";
            let output = finish(start(world, &before, "", &World::shell(&[], script)));
            assert!(output.stderr.contains("closed': Permission denied"), "{output:?}");
        }
        // Too many entries are refused, with an option that allows it.
        let many = format!("{prepare}; mkdir many; cd many; touch $(seq 5000); cd ..");
        let before = wrapper(user, &many, "private");
        let output = finish(start(world, &before, "", &World::shell(&[], "echo on")));
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)), "{output:?}");
        for part in [
            "error[LAUNCH]: cannot mount a private copy of the current directory on /work: ",
            "be overlaid",
            ", and it has more than 4096 entries or 100 levels to be copied one by one; show it \
             as it is, its sockets included, with --bind .:/work, or start from another directory",
        ] {
            assert!(output.stderr.contains(part), "{output:?}");
        }
        let words = World::shell(&["--bind", ".:/work"], "cat many/5000; cat f");
        let output = finish(start(world, &before, "", &words));
        assert_eq!((output.stdout.as_str(), output.status), ("low\n", Some(0)), "{output:?}");
        let deep = format!("{prepare}; mkdir -p d/$(seq -s / 120)");
        let before = wrapper(user, &deep, "private");
        let output = finish(start(world, &before, "", &World::shell(&[], "echo on")));
        assert!(output.stderr.contains("100 levels"), "{output:?}");
    }
}

/// SEC-E07: a directory with mounts below it is a private copy, too.
#[test]
fn a_directory_with_mounts_is_a_copy() {
    let Some(world) = probed() else { return };
    let dir = world.path("outside/with-mounts");
    for name in ["a/b", "m/n", "a/closed"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::write(dir.join("a/b/f"), "f\n").unwrap();
    for name in ["", "a", "a/b", "a/b/f", "m"] {
        open_to_all(&dir.join(name));
        chown(dir.join(name), Some(NOBODY), Some(NOBODY)).ok();
    }
    let prepare = format!(
        "cd {dir}; mount -t tmpfs -o mode=777 t m/n; echo in > m/n/in; chmod 666 m/n/in; \
         mount --bind a/b/f m/n/in",
        dir = dir.display()
    );
    for user in others() {
        let before = wrapper(user, &prepare, "private");
        let script = "cat a/b/f m/n/in; echo 1 > a/b/f; rm -r a; echo new > m/n/new; ls . m/n; \
                      cat m/n/in; findmnt 2>/dev/null; grep -c ' /work/.* rw,nosuid,nodev' \
                      /proc/self/mountinfo";
        let output = finish(start(world, &before, "", &World::shell(&[], script)));
        let want = "f\nf\n.:\na\nm\n\nm/n:\nin\nnew\nf\n";
        assert!(output.stdout.starts_with(want), "{user:?} {output:?}");
        assert!(output.stderr.contains("'a': Device or resource busy"), "{output:?}");
    }
    assert_eq!(fs::read_to_string(dir.join("a/b/f")).unwrap(), "f\n");
}

/// Entries that are mounted one by one are not results; all that the job made are.
#[test]
fn results_of_a_copy_are_the_jobs_alone() {
    let Some(world) = probed() else { return };
    for (number, user) in others().into_iter().enumerate() {
        let dir = world.path(&format!("outside/copied-{number}"));
        let to = world.path(&format!("outside/results-{number}"));
        for name in ["a/deep", "m/n"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::create_dir(&to).unwrap();
        for name in ["keep", "a/f", "m/keep"] {
            fs::write(dir.join(name), "before\n").unwrap();
        }
        for name in ["", "keep", "a", "a/f", "a/deep", "m", "m/keep"] {
            open_to_all(&dir.join(name));
            chown(dir.join(name), Some(NOBODY), Some(NOBODY)).ok();
        }
        open_to_all(&to);
        let prepare = format!(
            "cd {}; mount -t tmpfs -o mode=777 t m/n; echo in > m/n/in; chmod 666 m/n/in",
            dir.display()
        );
        let before = wrapper(user, &prepare, "private");
        let script =
            "echo new > new; echo changed > a/f; echo x > a/deep/x; echo y > m/n/y; echo z > m/z";
        for to in [to.display().to_string(), ".".to_owned()] {
            let option = format!("--output={to}");
            let output = finish(start(world, &before, "", &World::shell(&["-v", &option], script)));
            assert_eq!(output.status, Some(0), "{user:?} {output:?}");
            assert!(output.stderr.starts_with("5 files copied to "), "{output:?}");
        }
        let told =
            finish(start(world, &before, "", &World::shell(&["-v"], "echo > a/b; echo > c")));
        assert!(told.stderr.contains("2 files written in /work discarded"), "{told:?}");
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|_| "none".to_owned());
        for (name, there, here) in [
            ("new", "new\n", "new\n"),
            ("a/f", "changed\n", "changed\n"),
            ("a/deep/x", "x\n", "x\n"),
            ("m/n/y", "y\n", "none"),
            ("m/z", "z\n", "z\n"),
            ("keep", "none", "before\n"),
            ("m/keep", "none", "before\n"),
            ("m/n/in", "none", "none"),
        ] {
            assert_eq!(read(&to.join(name)), there, "{user:?} {name}");
            assert_eq!(read(&dir.join(name)), here, "{user:?} {name}");
        }
    }
}

/// SEC-E07: a kernel file system mounted below the directory, such as the root of a container: its magic links would
/// lead a job to all files of the host.
#[test]
fn kernel_file_systems_are_not_copied() {
    let Some(world) = probed() else { return };
    let dir = world.path("outside/container");
    for name in ["proc", "sys"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    let prepare = format!("cd {}; mount --bind /proc proc; mount --bind /sys sys", dir.display());
    let seen = Attack {
        without: "private-copy",
        options: &[],
        script: "for f in proc/version sys/kernel; do test -e $f && echo seen || echo hidden; done",
        held: "hidden\nhidden\n",
        broken: "seen\nseen\n",
    };
    attack(&World::users(), &prepare, &[seen]);
}

/// SEC-E07: resolver files must be regular files.
#[test]
fn names_come_from_files() {
    let Some(world) = probed() else { return };
    let fifo = Live::make(world.path("outside/names")).path.join("fifo");
    let prepare = format!("mount --bind {} /etc/hosts", fifo.display());
    for user in World::users() {
        let before = wrapper(user, &prepare, "private");
        let words = World::shell(&["--network=host"], "echo on");
        let output = finish(start(world, &before, "", &words));
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)), "{output:?}");
        let reason = "error[LAUNCH]: cannot show the host's /etc/hosts: not a regular file; ";
        assert!(output.stderr.starts_with(reason), "{output:?}");
    }
}

/// SEC-E08: the job's terminal is of its own devpts, whatever a runtime mounts over it or links to.
#[test]
fn a_terminal_comes_from_the_jobs_own_devpts() {
    let Some(world) = probed() else { return };
    let root = world.copy_runtime("ptmx");
    let secret = root.join("secret");
    fs::write(&secret, "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o666)).unwrap();
    fs::create_dir_all(root.join("isolated/pts")).unwrap();
    let yaml = fs::read_to_string(root.join("runtime.yml")).unwrap();
    let at = root.join("isolated/usr/share/link");
    let ptmx = root.join("isolated/pts/ptmx");
    let weak = can_weaken(world);
    for user in World::users() {
        for (link, target) in [("/dev/pts", "/usr/share/link"), ("/dev", "/usr/share/link/pts")] {
            _ = fs::remove_file(&at);
            symlink(link, &at).unwrap();
            let mount = format!("mounts:\n  - {{ source: isolated/pts, target: {target} }}");
            fs::write(root.join("runtime.yml"), yaml.replace("mounts:", &mount)).unwrap();
            let mut opened = 0;
            for fd in 3..16 {
                _ = fs::remove_file(&ptmx);
                symlink(format!("/proc/self/fd/{fd}/secret"), &ptmx).unwrap();
                for (verb, without) in [("run", ""), ("shell", ""), ("run", "own-terminals")] {
                    if !without.is_empty() && !weak {
                        continue;
                    }
                    let mut words: Vec<OsString> = vec!["env".into()];
                    words.push(format!("{WEAKEN}={without}").into());
                    words.extend(program(world, !without.is_empty()));
                    *words.iter_mut().find(|word| *word == "run").unwrap() = verb.into();
                    let job: &[&str] = match verb {
                        "run" => &["--tty", "--runtime=ptmx", "bash", "-c", "test -t 0; echo t-$?"],
                        _ => &["ptmx"],
                    };
                    words.extend(job.iter().map(OsString::from));
                    let mut pty = Pty::new();
                    let mut child = pty.start(user, &words, ":");
                    if verb == "shell" {
                        std::io::Write::write_all(&mut pty.near, b"test -t 0; echo t-$?; exit\r")
                            .unwrap();
                    }
                    if without.is_empty() {
                        pty.expect("t-0\r\n");
                        assert_eq!(child.wait().unwrap().code(), Some(0));
                    } else {
                        // It was opened and is not a terminal.
                        child.wait().unwrap();
                        let mut buffer = [0; 4096];
                        let len = pty.near.read(&mut buffer).unwrap_or(0);
                        let shown = String::from_utf8_lossy(&buffer[..len]);
                        opened += usize::from(shown.contains("Not a typewriter"));
                    }
                }
            }
            assert!(opened > 0 || !weak, "{user:?} {link}");
        }
    }
}

/// A device node like `/dev/zero`, owned by `owner`, if device nodes can be created.
struct Node(PathBuf);

impl Node {
    fn make(owner: u32) -> Self {
        let node = Self(format!("/dev/joblet-test-{}-{owner}", std::process::id()).into());
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &node.0, FileType::CharacterDevice, mode, makedev(1, 5)).unwrap();
        chown(&node.0, Some(owner), Some(owner)).unwrap();
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0); // the test has its result
    }
}

/// SEC-E09: a device of the host works, and its attributes cannot be changed.
#[test]
fn devices_of_the_host_keep_their_modes() {
    let Some(world) = probed() else { return };
    if !nix::unistd::geteuid().is_root() {
        return crate::support::not_applicable("only root makes device nodes");
    }
    let cdi = world.path("cdi");
    fs::create_dir(&cdi).unwrap();
    let change = "for how in chmod chown utimes; do probe $how /dev/nvidia0; done; ";
    let work =
        "head -c 3 /dev/nvidia0 > /tmp/x; stat -c %s /tmp/x; echo y > /dev/nvidia0 && echo w";
    let (held, broken) = ("{\"result\": -1, \"errno\": 30}\n", "{\"result\": 0, \"errno\": 0}\n");
    for user in World::users() {
        let made = Node::make(user.unwrap_or(0));
        let node = &made.0;
        let spec = format!(
            r#"{{ "kind": "x.org/gpu", "devices": [{{ "name": "0", "containerEdits": {{
            "deviceNodes": [{{ "path": "/dev/nvidia0", "hostPath": "{}" }}] }} }}] }}"#,
            node.display()
        );
        fs::write(cdi.join("x.json"), spec).unwrap();
        let words = World::shell(&["--gpu=1"], &format!("{change}{work}"));
        let run = |without: &str| {
            let mut all = vec![OsString::from("env")];
            all.push(format!("JOBLET_EXEC_CDI={}", cdi.display()).into());
            let before: Vec<_> = wrapper(user, ":", "private").into_iter().chain(all).collect();
            finish(start(world, &before, without, &words))
        };
        let before = fs::metadata(node).unwrap();
        let output = run("");
        assert_eq!(output.stdout, format!("{held}{held}{held}3\nw\n"), "{user:?} {output:?}");
        let after = fs::metadata(node).unwrap();
        assert_eq!(before.permissions(), after.permissions());
        assert_eq!(before.modified().unwrap(), after.modified().unwrap());
        if can_weaken(world) {
            let output = run("sealed-devices");
            assert_eq!(output.stdout, format!("{broken}{broken}{broken}3\nw\n"), "{output:?}");
            assert_eq!(fs::metadata(node).unwrap().permissions().mode() & 0o777, 0o640);
        }
    }
}

/// SEC-E09: root without CAP_MKNOD gets the host's nodes, like other users.
#[test]
fn the_hosts_own_nodes_keep_their_modes() {
    let Some(world) = probed() else { return };
    let script = "for node in null zero full random urandom tty; do for how in chmod utimes; do \
                  probe $how /dev/$node; done; done | sort -u; mv /dev/null /dev/x 2>/dev/null; \
                  head -c 2 /dev/urandom > /dev/null && echo works";
    // uniq(1) is not in the runtime.
    let script = script.replace(" | sort -u", "");
    let held = "{\"result\": -1, \"errno\": 30}\n".repeat(12) + "works\n";
    let node = || fs::metadata("/dev/null").unwrap();
    let before = (node().permissions(), node().modified().unwrap());
    for user in World::users() {
        let output = world.run(user, &[], &script);
        assert_eq!(output.stdout, held, "{user:?} {output:?}");
    }
    if nix::unistd::geteuid().is_root() {
        let mut run = Command::new("setpriv");
        run.args(["--bounding-set=-mknod", "--inh-caps=-mknod"]).args(world.program());
        run.args(World::shell(&[], &script)).current_dir(world.path("cwd"));
        let output = run.uid(0).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), held, "{output:?}");
    }
    assert_eq!((node().permissions(), node().modified().unwrap()), before);
}
