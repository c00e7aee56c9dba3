//! GPUs for jobs: which device nodes, libraries and programs of the host a job needs.
//!
//! In: how many GPUs are wanted, and a runtime. Out: [`Gpus`]: device nodes, files and variables.
//!
//! The driver's files are mounted in directories of their own, which come last in the job's search paths;
//! files that the runtime itself has are not taken from the host.

mod allotted;
mod cdi;
mod driver;

pub(crate) use allotted::Allotted;

use crate::error::Error;
use crate::runtime::Runtime;
use std::{
    collections::BTreeSet,
    env::consts::ARCH,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// The directory of the driver's libraries in jobs.
pub(crate) const LIBRARIES: &str = "/run/gpu/lib";

/// The directory of its programs in jobs, such as `nvidia-smi`.
pub(crate) const PROGRAMS: &str = "/run/gpu/bin";

/// Directories of CDI specifications, in order of precedence: those generated since boot come before
/// those in the configuration.
pub(crate) const SPECIFICATIONS: &str = "/var/run/cdi:/etc/cdi";

/// The number of GPUs that a job wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All GPUs of the host.
    All,
    /// This number.
    Count(u32),
}

/// Files and variables of the host that a job needs to use graphics processors.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gpus {
    /// Their number.
    pub count: usize,
    /// The CDI specification or directory that this comes from, for messages.
    pub origin: String,
    /// Device nodes: path on the host, and path below the job's `/dev`.
    pub nodes: Vec<(PathBuf, PathBuf)>,
    /// Files and directories: path on the host, and path in the job.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Devices that the job does not get, for messages.
    pub notes: Vec<String>,
    /// Missing parts of the host's driver, and after `; ` the remedy.
    pub missing: Option<String>,
}

impl Gpus {
    /// Adds a file or directory that is specified for `target`. Libraries and programs go to
    /// [`LIBRARIES`] and [`PROGRAMS`], a library with all names that it has on the host.
    fn add(&mut self, host: PathBuf, target: PathBuf, runtime: &Runtime) {
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_library(&name) {
            let names = names_of(&host, &name);
            let names = names.into_iter().filter(|name| !has_library(runtime, name));
            let at = Path::new(LIBRARIES);
            self.files.extend(names.map(|name| (host.clone(), at.join(name))));
        } else if target.parent().is_some_and(|dir| dir.ends_with("bin") || dir.ends_with("sbin")) {
            self.files.push((host, Path::new(PROGRAMS).join(name)));
        } else if places(runtime).any(|place| target.starts_with(place))
            || ["/dev", "/proc", "/sys"].iter().any(|place| target.starts_with(place))
        {
            self.notes.push(format!("{} is left out: the job has its own", target.display()));
        } else {
            self.files.push((host, target));
        }
    }
}

/// Finds what a job in `runtime` needs for the wanted GPUs: by the CDI specifications in `directories`,
/// else by the device nodes and libraries of the driver. Only GPUs that can be opened are used, and only
/// those `allotted` to this process, if a workload manager allots them.
///
/// # Errors
/// [`Error::Launch`] if there are fewer, and [`Error::Config`] for a malformed specification.
pub(crate) fn find(
    wanted: Wanted,
    directories: &str,
    runtime: &Runtime,
    allotted: Option<&Allotted>,
) -> Result<Gpus, Error> {
    let refuse =
        |reason: String| Error::Launch { step: "cannot give the job a GPU".into(), reason };
    let mut gpus = cdi::find(wanted, directories, runtime, allotted)?;
    if gpus.origin.is_empty() {
        gpus = driver::find(wanted, runtime, allotted);
    }
    if let Some(Allotted { variable, names }) = allotted.filter(|_| !gpus.origin.is_empty()) {
        _ = write!(gpus.origin, ", {variable}={}", names.join(","));
    }
    match wanted {
        _ if gpus.count == 0 && !gpus.origin.is_empty() => Err(refuse(format!(
            "this process was given none ({}); ask the workload manager that started it for one",
            gpus.origin
        ))),
        _ if gpus.count == 0 => Err(refuse(format!(
            "no CDI specification in {directories} names one, and there is no /dev/nvidia0; \
             install the driver, or write a specification (nvidia-ctk cdi generate \
             --output=/etc/cdi/nvidia.yaml)"
        ))),
        Wanted::Count(count) if gpus.count < count as usize => {
            let who = if allotted.is_some() { "process was given" } else { "host has" };
            Err(refuse(format!(
                "this {who} {}, and {count} were requested ({})",
                gpus.count, gpus.origin
            )))
        }
        _ => {
            let mut seen = BTreeSet::new();
            gpus.files.retain(|(_, target)| seen.insert(target.clone()));
            let mut seen = BTreeSet::new();
            gpus.nodes.retain(|(_, path)| seen.insert(path.clone()));
            // Others are not there: numbers begin at zero.
            let inside = allotted.map(|it| (it.variable.to_owned(), it.inside(gpus.count)));
            gpus.env.extend(inside);
            Ok(gpus)
        }
    }
}

/// Whether the host has a driver for them.
pub(crate) fn is_there() -> bool {
    ["/dev/nvidiactl", "/dev/kfd", "/dev/dxg"].iter().any(|node| Path::new(node).exists())
}

/// The mount targets of the runtime.
fn places(runtime: &Runtime) -> impl Iterator<Item = &str> {
    runtime.config.mounts().iter().map(|mount| mount.target.as_str())
}

fn is_library(name: &str) -> bool {
    name.split('.').any(|part| part == "so")
}

/// `name` and the links to it in the library's directory: programs load `libcuda.so.1`, a link to the
/// file with the driver's version in its name.
fn names_of(library: &Path, name: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::from([name.to_owned()]);
    let (stem, _) = name.split_once(".so").unwrap_or((name, ""));
    let Ok(real) = library.canonicalize() else { return names };
    for entry in library.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten() {
        let Ok(entry) = entry else { continue };
        let Ok(other) = entry.file_name().into_string() else { continue };
        let rest = other.strip_prefix(stem).unwrap_or("");
        if rest.starts_with(".so") && entry.path().canonicalize().is_ok_and(|path| path == real) {
            names.insert(other);
        }
    }
    names
}

/// Whether the runtime has a library of this name where its loader looks.
fn has_library(runtime: &Runtime, name: &str) -> bool {
    let directories = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
    let of_debian = ["/lib", "/usr/lib"].map(|dir| format!("{dir}/{ARCH}-linux-gnu"));
    let mut all = directories.into_iter().chain(of_debian.iter().map(String::as_str));
    all.any(|directory| {
        runtime.config.mounts().iter().any(|mount| {
            let below = Path::new(directory).strip_prefix(&mount.target);
            below.is_ok_and(|below| {
                let dir = runtime.path.join(&mount.source).join(below);
                dir.join(name).symlink_metadata().is_ok()
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use std::os::unix::fs::symlink;

    /// A runtime with one library, in `dir`.
    pub(super) fn runtime(dir: &Path) -> Runtime {
        fs::create_dir_all(dir.join("usr/lib")).unwrap();
        fs::write(dir.join("usr/lib/libown.so.1"), "").unwrap();
        let yml = "name: demo\nmounts: [{ source: usr, target: /usr }]\n";
        fs::write(dir.join("runtime.yml"), yml).unwrap();
        runtime::load(dir).unwrap()
    }

    #[test]
    fn targets_are_mapped_to_directories() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host");
        fs::create_dir(&host).unwrap();
        for name in ["libcuda.so.535.1", "libown.so.1", "libcudart.so.1"] {
            fs::write(host.join(name), "").unwrap();
        }
        symlink("libcuda.so.535.1", host.join("libcuda.so.1")).unwrap();
        symlink("libcuda.so.1", host.join("libcuda.so")).unwrap();
        let runtime = runtime(dir.path());
        for (name, target, want) in [
            (
                "libcuda.so.535.1",
                "/usr/lib64/libcuda.so.535.1",
                "/run/gpu/lib/libcuda.so /run/gpu/lib/libcuda.so.1 /run/gpu/lib/libcuda.so.535.1",
            ),
            ("libown.so.1", "/usr/lib64/libown.so.1", ""),
            ("nvidia-smi", "/usr/bin/nvidia-smi", "/run/gpu/bin/nvidia-smi"),
            ("icd.json", "/etc/vulkan/icd.json", "/etc/vulkan/icd.json"),
            ("x", "/usr/share/x", ""),
            ("x", "/dev/x", ""),
        ] {
            let mut gpus = Gpus::default();
            gpus.add(host.join(name), target.into(), &runtime);
            let found: Vec<_> =
                gpus.files.iter().map(|(_, target)| target.to_str().unwrap()).collect();
            assert_eq!(found.join(" "), want, "{target}");
            assert_eq!(gpus.notes.len(), usize::from(name == "x"), "{target}");
        }
    }
}
