//! Which runtimes a store's directory holds.

use crate::error::Error;
use joblet_format::{MAX_RUNTIME_YML_BYTES, RuntimeName, RuntimeYml, Version, split_directory};
use rustix::{
    fs::{Dir, Mode, OFlags, open},
    io::Errno,
};
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A runtime that is there; one object of `list --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Its name.
    pub name: RuntimeName,
    /// Its version; null for a directory `NAME/` that somebody unpacked by hand and that names none.
    pub version: Option<Version>,
    /// Its directory.
    pub path: PathBuf,
}

/// The runtimes below `root`; none where there is no such directory. With `prefix` only those whose
/// directory's name begins so: a job's start does not look into all the others.
pub(super) fn scan(root: &Path, prefix: &str) -> Result<Vec<Installed>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match open(root, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        directory => directory.map_err(Error::file("read", root))?,
    };
    let mut found = Vec::new();
    // Not the C library's list of a directory, which brings the C library's allocator to life.
    for entry in Dir::new(directory).map_err(Error::file("read", root))? {
        let entry = entry.map_err(Error::file("read", root))?;
        let name = entry.file_name().to_str().ok();
        if let Some(text) = name.filter(|text| text.starts_with(prefix)) {
            let path = root.join(text);
            if path.join("runtime.yml").is_file() {
                found.extend(identify(text, &path));
            }
        }
    }
    Ok(found)
}

/// Which runtime a directory is: by its name, else by the version in its `runtime.yml`.
fn identify(directory: &str, path: &Path) -> Option<Installed> {
    if let Some((name, version)) = split_directory(directory) {
        return Some(Installed { name, version: Some(version), path: path.to_owned() });
    }
    let name = directory.parse().ok()?;
    let mut text = String::new();
    let file = File::open(path.join("runtime.yml")).ok()?;
    // An unreadable file has no version; running it names the reason.
    _ = file.take(MAX_RUNTIME_YML_BYTES).read_to_string(&mut text);
    let yml = serde_yaml::from_str::<RuntimeYml>(&text).ok();
    let version = yml.and_then(|yml| yml.version().parse().ok());
    Some(Installed { name, version, path: path.to_owned() })
}
