//! Jobs with GPUs, by a CDI specification of the test with devices that every host has.

use crate::support::{Output, World, finish};
use std::{fs, os::unix::fs::symlink, sync::Once};

/// Two GPUs, `zero` and `full` of the host, with a driver.
fn specification(driver: &str) -> String {
    format!(
        r#"{{ "cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [
  {{ "name": "0", "containerEdits": {{ "deviceNodes": [
    {{ "path": "/dev/nvidia0", "hostPath": "/dev/zero" }}, {{ "path": "/dev/dri/card0", "hostPath": "/dev/zero" }} ] }} }},
  {{ "name": "1", "containerEdits": {{ "deviceNodes": [ {{ "path": "/dev/nvidia1", "hostPath": "/dev/full" }} ] }} }} ],
"containerEdits": {{ "env": ["DRIVER=1"], "mounts": [
    {{ "hostPath": "{driver}/libcuda.so.535.1", "containerPath": "/usr/lib64/libcuda.so.535.1" }},
    {{ "hostPath": "{driver}/nvidia-smi", "containerPath": "/usr/bin/nvidia-smi" }},
    {{ "hostPath": "{driver}/icd", "containerPath": "/etc/vulkan/icd" }} ] }} }}"#
    )
}

/// Writes the driver's files and the specification of its devices, once.
fn driver(world: &World) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let driver = world.path("driver");
        fs::create_dir_all(&driver).unwrap();
        fs::write(driver.join("libcuda.so.535.1"), "library\n").unwrap();
        fs::write(driver.join("icd"), "icd\n").unwrap();
        crate::common::copy_program(
            world.path("store/demo/isolated/usr/bin/id"),
            driver.join("nvidia-smi"),
        );
        symlink("libcuda.so.535.1", driver.join("libcuda.so.1")).unwrap();
        fs::create_dir(world.path("cdi")).unwrap();
        let text = specification(driver.to_str().unwrap());
        fs::write(world.path("cdi/nvidia.json"), text).unwrap();
    });
}

/// Runs `script` as each user with these options, with the specifications in `cdi`.
fn each(options: &[&str], cdi: &str, script: &str, check: impl Fn(&Output)) {
    each_with(&[], options, cdi, script, check);
}

/// As [`each`], for a caller with these variables.
fn each_with(
    variables: &[(&str, &str)],
    options: &[&str],
    cdi: &str,
    script: &str,
    check: impl Fn(&Output),
) {
    let Some(world) = World::get() else { return };
    driver(world);
    for user in World::users() {
        let mut command = world.command(user, &World::shell(options, script));
        command.envs(variables.iter().copied());
        check(&finish(command.env("JOBLET_EXEC_CDI", world.path(cdi)).spawn().unwrap()));
    }
}

#[test]
fn a_job_sees_the_gpus_it_asked_for() {
    let show = "cd /dev; ls -d nvidia* dri/*; head -c 3 nvidia0 >/tmp/x; stat -c %s /tmp/x; echo $DRIVER $LD_LIBRARY_PATH; \
                cat /run/gpu/lib/libcuda.so.1 /etc/vulkan/icd; nvidia-smi -u >/tmp/x && echo $PATH";
    let driver = "1 /run/gpu/lib\nlibrary\nicd\n/usr/bin:/bin:/run/gpu/bin\n";
    for (option, nodes) in [
        ("--gpu=1", "dri/card0\nnvidia0\n"),
        ("--gpu=2", "dri/card0\nnvidia0\nnvidia1\n"),
        ("--gpu=all", "dri/card0\nnvidia0\nnvidia1\n"),
    ] {
        each(&[option], "cdi", show, |output| {
            assert_eq!(output.stdout, format!("{nodes}3\n{driver}"), "{output:?}");
        });
    }
    each(&["--gpu=1", "-e", "LD_LIBRARY_PATH=/own"], "cdi", "echo $LD_LIBRARY_PATH", |output| {
        assert_eq!(output.stdout, "/own:/run/gpu/lib\n", "{output:?}");
    });
    each(&["--gpu=1"], "cdi", "echo >/run/gpu/lib/libcuda.so.1; echo >/dev/nvidia0", |output| {
        assert!(output.stderr.contains("Read-only") && output.status == Some(0), "{output:?}");
    });
    each(&[], "cdi", "ls -d /dev/nvidia0 /run/gpu; echo $DRIVER", |output| {
        assert_eq!(output.stdout, "\n", "{output:?}");
    });
}

#[test]
fn a_host_without_gpus_is_reported() {
    each(&["--gpu=3"], "cdi", "echo on", |output| {
        let reason =
            "error[LAUNCH]: cannot give the job a GPU: this host has 2, and 3 were requested";
        assert!(output.stderr.starts_with(reason), "{output:?}");
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)));
    });
    if std::path::Path::new("/dev/nvidia0").exists() {
        return crate::support::not_applicable("this host has a GPU");
    }
    each(&["--gpu=1"], "no-cdi", "echo on", |output| {
        let reason = "error[LAUNCH]: cannot give the job a GPU: no CDI specification in ";
        assert!(output.stderr.starts_with(reason), "{output:?}");
        assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)));
    });
}

/// Two tasks on one host each have only the GPUs that the workload manager has allotted to them.
#[test]
fn a_job_sees_the_gpus_that_were_allotted() {
    let show = "cd /dev; echo nvidia* $CUDA_VISIBLE_DEVICES $SLURM_STEP_GPUS";
    for (variable, value, option, want) in [
        ("CUDA_VISIBLE_DEVICES", "1", "--gpu=1", "nvidia1 0"),
        ("CUDA_VISIBLE_DEVICES", "1,0", "--gpu=1", "nvidia1 0"),
        ("CUDA_VISIBLE_DEVICES", "1,0", "--gpu=all", "nvidia0 nvidia1 0,1"),
        ("NVIDIA_VISIBLE_DEVICES", "void", "--gpu=1", "nvidia0"),
        ("SLURM_STEP_GPUS", "1", "--gpu=all", "nvidia1 0"),
    ] {
        // In the job it would number the GPUs of the host.
        let passed_on = format!("--env={variable}");
        let options = [option, passed_on.as_str()];
        let options = if value == "void" { &options[..1] } else { &options[..] };
        each_with(&[(variable, value)], options, "cdi", show, |output| {
            assert_eq!(output.stdout.trim_end(), want, "{variable}={value} {output:?}");
        });
    }
    for (value, option, reason) in [
        ("1", "--gpu=2", "this process was given 1, and 2 were requested ("),
        ("", "--gpu=all", "this process was given none ("),
        ("7", "--gpu=1", "this process was given none ("),
        ("GPU-none", "--gpu=1", "this process was given none ("),
    ] {
        each_with(&[("CUDA_VISIBLE_DEVICES", value)], &[option], "cdi", "echo on", |output| {
            let want = format!("error[LAUNCH]: cannot give the job a GPU: {reason}");
            assert!(output.stderr.starts_with(&want), "{value} {output:?}");
            assert!(
                output.stderr.contains(&format!("CUDA_VISIBLE_DEVICES={value})")),
                "{output:?}"
            );
            assert_eq!((output.stdout.as_str(), output.status), ("", Some(125)));
        });
    }
}
