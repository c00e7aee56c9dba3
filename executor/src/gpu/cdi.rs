//! The Container Device Interface (CDI): specifications of what devices need in a container.
//!
//! ```yaml
//! cdiVersion: "0.5.0"
//! kind: nvidia.com/gpu
//! devices:
//!   - { name: "0", containerEdits: { deviceNodes: [{ path: /dev/nvidia0 }] } }
//! containerEdits:
//!   env: [NVIDIA_VISIBLE_DEVICES=void]
//!   mounts: [{ hostPath: /usr/lib/libcuda.so.535.1, containerPath: /usr/lib/libcuda.so.535.1 }]
//! ```
//!
//! Specifications are written by vendors' tools and by administrators. Unknown members are ignored. Hooks,
//! programs for container runtimes, are not run: NVIDIA's create links to libraries and update the loader's
//! cache, which is not needed here.

use super::allotted::{Named, may_open};
use super::{Allotted, Gpus, Wanted};
use crate::error::Error;
use crate::runtime::Runtime;
use joblet_format::text::nests_too_deeply;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// The class in a kind, `vendor/class`, of all GPUs.
const CLASS: &str = "/gpu";

/// A device of a specification, and what it is called.
type Device<'s> = (&'s Spec, &'s Value, Named);

/// A specification of GPUs.
struct Spec {
    path: PathBuf,
    kind: String,
    document: Value,
}

/// Applies the specifications in `directories` for the wanted number of devices. Without an
/// origin if they name no device, allotted or not.
pub(super) fn find(
    wanted: Wanted,
    directories: &str,
    runtime: &Runtime,
    allotted: Option<&Allotted>,
) -> Result<Gpus, Error> {
    let specs = load(directories)?;
    let mut all = devices(&specs);
    let first = all.first().map(|(spec, ..)| spec.path.display().to_string());
    all.retain(|(_, device, _)| nodes(device).all(|node| may_open(Path::new(node))));
    let named: Vec<_> = all.iter_mut().map(|(.., named)| std::mem::take(named)).collect();
    let mut chosen: Vec<_> = match allotted {
        Some(allotted) => allotted.choose(&named).into_iter().map(|at| all[at].clone()).collect(),
        None => all,
    };
    if let Wanted::Count(count) = wanted {
        chosen.truncate(count as usize);
    }
    let origin = first.unwrap_or_default();
    let mut gpus = Gpus { count: chosen.len(), origin, ..Gpus::default() };
    for spec in &specs {
        let own: Vec<_> = chosen.iter().filter(|(of, ..)| std::ptr::eq(*of, spec)).collect();
        if own.is_empty() {
            continue;
        }
        gpus.origin = spec.path.display().to_string();
        let all = own.iter().map(|(_, device, _)| *device).chain([&spec.document]);
        for edits in all.map(|part| &part["containerEdits"]) {
            edit(&mut gpus, edits, runtime).map_err(|reason| refuse(&spec.path, reason))?;
        }
    }
    Ok(gpus)
}

fn refuse(path: &Path, reason: String) -> Error {
    Error::Config { path: path.to_owned(), reason }
}

/// The specifications of GPUs, in order of precedence.
fn load(directories: &str) -> Result<Vec<Spec>, Error> {
    let mut specs = Vec::new();
    for directory in directories.split(':') {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        let known =
            |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml" || it == "json");
        paths.retain(known);
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
            if let Some(line) = nests_too_deeply(&text) {
                return Err(refuse(&path, format!("line {line} nests too deeply")));
            }
            // JSON is a subset of YAML.
            let parsed = yaml_serde::from_str::<Value>(&text);
            let document = parsed.map_err(|error| refuse(&path, error.to_string()))?;
            let Some(kind) = document["kind"].as_str().map(str::to_owned) else {
                return Err(refuse(&path, "has no `kind`: it is not a CDI specification".into()));
            };
            if kind.ends_with(CLASS) {
                specs.push(Spec { path, kind, document });
            }
        }
    }
    Ok(specs)
}

fn list<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of[name].as_array().into_iter().flatten()
}

/// The nodes of a device on the host.
fn nodes(device: &Value) -> impl Iterator<Item = &str> {
    let nodes = list(&device["containerEdits"], "deviceNodes");
    nodes.filter_map(|node| node["hostPath"].as_str().or_else(|| node["path"].as_str()))
}

/// All devices, each with its names. Drivers name each several times (by number, by serial number, `all`):
/// it counts once, and `all` only where there is nothing else.
fn devices(specs: &[Spec]) -> Vec<Device<'_>> {
    let mut names = BTreeSet::new();
    // Each with what makes it itself.
    let mut found: Vec<(Device<'_>, Vec<&str>)> = Vec::new();
    let mut all = Vec::new();
    for spec in specs {
        for device in list(&spec.document, "devices") {
            let name = device["name"].as_str().unwrap_or_default();
            // The first of two specifications takes precedence.
            if !names.insert((spec.kind.as_str(), name)) {
                continue;
            }
            let nodes = list(&device["containerEdits"], "deviceNodes");
            let mut key: Vec<_> = nodes.filter_map(|node| node["path"].as_str()).collect();
            key.sort_unstable();
            let same = found.iter_mut().find(|(_, other)| !key.is_empty() && *other == key);
            match same {
                _ if name == "all" => all.push((spec, device, Named::default())),
                Some(((.., called), _)) => called.names.push(name.to_owned()),
                None => {
                    let names = vec![name.to_owned()];
                    found.push(((spec, device, Named { number: name.parse().ok(), names }), key));
                }
            }
        }
    }
    if found.is_empty() { all } else { found.into_iter().map(|(device, _)| device).collect() }
}

/// Applies the edits of a specification.
fn edit(gpus: &mut Gpus, edits: &Value, runtime: &Runtime) -> Result<(), String> {
    for text in list(edits, "env").filter_map(Value::as_str) {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("env {text:?} has no `=`"))?;
        gpus.env.push((name.to_owned(), value.to_owned()));
    }
    for node in list(edits, "deviceNodes") {
        let path = absolute(node, "path")?;
        let host =
            if node["hostPath"].is_null() { path.clone() } else { absolute(node, "hostPath")? };
        let below = path.strip_prefix("/dev").ok().filter(|below| below.as_os_str() != "");
        let below = below.ok_or_else(|| format!("the device {} is not in /dev", path.display()))?;
        gpus.nodes.push((exists(host)?, below.to_owned()));
    }
    for mount in list(edits, "mounts") {
        let host = exists(absolute(mount, "hostPath")?)?;
        gpus.add(host, absolute(mount, "containerPath")?, runtime);
    }
    for hook in list(edits, "hooks") {
        let path = hook["path"].as_str().unwrap_or_default();
        gpus.notes.push(format!("the hook {path} of the CDI specification is not run"));
    }
    Ok(())
}

/// The absolute path in the member `name`.
fn absolute(of: &Value, name: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(of[name].as_str().unwrap_or_default());
    let plain = path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
    plain.then_some(path).ok_or_else(|| format!("{name} {} is not an absolute path", of[name]))
}

fn exists(path: PathBuf) -> Result<PathBuf, String> {
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "{} does not exist: the driver was changed or removed; generate the specification again \
         (nvidia-ctk cdi generate)",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
  - { name: "0", containerEdits: { deviceNodes: [{ path: /dev/null }], env: [A=1] } }
  - { name: "1", containerEdits: { deviceNodes: [{ path: /dev/nvidia1, hostPath: /dev/zero }] } }
  - { name: GPU-7f, containerEdits: { deviceNodes: [{ path: /dev/null }] } }
  - { name: all, containerEdits: { deviceNodes: [{ path: /dev/null }, { path: /dev/nvidia1 }] } }
containerEdits:
  deviceNodes: [{ path: /dev/nvidia-caps/x, hostPath: /dev/full }]
  hooks: [{ hookName: createContainer, path: /usr/bin/nvidia-cdi-hook }]
"#;

    fn found(files: &[(&str, &str)], wanted: Wanted) -> Result<Gpus, Error> {
        let dir = tempfile::tempdir().unwrap();
        let runtime = crate::gpu::tests::runtime(dir.path());
        let cdi = dir.path().join("cdi");
        fs::create_dir(&cdi).unwrap();
        for (name, text) in files {
            fs::write(cdi.join(name), text).unwrap();
        }
        find(wanted, &format!("/nowhere:{}", cdi.display()), &runtime, None)
    }

    #[test]
    fn the_wanted_number_of_devices() {
        let one_more = ("b.json", r#"{"kind":"amd.com/gpu","devices":[{"name":"0"}]}"#);
        let only_all = ("c.yaml", "kind: x.org/gpu\ndevices: [{ name: all }]\n");
        let no_gpu = ("d.yaml", "kind: x.org/net\ndevices: [{ name: eth0 }]\n");
        let spec = ("a.yaml", SPEC);
        for (files, wanted, count, nodes) in [
            (vec![spec], Wanted::Count(1), 1, "null nvidia-caps/x"),
            (vec![spec], Wanted::Count(2), 2, "null nvidia1 nvidia-caps/x"),
            (vec![spec], Wanted::Count(9), 2, "null nvidia1 nvidia-caps/x"),
            (vec![spec], Wanted::All, 2, "null nvidia1 nvidia-caps/x"),
            (vec![spec, one_more], Wanted::All, 3, "null nvidia1 nvidia-caps/x"),
            (vec![only_all], Wanted::Count(1), 1, ""),
            (vec![no_gpu], Wanted::All, 0, ""),
            (vec![("README", "x")], Wanted::All, 0, ""),
        ] {
            let gpus = found(&files, wanted).unwrap();
            let names: Vec<_> = gpus.nodes.iter().map(|(_, path)| path.to_str().unwrap()).collect();
            assert_eq!((gpus.count, names.join(" ").as_str()), (count, nodes), "{files:?}");
        }
        let gpus = found(&[spec], Wanted::Count(1)).unwrap();
        assert_eq!(gpus.env, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(gpus.notes.len(), 1);
    }

    #[test]
    fn broken_specifications() {
        let device = |edits: &str| {
            format!("kind: x/gpu\ndevices: [{{ name: '0', containerEdits: {{ {edits} }} }}]\n")
        };
        for (text, want) in [
            ("{".to_owned(), "line"),
            ("devices: []".to_owned(), "no `kind`"),
            (device("env: [A]"), "has no `=`"),
            (device("deviceNodes: [{ path: /etc/passwd }]"), "not in /dev"),
            (device("deviceNodes: [{ path: /dev/../etc/passwd }]"), "not an absolute path"),
            (device("deviceNodes: [{ path: /dev/nothing-here }]"), "does not exist"),
            (
                device("mounts: [{ hostPath: /etc/passwd, containerPath: x }]"),
                "not an absolute path",
            ),
        ] {
            let error = found(&[("a.yaml", &text)], Wanted::All).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
