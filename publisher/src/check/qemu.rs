//! qemu-user: emulation of programs for another architecture, by binfmt_misc.
//!
//! Where the host has not registered qemu, a user namespace registers it for itself alone (since Linux
//! 6.7), without an effect on the host.

use crate::{env, fs::paths, tree::elf_gate};
use joblet_format::Arch;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Mount point of binfmt_misc.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Registers the rule `$1` in new namespaces and executes the remaining arguments.
const SCRIPT: &str = r#"mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && printf %s "$1" >/proc/sys/fs/binfmt_misc/register || exit 125; shift; exec "$@""#;

/// A way to run programs of another architecture.
#[derive(Debug, Clone)]
pub(crate) struct Emulator {
    /// The rule to register; `None` if the host has one.
    rule: Option<String>,
}

impl Emulator {
    /// Finds a way to run programs for `arch` on this machine.
    ///
    /// # Errors
    /// The missing requirement.
    pub(crate) fn find(arch: Arch) -> Result<Self, String> {
        let name = format!("qemu-{}", machine(arch));
        let registered = fs::read_to_string(Path::new(BINFMT).join(&name)).unwrap_or_default();
        if is_in_force(&registered) {
            return Ok(Self { rule: None });
        }
        let program = find(&name, &env::path())
            .ok_or_else(|| format!("needs {name}-static; apt-get install qemu-user-static"))?;
        let emulator = Self { rule: Some(rule(arch, &program)) };
        let output = emulator.command("true".as_ref()).output();
        let output = output.map_err(|error| format!("needs unshare: {error}"))?;
        if output.status.success() {
            return Ok(emulator);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr = stderr.lines().next().unwrap_or_default();
        Err(format!("needs {name} in binfmt_misc, or Linux 6.7 with user namespaces ({stderr})"))
    }

    /// A command that executes `program` where programs of the other architecture can run.
    pub(crate) fn command(&self, program: &OsStr) -> Command {
        let Some(rule) = &self.rule else { return Command::new(program) };
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", rule]);
        command.arg(program);
        command
    }
}

/// Name of the architecture in qemu and the kernel.
fn machine(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "aarch64",
    }
}

/// Whether a rule of the host is enabled and works in a job's root, without qemu there (flag `F`).
fn is_in_force(rule: &str) -> bool {
    let flags = rule.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    rule.starts_with("enabled\n") && flags.contains('F')
}

/// Finds the emulator, which must be static: it runs in a root with other libraries.
fn find(name: &str, path: &[PathBuf]) -> Option<PathBuf> {
    let names = [format!("{name}-static"), name.to_owned()];
    let mut all = names.iter().flat_map(|name| path.iter().map(move |dir| dir.join(name)));
    all.find(|path| paths::read(path).is_ok_and(|elf| elf_gate::is_static(&elf)))
}

/// The rule `:name:M::magic:mask:interpreter:flags` for little-endian 64-bit programs of types EXEC and DYN. `F`
/// opens qemu at registration, `P` preserves argv[0].
fn rule(arch: Arch, qemu: &Path) -> String {
    let number = match arch {
        Arch::Amd64 => 0x3e,
        Arch::Arm64 => 0xb7,
    };
    let magic = format!(r"\x7fELF\x02\x01\x01{}\x02\x00\x{number:02x}\x00", r"\x00".repeat(9));
    let mask = format!(r"{}\x00{}\xfe\xff\xff\xff", r"\xff".repeat(7), r"\xff".repeat(8));
    format!(":qemu-{}:M::{magic}:{mask}:{}:PF", machine(arch), qemu.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_and_read() {
        assert_eq!(
            rule(Arch::Arm64, Path::new("/usr/bin/qemu-aarch64-static")),
            r":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:PF"
        );
        for (text, want) in [
            ("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n", true),
            ("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OC\noffset 0\n", false),
            ("disabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\noffset 0\n", false),
            ("", false),
        ] {
            assert_eq!(is_in_force(text), want, "{text}");
        }
    }

    #[test]
    fn only_a_static_emulator_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = [dir.path().to_owned()];
        assert_eq!(find("qemu-none", &path), None);
        fs::copy("/bin/sh", dir.path().join("qemu-none-static")).unwrap();
        assert_eq!(find("qemu-none", &path), None, "it needs libraries");
        let mut elf = fs::read("/bin/sh").unwrap();
        elf.truncate(64);
        elf[56] = 0; // no program headers: no interpreter
        fs::write(dir.path().join("qemu-none"), elf).unwrap();
        assert_eq!(find("qemu-none", &path), Some(dir.path().join("qemu-none")));
    }
}
