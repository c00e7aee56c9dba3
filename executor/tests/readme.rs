//! README's commands for a host with the program and a registry, run unchanged.
//!
//! Its `python` is a shell that prints its arguments: the test is how jobs run. Commands that build
//! a runtime are run by `joblet-publish`'s tests.

use crate::common::World;
use crate::support;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The blocks of commands, in their order.
pub(crate) fn blocks(text: &str) -> Vec<&str> {
    text.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Publishes `python-3.11` with the tools of the tests' runtime.
pub(crate) fn publish(world: &mut World, tools: &support::World) {
    // One archive for all tests.
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    world.publish_archive("python-3.11", "1.4.0", ARCHIVE.get_or_init(|| archive(tools)));
}

fn archive(tools: &support::World) -> Vec<u8> {
    let root = tools.copy_runtime("python-3.11-1.4.0");
    let python = root.join("isolated/usr/bin/python");
    let script = "#!/bin/sh\ncase $1 in -c | -m) ;; *) cat \"$1\" >/dev/null || exit ;; esac\necho \"ran $*\"\n";
    fs::write(&python, script).unwrap();
    fs::set_permissions(python, fs::Permissions::from_mode(0o755)).unwrap();
    let yml = fs::read_to_string(root.join("runtime.yml")).unwrap();
    fs::write(root.join("runtime.yml"), yml.replace("name: demo", "name: python-3.11")).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root.parent().unwrap()).args(["-cz", "python-3.11-1.4.0"]);
    let archive = tar.output().unwrap();
    assert!(archive.status.success(), "{archive:?}");
    archive.stdout
}

#[test]
fn its_commands_run_unchanged() {
    let Some(tools) = support::World::get() else { return };
    let mut world = World::new();
    publish(&mut world, tools);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let mut commands = blocks(&readme);
    // The publisher's tests run its commands.
    assert!(commands.pop().unwrap().contains("joblet-publish site"));
    assert!(commands.pop().unwrap().contains("joblet-publish new my-tools-1"));
    // As after `make demo` and the download.
    fs::create_dir_all(world.path("dist/bin")).unwrap();
    symlink(crate::common::program(), world.path("dist/bin/joblet-exec")).unwrap();
    symlink(world.path("registry"), world.path("dist/demo")).unwrap();
    let mut command = Command::new("bash");
    for (name, value) in world.command().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env_remove("JOBLET_EXEC_REGISTRY").current_dir(world.path(""));
    command.args(["-euxo", "pipefail", "-c", &commands.concat()]);
    let outcome = world.outcome(command.output().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(outcome.stdout.matches("ran script.py\n").count(), 5, "{outcome:?}");
    for line in [
        "ran -c print(\"hello from a runtime\")\n",
        "python-3.11@1.4.0: intact\n",
        "ran -m pip install --target packages requests\n",
    ] {
        assert!(outcome.stdout.contains(line), "{line}: {outcome:?}");
    }
    assert!(world.path("usb/ml/registry.json").is_file());
}

/// The site's commands of `joblet-exec`, with the values that the pages have for `python-3.11`.
fn commands_of_the_site() -> String {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry-site/templates");
    let mut all = String::new();
    for page in ["home", "install", "get-started", "runtime", "yanked"] {
        let page = fs::read_to_string(templates.join(page).with_extension("html")).unwrap();
        for block in page.split("<pre class=\"command\"><code>").skip(1) {
            let block = block.split("</code>").next().unwrap();
            // Conditions are about the option that names a registry, and the environment does that here.
            let mut text = String::new();
            let mut rest = block;
            while let Some((before, tag)) = rest.split_once("{%") {
                let tail = tag.split_once("%}").unwrap().1;
                text.push_str(before);
                rest = if tag.starts_with(" if") {
                    tail.split_once("{% endif %}").unwrap().1
                } else {
                    tail
                };
            }
            text.push_str(rest);
            for (from, to) in [
                ("{{ registry.option }}", ""),
                ("{{ page.name }}", "python-3.11"),
                ("{{ page.shown[0] }}", "python-3.11"),
                ("{{ spec }}", "python-3.11"),
                ("{{ page.command }}", "python script.py"),
                ("{{ page.shown[1] }}", "python script.py"),
                ("&gt;", ">"),
                ("&amp;", "&"),
                ("srun ", ""),
            ] {
                text = text.replace(from, to);
            }
            let of_others = [
                "curl", "skopeo", "git ", "rnx ", "podman", "YAML", "registries:", "{{", "<span",
                " shell ",
            ];
            if !of_others.iter().any(|word| text.contains(word)) {
                all.push_str(text.trim());
                all.push('\n');
            }
        }
    }
    all
}

#[test]
fn the_commands_of_the_site_run_unchanged() {
    let Some(tools) = support::World::get() else { return };
    let mut world = World::new();
    publish(&mut world, tools);
    fs::write(world.path("script.py"), "print(1)\n").unwrap();
    let commands = commands_of_the_site();
    let mut command = Command::new("bash");
    for (name, value) in world.command().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    fs::create_dir_all(world.path("bin")).unwrap();
    symlink(crate::common::program(), world.path("bin/joblet-exec")).unwrap();
    command.env("PATH", format!("{}:/usr/bin:/bin", world.path("bin").display()));
    command.current_dir(world.path("")).args(["-euxo", "pipefail", "-c", &commands]);
    let outcome = world.outcome(command.output().unwrap());
    assert_eq!(outcome.status, Some(0), "{commands}{outcome:?}");
    assert_eq!(outcome.stdout.matches("ran script.py\n").count(), 4, "{commands}{outcome:?}");
    assert!(world.path("results/status.txt").is_file(), "{commands}");
    assert!(commands.contains("joblet-exec upgrade\n"), "{commands}");
}

/// The command that installs a released binary, in README and on the site, with files of the test's
/// `curl`. A file with another checksum is not installed.
#[test]
fn the_line_that_installs_a_release_checks_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let page = fs::read_to_string(root.join("registry-site/templates/get-started.html")).unwrap();
    let page = page.replace("&amp;", "&");
    let version = env!("CARGO_PKG_VERSION");
    for text in [readme, page] {
        let begin = text.find("release=https").unwrap();
        let end = "~/.local/bin/joblet-exec";
        let end = begin + text[begin..].find(end).unwrap() + end.len();
        let line = &text[begin..end];
        let release = format!("/joblet-runtimes/releases/download/exec-v{version}\n");
        assert!(line.contains(&release), "{line}");
        for intact in [true, false] {
            let world = World::new();
            fs::create_dir_all(world.path("bin")).unwrap();
            fs::create_dir(world.path("release")).unwrap();
            fs::write(world.path("release/joblet-exec-amd64"), "#!/bin/sh\necho installed\n")
                .unwrap();
            let sums = "cd release && sha256sum joblet-exec-amd64 >SHA256SUMS && \
                        echo 0000000000000000000000000000000000000000000000000000000000000000  other >>SHA256SUMS";
            let sums = Command::new("sh").args(["-c", sums]).current_dir(world.path("")).status();
            assert!(sums.unwrap().success());
            if !intact {
                fs::write(world.path("release/joblet-exec-amd64"), "other").unwrap();
            }
            let curl = "#!/bin/sh\nfor word; do case $word in https:*) cp release/${word##*/} . || exit ;; esac; done\n";
            fs::write(world.path("bin/curl"), curl).unwrap();
            fs::set_permissions(world.path("bin/curl"), fs::Permissions::from_mode(0o755)).unwrap();
            let mut bash = Command::new("bash");
            bash.args(["-c", &format!("{line} && ~/.local/bin/joblet-exec")]).env_clear();
            bash.env("PATH", format!("{}:/usr/bin:/bin", world.path("bin").display()));
            bash.env("HOME", world.path("home")).current_dir(world.path(""));
            let outcome = world.outcome(bash.output().unwrap());
            assert_eq!(outcome.stdout.ends_with("installed\n"), intact, "{outcome:?}");
            assert_eq!(outcome.status == Some(0), intact, "{outcome:?}");
            assert_eq!(world.path("home/.local/bin/joblet-exec").exists(), intact);
        }
    }
}
