//! The environment that programs expect: named user and host, standard directories, and mount
//! points that a runtime lacks.

use crate::support::{Output, World, finish, give_by_list};
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
};

/// Makes the runtime `full` once: as `demo`, with `/etc` read-only, as published runtimes are.
fn full(world: &World) {
    world.once("full", || {
        let root = world.copy_runtime("full");
        let etc = root.join("isolated/etc");
        fs::create_dir(&etc).unwrap();
        for (name, text) in [
            ("passwd", "root:x:0:0:root:/work:/bin/sh\ngames:x:5:60:games:/g:/bin/no\n"),
            ("group", "root:x:0:\nusers:x:100:\n"),
            ("hosts", "127.0.0.1\tlocalhost\n"),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
        ] {
            fs::write(etc.join(name), text).unwrap();
        }
        let yml = fs::read_to_string(root.join("runtime.yml")).unwrap();
        let more = "mounts:\n  - { source: isolated/etc, target: /etc }\n";
        let yml = yml.replace("mounts:\n", more).replace("name: demo", "name: full");
        fs::write(root.join("runtime.yml"), yml).unwrap();
        true
    });
}

fn run(world: &World, user: Option<u32>, options: &[&str], script: &str) -> Output {
    full(world);
    run_in("full", world, user, options, script)
}

fn run_in(
    runtime: &str,
    world: &World,
    user: Option<u32>,
    options: &[&str],
    script: &str,
) -> Output {
    let runtime = format!("--runtime={runtime}");
    let words = options.iter().copied().chain([&runtime, "--", "bash", "-c", script]);
    finish(world.command(user, &words.collect::<Vec<_>>()).spawn().unwrap())
}

/// The name of `number` in a file of the host such as `/etc/passwd`.
pub(crate) fn name_on_host(file: &str, number: u32) -> String {
    let text = fs::read_to_string(file).unwrap();
    let number = number.to_string();
    let found = text.lines().find(|line| line.split(':').nth(2) == Some(&number));
    found.map_or_else(|| "user".into(), |line| line.split(':').next().unwrap().to_owned())
}

#[test]
fn the_user_has_a_name() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let uid = user.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let gid = user.unwrap_or_else(|| nix::unistd::getegid().as_raw());
        let (name, group) = (name_on_host("/etc/passwd", uid), name_on_host("/etc/group", gid));
        let script = "id -un; id -gn; echo $USER $LOGNAME; cd; pwd; cat /etc/passwd /etc/group; \
                      cd ~games 2>&1 | grep -o /g: || cd ~$USER; pwd; HOME=; unset HOME; cd ~; pwd; \
                      : > /etc/passwd";
        let output = run(world, user, &[], script);
        let lines: Vec<_> = output.stdout.lines().collect();
        let want = [&name, &group, &format!("{name} {name}"), "/tmp"];
        assert_eq!(lines[..4], want, "{user:?} {output:?}");
        let line = format!("{name}:x:{uid}:{gid}:{name}:/tmp:/bin/sh");
        assert_eq!(lines.iter().filter(|other| **other == line).count(), 1, "{output:?}");
        // Entries of other users are kept, another one of this user is not.
        assert!(lines.contains(&"games:x:5:60:games:/g:/bin/no"), "{output:?}");
        assert!(lines.contains(&"users:x:100:"), "{output:?}");
        assert_eq!(output.stdout.contains(":/work:"), uid != 0, "{output:?}");
        assert!(output.stderr.contains("/etc/passwd: Read-only file system"), "{output:?}");
        // Only this user's name, and the requested home.
        let options = ["--user=12345:54321", "-e", "HOME=/opt"];
        let output = run(world, user, &options, "id -un; id -gn; echo ~; cat /etc/passwd");
        assert!(output.stdout.starts_with("user\nuser\n/opt\nuser:x:12345:54321:user:/opt:"));
        // Without /etc in the runtime the files are made; programs do not need them if its /etc lacks them.
        let output = world.run(user, &[], "id -un; cat /etc/hosts");
        assert!(output.stdout.starts_with(&format!("{name}\n")), "{output:?}");
        assert!(output.stdout.ends_with("127.0.0.1\tjoblet\n"), "{output:?}");
    }
}

#[test]
fn the_host_has_a_name() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for (options, want) in [
            (&[][..], "joblet\n127.0.0.1\tlocalhost\n127.0.0.1\tjoblet\n"),
            (&["--hostname=h"], "h\n127.0.0.1\tlocalhost\n127.0.0.1\th\n"),
        ] {
            let output = run(world, user, options, "cat /proc/sys/kernel/hostname /etc/hosts");
            assert_eq!(output.stdout, want, "{user:?} {output:?}");
        }
        let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let script = "cat /proc/sys/kernel/hostname; cat /etc/resolv.conf";
        let output = run(world, user, &["--network=host"], script);
        // The runtime has no such file: it is made in a layer, and the other files are visible.
        let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(output.stdout, own + &resolver, "{user:?} {output:?}");
        let output = run(world, user, &["--network=host"], "cat /etc/nsswitch.conf; id -un");
        assert!(output.stdout.starts_with("passwd: files\n"), "{output:?}");
        let output = run(world, user, &["--network=host", "--hostname=h"], script);
        assert!(output.stdout.starts_with("h\n"), "{output:?}");
    }
}

#[test]
fn directories_that_programs_expect() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        let script = "for d in /tmp /var/tmp /run; do echo $d > $d/x && cat $d/x; done; \
                      for d in /home /opt /mnt /media; do test -d $d && ! touch $d/x && echo $d; done";
        for output in [run(world, user, &[], script), world.run(user, &[], script)] {
            let want = "/tmp\n/var/tmp\n/run\n/home\n/opt\n/mnt\n/media\n";
            assert_eq!(output.stdout, want, "{user:?} {output:?}");
        }
        let script = "head -c 2M /dev/zero > /scratch/big; echo $?";
        let output = run(world, user, &["--tmpfs=/scratch:1M"], script);
        assert_eq!(output.stdout, "1\n", "{output:?}");
        assert!(output.stderr.contains("No space left on device"), "{output:?}");
        if world.can_limit(user) {
            let script = "head -c 200M /dev/zero > /tmp/big; echo $?";
            let output = run(world, user, &["--memory=200M"], script);
            assert_eq!(output.stdout, "1\n", "{output:?}");
            assert!(output.stderr.contains("No space left on device"), "{output:?}");
        }
    }
}

/// Missing mount points are made in a layer over the runtime, not in the runtime or on the host.
#[test]
fn mount_points_that_the_runtime_lacks() {
    let Some(world) = World::get() else { return };
    full(world);
    let dir = world.path("outside/a:b");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("file"), "file\n").unwrap();
    let odd = world.path("outside").join(OsStr::from_bytes(b"odd-\xff"));
    fs::write(&odd, "odd\n").unwrap();
    let isolated = world.path("store/full/isolated");
    fs::create_dir_all(isolated.join("usr/share/x")).unwrap();
    fs::write(isolated.join("usr/share/x/own"), "own\n").unwrap();
    _ = symlink("/nowhere/at/all", isolated.join("usr/share/x/dangling"));
    let before = listing(&isolated);
    for user in World::users() {
        let bind = |target: &str| format!("--bind={}:{target}", dir.display());
        let file = |target: &str| format!("--bind={}/file:{target}", dir.display());
        let options = [
            bind("/usr/share/x/a/b"),
            file("/usr/share/x/c"),
            file("/etc/app/conf.d/f"),
            "--tmpfs=/usr/share/scratch".into(),
            "--bind=/usr/bin:/usr/share/x/host".into(),
        ];
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let script = "cat /usr/share/x/a/b/file /usr/share/x/c /etc/app/conf.d/f /usr/share/x/own; \
                      echo > /usr/share/scratch/x && test -x /usr/share/x/host/env && id -un >&2 && \
                      ! touch /usr/share/y /etc/y /usr/share/x/a/y && echo done";
        let output = run(world, user, &options, script);
        assert_eq!(output.stdout, "file\nfile\nfile\nown\ndone\n", "{user:?} {output:?}");
        // With arbitrary bytes, and with a colon in the target.
        let mut odd_bind = OsString::from("--bind=");
        odd_bind.push(&odd);
        odd_bind.push(OsStr::from_bytes(b":/data\\:\xfe"));
        let mut words = vec![odd_bind];
        words.extend(["--runtime=full", "bash", "-c", "cat /data:*"].map(OsString::from));
        let output = finish(world.command(user, &words).spawn().unwrap());
        assert_eq!(output.stdout, "odd\n", "{output:?}");
        // Not on the host.
        let outside = format!("--bind={}:/data:rw", dir.display());
        let output = run(world, user, &[&outside, "--bind=/usr:/data/no"], ":");
        assert!(output.stderr.contains("in a writable directory of the host"), "{output:?}");
    }
    assert_eq!(listing(&isolated), before);
    assert!(!dir.join("no").exists());
}

/// As `demo`, with a read-only `/var` that lacks `/var/tmp`, as published runtimes are.
fn with_var(world: &World) -> std::path::PathBuf {
    let root = world.path("store/with-var");
    world.once("with-var", || {
        world.copy_runtime("with-var");
        let yml = fs::read_to_string(root.join("runtime.yml")).unwrap();
        let yml = yml.replace("target: /var, readonly: false", "target: /var");
        let yml = yml.replace("name: demo", "name: with-var");
        fs::write(root.join("runtime.yml"), yml).unwrap();
        true
    });
    root
}

/// SEC-B35: `/var/tmp` is `/tmp` once more, but a mount on one is none on the other.
#[test]
fn var_tmp_is_tmp_unless_something_is_mounted_there() {
    let Some(world) = World::get() else { return };
    with_var(world);
    let dir = world.path("outside/var-tmp");
    fs::create_dir_all(dir.join("d")).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let bind = format!("--bind={}:/var/tmp:rw", dir.display());
    for user in World::users() {
        for runtime in ["demo", "with-var"] {
            let run = |options: &[&str], script| run_in(runtime, world, user, options, script);
            let output = run(&[], "echo a > /var/tmp/f; cat /tmp/f; stat -c %a /tmp /var/tmp");
            assert_eq!(output.stdout, "a\n1777\n1777\n", "{user:?} {runtime} {output:?}");
            let output = run(&[&bind], "echo a > /tmp/private; echo a > /var/tmp/kept; ls /tmp");
            assert_eq!(output.stdout, "private\n", "{user:?} {runtime} {output:?}");
            assert!(!dir.join("private").exists(), "{user:?} {runtime}");
            fs::remove_file(dir.join("kept")).unwrap();
            let output = run(&["--tmpfs=/var/tmp/x:1M"], "stat -c %a /tmp; ls /var/tmp");
            assert_eq!(output.stdout, "1777\nx\n", "{user:?} {runtime} {output:?}");
        }
    }
}

/// A mount of the runtime on `/var/tmp` keeps its content.
#[test]
fn var_tmp_of_the_runtime_is_kept() {
    let Some(world) = World::get() else { return };
    with_var(world);
    world.once("with-var-tmp", || {
        let root = world.copy_runtime("with-var-tmp");
        for at in ["isolated/var/tmp", "isolated/own"] {
            fs::create_dir(root.join(at)).unwrap();
            fs::set_permissions(root.join(at), fs::Permissions::from_mode(0o1777)).unwrap();
        }
        fs::write(root.join("isolated/own/file"), "own\n").unwrap();
        let yml = fs::read_to_string(root.join("runtime.yml")).unwrap();
        let yml = yml.replace("target: /var, readonly: false", "target: /var");
        let more = "mounts:\n  - { source: isolated/own, target: /var/tmp, readonly: false }\n";
        let yml = yml.replace("mounts:\n", more).replace("name: demo", "name: with-var-tmp");
        fs::write(root.join("runtime.yml"), yml).unwrap();
        true
    });
    for user in World::users() {
        let script = "cat /var/tmp/file; echo new > /var/tmp/new && cat /var/tmp/new";
        let output = run_in("with-var-tmp", world, user, &[], script);
        assert_eq!(output.stdout, "own\nnew\n", "{user:?} {output:?}");
    }
}

/// SEC-B35: mounts are made parents first, so that none is hidden by one above it, whatever the order of the options.
#[test]
fn no_mount_is_hidden_by_one_above_it() {
    let Some(world) = World::get() else { return };
    let dir = world.path("outside/above");
    fs::create_dir_all(dir.join("scratch")).unwrap();
    for path in [&dir, &dir.join("scratch")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let above = format!("--bind={}:/data:rw", dir.display());
    for user in World::users() {
        for below in ["--tmpfs=/data/scratch", "--bind=/usr:/data/scratch"] {
            for options in [[&above, below], [below, &above]] {
                let script = "echo private > /data/scratch/f; ls /data/scratch";
                let output = run(world, user, &options, script);
                let want = if below.contains("usr") { "bin\n" } else { "f\n" };
                assert!(output.stdout.contains(want), "{user:?} {options:?} {output:?}");
                assert!(!dir.join("scratch/f").exists(), "{user:?} {options:?}");
            }
        }
    }
}

/// SEC-B34: a covered directory keeps its owner, group, permissions and noexec: root's job, which has no capability, may
/// read what it could read before.
#[test]
fn a_covered_directory_keeps_its_owner() {
    let Some(world) = World::get() else { return };
    if !nix::unistd::geteuid().is_root() {
        return; // an ordinary user has only own directories to close
    }
    full(world);
    let dir = world.path("outside/covered");
    let private = dir.join("private");
    fs::create_dir_all(&private).unwrap();
    fs::write(private.join("file"), "secret\n").unwrap();
    std::os::unix::fs::chown(&private, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    for (source, at) in [(&dir, "/usr/share/b/private"), (&private, "/usr/share/b")] {
        let bind = format!("--bind={}:/usr/share/b", source.display());
        let more = format!("--bind=/usr/bin:{at}/more");
        let script = format!("cat {at}/file || stat -c '%u %g %a' {at}");
        let output = run(world, None, &[&bind, &more], &script);
        assert_eq!(output.stdout, "65534 65534 700\n", "{output:?}");
        assert!(output.stderr.contains("Permission denied"), "{output:?}");
        let options = [&bind, &more, "--user=65534:65534"];
        let output = run(world, None, &options, &format!("cat {at}/file"));
        assert_eq!(output.stdout, "secret\n", "{output:?}");
    }
    // With an access control list the mode shows the largest permissions as the group's.
    std::os::unix::fs::chown(&private, Some(65534), Some(0)).unwrap();
    if give_by_list(&private, 65534) {
        let bind = format!("--bind={}:/usr/share/b", private.display());
        let options = [&bind, "--bind=/usr/bin:/usr/share/b/more"];
        let output = run(world, None, &options, "stat -c '%g %a' /usr/share/b");
        assert_eq!(output.stdout, "0 705\n", "{output:?}");
    }
}

/// SEC-B34: where the kernel refuses an overlay, what was made for it is in no other one, and nothing is made on the host.
#[test]
fn a_refused_layer_is_not_used_again() {
    let Some(world) = World::get() else { return };
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let var = with_var(world).join("isolated/var");
    let layers = world.path("outside/stacked");
    for name in ["1", "2", "3", "both"] {
        fs::create_dir_all(layers.join(name)).unwrap();
    }
    let name = format!("joblet-test-{}", std::process::id());
    for user in World::users() {
        // The kernel refuses an overlay of overlays of overlays, and to users one that hides mounts.
        let stack = |lower: &str, at: &str| {
            format!("mount -t overlay -o ro,lowerdir={lower} none {at} && ")
        };
        let mounts = match user {
            None => stack("1:2", "both") + &stack("both:3", &var.display().to_string()),
            Some(_) => format!("mount -t tmpfs none {}/lib && ", var.display()),
        };
        let script = format!("cd {} && {mounts} cd / && exec \"$@\"", layers.display());
        let target = format!("--tmpfs=/usr/tmp/{name}/y");
        let options =
            [&target, "--runtime=with-var", "--", "bash", "-c", "stat -c %a /usr; ls /usr/tmp"];
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "bash", "-c", &script, "bash"]);
        if let Some(user) = user {
            let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
            command.args(["setpriv", &user, &group, "--clear-groups"]);
        }
        let inner = world.command(user, &options);
        command.arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", std::env::var_os("PATH").unwrap());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, format!("755\n{name}\n"), "{user:?} {output:?}");
        assert!(!std::path::Path::new("/tmp").join(&name).exists(), "{user:?}");
    }
}

fn listing(dir: &std::path::Path) -> String {
    let output =
        std::process::Command::new("find").arg(dir).args(["-printf", "%p %m %s\n"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn a_script_without_an_interpreter_is_the_shells() {
    let Some(world) = World::get() else { return };
    let script = "echo 'echo $0 $1' > s; chmod +x s; : > empty; chmod +x empty; exec env ./s a";
    for user in World::users() {
        let output = run(world, user, &[], script);
        assert_eq!(output.stdout, "./s a\n", "{output:?}");
        fs::write(world.path("cwd/plain"), "echo $0 $1\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(world.path("cwd/plain"), mode).unwrap();
        let words = ["--runtime=full", "./plain", "a"];
        let output = finish(world.command(user, &words).spawn().unwrap());
        assert_eq!(output.stdout, "./plain a\n", "{output:?}");
    }
    fs::remove_file(world.path("cwd/plain")).unwrap();
}

/// `/sys` has processors, memory and the job's group, but no devices of the host, and is read-only
/// for every user: a job could join another group, or switch off a processor.
#[test]
fn sys_has_processors_memory_and_the_own_group() {
    let Some(world) = World::get() else { return };
    let cpus = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let version_1 = fs::read_to_string("/proc/self/cgroup").unwrap();
    let limited = version_1.lines().any(|line| {
        let fields: Vec<_> = line.split(':').collect();
        fields[1] == "memory" && fields[2] != "/"
    });
    for user in World::users() {
        let script = "cat /sys/devices/system/cpu/online; ls /sys /sys/devices /sys/fs";
        let output = run(world, user, &[], script);
        let want = "/sys:\ndevices\nfs\n\n/sys/devices:\nsystem\n\n/sys/fs:\ncgroup\n";
        assert_eq!(output.stdout, cpus.clone() + want, "{user:?} {output:?}");
        let script = "while read -r _ _ _ _ at flags _; do case $at in /sys*) echo $at $flags;; esac; \
                      done < /proc/self/mountinfo";
        let mounts = run(world, user, &[], script).stdout;
        assert!(mounts.contains("/sys/devices/system "), "{mounts}");
        for line in mounts.lines() {
            assert!(line.contains(" ro,nosuid,nodev,noexec"), "{line}");
        }
        let script = "echo 0 > /sys/fs/cgroup/memory/cgroup.procs; cat /proc/self/cgroup; \
                      cat /sys/fs/cgroup/memory/memory.limit_in_bytes; ls /sys/fs/cgroup/memory";
        let output = run(world, user, &[], script);
        if limited {
            assert!(output.stderr.contains("Read-only file system"), "{output:?}");
            assert!(output.stdout.contains(":memory:/\n"), "{output:?}");
            // Its own group is the root, without a path to its parent.
            assert!(output.stdout.contains("memory.usage_in_bytes"), "{output:?}");
        }
    }
}

/// `--here`: changes are kept, in any directory.
#[test]
fn the_current_directory_at_its_own_path() {
    let Some(world) = World::get() else { return };
    let dir = world.path("outside/here");
    fs::create_dir_all(dir.join("sub")).unwrap();
    for path in [&dir, &dir.join("sub")] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    for user in World::users() {
        let script = "pwd; echo new > new && mv new sub/kept && ls /work";
        let mut run = world.command(user, &World::shell(&["--here"], script));
        let output = finish(run.current_dir(&dir).spawn().unwrap());
        assert_eq!(output.stdout, format!("{}\n", dir.display()), "{user:?} {output:?}");
        assert_eq!(fs::read_to_string(dir.join("sub/kept")).unwrap(), "new\n");
        fs::remove_file(dir.join("sub/kept")).unwrap();
        let mut run = world.command(user, &World::shell(&["--here", "--workdir=/"], "pwd"));
        assert_eq!(finish(run.current_dir(&dir).spawn().unwrap()).stdout, "/\n");
        let mut run = world.command(user, &World::shell(&["--here"], ":"));
        let output = finish(run.current_dir("/").spawn().unwrap());
        assert!(output.stderr.contains("target / is the root directory"), "{output:?}");
    }
}

/// The additional variable of root's jobs, as `env` prints it.
pub fn tar_options(uid: u32) -> &'static str {
    if uid == 0 { "TAR_OPTIONS=--no-same-owner\n" } else { "" }
}

/// An archive with files of another user, which even root's job cannot create.
#[test]
fn archives_with_other_owners_are_unpacked() {
    let Some(world) = World::get() else { return };
    let script = "umask 077; echo x > f; chmod 640 f; tar --owner=1234 --group=1235 -cf a.tar f && rm f && \
                  tar -xf a.tar; echo $?; stat -c %a f; stat -c %u f | grep -cx $(id -u)";
    for user in World::users() {
        let output = world.run(user, &[], script);
        assert_eq!((output.stderr.as_str(), output.status), ("", Some(0)), "{output:?}");
        // As an ordinary user tar applies the umask.
        let root = user.is_none() && nix::unistd::geteuid().is_root();
        assert_eq!(output.stdout, format!("0\n{}\n1\n", if root { 640 } else { 600 }));
        if root {
            let without = world.run(user, &["-e", "TAR_OPTIONS="], script);
            assert!(without.stdout.starts_with("2\n"), "{without:?}");
        }
    }
}

/// A file of another user that everybody can write: an ordinary user can replace it, with --here as on the host.
#[test]
fn files_of_others_are_replaced() {
    let Some(world) = World::get() else { return };
    for user in World::users().into_iter().flatten() {
        let here = world.path("of-others");
        fs::create_dir_all(&here).unwrap();
        for path in [here.clone(), here.join("f")] {
            if path != here {
                fs::write(&path, "old\n").unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        for (options, want) in [(&[][..], "old\nchanged\n"), (&["--here"], "new\nold\nchanged\n")] {
            let script = "{ echo new >> f; } 2>/dev/null || echo kept >&2; grep new f; cp f g; echo changed >> g; mv -f g f; \
                          grep -v new f";
            let mut run = world.command(Some(user), &World::shell(options, script));
            let output = finish(run.current_dir(&here).spawn().unwrap());
            assert_eq!(output.stdout, want, "{options:?} {output:?}");
        }
        assert_eq!(fs::read_to_string(here.join("f")).unwrap(), "old\nnew\nchanged\n");
    }
}
