//! README's commands, run as they stand: those on a host that has the program and a registry.
//!
//! Its `python` is a shell that says what it was called with: what is shown is how jobs are run. The commands
//! that build a runtime are run by `joblet-publish`'s tests.

use crate::common::World;
use crate::support;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// The blocks of commands, in their order.
fn blocks(text: &str) -> Vec<&str> {
    text.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Publishes `python-3.11` with the tools of the tests' runtime.
fn publish(world: &mut World, tools: &support::World) {
    let root = tools.copy_runtime("python-3.11-1.4.0");
    let python = root.join("isolated/usr/bin/python");
    fs::write(&python, "#!/bin/sh\n[ \"$1\" = -c ] || cat \"$1\" >/dev/null && echo \"ran $*\"\n")
        .unwrap();
    fs::set_permissions(python, fs::Permissions::from_mode(0o755)).unwrap();
    let yml = fs::read_to_string(root.join("runtime.yml")).unwrap();
    fs::write(root.join("runtime.yml"), yml.replace("name: demo", "name: python-3.11")).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root.parent().unwrap()).args(["-cz", "python-3.11-1.4.0"]);
    let archive = tar.output().unwrap();
    assert!(archive.status.success(), "{archive:?}");
    world.publish_archive("python-3.11", "1.4.0", &archive.stdout);
}

#[test]
fn its_commands_run_as_they_stand() {
    let Some(tools) = support::World::get() else { return };
    let mut world = World::new();
    publish(&mut world, tools);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let [first, jobs, _publisher] = blocks(&readme)[..] else { panic!("three blocks") };
    // As `make demo` and the download leave them.
    fs::create_dir_all(world.path("dist/bin")).unwrap();
    symlink(crate::common::program(), world.path("dist/bin/joblet-exec")).unwrap();
    symlink(world.path("registry"), world.path("dist/demo")).unwrap();
    fs::write(world.path("script.py"), "print(1)\n").unwrap();
    let mut command = Command::new("bash");
    for (name, value) in world.command().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env_remove("JOBLET_EXEC_REGISTRY").current_dir(world.path(""));
    command.args(["-euxo", "pipefail", "-c", &format!("{first}{jobs}")]);
    let outcome = world.outcome(command.output().unwrap());
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(outcome.stdout.matches("ran script.py\n").count(), 3, "{outcome:?}");
    for line in ["ran -c print(\"hello from a runtime\")\n", "python-3.11@1.4.0: intact\n"] {
        assert!(outcome.stdout.contains(line), "{line}: {outcome:?}");
    }
    assert!(world.path("usb/ml/registry.json").is_file());
}
