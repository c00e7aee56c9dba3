//! The examples of Joblet's guide to runtimes, with `joblet-exec` in place of `rnx`.
//!
//! The runtimes have the guide's names. Their `python` and `java` are shells: the test is how jobs
//! run, not what they compute.

use crate::support::{World, finish};
use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, sync::OnceLock};

/// Runtimes of the guide: `python SCRIPT` and `java -jar SCRIPT` run it, knowing the version.
const RUNTIMES: [&str; 9] = [
    "python-3.11-ml-1.0.0",
    "python-3.11-ml-1.3.1",
    "python-3.11-ml-1.3.2",
    "python-3.11-ml-1.4.0-beta",
    "python-3.11-pytorch-cuda-1.13.0",
    "python-3.11-pytorch-cuda-2.1.0",
    "openjdk-21-2.0.0",
    "graalvmjdk-21-1.0.0",
    "graalvmjdk-21-1.10.0",
];

fn world() -> Option<&'static World> {
    static MADE: OnceLock<()> = OnceLock::new();
    let world = World::get()?;
    // Once for all tests.
    MADE.get_or_init(|| RUNTIMES.iter().for_each(|runtime| make(world, runtime)));
    Some(world)
}

fn make(world: &World, runtime: &str) {
    let root = world.copy_runtime(runtime);
    let interpreter =
        format!("#!/bin/sh\n[ \"$1\" != -jar ] || shift\nRUNTIME={runtime} exec sh \"$@\"\n");
    for name in ["python", "java"] {
        let path = root.join("isolated/usr/bin").join(name);
        fs::write(&path, &interpreter).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Runs a command of the guide, without `job`, in the directory `cwd` with the scripts; returns its output.
fn says(world: &World, line: &str, want: &str) {
    for user in World::users() {
        for verb in [&["run"][..], &["job", "run"]] {
            let program = world.program();
            let at = program.iter().position(|word| word == "run").unwrap();
            let mut command = std::process::Command::new(&program[0]);
            command.args(&program[1..at]).args(verb).args(&program[at + 1..]);
            command.args(line.split_whitespace()).current_dir(world.path("guide"));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if let Some(user) = user {
                std::os::unix::process::CommandExt::uid(&mut command, user);
            }
            let output = finish(command.spawn().unwrap());
            assert_eq!(
                (output.stdout.as_str(), output.status),
                (want, Some(0)),
                "{line} {output:?}"
            );
        }
    }
}

fn scripts(world: &World, scripts: &[(&str, &str)]) {
    fs::create_dir_all(world.path("guide")).unwrap();
    for (name, text) in scripts {
        fs::write(world.path("guide").join(name), text).unwrap();
    }
}

#[test]
fn jobs_run_from_the_current_directory() {
    let Some(world) = world() else { return };
    scripts(
        world,
        &[
            (
                "analyze.py",
                "echo $RUNTIME in $PWD as $$; touch /usr/x 2>/dev/null || echo read-only",
            ),
            ("legacy.py", "echo $RUNTIME"),
            ("train_model_v2.py", "echo $RUNTIME"),
        ],
    );
    let newest = "python-3.11-ml-1.3.2 in /work as 1\nread-only\n";
    says(world, "--runtime=python-3.11-ml python analyze.py", newest);
    // Several versions, each unchanged.
    for (spec, ran) in [
        ("python-3.11-ml@1.3.1", "python-3.11-ml-1.3.1"),
        ("python-3.11-ml@1.3.2", "python-3.11-ml-1.3.2"),
        ("python-3.11-ml@1.0.0", "python-3.11-ml-1.0.0"),
        ("python-3.11-ml@1.4.0-beta", "python-3.11-ml-1.4.0-beta"),
        ("python-3.11-pytorch-cuda@1.13.0", "python-3.11-pytorch-cuda-1.13.0"),
        ("python-3.11-pytorch-cuda", "python-3.11-pytorch-cuda-2.1.0"),
        ("graalvmjdk-21", "graalvmjdk-21-1.10.0"),
    ] {
        says(world, &format!("--runtime={spec} python legacy.py"), &format!("{ran}\n"));
    }
}

#[test]
fn stages_of_a_pipeline_pass_files_on() {
    let Some(world) = world() else { return };
    scripts(
        world,
        &[
            ("extract.py", "echo $RUNTIME: $(cat raw_data.csv)"),
            ("transformer.jar", "echo $RUNTIME: $(cat extracted.json)"),
            ("analyze2.py", "echo $RUNTIME: $(cat transformed.json)"),
            ("raw_data.csv", "1,2\n"),
        ],
    );
    let put = |name: &str, text: &str| fs::write(world.path("guide").join(name), text).unwrap();
    let extracted = "python-3.11-ml-1.3.2: 1,2\n";
    says(world, "--runtime=python-3.11-ml --upload=raw_data.csv python extract.py", extracted);
    put("extracted.json", extracted);
    let transformed = format!("openjdk-21-2.0.0: {extracted}");
    let line = "--runtime=openjdk-21 --upload=extracted.json java -jar transformer.jar";
    says(world, line, &transformed);
    put("transformed.json", &transformed);
    let line = "--runtime=python-3.11-ml --upload=transformed.json python analyze2.py";
    says(world, line, &format!("python-3.11-ml-1.3.2: {transformed}"));
}

/// Limits hold where control groups are available; elsewhere they are refused, and never ignored.
#[test]
fn its_options_are_accepted() {
    let Some(world) = world() else { return };
    scripts(world, &[("train.py", "echo $RUNTIME")]);
    let spec = "--runtime=python-3.11-pytorch-cuda@2.1.0";
    for options in [&["--memory=8192"][..], &["--memory=8192", "--cpu=2"]] {
        let words = [&[spec], options, &["python", "train.py"]].concat();
        let mut run = world.command(None, &words);
        let output = finish(run.current_dir(world.path("guide")).spawn().unwrap());
        if world.can_limit(None) {
            let want = ("python-3.11-pytorch-cuda-2.1.0\n", Some(0));
            assert_eq!((output.stdout.as_str(), output.status), want, "{output:?}");
        } else {
            assert!(output.stderr.starts_with("error[LAUNCH]"), "{output:?}");
            assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)), "{output:?}");
        }
    }
}
