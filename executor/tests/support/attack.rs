//! Attacks of jobs, tried against the program under test and against the weakened one.

use crate::support::{World, finish, skip};
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

/// Names of protections, for `weakened`.
pub(crate) const WEAKEN: &str = "JOBLET_EXEC_WEAKEN";

/// The world, with a static probe in its runtime.
#[track_caller]
pub(crate) fn probed() -> Option<&'static World> {
    let world = World::get()?;
    let built = world.once("probe", || {
        let built = compile(world, "probe", "store/demo/isolated/usr/bin/probe");
        let loose = world.path("store/demo/isolated/usr/share/loose/nested");
        fs::create_dir_all(&loose).unwrap();
        for dir in [&loose, loose.parent().unwrap()] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
        }
        built
    });
    if !built {
        skip("no C compiler with a static library here");
    }
    built.then_some(world)
}

/// Compiles `support/NAME.c` to the static program `to` in the world; whether it can be.
pub(crate) fn compile(world: &World, name: &str, to: &str) -> bool {
    let source = format!("{}/tests/support/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let library = if name == "victim" { "-nostdlib" } else { "-pthread" };
    let built = Command::new("cc")
        .args(["-static", library, "-o"])
        .arg(world.path(to))
        .arg(source)
        .status();
    built.is_ok_and(|status| status.success())
}

/// The world, with the program `files` in its runtime.
#[track_caller]
pub(crate) fn files() -> Option<&'static World> {
    let world = probed()?;
    let to = "store/demo/isolated/usr/bin/files";
    let built = world.once("files", || compile(world, "files", to));
    assert!(built, "support/files.c cannot be compiled, support/probe.c can");
    Some(world)
}

/// The command line before a job's options, of the program under test or the weakened one.
pub(crate) fn program(world: &World, weak: bool) -> Vec<OsString> {
    let mut words = world.program();
    if weak {
        let own = world.path("joblet-exec");
        *words.iter_mut().find(|word| **word == own).unwrap() = world.path("weakened").into();
    }
    words
}

/// Whether attacks can be shown to succeed.
pub(crate) fn can_weaken(world: &World) -> bool {
    let can = world.path("weakened").exists();
    if !can {
        skip("negative proofs: cargo build -p joblet-exec --features weaken --example weakened");
    }
    can
}

/// An attack, and its output against the program and against one without the protection `without`.
pub(crate) struct Attack {
    pub(crate) without: &'static str,
    pub(crate) options: &'static [&'static str],
    pub(crate) script: &'static str,
    pub(crate) held: &'static str,
    pub(crate) broken: &'static str,
}

/// The command line before the program, for a user. `prepare` is a script in a new mount namespace,
/// for which a caller other than root needs a user namespace.
pub(crate) fn wrapper(user: Option<u32>, prepare: &str, propagation: &str) -> Vec<OsString> {
    let root = nix::unistd::geteuid().is_root();
    let mut words = vec!["unshare", "--mount", "--propagation", propagation];
    if !root {
        words.extend(["--user", "--map-root-user"]);
    }
    let script = format!("{prepare}\nexec \"$@\"");
    words.extend(["sh", "-c", &script, "sh"]);
    let ids = user.map(|user| (format!("--reuid={user}"), format!("--regid={user}")));
    if let Some((uid, gid)) = &ids {
        words.extend(["setpriv", uid, gid, "--clear-groups"]);
    }
    words.into_iter().map(OsString::from).collect()
}

pub(crate) fn start(world: &World, before: &[OsString], weak: &str, words: &[String]) -> Child {
    let all: Vec<_> = before.iter().cloned().chain(program(world, !weak.is_empty())).collect();
    let mut command = Command::new(&all[0]);
    command.args(&all[1..]).args(words).current_dir(world.path("cwd"));
    command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env(WEAKEN, weak);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Tries each attack as each of these users, with and without its protection.
#[track_caller]
pub(crate) fn attack(users: &[Option<u32>], prepare: &str, attacks: &[Attack]) {
    let Some(world) = probed() else { return };
    let weak = can_weaken(world);
    for user in users {
        let before = wrapper(*user, prepare, "private");
        for Attack { without, options, script, held, broken } in attacks {
            let run = |weak: &str| {
                let words = World::shell(options, script);
                finish(start(world, &before, weak, &words))
            };
            let output = run("");
            assert_eq!(output.stdout, *held, "{user:?} {script}: {output:?}");
            if weak {
                let output = run(without);
                assert_eq!(output.stdout, *broken, "{user:?} without {without}: {output:?}");
            }
        }
    }
}

/// The users who are root on this host.
pub(crate) fn root() -> Vec<Option<u32>> {
    if nix::unistd::geteuid().is_root() { vec![None] } else { Vec::new() }
}
