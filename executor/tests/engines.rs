//! What a job shares with its host on request of a workload manager: variables, memory, devices,
//! descriptors, a `/tmp` on a disk; and profiles of such options.

use crate::support::{Output, World, finish, skip};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `script` with `options`, started by the shell command `before`, which ends with `exec "$@"`.
fn run_after(
    world: &World,
    user: Option<u32>,
    before: &str,
    options: &[&str],
    script: &str,
) -> Output {
    let mut run = Command::new("bash");
    run.args(["-c", &format!("{before}; exec \"$@\""), "bash"]);
    run.args(world.program()).args(World::shell(options, script));
    run.current_dir(world.path("cwd")).env("HOME", world.path("cwd")).stdin(Stdio::null());
    run.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        run.uid(user).gid(user);
    }
    finish(run.spawn().unwrap())
}

#[test]
fn variables_by_pattern() {
    let Some(world) = World::get() else { return };
    let show = "echo $A_1 $A_2 $B; echo $LD_X ${TMPDIR-none} $PATH; echo $C_1";
    let before = "export A_1=a A_2=b B=c LD_X=d TMPDIR=/e PATH=$PATH:/f C_1=g";
    for user in World::users() {
        for (options, want) in [
            (&["-e", "A_*"][..], "a b\nnone /usr/bin:/bin\n\n"),
            (&["-e", "*"], "a b c\nnone /usr/bin:/bin\ng\n"),
            (&["-e", "Z*"], "\nnone /usr/bin:/bin\n\n"),
            (&["-e", "A_*", "-e", "A_2=own"], "a own\nnone /usr/bin:/bin\n\n"),
            (&["-e", "LD_X", "-e", "TMPDIR"], "\nd /e /usr/bin:/bin\n\n"),
        ] {
            let output = run_after(world, user, before, options, show);
            assert_eq!(output.stdout, want, "{options:?} {output:?}");
        }
    }
}

/// SEC-B19: only on request.
#[test]
fn memory_is_shared_with_the_host_on_request() {
    let Some(world) = World::get() else { return };
    let name = format!("joblet-test-{}", std::process::id());
    let shared = Path::new("/dev/shm").join(&name);
    if fs::write(&shared, "host\n").is_err() {
        return skip("this host has no /dev/shm");
    }
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o666)).unwrap();
    let host = fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
    let script = format!(
        "cat /dev/shm/{name}; ls -l /proc/self/ns/ipc | grep -o ipc:.*; echo job >/dev/shm/{name}"
    );
    for user in World::users() {
        fs::write(&shared, "host\n").unwrap();
        let output = world.run(user, &[], &script);
        assert!(!output.stdout.contains("host") && !output.stdout.contains(&host), "{output:?}");
        assert_eq!(fs::read_to_string(&shared).unwrap(), "host\n");
        let output = world.run(user, &["--ipc=host"], &script);
        assert_eq!(output.stdout, format!("host\n{host}\n"), "{output:?}");
        assert_eq!(fs::read_to_string(&shared).unwrap(), "job\n");
    }
    fs::remove_file(shared).unwrap();
}

#[test]
fn devices_of_the_host() {
    let Some(world) = World::get() else { return };
    let known = ["/dev/kmsg", "/dev/loop-control", "/dev/net/tun", "/dev/fuse", "/dev/console"];
    let Some(device) = known.into_iter().find(|path| Path::new(path).exists()) else {
        return skip("this host has no other device");
    };
    for user in World::users() {
        let script = format!("test -c {device} && echo there");
        assert_eq!(world.run(user, &[], &script).stdout, "");
        // Every job has this one.
        let twice = ["--device", "/dev/null", "--device", device];
        let output = world.run(user, &twice, &script);
        assert_eq!(output.stdout, "there\n", "{output:?}");
        for bad in ["/etc/passwd", "/dev/no-such", "/dev/shm", "/dev/../dev/null"] {
            let output = world.run(user, &["--device", bad], ":");
            let reason = format!("error[USAGE]: --device {bad} names no device below /dev\n");
            assert_eq!((output.stderr, output.status), (reason, Some(125)));
        }
    }
}

/// The reason why a file is not kept.
const FILE: &str = "is a file that the job could open again for writing; make it standard input or a pipe, or use --bind";

/// SEC-B19: only the named ones.
#[test]
fn descriptors_that_are_kept() {
    let Some(world) = World::get() else { return };
    for user in World::users() {
        for fd in [3, 7] {
            let before = format!("exec {fd}< <(cat in.txt) 8< <(cat in.txt)");
            let script =
                format!("cat <&{fd}; {{ cat <&8; }} 2>/dev/null || ls /proc/self/fd | wc -l");
            let script = script.replace("ls /proc/self/fd | wc -l", "echo /proc/self/fd/*");
            let output = run_after(world, user, &before, &["--keep-fd", &fd.to_string()], &script);
            // 255 is bash's own.
            let want = "hello\n/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
            assert!(output.stdout.starts_with(want), "{fd} {output:?}");
            assert!(output.stdout.contains(&format!("/proc/self/fd/{fd}")), "{output:?}");
            assert!(!output.stdout.contains("/proc/self/fd/8"), "{output:?}");
            let output = run_after(world, user, &before, &[], &format!("cat <&{fd}"));
            assert!(output.stderr.contains("Bad file descriptor"), "{output:?}");
        }
        // The pipe for the report of a failed exec then has another number.
        let before = "exec 3< <(:); printf '#!/no/such\\n' >script; chmod 755 script";
        let options = ["--keep-fd=3", "--runtime=demo", "--", "./script", "--"];
        let output = run_after(world, user, before, &options, "");
        assert_eq!(output.status, Some(126), "{output:?}");
        assert!(
            output.stderr.contains("its interpreter /no/such is not in the runtime"),
            "{output:?}"
        );
        for (fd, before, reason) in [
            ("7", ":", "is not open"),
            ("1", ":", "is open in every job"),
            ("7", "exec 7<.", "is a directory; use --bind"),
            // Reopening it would give write access.
            ("7", "exec 7<in.txt", FILE),
            ("7", "exec 7>>in.txt", FILE),
            ("7", "exec 7</proc/self/ns/user", FILE),
        ] {
            let output = run_after(world, user, before, &["--keep-fd", fd], ":");
            let reason = format!("error[USAGE]: --keep-fd {fd} {reason}\n");
            assert_eq!((output.stderr, output.status), (reason, Some(125)));
        }
    }
    _ = fs::remove_file(world.path("cwd/script"));
}

#[test]
fn a_tmp_on_a_disk() {
    let Some(world) = World::get() else { return };
    let disk = world.path("disk");
    fs::create_dir(&disk).unwrap();
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o1777)).unwrap();
    let option = format!("--tmp={}", disk.display());
    let show = format!("--bind={}:/disk", disk.display());
    for user in World::users() {
        let script =
            "echo x >/tmp/f; mkdir -p /tmp/d/e; stat -c %a /disk/*; cat /disk/*/f; echo $HOME";
        let output = world.run(user, &[&option, &show], script);
        assert_eq!(output.stdout, "700\nx\n/tmp\n", "{output:?}");
        assert_eq!(fs::read_dir(&disk).unwrap().count(), 0, "nothing stays");
    }
    let output = world.run(None, &["--tmp=/no/such"], ":");
    assert!(output.stderr.starts_with("error[STORE]: cannot open /no/such: "), "{output:?}");
}

#[test]
fn profiles_are_options() {
    let Some(world) = World::get() else { return };
    let file = world.path("profiles.yaml");
    let text = "runtimes:\n  profiles:\n    mine: [\"--env=A=$FROM\", --env=B=2, \"--tmp=$UNSET\", --hostname=p]\n    \
                bad: [ls]\n    ci: [--env=A=own]\n";
    fs::write(&file, text).unwrap();
    let config = format!("--config={}", file.display());
    let show = "echo $A $B $(cat /proc/sys/kernel/hostname)";
    for user in World::users() {
        let run = |before: &str, options: &[&str]| {
            let options: Vec<_> =
                [config.as_str()].into_iter().chain(options.iter().copied()).collect();
            run_after(world, user, &format!("export FROM=1; {before}"), &options, show)
        };
        for (before, options, want) in [
            (":", &[][..], "joblet\n"),
            (":", &["--profile=mine"], "1 2 p\n"),
            ("export JOBLET_EXEC_PROFILE=mine", &[], "1 2 p\n"),
            ("export JOBLET_EXEC_PROFILE=mine", &["--profile=none"], "joblet\n"),
            ("export JOBLET_EXEC_PROFILE=mine", &["--env=B=3", "--hostname=q"], "1 3 q\n"),
            (":", &["--profile=mine", "--profile=ci"], "1 2 p\n"),
            (":", &["--profile=ci"], "own joblet\n"),
        ] {
            let output = run(before, options);
            assert_eq!(output.stdout, want, "{before} {options:?} {output:?}");
        }
        // The default profile.
        let default =
            "runtimes:\n  profiles:\n    default: [--init, --env=A=d]\n    other: [--env=B=o]\n";
        fs::write(&file, default).unwrap();
        for (before, options, script, want) in [
            (":", &[][..], "echo $A $PPID; kill -TERM $$", ("d 1\n", 143)),
            (":", &["--profile=none"], "echo $A $$; kill -TERM $$", ("1\n", 0)),
            (":", &["--profile=other"], "echo $A $B $$", ("o 1\n", 0)),
            ("export JOBLET_EXEC_PROFILE=other", &[], "echo $A $B $$", ("o 1\n", 0)),
            ("export JOBLET_EXEC_PROFILE=none", &[], "echo $A $$", ("1\n", 0)),
        ] {
            let options: Vec<_> = [config.as_str()].iter().chain(options).copied().collect();
            let output = run_after(world, user, before, &options, script);
            assert_eq!(
                (output.stdout.as_str(), output.status),
                (want.0, Some(want.1)),
                "{output:?}"
            );
        }
        // An invalid file does not disable the limits of its default profile.
        for wrong in [
            "runtimes: [",
            "runtimes:\n  profiles: 7\n",
            "runtimes:\n  profiles:\n    default: --pids=5\n",
        ] {
            fs::write(&file, wrong).unwrap();
            let output = run(":", &[]);
            let told = output.stderr.starts_with(&format!("error[CONFIG]: {}", file.display()));
            assert!(told && output.status == Some(125) && output.stdout.is_empty(), "{output:?}");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(run(":", &[]).status, Some(125));
        fs::write(&file, text).unwrap();
        let output = run(":", &["--profile=mine", "--dry-run"]);
        let first = output.stdout.lines().next();
        assert_eq!(first, Some("profile mine: --env=A=1 --env=B=2 --hostname=p"), "{output:?}");
        for (name, reason) in [
            ("slrum", "there is no profile \"slrum\"; did you mean slurm?\n"),
            ("bad", "profile bad: a profile is a list of options of run, such as --here\n"),
        ] {
            let output = run(":", &["--profile", name]);
            assert_eq!(output.stderr, format!("error[USAGE]: {reason}"));
            assert_eq!(output.status, Some(125));
        }
    }
}

/// The profile for Slurm: results are written in place, names and variables are the host's.
#[test]
fn the_profile_for_slurm() {
    let Some(world) = World::get() else { return };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for user in World::users() {
        let here = world.path("cwd");
        let before = "export SLURM_JOB_ID=7 SLURMD_NODENAME=n1 OTHER=x TMPDIR=";
        let script = "echo $SLURM_JOB_ID $SLURMD_NODENAME $OTHER; cat /proc/sys/kernel/hostname; pwd; \
                      echo result >made";
        let output = run_after(world, user, before, &["--profile=slurm"], script);
        assert_eq!(output.stdout, format!("7 n1\n{host}{}\n", here.display()), "{output:?}");
        assert_eq!(fs::read_to_string(here.join("made")).unwrap(), "result\n");
        fs::remove_file(here.join("made")).unwrap();
    }
}

/// UCX, a transport of MPI, looks for network interfaces there.
#[test]
fn interfaces_of_the_hosts_network() {
    let Some(world) = World::get() else { return };
    let mtu = fs::read_to_string("/sys/class/net/lo/mtu");
    let Ok(mtu) = mtu else { return skip("this host shows no interfaces in /sys") };
    let script = "cat /sys/class/net/lo/mtu; test -L /sys/class/net/lo && ls /sys/devices; \
                  { echo 1 >/sys/class/net/lo/mtu; } 2>&1 | grep -o 'Read-only.*'";
    for user in World::users() {
        let output = world.run(user, &["--network=host"], script);
        let want = format!("{mtu}system\nvirtual\nRead-only file system\n");
        assert_eq!(output.stdout, want, "{output:?}");
        let output = world.run(user, &[], "test ! -e /sys/class && echo none");
        assert_eq!(output.stdout, "none\n", "{output:?}");
    }
}

/// A link named apptainer or singularity has that program's command line.
#[test]
fn called_as_apptainer() {
    let Some(world) = World::get() else { return };
    let links = world.path("links");
    fs::create_dir(&links).unwrap();
    for name in ["apptainer", "singularity"] {
        std::os::unix::fs::symlink("../joblet-exec", links.join(name)).unwrap();
    }
    fs::create_dir_all(world.path("cwd/home")).unwrap();
    world.copy_runtime("tools-1.0.0");
    let call = |user: Option<u32>, name: &str, words: &[&str]| {
        let mut run = Command::new(links.join(name));
        run.args(words).current_dir(world.path("cwd")).env_clear();
        run.env("HOME", world.path("cwd/home")).env("OWN", "1").env("APPTAINERENV_X", "2");
        run.env("JOBLET_EXEC_STORE", world.path("store"));
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = user {
            run.uid(user).gid(user);
        }
        finish(run.spawn().unwrap())
    };
    let image = world.path("store/tools-1.0.0").display().to_string();
    let here = world.path("cwd").display().to_string();
    for user in World::users() {
        let script = "echo $OWN $X $HOME; pwd; cat in.txt";
        let output = call(user, "singularity", &["exec", &image, "sh", "-c", script]);
        assert_eq!(output.stdout, format!("1 2 {here}/home\n{here}\nhello\n"), "{output:?}");
        let output = call(user, "apptainer", &["-q", "exec", "-C", &image, "sh", "-c", script]);
        assert!(output.stdout.starts_with("2 /tmp\n/\n"), "{output:?}");
        let bind = format!("{here}:/data:ro");
        let words =
            ["exec", "--cleanenv", "--env", "OWN=3", "-B", &bind, "--pwd", "/data", "tools@1.0.0"];
        let words = [&words[..], &["sh", "-c", script]].concat();
        let output = call(user, "apptainer", &words);
        assert_eq!(output.stdout, format!("3 2 {here}/home\n/data\nhello\n"), "{output:?}");
        let output = call(user, "apptainer", &["exec", &image, "sh", "-c", "exit 7"]);
        assert_eq!(output.status, Some(7));
        let output = call(user, "singularity", &["run", &image, "sh", "-c", "echo run $OWN"]);
        assert_eq!(output.stdout, "run 1\n", "{output:?}");
        // A shell ends at the end of its input, which is empty.
        let output = call(user, "apptainer", &["shell", &image]);
        assert_eq!((output.status, output.stdout.as_str()), (Some(0), ""), "{output:?}");
        // As HTCondor calls it: /tmp is below the directory of -W, and the job starts in that of --pwd.
        let words = ["exec", "-S", "/tmp", "-W", &here, "--pwd", &here, "-B", &here];
        let script = "echo x >/tmp/f; pwd; cat in.txt; ls -d $PWD/*/f; echo $HOME $OWN";
        let words = [&words[..], &["--no-home", "-C", &image, "sh", "-c", script]].concat();
        let output = call(user, "singularity", &words);
        let told: Vec<_> = output.stdout.lines().collect();
        assert_eq!((told[0], told[1], told[3]), (here.as_str(), "hello", "/tmp"), "{output:?}");
        assert!(told[2].starts_with(&here) && told[2].ends_with("/f"), "{output:?}");
        // As by Snakemake and Nextflow: another home, separate process ids, fewer messages.
        let home = format!("{here}/home");
        let words = ["-q", "exec", "--home", &home, "--pid", &image, "sh", "-c", "echo $HOME $$"];
        assert_eq!(call(user, "singularity", &words).stdout, format!("{home} 1\n"));
        let output = call(user, "apptainer", &["exec", "--overlay", "x", &image, "ls"]);
        assert!(output.stderr.starts_with("error[USAGE]: apptainer --overlay has no counterpart"));
        assert_eq!(output.status, Some(125));
    }
    assert_eq!(call(None, "singularity", &["--version"]).stdout, "singularity version 3.11.0\n");
}

/// A directory with links to the program by both names, for `PATH`.
fn links(world: &World) -> std::path::PathBuf {
    let place = world.path("of-engines");
    fs::create_dir(&place).unwrap();
    for name in ["singularity", "apptainer"] {
        std::os::unix::fs::symlink("../joblet-exec", place.join(name)).unwrap();
    }
    place
}

/// The exact command lines of workload managers and workflow engines: HTCondor 23 and later, Nextflow 24 and later (its
/// SingularityBuilder and
/// ApptainerBuilder), Snakemake 7 and 9, Slurm 23.02 and later with the shipped `oci.conf`.
#[test]
fn as_engines_call_apptainer() {
    let Some(world) = World::get() else { return };
    let path = format!("{}:/usr/bin:/bin", links(world).display());
    world.copy_runtime("engine-1.0.0");
    let mut oci = include_str!("../engines/slurm/oci.conf").lines();
    let oci = oci.find_map(|line| line.strip_prefix("RunTimeRun=\"")).unwrap();
    let at = |below: &str| world.path(below).display().to_string();
    for (user, name) in [(None, "as-root"), (Some(65534), "as-nobody")] {
        if !World::users().contains(&user) {
            continue;
        }
        let work = at(&format!("cwd/{name}"));
        fs::create_dir(&work).unwrap();
        fs::set_permissions(&work, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(
            format!("{work}/work"),
            "#!/bin/sh\necho job $A $(pwd) ${HOME-none}; echo x >/tmp/f; echo r >made\n",
        )
        .unwrap();
        fs::set_permissions(format!("{work}/work"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(
            format!("{work}/.command.sh"),
            "echo task $A $(pwd) ${HOME-none} $TMPDIR >made\n",
        )
        .unwrap();
        fs::write(format!("{work}/env"), "A=a b\nSLURM_PROCID=3\n").unwrap();
        let image = at("store/engine-1.0.0");
        let run = |before: &str, line: &str| {
            let line = line.replace("/usr/local/bin/", "");
            let line = line.replace("%w", &work).replace("%i", &image);
            let mut run = Command::new("bash");
            run.args(["-c", &format!("{before}\n{line}")]).current_dir(&work).env_clear();
            run.env("PATH", &path).env("HOME", "/no/such").stdin(Stdio::null());
            run.stdout(Stdio::piped()).stderr(Stdio::piped());
            if let Some(user) = user {
                run.uid(user).gid(user);
            }
            let output = finish(run.spawn().unwrap());
            let made = fs::read_to_string(format!("{work}/made")).unwrap_or_default();
            _ = fs::remove_file(format!("{work}/made"));
            (output, made)
        };
        // HTCondor deletes HOME, and passes variables with a prefix. Before a job it tests the image.
        let condor =
            "unset HOME; export SINGULARITYENV_A=1 SINGULARITY_CACHEDIR=%w".replace("%w", &work);
        let words = "-S /tmp -S /var/tmp -W %w --pwd %w -B %w --no-home";
        for contained in ["-C", "--contain --ipc --cleanenv"] {
            let (output, _) =
                run(&condor, &format!("singularity -s -q test {words} {contained} %i"));
            assert_eq!((output.status, output.stdout.as_str()), (Some(0), ""), "{output:?}");
            let (output, made) =
                run(&condor, &format!("singularity -s exec {words} {contained} %i %w/work"));
            assert_eq!((output.stdout, made), (format!("job 1 {work} /tmp\n"), "r\n".to_owned()));
        }
        let (output, _) =
            run(&condor, &format!("singularity -s -q test {words} -C %i-of-nobody-1.0.0"));
        let want = format!("error[USAGE]: the image {image}-of-nobody-1.0.0 does not exist\n");
        assert_eq!((output.status, output.stderr), (Some(125), want));
        // An image that was copied to the job is given by its file name.
        let (output, _) = run(
            &format!("cd {}", at("store")),
            "singularity -s exec -C engine-1.0.0 sh -c 'exit 37'",
        );
        assert_eq!(output.status, Some(37), "{output:?}");
        for name in ["singularity", "apptainer"] {
            let prefix = name.to_uppercase();
            let (output, made) = run(
                "export TMPDIR=/tmp NXF_TASK_WORKDIR=%w".replace("%w", &work).as_str(),
                &format!(
                    "set +u; env - PATH=\"$PATH\" ${{TMP:+{prefix}ENV_TMP=\"$TMP\"}} \
                     ${{TMPDIR:+{prefix}ENV_TMPDIR=\"$TMPDIR\"}} \
                     ${{NXF_TASK_WORKDIR:+{prefix}ENV_NXF_TASK_WORKDIR=\"$NXF_TASK_WORKDIR\"}} \
                     {prefix}ENV_A=1 {name} exec --no-home --pid -B %w %i \
                     /bin/bash -c \"cd $NXF_TASK_WORKDIR; /bin/bash -ue %w/.command.sh\""
                ),
            );
            assert_eq!(made, format!("task 1 {work} /tmp /tmp\n"), "{output:?}");
            assert_eq!((output.status, output.stderr.as_str()), (Some(0), ""));
        }
        for (line, shell) in [
            (
                "singularity --quiet exec --home '%w' --bind %w:/mnt/snakemake %i bash -c",
                "set -euo pipefail; ",
            ),
            ("singularity --quiet exec --home %w %i sh -c", ""),
        ] {
            let (output, made) =
                run("export A=2", &format!("{line} '{shell}echo $A $(pwd) $HOME >made'"));
            assert_eq!(made, format!("2 {work} {work}\n"), "{output:?}");
        }
        let line =
            oci.trim_end_matches('"').replace("%e", &format!("{work}/env")).replace("%m", &work);
        let line = line
            .replace("%r", &image)
            .replace("%@", "sh -c 'echo $A $SLURM_PROCID; ls /var/run/slurm; pwd'");
        let (output, _) = run(":", &line);
        assert_eq!(output.stdout, format!("a b 3\nenv\nwork\n{work}\n"), "{output:?}");
    }
}

/// HTCondor accepts jobs with containers only if its own program runs in the configured directory.
#[test]
fn the_sandbox_that_htcondor_tests() {
    let Some(world) = World::get() else { return };
    let theirs = world.path("libexec/singularity_test_sandbox");
    fs::create_dir_all(&theirs).unwrap();
    let source = world.path("exit_37.c");
    fs::write(&source, "int main(void) { return 37; }\n").unwrap();
    let compiled = Command::new("cc")
        .args(["-static", "-o"])
        .arg(theirs.join("exit_37"))
        .arg(&source)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        return skip("no C compiler, or nothing to link statically with");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/htcondor/test-sandbox.sh");
    let made = Command::new("sh")
        .arg(script)
        .arg(world.path("condor"))
        .env("LIBEXEC", world.path("libexec"))
        .status();
    assert!(made.unwrap().success());
    let config = include_str!("../engines/htcondor/joblet.config");
    let place =
        config.lines().find_map(|line| line.strip_prefix("SINGULARITY_TEST_SANDBOX = ")).unwrap();
    let image = world.path("condor").join(Path::new(place).file_name().unwrap());
    let singularity = world.path("condor/singularity");
    std::os::unix::fs::symlink("../joblet-exec", &singularity).unwrap();
    for user in World::users() {
        for (image, want) in [(&image, Some(37)), (&theirs, Some(125))] {
            let mut run = Command::new(&singularity);
            run.args(["exec", "-C"]).arg(image).arg("/exit_37").env_clear().current_dir("/");
            run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if let Some(user) = user {
                run.uid(user).gid(user);
            }
            let output = finish(run.spawn().unwrap());
            assert_eq!(output.status, want, "{output:?}");
        }
    }
}

/// Slurm sends a signal to a task and to its children: a launcher and its init both get it.
#[test]
fn a_signal_that_comes_twice_is_one() {
    let Some(world) = World::get() else { return };
    // Runs until both have come, on a slow machine too, and a moment longer.
    let script = "n=0; trap 'echo caught; n=$((n + 1))' USR1; echo ready; \
                  for i in {1..200}; do sleep 0.1; [ $n -lt 2 ] || break; done; sleep 0.4";
    let cases: [(&[&str], bool); 2] = [(&[], false), (&["--init"], true)];
    for (user, (options, children)) in
        World::users().into_iter().flat_map(|user| cases.map(|case| (user, case)))
    {
        let mut job = world.command(user, &World::shell(options, script)).spawn().unwrap();
        let mut begun = [0; 6];
        std::io::Read::read_exact(job.stdout.as_mut().unwrap(), &mut begun).unwrap();
        let mut targets = vec![job.id()];
        let path = format!("/proc/{0}/task/{0}/children", job.id());
        let all = fs::read_to_string(path).unwrap();
        targets.extend(
            all.split_whitespace().filter(|_| children).map(|it| it.parse::<u32>().unwrap()),
        );
        for pause in [20, 250, 0] {
            for target in &targets {
                let process = nix::unistd::Pid::from_raw(i32::try_from(*target).unwrap());
                let sent = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGUSR1);
                // A helper of the start may have ended.
                assert!(sent.is_ok() || *target != job.id(), "{sent:?}");
            }
            std::thread::sleep(std::time::Duration::from_millis(pause));
        }
        assert_eq!(finish(job).stdout, "caught\ncaught\n", "{user:?} {options:?}");
    }
}
