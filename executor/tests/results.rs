//! Files that a job leaves in its private `/work`: reported, or copied by `--output`.

use crate::support::{
    World,
    attack::{WEAKEN, can_weaken, probed, program, start, wrapper},
    finish,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::{Command, Stdio},
};

/// Creates, changes and removes files, and creates symlinks to trap the copy.
const SCRIPT: &str = "echo new > new; echo changed > in.txt; rm old.txt; mkdir -p d/e; echo deep > d/e/deep; \
                      chmod 750 d; chmod 711 new; ln -s /etc/passwd link; ln -s .. d/up; mkdir taken; \
                      echo x > taken/x; mkdir shut; echo y > shut/y; chmod 0 shut/y; chmod 0 shut";

#[test]
fn new_and_changed_files_are_copied_out() {
    let Some(world) = World::get() else { return };
    for (number, user) in World::users().into_iter().enumerate() {
        let here = world.path(&format!("results-{number}"));
        fs::create_dir(&here).unwrap();
        for name in ["in.txt", "old.txt", "same.txt"] {
            fs::write(here.join(name), "before\n").unwrap();
            if let Some(user) = user {
                std::os::unix::fs::chown(here.join(name), Some(user), Some(user)).unwrap();
            }
        }
        let outside = world.path(&format!("outside/of-{number}"));
        let to = world.path(&format!("outside/to-{number}"));
        for dir in [&outside, &to] {
            fs::create_dir(dir).unwrap();
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
        }
        // A symlink at a file's path is replaced; one at a directory's path is refused below.
        symlink(outside.join("victim"), to.join("new")).unwrap();
        let run = |script: &str, to: &std::path::Path| {
            let option = format!("--output={}", to.display());
            let mut run = world.command(user, &World::shell(&[&option], script));
            finish(run.current_dir(&here).spawn().unwrap())
        };
        let output = run(&format!("{SCRIPT}; exit 7"), &to);
        assert_eq!(output.status, Some(7), "{user:?} {output:?}");
        assert!(
            output.stderr.contains("links and special files that were not copied: 2"),
            "{output:?}"
        );
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!(
            (read("new"), read("in.txt"), read("d/e/deep"), read("taken/x")),
            ("new\n".into(), "changed\n".into(), "deep\n".into(), "x\n".into())
        );
        let mode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().permissions().mode();
        assert_eq!((mode("new") & 0o7777, mode("d") & 0o7777), (0o711, 0o750));
        assert!(mode("new") & 0o170_000 == 0o100_000, "a file in place of the link");
        let names: Vec<_> = fs::read_dir(&to).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        // What the job made inaccessible to its own user arrives, and is as inaccessible.
        assert_eq!((mode("shut") & 0o7777, mode("shut/y") & 0o7777), (0, 0));
        assert_eq!(read("shut/y"), "y\n");
        fs::remove_dir_all(to.join("shut")).unwrap();
        // Nothing was written to the targets of the symlinks.
        fs::remove_file(to.join("taken/x")).unwrap();
        fs::remove_dir(to.join("taken")).unwrap();
        symlink(&outside, to.join("taken")).unwrap();
        for name in ["new", "in.txt", "d/e/deep"] {
            fs::remove_file(to.join(name)).unwrap();
        }
        let output = run(SCRIPT, &to);
        assert_eq!(output.status, Some(125), "{output:?}");
        let message = format!("cannot copy the job's files to {}: taken: ", to.display());
        assert!(output.stderr.contains(&message), "{output:?}");
        assert_eq!(read("new") + &read("in.txt") + &read("d/e/deep"), "new\nchanged\ndeep\n");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // The same without a shared current directory.
        let option = format!("--output={}", to.join("more").display());
        let mut run = world.command(user, &World::shell(&[&option], "echo root > r"));
        assert_eq!(finish(run.current_dir("/").spawn().unwrap()).status, Some(0));
        assert_eq!(read("more/r"), "root\n");
    }
}

/// Root's jobs can rename a directory of the lower layer; it is copied with its content.
#[test]
fn a_renamed_directory_is_whole() {
    let Some(world) = probed() else { return };
    for (number, user) in World::users().into_iter().enumerate() {
        let here = world.path(&format!("renamed-{number}"));
        let to = world.path(&format!("outside/of-renamed-{number}"));
        fs::create_dir_all(here.join("old/sub")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o777)).unwrap();
        for (name, text) in [("old/a", "a\n"), ("old/sub/b", "b\n"), ("same", "same\n")] {
            fs::write(here.join(name), text).unwrap();
        }
        if let Some(user) = user {
            for name in ["old", "old/sub", "old/a", "old/sub/b"] {
                std::os::unix::fs::chown(here.join(name), Some(user), Some(user)).unwrap();
            }
        }
        let script = "probe rename old new || mv old new; echo c > new/c; ls . new";
        let option = format!("--output={}", to.display());
        let mut run = world.command(user, &World::shell(&[&option], script));
        let output = finish(run.current_dir(&here).spawn().unwrap());
        // A user's overlay has no redirect_dir: rename fails with EXDEV, and programs copy.
        let root = user.is_none() && nix::unistd::geteuid().is_root();
        let (result, errno) = if root { (0, 0) } else { (-1, 18) };
        let done = format!("{{\"result\": {result}, \"errno\": {errno}}}\n");
        let want = format!("{done}.:\nnew\nsame\n\nnew:\na\nc\nsub\n");
        assert_eq!((output.stdout.as_str(), output.status), (want.as_str(), Some(0)), "{output:?}");
        for (name, text) in [("new/a", "a\n"), ("new/sub/b", "b\n"), ("new/c", "c\n")] {
            assert_eq!(fs::read_to_string(to.join(name)).unwrap(), text);
        }
        assert!(!to.join("same").exists() && !to.join("old").exists());
        assert!(here.join("old/sub/b").exists());
    }
}

/// A path outside of the current directory is not in the job: who names one and fails is told so.
#[test]
fn a_path_that_the_job_does_not_see_is_named() {
    let Some(world) = World::get() else { return };
    fs::create_dir_all(world.path("cwd/below")).unwrap();
    fs::write(world.path("cwd/outside.txt"), "text\n").unwrap();
    let absolute = world.path("cwd/outside.txt").display().to_string();
    for user in World::users() {
        for (options, path, status, told) in [
            (&["-v"][..], "../outside.txt", 1, true),
            (&["-v"], &absolute, 1, true),
            (&["-v"], "../no-such.txt", 1, false),
            (&["-v"], "/usr/bin/no-such", 1, false),
            (&[], "../outside.txt", 1, false), // nobody reads it
            (&["-v", "--upload", "../outside.txt"], "outside.txt", 0, false),
        ] {
            let mut words = options.to_vec();
            words.extend(["--runtime=demo", "--", "cat", path]);
            let mut run = world.command(user, &words);
            let output = finish(run.current_dir(world.path("cwd/below")).spawn().unwrap());
            let want = format!(
                "{path} is not in the job, which sees the current directory as /work; --upload {path} puts"
            );
            assert_eq!(output.stderr.contains(&want), told, "{options:?} {output:?}");
            assert_eq!(output.status, Some(status), "{output:?}");
        }
    }
}

/// Options for results that cannot be kept are refused before the job starts, and files of the host are not results.
#[test]
fn what_cannot_be_kept_is_refused_before_the_job() {
    let Some(world) = World::get() else { return };
    for (number, user) in World::users().into_iter().enumerate() {
        let here = world.path(&format!("refused-{number}"));
        fs::create_dir_all(here.join("data")).unwrap();
        fs::write(here.join("data/d"), "d\n").unwrap();
        fs::write(here.join("file"), "\n").unwrap();
        fs::write(world.path("outside/given"), "given\n").unwrap();
        let to = world.path(&format!("outside/of-refused-{number}"));
        fs::create_dir(&to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o777)).unwrap();
        let run = |options: &[&str], script: &str| {
            let mut run = world.command(user, &World::shell(options, script));
            finish(run.current_dir(&here).spawn().unwrap())
        };
        let output = |path: &std::path::Path| format!("--output={}", path.display());
        for (options, want) in [
            (vec!["--here".to_owned(), output(&to)], "it is in that directory already"),
            (vec!["--bind=.:/work".to_owned(), output(&to)], "it is in that directory already"),
            (vec![output(&here.join("file"))], "it is a file, not a directory"),
            (vec!["--output=/proc/none".to_owned()], "--output /proc/none: "),
        ] {
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            let output = run(&options, "echo ran");
            assert_eq!((output.status, output.stdout.as_str()), (Some(125), ""), "{options:?}");
            assert!(output.stderr.contains(want), "{options:?}: {output:?}");
        }
        // A bind mount in `/work` is not copied; an upload only if the job has changed it.
        let upload = format!("--upload={}", world.path("outside/given").display());
        // A file that is mounted there is none either.
        let file = "--bind=file:/work/file-of-host";
        let options = ["--bind=data:/work/bound", file, upload.as_str(), &output(&to)];
        assert_eq!(run(&options, "cat given bound/d; echo > new").stdout, "given\nd\n");
        let names = |dir| -> Vec<_> {
            let mut names: Vec<_> =
                fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&to), ["bound", "new"]);
        assert_eq!(names(&to.join("bound")), Vec::<std::ffi::OsString>::new());
        run(&options, "echo more >> given");
        assert_eq!(fs::read_to_string(to.join("given")).unwrap(), "given\nmore\n");
    }
}

#[test]
fn discarded_results_are_reported() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (options, script, want) in [
            (&["-v"][..], "echo > a; mkdir d; echo > d/b", "2 files written in /work discarded"),
            (&["-v"], "echo > a", "1 file written in /work discarded"),
            (&["-v"], "rm -f in.txt; mkdir d; cat in.txt; :", ""),
            (&["-v", "--here"], "cd /work; echo > a; cd /", ""),
            (&[], "echo > a", ""),
        ] {
            let output = world.run(user, options, script);
            let told = output.stderr.lines().find(|line| line.contains(" discarded; "));
            let told = told.unwrap_or_default();
            assert!(told.contains(want) && told.is_empty() == want.is_empty(), "{output:?}");
        }
        // Deep and large directories are counted up to a limit.
        let script = "for i in {1..400}; do mkdir d && cd d; done; echo > deep";
        let mut run = world.command(user, &World::shell(&["-v"], script));
        let output = finish(run.stdin(Stdio::null()).spawn().unwrap());
        assert_eq!(output.status, Some(0), "{output:?}");
    }
}

/// SEC-B20: a store in a directory that is writable for a job is read-only.
#[test]
fn a_store_below_what_a_job_may_write_to_is_read_only() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let store = world.path("store");
        let above = store.parent().unwrap().display().to_string();
        let write = "echo x > $S/demo/isolated/new; echo x > $S/new; mv $S/demo $S/other; rm -rf $S/demo; ls $S";
        let bound = format!("--bind={above}:/all:rw");
        let itself = format!("--bind={}:/s:rw", store.display());
        for (options, at) in [
            (vec!["--here"], store.display().to_string()),
            (vec![bound.as_str()], "/all/store".to_owned()),
            (vec![itself.as_str()], "/s".to_owned()),
        ] {
            let script = format!("S={at}; {write}");
            let mut run = world.command(user, &World::shell(&options, &script));
            let output = finish(run.current_dir(&above).spawn().unwrap());
            assert!(
                output.stderr.matches("Read-only file system").count() >= 2,
                "{options:?} {output:?}"
            );
            assert!(!store.join("new").exists() && store.join("demo/isolated").exists());
        }
        // One that does not exist yet, and the directories above one, which could be replaced.
        let home = world.path(&format!("home-{}", user.unwrap_or_default()));
        fs::create_dir(&home).unwrap();
        if let Some(user) = user {
            std::os::unix::fs::chown(&home, Some(user), Some(user)).unwrap();
        }
        let script = "mkdir .local/share/joblet/runtimes/x; mv .local/share/joblet j; mv .local l; touch .local/ok";
        let mut run = world.command(user, &World::shell(&["--here"], script));
        run.env("HOME", &home).env_remove("XDG_DATA_HOME").current_dir(&home);
        let output = finish(run.spawn().unwrap());
        let is_root = user.is_none() && nix::unistd::geteuid().is_root();
        if !is_root {
            assert!(output.stderr.contains("Read-only file system"), "{output:?}");
            assert_eq!(output.stderr.matches("busy").count(), 2, "{output:?}");
            let made = home.join(".local/share/joblet/runtimes");
            assert_eq!(fs::read_dir(made).unwrap().count(), 0);
            assert!(home.join(".local/ok").exists(), "{output:?}");
        }
        // Nothing is copied into a store below the directory of --output, or to where one will be.
        let script = "mkdir -p .local/share/joblet/runtimes/x; echo y > .local/share/joblet/runtimes/y; echo z > z";
        let output = World::shell(&["--output=."], script);
        let mut run = world.command(user, &output);
        run.env("HOME", &home).env_remove("XDG_DATA_HOME").current_dir(&home);
        let output = finish(run.spawn().unwrap());
        if !is_root {
            let refused =
                ".local/share/joblet/runtimes: a store of runtimes, which no job may change";
            assert!(output.stderr.contains(refused), "{output:?}");
            let store = home.join(".local/share/joblet/runtimes");
            assert_eq!(fs::read_dir(store).unwrap().count(), 0);
        }
        assert_eq!(
            (output.status, home.join("z").exists()),
            (Some(if is_root { 0 } else { 125 }), true)
        );
        let output = world.run(user, &[&format!("--output={}/demo/new", store.display())], ":");
        assert!(output.stderr.contains("--output is in a store of runtimes"), "{output:?}");
        assert_eq!(output.status, Some(125));
        assert!(!store.join("demo/new").exists());
    }
}

/// On a full disk a file keeps its old content, nothing remains of the new one, and what fits is copied. Directories
/// that are nested too deeply are a failure, too.
#[test]
fn a_file_that_cannot_be_copied_keeps_its_old_content() {
    let Some(world) = probed() else { return };
    let full = world.path("full");
    fs::create_dir(&full).unwrap();
    for user in World::users() {
        let prepare = format!(
            "mount -t tmpfs -o size=256k,mode=777 t {0}; echo old > {0}/big; chmod 666 {0}/big",
            full.display()
        );
        let mut before = wrapper(user, &prepare, "private");
        let script =
            format!("\"$@\"; s=$?; ls -A {0}; cat {0}/big {0}/small; exit $s", full.display());
        before.extend(["bash", "-c", &script, "bash"].map(Into::into));
        let job = "head -c 1M /dev/zero > big; echo new > small; mkdir -p d; cd d; i=0; \
                   while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done";
        let option = format!("--output={}", full.display());
        let output = finish(start(world, &before, "", &World::shell(&[&option], job)));
        assert_eq!(output.status, Some(125), "{user:?} {output:?}");
        assert_eq!(output.stdout, "big\nd\nsmall\nold\nnew\n", "{user:?}");
        let deep = output.stderr.contains("deeper than 256 directories");
        assert!(deep || output.stderr.contains("big: No space left on device"), "{output:?}");
    }
}

/// SEC-B33: a directory that exists keeps its mode, and root copies into none of another user: who can rename in DIR
/// decides which one has a name.
#[test]
fn a_directory_that_exists_is_not_changed() {
    let Some(world) = World::get() else { return };
    for (number, user) in World::users().into_iter().enumerate() {
        let to = world.path(&format!("kept-{number}"));
        let existing = to.join("d");
        fs::create_dir_all(&existing).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&existing, fs::Permissions::from_mode(0o700)).unwrap();
        if let Some(user) = user {
            chown(&existing, Some(user), Some(user)).unwrap();
        }
        let option = format!("--output={}", to.display());
        let script = "mkdir -m 777 d new && echo x >d/f";
        let run = || world.run(user, &[&option], script);
        assert_eq!(run().status, Some(0), "{user:?} {:?}", run());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&existing), mode(&to.join("new"))), (0o700, 0o777));
        assert_eq!(fs::read(existing.join("f")).unwrap(), b"x\n");
        if user.is_some() || !nix::unistd::geteuid().is_root() {
            continue;
        }
        fs::remove_file(existing.join("f")).unwrap();
        chown(&existing, Some(65534), Some(65534)).unwrap();
        let refused = run();
        assert_eq!(refused.status, Some(125), "{refused:?}");
        assert!(refused.stderr.contains(": d: another user has put it there"), "{refused:?}");
        assert_eq!(fs::read_dir(&existing).unwrap().count(), 0);
        if can_weaken(world) {
            let words = program(world, true);
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).args(World::shell(&[&option], script));
            let like = world.command(user, &[""; 0]);
            command.env_clear().env(WEAKEN, "output").current_dir(like.get_current_dir().unwrap());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            finish(command.spawn().unwrap());
            assert!(existing.join("f").exists(), "the attack is one");
        }
    }
}
