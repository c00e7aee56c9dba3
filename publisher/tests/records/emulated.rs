//! Checks of runtimes for another architecture than this machine's.

use super::world::{World, deb, joblet_exec};
use crate::skip::{not_applicable, skip};
use joblet_format::Arch;

/// A static program for arm64 that exits with `status`.
fn program(status: u16) -> Vec<u8> {
    let base = 0x0040_0000u64;
    let code: [u32; 3] = [
        0xd280_0000 | u32::from(status) << 5, // mov x0, status
        0xd280_0ba8,                          // mov x8, 93: exit
        0xd400_0001,                          // svc 0
    ];
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let shorts = |elf: &mut Vec<u8>, all: &[u16]| {
        elf.extend(all.iter().flat_map(|it| it.to_le_bytes()));
    };
    let longs = |elf: &mut Vec<u8>, all: &[u64]| {
        elf.extend(all.iter().flat_map(|it| it.to_le_bytes()));
    };
    shorts(&mut elf, &[2, 0xb7, 1, 0]); // executable, for aarch64, version 1
    longs(&mut elf, &[base + 120, 64, 0]); // entry point; program headers; sections
    shorts(&mut elf, &[0, 0, 64, 56, 1, 0, 0, 0]); // sizes of headers: one program header
    shorts(&mut elf, &[1, 0, 5, 0]); // a segment to load, read and execute
    longs(&mut elf, &[0, base, base, 132, 132, 0x1_0000]);
    elf.extend(code.iter().flat_map(|word| word.to_le_bytes()));
    elf
}

/// The runtime `demo` with such a program, built for arm64.
fn built(status: u16) -> World {
    let world = World::new();
    let control = "Package: demo\nVersion: 1\n";
    let bytes = crate::common::debs::deb(control, &[("./usr/bin/demo", &program(status))]);
    world.runtime("1.0.0", &[("debian/pool/demo_1.deb".into(), bytes)], "check: [[demo]]\n");
    world.build("--arch arm64").done();
    world
}

#[test]
fn the_other_architecture_is_checked_where_qemu_is_installed() {
    if Arch::NATIVE == Arch::Arm64 {
        return not_applicable("on arm64 the program of this test needs no emulator");
    }
    let line = format!("check demo --arch arm64 --joblet-exec {}", joblet_exec().display());
    let world = built(0);
    let outcome = world.publish(&line);
    if outcome.stderr.starts_with("error[TOOL]: check of demo-1.0.0 arm64: needs ") {
        return skip(outcome.stderr.trim_end());
    }
    assert_eq!(outcome.done(), "demo-1.0.0 arm64: checks passed: 1, through qemu-user\n");
    let complaint = built(3).publish(&line).failed(18);
    let start = "error[CHECK]: demo-1.0.0 (arm64): `demo` failed (exit status: 3):";
    assert!(complaint.starts_with(start), "{complaint}");
}

#[test]
fn a_check_that_is_impossible_here_is_reported() {
    let world = World::new();
    world.runtime("1.0.0", &[deb("demo", "1", "MIT", &[])], "");
    let other = if Arch::NATIVE == Arch::Amd64 { Arch::Arm64 } else { Arch::Amd64 };
    let machine = if other == Arch::Arm64 { "aarch64" } else { "x86_64" };
    if std::path::Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{machine}")).exists() {
        return not_applicable("binfmt_misc runs programs of the other architecture");
    }
    let line = format!("check demo --joblet-exec {}", joblet_exec().display());
    let nowhere = [("PATH", "/nowhere")];
    let absent = format!("needs qemu-{machine}-static; apt-get install qemu-user-static");
    let complaint = world.publish_with(&line, &nowhere).failed(12);
    assert!(complaint.ends_with("run `joblet-publish build demo`"), "{complaint}");
    world.build(&format!("--arch {}", Arch::NATIVE)).done();
    let native = format!("demo-1.0.0 {}: checks passed: 0\n", Arch::NATIVE);
    assert_eq!(world.publish_with(&line, &nowhere).done(), native, "the other was not built");
    world.build("").done();
    let said = world.publish_with(&line, &nowhere).done();
    let mut want = [native, format!("demo-1.0.0 {other}: NOT CHECKED: {absent}\n")];
    want.sort();
    assert_eq!(said, want.concat());
    let complaint = world.publish_with(&format!("{line} --arch {other}"), &nowhere).failed(19);
    assert_eq!(complaint, format!("error[TOOL]: check of demo-1.0.0 {other}: {absent}"));
}

#[test]
fn check_all_lists_every_runtime_also_one_that_is_not_built() {
    let world = World::new();
    world.runtime("1.0.0", &[deb("demo", "1", "MIT", &[])], "");
    world.build(&format!("--arch {}", Arch::NATIVE)).done();
    let other = world.read("runtimes-src/demo/manifest.yaml").replace("name: demo", "name: other");
    world.write("runtimes-src/other/manifest.yaml", other);
    let said =
        world.publish(&format!("check --all --joblet-exec {}", joblet_exec().display())).done();
    let arch = Arch::NATIVE;
    let want = format!("demo-1.0.0   {arch}  checks passed: 0\nother-1.0.0  {arch}  not built\n");
    assert_eq!(said, want);
}
