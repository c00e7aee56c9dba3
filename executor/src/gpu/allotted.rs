//! Which of a host's GPUs a workload manager has given to this process.
//!
//! Workload managers do so in two ways, and many in both: a control group that opens no other device, and a
//! variable. Slurm sets `CUDA_VISIBLE_DEVICES`, whose numbers count the devices that can be opened, and
//! `SLURM_STEP_GPUS`, whose numbers are those of the nodes; others set names (UUIDs, of GPUs and of their
//! MIG slices), as `nvidia-smi -L` lists them.

use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::fs;
use std::path::Path;

/// A parsed variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allotted {
    /// The name of the variable.
    pub variable: &'static str,
    /// The named devices: numbers or UUIDs.
    pub names: Vec<String>,
}

/// Names of a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// The number of its node.
    pub number: Option<usize>,
    /// Other names, such as its UUID.
    pub names: Vec<String>,
}

impl Allotted {
    /// Reads a variable's value; none if it does not restrict anything.
    pub(crate) fn parse(variable: &'static str, value: &str) -> Option<Self> {
        // Values set by a CDI specification, or equal to an unset variable.
        if matches!(value, "all" | "void") || (value.is_empty() && variable.starts_with("NVIDIA")) {
            return None;
        }
        let names = value.split(',').map(str::trim);
        // Names after the first invalid one are not used, as in CUDA.
        let names = names.take_while(|name| !matches!(*name, "" | "-1" | "none" | "NoDevFiles"));
        Some(Self { variable, names: names.map(str::to_owned).collect() })
    }

    /// Indexes in `all` of the named GPUs, in the order of the names.
    pub(super) fn choose(&self, all: &[Named]) -> Vec<usize> {
        let mut chosen = Vec::new();
        for name in &self.names {
            let at = match name.parse() {
                Ok(number) if self.variable.starts_with("SLURM") => {
                    all.iter().position(|gpu| gpu.number == Some(number))
                }
                Ok(at) => Some(at).filter(|at: &usize| *at < all.len()),
                Err(_) => {
                    // MIG-GPU-UUID/1/0 is a slice of GPU-UUID.
                    let whole = name.strip_prefix("MIG-").filter(|it| it.starts_with("GPU-"));
                    let whole = whole.and_then(|it| it.split('/').next()).unwrap_or(name);
                    let called = |own: &String| own.starts_with(whole);
                    let found = all.iter().position(|gpu| gpu.names.iter().any(called));
                    // A slice of the only GPU needs no other distinction.
                    found.or((all.len() == 1 && name.starts_with("MIG-")).then_some(0))
                }
            };
            chosen.extend(at);
        }
        chosen
    }

    /// The variable's value in the job, which has no other GPUs: numbers from zero, or the names of slices.
    pub(super) fn inside(&self, count: usize) -> String {
        let slices = self.names.iter().any(|name| name.starts_with("MIG-"));
        let number = |(index, name): (usize, &String)| {
            if slices { name.clone() } else { index.to_string() }
        };
        let names: Vec<_> = self.names.iter().take(count).enumerate().map(number).collect();
        names.join(",")
    }
}

/// Whether a device may be opened by this process: its permissions, and its control group's devices.
/// It is not opened, which would wake the hardware.
pub(super) fn may_open(node: &Path) -> bool {
    let found = access(node, Access::READ_OK | Access::WRITE_OK);
    !matches!(found, Err(Errno::PERM | Errno::ACCESS))
}

/// The NVIDIA driver's names of the GPU with this number: its UUID.
pub(super) fn names_of(number: usize) -> Vec<String> {
    let mut names = Vec::new();
    for gpu in fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten() {
        let text = fs::read_to_string(gpu.path().join("information")).unwrap_or_default();
        names.extend(uuid(&text, number));
    }
    names
}

/// Reads `/proc/driver/nvidia/gpus/…/information`, lines of a name, a colon and a value: the UUID, if it is
/// the GPU with this number.
fn uuid(text: &str, number: usize) -> Option<String> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let is_it = value("Device Minor:")?.parse() == Ok(number);
    value("GPU UUID:").filter(|_| is_it).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_workload_managers() {
        let names = |variable, value| Allotted::parse(variable, value).map(|it| it.names.join(" "));
        for (variable, value, want) in [
            ("CUDA_VISIBLE_DEVICES", "0,2", Some("0 2")),
            ("CUDA_VISIBLE_DEVICES", "", Some("")),
            ("CUDA_VISIBLE_DEVICES", "1,-1,2", Some("1")),
            ("CUDA_VISIBLE_DEVICES", "NoDevFiles", Some("")),
            ("NVIDIA_VISIBLE_DEVICES", "", None),
            ("NVIDIA_VISIBLE_DEVICES", "void", None),
            ("NVIDIA_VISIBLE_DEVICES", "all", None),
            ("NVIDIA_VISIBLE_DEVICES", "GPU-7f, 1", Some("GPU-7f 1")),
        ] {
            assert_eq!(names(variable, value).as_deref(), want, "{variable}={value}");
        }
    }

    #[test]
    fn numbers_are_of_usable_devices_or_of_nodes() {
        let named =
            |number: usize| Named { number: Some(number), names: vec![format!("GPU-{number}f")] };
        let nodes = [named(2), named(3)]; // 0 and 1 cannot be opened
        let choose = |variable, value| {
            let allotted = Allotted::parse(variable, value).unwrap();
            let chosen = allotted.choose(&nodes);
            (allotted.inside(chosen.len()), chosen)
        };
        for (variable, value, inside, want) in [
            ("CUDA_VISIBLE_DEVICES", "1", "0", &[1][..]),
            ("CUDA_VISIBLE_DEVICES", "1,0", "0,1", &[1, 0]),
            ("SLURM_STEP_GPUS", "3", "0", &[1]),
            ("CUDA_VISIBLE_DEVICES", "3", "", &[]),
            ("CUDA_VISIBLE_DEVICES", "GPU-3", "0", &[1]),
            ("CUDA_VISIBLE_DEVICES", "MIG-GPU-3f/1/0", "MIG-GPU-3f/1/0", &[1]),
            ("CUDA_VISIBLE_DEVICES", "MIG-5e", "", &[]),
        ] {
            let want = (inside.to_owned(), want.to_vec());
            assert_eq!(choose(variable, value), want, "{variable}={value}");
        }
        let slice = Allotted::parse("CUDA_VISIBLE_DEVICES", "MIG-5e").unwrap();
        assert_eq!(slice.choose(&nodes[..1]), [0]);
        assert_eq!(slice.inside(1), "MIG-5e");
    }

    #[test]
    fn the_drivers_names() {
        let text = "Model: \t\t NVIDIA H200\nGPU UUID: \t GPU-7f3a-01\nDevice Minor: \t 3\n";
        assert_eq!(uuid(text, 3).as_deref(), Some("GPU-7f3a-01"));
        assert_eq!((uuid(text, 2), uuid("", 0)), (None, None));
    }
}
