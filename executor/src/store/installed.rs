//! Lists the runtimes in a store's directory.

use crate::error::Error;
use crate::fs::directory::Directory;
use joblet_format::{MAX_RUNTIME_YML_BYTES, RuntimeName, Version, split_directory};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat};
use serde::Serialize;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// An installed runtime; one object of `list --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Installed {
    /// Its name.
    pub name: RuntimeName,
    /// Its version; null for a directory `NAME/` that was unpacked by hand and has none.
    pub version: Option<Version>,
    /// Its directory.
    pub path: PathBuf,
}

/// The runtimes in `root`. With `prefix` only those whose directory's name begins so: a job's start
/// does not look into all the others.
///
/// A directory `NAME/` without a `runtime.yml` may hold `VERSION/` directories: Joblet's own store.
pub(super) fn scan(root: &Directory, prefix: &str) -> Result<Vec<Installed>, Error> {
    let mut found = Vec::new();
    let mut nested = Vec::new();
    // getdents64(2) directly: readdir(3) would initialise the C library's allocator.
    for name in root.names()? {
        if name.starts_with(prefix) {
            if is_runtime(root, &name) {
                found.extend(identify(&name, root));
            } else if let Ok(name) = name.parse::<RuntimeName>() {
                nested.push(name);
            }
        }
    }
    for name in nested {
        // Only a directory, and not through a link; what cannot be read is not a store of Joblet's.
        let Ok(Some(around)) = root.enter(name.as_str()) else { continue };
        for text in around.names().unwrap_or_default() {
            let Ok(version) = text.parse::<Version>() else { continue };
            let same = |it: &Installed| it.name == name && it.version.as_ref() == Some(&version);
            if is_runtime(&around, &text) && !found.iter().any(same) {
                let (name, path) = (name.clone(), around.path_of(&text));
                found.push(Installed { name, version: Some(version), path });
            }
        }
    }
    Ok(found)
}

/// Whether the directory `name` in `around` has a `runtime.yml`.
fn is_runtime(around: &Directory, name: &str) -> bool {
    let yml = format!("{name}/runtime.yml");
    let stat = rustix::fs::statat(around.as_fd(), OsStr::new(&yml), AtFlags::empty());
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file())
}

/// Name and version of a directory: by its name, else by the version in its `runtime.yml`.
fn identify(directory: &str, root: &Directory) -> Option<Installed> {
    let path = root.path_of(directory);
    if let Some((name, version)) = split_directory(directory) {
        return Some(Installed { name, version: Some(version), path });
    }
    let name = directory.parse().ok()?;
    let mut text = String::new();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let yml = format!("{directory}/runtime.yml");
    let file = openat(root.as_fd(), OsStr::new(&yml), flags, Mode::empty()).map(File::from).ok()?;
    // No version if the file cannot be read; `run` reports the reason.
    _ = file.take(MAX_RUNTIME_YML_BYTES).read_to_string(&mut text);
    let yml = crate::runtime::parse(text.as_bytes()).ok();
    let version = yml.and_then(|yml| yml.version().parse().ok());
    Some(Installed { name, version, path })
}
