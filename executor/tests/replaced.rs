//! Directories that another user replaces while they are used: who may write to a directory renames what is in it.

use crate::common::server::Server;
use crate::common::victim::Victim;
use crate::support::attack::{WEAKEN, can_weaken, program};
use crate::support::{World, finish, skip};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Attempts with the whole program; and at most with a weakened one, until one succeeds.
const TRIES: usize = 20;
const MOST: usize = 400;

/// A thread that puts directories of its own in the place of others, until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    /// Replaces each directory in `dir` whose name `fits`, by one that `fill` has filled.
    fn start(dir: PathBuf, fits: fn(&str) -> bool, fill: impl Fn(&Path) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let swap = move || {
            let (mut seen, mut number) = (Vec::new(), 0);
            let ready = |number: usize| {
                let path = dir.join(format!("evil{number}"));
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
                fill(&path);
                path
            };
            let mut evil = ready(number);
            while !told.load(Ordering::Relaxed) {
                for entry in fs::read_dir(&dir).unwrap().flatten() {
                    let name = entry.file_name().into_string().unwrap();
                    if !fits(&name) || seen.contains(&name) {
                        continue;
                    }
                    if fs::rename(entry.path(), dir.join(format!("moved{number}"))).is_ok() {
                        _ = fs::rename(&evil, entry.path());
                        seen.push(name);
                        number += 1;
                        evil = ready(number);
                    }
                }
            }
        };
        Self { stop, thread: Some(thread::spawn(swap)) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A directory in which everybody can rename everything.
fn open_directory(path: PathBuf) -> PathBuf {
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    path
}

/// SEC-B30: the job's `/tmp` is what was made for it, or there is no job; nothing is made or changed elsewhere.
#[test]
fn a_tmp_that_is_replaced_is_not_mounted() {
    let Some(world) = World::get() else { return };
    for (number, user) in World::users().into_iter().enumerate() {
        let victim = Victim::new(world.path(&format!("tmp-victim{number}")), None);
        let target = victim.path.clone();
        let dir = open_directory(world.path(&format!("tmp{number}")));
        let _swapper = Swapper::start(
            dir.clone(),
            |name| name.starts_with("joblet-tmp-"),
            move |evil| {
                fs::write(evil.join("mark"), "").unwrap();
                symlink(&target, evil.join("d")).unwrap();
            },
        );
        let (option, bind) = (format!("--tmp={}", dir.display()), "--bind=/proc/version:/tmp/d/f");
        for options in [&[&*option][..], &[&*option, bind]] {
            for _ in 0..TRIES {
                let output = world.run(user, options, "ls /tmp");
                let refused = output.stderr.starts_with("error[") && output.status == Some(125);
                let own = if options.len() > 1 { "d\n" } else { "" };
                assert!(
                    refused || (output.status == Some(0) && output.stdout == own),
                    "{output:?}"
                );
                victim.assert_untouched();
            }
        }
        if can_weaken(world) {
            let words = program(world, true);
            let shown = (0..MOST).any(|_| {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).args(World::shell(&[&option], "ls /tmp"));
                let like = world.command(user, &[""; 0]);
                command.env_clear().env(WEAKEN, "tmp").current_dir(like.get_current_dir().unwrap());
                if let Some(user) = user {
                    std::os::unix::process::CommandExt::uid(&mut command, user);
                }
                command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
                finish(command.spawn().unwrap()).stdout.contains("mark")
            });
            assert!(shown, "the attack is one");
        }
    }
}

/// SEC-B31: an export writes to the directory that it made, or to new files, and through no link.
#[test]
fn an_export_writes_through_no_link() {
    let mut world = crate::common::World::new();
    world.publish("demo", "1.0.0");
    let server = Server::files(world.path("registry"));
    let victim = Victim::new(world.path("victim"), None);
    let target = victim.path.clone();
    let _swapper = Swapper::start(
        open_directory(world.path("usb")),
        |name| name.ends_with(".partial"),
        move |evil| {
            symlink(target.join("f"), evil.join("registry.json")).unwrap();
            symlink(target.join("new"), evil.join("bundle.json")).unwrap();
        },
    );
    let export = |program: &Path, number: usize| {
        let inner = world.command();
        let mut command = Command::new(program);
        command.env_clear().current_dir(inner.get_current_dir().unwrap());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env(WEAKEN, "export").args(["--registry", &server.address, "export", "demo"]);
        world.outcome(command.arg(format!("--to=usb/{number}")).output().unwrap())
    };
    for number in 0..TRIES {
        let outcome = export(crate::common::program().as_ref(), number);
        assert!(matches!(outcome.status, Some(0 | 15)), "{outcome:?}");
        victim.assert_untouched();
    }
    let built = std::env::current_exe().unwrap();
    let weakened = built.parent().unwrap().parent().unwrap().join("examples/weakened");
    if !weakened.exists() {
        skip("negative proofs: cargo build -p joblet-exec --features weaken --example weakened");
        return;
    }
    let broken = (TRIES..TRIES + MOST).any(|number| {
        export(&weakened, number);
        fs::read(victim.path.join("f")).unwrap() != b"victim\n"
    });
    assert!(broken, "the attack is one");
}
