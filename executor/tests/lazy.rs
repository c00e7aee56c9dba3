//! Jobs that start while their runtime is being installed.

mod faults;
mod follow;
mod host;
mod order;
mod world;

use crate::support::World as Sandbox;
use world::{Cold, Encoding};

/// Prints the results of stat(2), readlink(2) and read(2) for everything in the runtime.
const TREE: &str = "cd /usr && find . -exec stat -c '%n %F %a %s %Y %u %g %N' {} + | sort && \
                    find . -type f -exec sha256sum {} + | sort && ls -a /usr/lib | wc -l";

/// The served tree equals the installed one: names, types, modes, sizes, times, owners, links and content.
#[test]
fn a_served_tree_equals_the_installed_one() {
    for encoding in [Encoding::Members, Encoding::Frames] {
        for user in Sandbox::users() {
            let Some(cold) = Cold::new(user, encoding) else { return };
            let served =
                cold.run(&["--lazy"], &format!("grep -c ' - fuse ' /proc/self/mountinfo; {TREE}"));
            assert_eq!((served.status, served.stderr.as_str()), (Some(0), ""));
            let (mounts, served) = served.stdout.split_once('\n').unwrap();
            assert!(mounts.parse::<u32>().unwrap() > 0, "nothing was served");
            // Complete like any installation, and without leftovers.
            assert_eq!(cold.left(), [""; 0]);
            assert_eq!(cold.exec(&["verify"]).status, Some(0));
            let installed =
                cold.run(&["--lazy"], &format!("grep -c ' - fuse ' /proc/self/mountinfo; {TREE}"));
            let (mounts, installed) = installed.stdout.split_once('\n').unwrap();
            assert_eq!(mounts, "0");
            assert_eq!(served, installed);
            assert!(
                served.contains("'./bin/sh' -> 'bash'") && served.contains(" 755 "),
                "{served}"
            );
        }
    }
}

/// A job with `--lazy` behaves like any other.
#[test]
fn a_job_in_a_served_runtime_is_like_any_other() {
    let Some(cold) = Cold::new(None, Encoding::Members) else { return };
    let output =
        cold.run(&["--lazy"], "echo out; echo err >&2; touch /var/x && cat /var/lib/state; exit 7");
    assert_eq!(output.status, Some(7), "{}", output.stderr);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\nold\n", "err\n"));
    let Some(cold) = Cold::new(None, Encoding::Members) else { return };
    let missing = cold.command(&["--lazy"], &["no-such-program"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127));
    // The runtime is installed nevertheless.
    assert_eq!(cold.exec(&["verify"]).status, Some(0));
    // Its files are read-only, and are executed, mapped and linked like others.
    let Some(cold) = Cold::new(None, Encoding::Frames) else { return };
    let script = "touch /usr/x 2>&1; rm /usr/bin/cat 2>&1; chmod 0 /usr/bin 2>&1; ldd_=1 cat /usr/empty; \
                  od -An -tx1 -j 1000000 -N 4 /usr/share/large; cd /usr/bin && pwd -P";
    let output = cold.run(&["--lazy"], script);
    assert_eq!(output.stdout.matches("Read-only file system").count(), 3, "{output:?}");
    assert!(output.stdout.ends_with("/usr/bin\n"), "{output:?}");
}

/// `--lazy` without FUSE reports the reason and runs nothing; without it the job waits.
#[test]
fn without_fuse_the_reason_is_reported() {
    let Some(cold) = Cold::new(Some(crate::support::NOBODY), Encoding::Members) else { return };
    let mut command = cold.without_device(&["--lazy"], "echo no");
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(125), Vec::new()), "{stderr}");
    assert!(
        stderr.contains("error[LAUNCH]: ") && stderr.contains("chmod 0666 /dev/fuse"),
        "{stderr}"
    );
    let output = cold.without_device(&[], "echo yes").output().unwrap();
    assert_eq!(output.stdout, b"yes\n");
}
