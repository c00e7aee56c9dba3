//! Finds the files of NVIDIA's driver, on hosts without a CDI specification.

use super::allotted::{Named, may_open, names_of};
use super::{Allotted, Gpus, Wanted, is_library};
use crate::runtime::Runtime;
use std::{
    collections::BTreeSet,
    env::consts::ARCH,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// Device nodes that every job with a GPU needs, below `/dev`; the last one is WSL's.
const SHARED: [&str; 5] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "dxg"];

/// Prefixes of the names of the driver's libraries.
const LIBRARIES: [&str; 5] =
    ["libcuda.so.", "libcudadebugger.so.", "libnvidia-", "libnvcuvid.so.", "libnvoptix.so."];

/// Directories to search if the loader's cache does not list them.
const DIRECTORIES: [&str; 5] =
    ["/usr/lib64", "/usr/lib", "/usr/lib/nvidia", "/usr/lib/wsl/lib", "/run/opengl-driver/lib"];

/// The driver's programs.
const PROGRAMS: [&str; 2] = ["/usr/bin/nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"];

/// The device nodes and libraries of the driver for the wanted number of devices. Without an origin where there are none,
/// allotted or not.
pub(super) fn find(wanted: Wanted, runtime: &Runtime, allotted: Option<&Allotted>) -> Gpus {
    let mut nodes = devices(&names(Path::new("/dev")));
    if nodes.is_empty() {
        return Gpus::default();
    }
    nodes.retain(|name| may_open(&Path::new("/dev").join(name)));
    if let Some(allotted) = allotted {
        let named = |node: &String| {
            let number = number(node);
            Named { number, names: number.map(names_of).unwrap_or_default() }
        };
        let named: Vec<_> = nodes.iter().map(named).collect();
        nodes = allotted.choose(&named).into_iter().map(|at| nodes[at].clone()).collect();
    }
    if let Wanted::Count(count) = wanted {
        nodes.truncate(count as usize);
    }
    let mut gpus = Gpus { count: nodes.len(), origin: "/dev".into(), ..Gpus::default() };
    if nodes.is_empty() {
        return gpus;
    }
    nodes.extend(SHARED.map(str::to_owned));
    nodes.extend(names(Path::new("/dev/nvidia-caps")).iter().map(|it| format!("nvidia-caps/{it}")));
    let nodes = nodes.into_iter().map(|name| (Path::new("/dev").join(&name), PathBuf::from(name)));
    gpus.nodes = nodes.filter(|(host, _)| host.exists()).collect();
    for library in libraries() {
        gpus.add(library.clone(), library, runtime);
    }
    for program in PROGRAMS.map(PathBuf::from) {
        if program.exists() {
            gpus.add(program, "/bin/nvidia-smi".into(), runtime);
        }
    }
    if !Path::new("/dev/nvidia-uvm").exists() && !Path::new("/dev/dxg").exists() {
        let missing =
            "/dev/nvidia-uvm is missing, which CUDA needs; as root, nvidia-modprobe -u -c=0";
        gpus.missing = Some(missing.into());
    }
    gpus
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The number of a node that is a device.
fn number(node: &str) -> Option<usize> {
    node.strip_prefix("nvidia")?.parse().ok()
}

/// The device nodes of single GPUs, by number.
fn devices(names: &[String]) -> Vec<String> {
    let mut found: Vec<_> = names.iter().filter(|name| number(name).is_some()).cloned().collect();
    found.sort_by_key(|name| number(name));
    if found.is_empty() {
        found.extend(names.iter().filter(|name| *name == "dxg").cloned());
    }
    found
}

/// The driver's libraries of this architecture, each name once.
fn libraries() -> Vec<PathBuf> {
    let cache = fs::read("/etc/ld.so.cache").unwrap_or_default();
    let mut paths = cached(&cache);
    let of_debian = format!("/usr/lib/{ARCH}-linux-gnu");
    for directory in [of_debian.as_str()].into_iter().chain(DIRECTORIES).map(Path::new) {
        let names = names(directory).into_iter().filter(|name| is_of_driver(name));
        paths.extend(names.map(|name| directory.join(name)));
    }
    let mut seen = BTreeSet::new();
    paths.retain(|path| is_native(path) && seen.insert(path.file_name().map(ToOwned::to_owned)));
    paths
}

fn is_of_driver(name: &str) -> bool {
    is_library(name)
        && LIBRARIES.iter().any(|start| name.starts_with(start))
        && !name.starts_with("libnvidia-container") // part of the container toolkit
}

/// The paths of the driver's libraries in the loader's cache, found as strings in any version of its
/// format.
fn cached(cache: &[u8]) -> Vec<PathBuf> {
    let texts = cache.split(|&byte| byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
    let paths = texts.filter(|text| {
        let name = text.rsplit_once('/').map_or("", |(_, name)| name);
        text.starts_with('/') && is_of_driver(name)
    });
    paths.map(PathBuf::from).collect()
}

/// Whether this is a 64-bit ELF file for this machine, elf(5).
fn is_native(path: &Path) -> bool {
    let machine = if ARCH == "x86_64" { 62 } else { 183 };
    let mut head = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.starts_with(b"\x7fELF\x02") && head[18] == machine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_number() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (all, want) in [
            ("null nvidia10 nvidia2 nvidiactl nvidia-uvm", "nvidia2 nvidia10"),
            ("null dxg", "dxg"),
            ("null", ""),
        ] {
            assert_eq!(devices(&names(all)).join(" "), want);
        }
    }

    #[test]
    fn libraries_in_the_loaders_cache() {
        let cache = b"glibc-ld.so.cache1.1\0\x01libcuda.so.1\0/usr/lib/libcuda.so.1\0\
            /usr/lib/libcudart.so.11\0/usr/lib/libnvidia-ml.so.1\0/usr/lib/libnvidia-container.so.1\0";
        let want = ["/usr/lib/libcuda.so.1", "/usr/lib/libnvidia-ml.so.1"].map(PathBuf::from);
        assert_eq!(cached(cache), want);
        assert!(is_native(Path::new("/proc/self/exe")) && !is_native(Path::new("/etc/passwd")));
    }
}
