//! Attacks on the execution of a job's program: paths by which the kernel would open files of the host.

use crate::support::attack::{WEAKEN, can_weaken, compile, probed, program};
use crate::support::pty::Pty;
use crate::support::{Output, World, finish, skip};
use std::{
    ffi::OsString,
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

/// The world with the program `victim` outside of store and current directory.
fn guarded() -> Option<&'static World> {
    let world = probed()?;
    let built = world.once("victim", || compile(world, "victim", "outside/victim"));
    assert!(built, "support/victim.c cannot be compiled, support/probe.c can");
    Some(world)
}

/// Descriptors that a caller may leave open as number `fd`: three directories above the victim, and the victim.
fn left_open(world: &World, fd: u32) -> PathBuf {
    let paths = ["", "outside/victim", "store/demo", "cwd"];
    world.path(paths[fd as usize % paths.len()])
}

/// Paths from these to the victim.
const SUFFIXES: [&str; 4] = ["/outside/victim", "", "/../../outside/victim", "/../outside/victim"];

/// A script that executes its arguments with these descriptors.
fn with_open(world: &World, fds: impl Iterator<Item = u32>) -> String {
    // One at a time: a shell that opens several keeps copies to restore.
    let opened = fds.map(|fd| format!("exec {fd}<'{}'; ", left_open(world, fd).display()));
    opened.collect::<String>() + "exec \"$@\""
}

/// Kinds of programs that lead to another file.
#[derive(Debug)]
enum Way {
    /// A script with this `#!` line.
    Script(Vec<u8>),
    /// A script whose interpreter is a symlink to this path.
    Lead(String),
    /// A symlink to this path.
    Link(String),
    /// A program with this ELF interpreter.
    Elf(String),
}

/// A runtime whose program `door` is of such a kind.
struct Door<'a> {
    world: &'a World,
    name: &'static str,
    bin: PathBuf,
}

impl<'a> Door<'a> {
    fn new(world: &'a World, name: &'static str) -> Self {
        Self { world, name, bin: world.copy_runtime(name).join("isolated/usr/bin") }
    }

    /// The script: if it is executed, it tries to change every file that it can reach.
    const BODY: &'static str = "\nfor n in /proc/self/exe /proc/self/fd/{0..50} \
        /proc/self/fd/{0..50}/outside/victim; do echo x >>$n; done 2>/dev/null\n";

    fn put(&self, way: &Way) {
        let (door, lead) = (self.bin.join("door"), self.bin.join("lead"));
        for file in [&door, &lead] {
            _ = fs::remove_file(file);
        }
        let script = |line: &[u8]| {
            let text = [b"#!", line, Self::BODY.as_bytes()].concat();
            fs::write(&door, text).unwrap();
            fs::set_permissions(&door, fs::Permissions::from_mode(0o755)).unwrap();
        };
        match way {
            Way::Script(line) => script(line),
            Way::Lead(target) => {
                symlink(target, &lead).unwrap();
                script(b"/usr/bin/lead");
            }
            Way::Link(target) => symlink(target, &door).unwrap(),
            Way::Elf(interpreter) => {
                fs::write(&door, elf(fs::read(self.bin.join("cat")).unwrap(), interpreter))
                    .unwrap();
                fs::set_permissions(&door, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    /// Runs it with these descriptors open and the protections `weak` disabled.
    fn run(&self, user: Option<u32>, options: &[&str], fds: &[u32], weak: &str) -> Output {
        let mut run = Command::new("bash");
        let wrapper = with_open(self.world, fds.iter().copied());
        run.args(["-c", &wrapper, "bash"]).args(program(self.world, !weak.is_empty()));
        let runtime = format!("--runtime={}", self.name);
        run.args(options).args([&runtime, "--", "/usr/bin/door"]);
        run.current_dir(self.world.path("cwd")).env_clear().env("PATH", "/usr/bin:/bin");
        run.env(WEAKEN, weak).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = user {
            run.uid(user).gid(user);
        }
        let output = run.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Output { stdout, stderr, status: output.status.code() }
    }
}

/// The 64-bit program `file` with another interpreter, as of elf(5).
fn elf(mut file: Vec<u8>, interpreter: &str) -> Vec<u8> {
    let number = |file: &[u8], at: usize, len: usize| {
        file[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, count) = (number(&file, 32, 8), number(&file, 56, 2));
    let mut entries = (0..count).map(|index| table + 56 * index);
    let entry = entries.find(|at| number(&file, *at, 4) == 3).unwrap();
    let (end, len) = (file.len() as u64, interpreter.len() as u64 + 1);
    file[entry + 8..entry + 16].copy_from_slice(&end.to_le_bytes());
    file[entry + 32..entry + 40].copy_from_slice(&len.to_le_bytes());
    file.extend(interpreter.as_bytes());
    file.push(0);
    file
}

/// State that must be unchanged: files outside, the store, and the program itself.
fn all_of(world: &World, store: &str) -> impl PartialEq + use<> {
    let part = |path: &str| crate::common::snapshot(&world.path(path));
    (part("outside"), part(store), fs::read(world.path("joblet-exec")).unwrap())
}

/// Runs a job, with files left open, under the tracer, which writes to `report`; returns the status.
fn trace(
    world: &World,
    user: Option<u32>,
    report: &Path,
    options: &[&str],
    redirect: &str,
) -> Option<i32> {
    let uid = user.map_or("-1".into(), |user| user.to_string());
    let open = with_open(world, 3..=50) + redirect;
    let mut words: Vec<OsString> = ["bash", "-c", &open, "bash"].map(Into::into).into();
    words.extend([world.path("tracer").into(), report.into(), uid.into()]);
    words.extend(program(world, false));
    words.extend(options.iter().map(OsString::from));
    words.extend(["--runtime=demo", "--", "sleep", "0"].map(OsString::from));
    if options == ["--tty"] {
        let mut pty = Pty::new();
        let mut child = pty.start(None, &words, "echo over-$s");
        pty.expect("over-");
        return child.wait().unwrap().code();
    }
    let mut run = Command::new(&words[0]);
    run.args(&words[1..]).current_dir(world.path("cwd")).stdin(Stdio::null());
    finish(run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).status
}

/// SEC-E01: at the execve of a job's program, the process has only its standard files and the report pipe,
/// and `/proc/self/exe` is a file of its own root, whatever its caller left open.
#[test]
fn nothing_of_the_host_is_open_during_exec() {
    let Some(world) = guarded() else { return };
    if !compile(world, "tracer", "tracer") {
        return skip("no C compiler");
    }
    let bind = format!("--bind={}:/given:rw", world.path("outside").display());
    let upload = format!("--upload={}", world.path("outside").display());
    let (input, log) = (world.path("cwd/in.txt"), world.path("cwd/traced.log"));
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
    let files = format!(" <{} >>{} 2>&1", input.display(), log.display());
    for (number, user) in World::users().into_iter().enumerate() {
        for (index, (options, redirect)) in [
            (vec![], ""),
            (vec![], files.as_str()),
            (vec!["--init"], ""),
            (vec!["--network=host"], ""),
            (vec![upload.as_str()], ""),
            (vec![bind.as_str(), "--workdir=/given"], ""),
            (vec!["--tty"], ""),
            (vec!["--timeout=60", "--init", upload.as_str()], files.as_str()),
        ]
        .into_iter()
        .enumerate()
        {
            let report = world.path(&format!("trace-{number}-{index}"));
            let status = trace(world, user, &report, &options, redirect);
            assert_eq!(status, Some(0), "{user:?} {options:?}");
            let report = fs::read_to_string(&report).unwrap();
            let lines: Vec<Vec<_>> =
                report.lines().map(|line| line.split('\t').collect()).collect();
            // The launcher (after the program that hides system calls, if any), the trampoline by execveat(2),
            // and the job by the trampoline.
            let hiding = world.program().iter().position(|word| *word == world.path("joblet-exec"));
            let first = hiding.map_or(0, |words| words / 2);
            assert_eq!(lines.len(), first + 3, "{user:?} {options:?}\n{report}");
            let [begin, child, door] = [0, 1, 2].map(|index| &lines[first + index]);
            assert!(begin.len() > 48, "the caller left nothing open: {report}");
            assert!(child[0].ends_with("joblet-exec") && child.len() <= 7, "{report}");
            assert_eq!((door[0], door.len()), ("own", 5), "{user:?} {options:?}\n{report}");
            for (fd, shown) in door[1..].iter().enumerate() {
                let (number, file) = shown.split_once(' ').unwrap();
                assert_eq!(number, fd.to_string(), "{report}");
                let own = ["pipe:[", "/dev/null", "/dev/pts/0"];
                let input = fd == 0 && !redirect.is_empty();
                let known = own.iter().any(|own| file.starts_with(own)) || input;
                assert!(known && (fd != 3 || file.starts_with("pipe:[")), "{options:?} {report}");
            }
        }
    }
}

/// SEC-E01: scripts, symlinks and interpreters that lead through descriptors and `/proc/self` are not executable, and no
/// file of the host is executed.
#[test]
fn no_program_leads_out_of_the_job() {
    let Some(world) = guarded() else { return };
    let door = Door::new(world, "ways");
    let text = |text: &str| Way::Script(text.as_bytes().to_vec());
    let mut ways = Vec::new();
    for fd in 0..13 {
        for (index, suffix) in SUFFIXES.iter().enumerate() {
            let target = format!("/dev/fd/{fd}{suffix}");
            ways.push(match (fd + index) % 3 {
                0 => text(&target),
                1 => Way::Elf(target),
                _ => Way::Lead(format!("/proc/self/fd/{fd}{suffix}")),
            });
        }
    }
    let fixed = [
        "/proc/self/fd/3/isolated/usr/bin/bash",
        "/proc/self/fd/7/outside/victim",
        "/proc/self/exe",
        "/proc/self/cwd/../outside/victim",
        "/proc/self/root/outside/victim",
        "/proc/1/root/outside/victim",
        "/proc/1/cwd/../outside/victim",
        "/proc/1/exe",
        "/proc/thread-self/fd/4/outside/victim",
        "//proc/self/fd/4/outside/victim",
        "/usr/../proc/self/fd/5",
        "../proc/self/fd/5",
    ];
    ways.extend(fixed.map(text));
    ways.extend(fixed.map(|target| Way::Lead(target.into())));
    ways.extend(fixed.map(|target| Way::Elf(target.into())));
    ways.extend(fixed.map(|target| Way::Link(target.into())));
    let before = all_of(world, "store/demo");
    let fds: Vec<_> = (3..=50).collect();
    for way in &ways {
        door.put(way);
        for user in World::users() {
            let cases: [(&[&str], &[u32]); 3] = [(&[], &[]), (&[], &fds), (&["--init"], &fds)];
            // Every kind is tried with each descriptor by one of the users, and with one descriptor by each user.
            let odd = usize::from(user.is_some());
            for (options, fds) in cases.into_iter().skip(odd).step_by(2) {
                let output = door.run(user, options, fds, "");
                assert!(!output.stdout.contains("VICTIM"), "{user:?} {way:?} {output:?}");
                let link = matches!(way, Way::Link(_)) && output.status == Some(127);
                assert!(output.status == Some(126) || link, "{user:?} {way:?} {output:?}");
            }
        }
    }
    assert!(all_of(world, "store/demo") == before);
    if !can_weaken(world) {
        return;
    }
    let out = |user, fds: &[u32], weak| door.run(user, &[], fds, weak).stdout.contains("VICTIM");
    for user in World::users() {
        for way in [
            text("/dev/fd/8/outside/victim"),
            Way::Lead("/proc/self/fd/8/outside/victim".into()),
            Way::Elf("/proc/self/fd/9".into()),
        ] {
            door.put(&way);
            assert!(out(user, &fds, "close-files,trampoline"), "{user:?} {way:?}");
        }
        // Descriptors of the launcher itself.
        let found = (3..20).any(|fd| {
            SUFFIXES.iter().any(|suffix| {
                door.put(&text(&format!("/dev/fd/{fd}{suffix}")));
                out(user, &[], "close-files,trampoline")
            })
        });
        assert!(found, "{user:?}");
        door.put(&Way::Lead("/proc/self/exe".into()));
        let output = door.run(user, &[], &[], "trampoline");
        assert!(output.status != Some(126), "{user:?} {output:?}");
    }
}

/// A random number generator: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % end
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// A random path through descriptors and `/proc`.
    fn path(&mut self) -> String {
        let begin = ["/proc/self", "//proc/self", "/proc/1", "/proc/thread-self", "/dev", "/./dev"];
        let mut path = self.of(&begin).to_owned();
        let fd = self.below(52).to_string();
        let parts = ["/exe", "/cwd", "/root", "/stdin", "/null"];
        path += if self.below(6) == 0 { self.of(&parts) } else { "/fd/" };
        if path.ends_with("/fd/") {
            path += &fd;
        }
        for _ in 0..self.below(3) {
            path += self.of(&["/", "/..", "/../..", "/.", "/outside", "/store/demo"]);
        }
        path + self.of(&["", "/victim", "/outside/victim", "/isolated/usr/bin/bash", "/bin/bash"])
    }

    fn way(&mut self) -> Way {
        let path = self.path();
        match self.below(5) {
            0 => Way::Lead(path),
            1 => Way::Link(path),
            2 => Way::Elf(path),
            3 => {
                let len = self.below(5000);
                let bytes = (0..len).map(|_| u8::try_from(self.below(256)).unwrap());
                Way::Script(path.into_bytes().into_iter().chain(bytes).collect())
            }
            _ => {
                let (before, after) =
                    (self.of(&["", " ", "\t "]), self.of(&["", " -x", "\r", "\0"]));
                Way::Script([before, &path, after].concat().into_bytes())
            }
        }
    }
}

/// SEC-E01: the same with 300 random programs and descriptors.
#[test]
fn no_random_program_leads_out_of_the_job() {
    let Some(world) = guarded() else { return };
    let door = Door::new(world, "chance");
    let given = std::env::var("JOBLET_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed: u64 = given.unwrap_or(now);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let before = all_of(world, "store/demo");
    for round in 0..300 {
        let way = random.way();
        let fds: Vec<_> = (3..=50).filter(|_| random.below(2) == 0).collect();
        let users = World::users();
        let user = users[random.below(users.len())];
        let options: &[&str] = [&[][..], &["--init"], &["--network=host"]][random.below(3)];
        door.put(&way);
        let own = crate::common::snapshot(&door.bin);
        let output = door.run(user, options, &fds, "");
        let at = format!("JOBLET_TEST_SEED={seed}, round {round}: {user:?} {options:?} {way:?}");
        assert!(!output.stdout.contains("VICTIM"), "{at} {output:?}");
        assert!(own == crate::common::snapshot(&door.bin), "{at}");
    }
    assert!(all_of(world, "store/demo") == before, "JOBLET_TEST_SEED={seed}");
}
