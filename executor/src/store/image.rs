//! Unpacks a container image into the store, as a runtime named by its digest.
//!
//! Every image is a version of the runtime `image`: `image@0.0.0-sha256-HEX`. Versions of that form
//! are pre-releases, so `latest` never selects one.

use super::file_list::Listing;
use super::{Kept, Receipt, Store};
use crate::archive::image::Image;
use crate::cli::progress::Progress;
use crate::cli::ui::Ui;
use crate::error::Error;
use crate::fs::beneath::{self, Create, Escape};
use crate::fs::directory::Directory;
use crate::runtime;
use joblet_format::image::RUNTIME;
use joblet_format::text::size;
use joblet_format::{Checksum, Spec, Wanted};
use rustix::fd::AsFd;
use rustix::fs::{FileType, fstat, readlinkat};
use std::path::Path;
use std::time::SystemTime;

/// The tree, beside `runtime.yml`.
const TREE: &str = "isolated";
/// Directories that are private to each job.
const OWN: [&str; 4] = ["dev", "proc", "sys", "work"];
/// Directories of which each job gets a writable copy. Each job has empty ones anyway.
const WRITABLE: [&str; 6] = ["home", "root", "run", "srv", "tmp", "var"];

/// The spec of an image in the store.
fn spec(digest: Checksum) -> Spec {
    let spec = format!("{RUNTIME}@0.0.0-sha256-{}", digest.hex());
    spec.parse().expect("hex digits and a letter are a pre-release")
}

/// The runtime of `image`, unpacked if it is not installed.
///
/// # Errors
/// As [`Image::unpack`]; [`Error::Busy`], [`Error::Untrusted`], [`Error::Full`]. The store is then unchanged.
pub(crate) fn provide(image: &Image, store: &Store, ui: &mut Ui<'_>) -> Result<Spec, Error> {
    let spec = spec(image.digest);
    let ignored = image.settings.not_carried_over().unwrap_or_default();
    if store.find(&spec)?.is_some() {
        return Ok(spec);
    }
    let Wanted::Exact(version) = &spec.wanted else { return Ok(spec) };
    let lock = store.lock(&spec.name, version)?;
    // Another process may have unpacked it while this one waited.
    if store.find(&spec)?.is_some() {
        return Ok(spec);
    }
    let needed = image.size();
    store.require_space(needed)?;
    let staging = store.stage(&lock)?;
    let tree = staging.directory().enter_or_create(TREE, 0o755)?;
    let progress = Progress::bytes(format!("unpacking {}", image.name), needed, ui.progress());
    image
        .unpack(tree.as_fd(), &mut |bytes| progress.advance(bytes))
        .map_err(|error| store.explain(error, needed))?;
    drop(progress);
    let yml = describe(image, &version.to_string(), &tree)?;
    staging.directory().write("runtime.yml", yml.as_bytes())?;
    let prepared = staging.prepared(None)?;
    let (directory, place) = (&prepared.directory, prepared.directory.path());
    let copy = directory.as_fd().try_clone_to_owned().map_err(Error::file("open", place))?;
    runtime::load_open(copy, place, store.arch())?;
    let listing = Listing::scan(directory, place, None)?.to_bytes();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let receipt = Receipt {
        name: spec.name.clone(),
        version: version.clone(),
        arch: store.arch(),
        origin: None,
        registry: image.name.clone(),
        url: image.name.clone(),
        checksum: image.digest,
        size: needed,
        installed_at: now.as_secs(),
    };
    store
        .publish(&prepared, &receipt, (Kept::Files, &listing))
        .map_err(|error| store.explain(error, needed))?;
    ui.note(&format!("unpacked {} ({})", image.name, size(needed)));
    if !ignored.is_empty() {
        ui.note(&format!("ignored, since a job has its own command and options: {ignored}"));
    }
    if matches!(tree.enter("work"), Ok(Some(it)) if it.names().is_ok_and(|it| !it.is_empty())) {
        ui.note("its /work is ignored: every job has its own");
    }
    Ok(spec)
}

/// The `runtime.yml` of an image whose tree is open. It is parsed before it is used; strings are
/// quoted as in JSON, which is YAML.
fn describe(image: &Image, version: &str, tree: &Directory) -> Result<String, Error> {
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut yml = format!("name: {RUNTIME}\nversion: {version}\ndescription: ");
    yml += &quoted(&image.name);
    let workdir = image.settings.working_dir.as_deref().filter(|dir| is_directory(tree, dir));
    if let Some(dir) = workdir {
        yml += "\nworkdir: ";
        yml += &quoted(dir);
    }
    yml += "\nenvironment: {";
    let mut seen = Vec::new();
    for (name, value) in image.settings.variables() {
        if !name.is_empty()
            && !name.contains('\0')
            && !value.contains('\0')
            && !seen.contains(&name)
        {
            seen.push(name);
            for word in [&*quoted(name), ": ", &quoted(value), ", "] {
                yml += word;
            }
        }
    }
    yml += "}\nmounts:\n";
    mounts(tree, workdir.unwrap_or_default(), &mut |source, target, readonly| {
        for word in ["- {source: ", &*quoted(source), ", target: ", &quoted(target), ", readonly: "]
        {
            yml += word;
        }
        yml += if readonly { "true}\n" } else { "false}\n" };
    })?;
    Ok(yml)
}

/// Calls `mount` with source, target and read-only flag for each entry at the top of `tree`. Only
/// the working directory of jobs is writable.
fn mounts(
    tree: &Directory,
    workdir: &str,
    mount: &mut dyn FnMut(&str, &str, bool),
) -> Result<(), Error> {
    let mut names = tree.names()?;
    names.sort();
    for name in names {
        let mut source = name.clone();
        // Links are resolved in the runtime's root, not the host's.
        if let Ok(target) = readlinkat(tree, name.as_str(), Vec::new()) {
            if let Some(inside) = target.to_str().ok().and_then(|it| it.strip_prefix('/')) {
                inside.trim_end_matches('/').clone_into(&mut source);
            }
        }
        let (own, there) = (WRITABLE.contains(&name.as_str()), kind(tree, &source));
        let empty = || matches!(tree.enter(&name), Ok(Some(it)) if it.names().is_ok_and(|it| it.is_empty()));
        // A link to the root is not mounted.
        let nothing = source.is_empty() || there.is_none();
        if OWN.contains(&name.as_str()) || nothing || (own && empty()) {
            continue;
        }
        let (source, target) = (format!("{TREE}/{source}"), format!("/{name}"));
        let starts_here = Path::new(workdir).starts_with(&target);
        mount(&source, &target, there == Some(FileType::RegularFile) || !(own || starts_here));
    }
    Ok(())
}

/// Whether `path` of the image is a directory that jobs can start in, other than their `/work`.
fn is_directory(tree: &Directory, path: &str) -> bool {
    let inside = path.trim_matches('/');
    let own = OWN.contains(&inside.split('/').next().unwrap_or_default());
    !inside.is_empty() && !own && kind(tree, inside) == Some(FileType::Directory)
}

/// The file type of `path` below `tree`, if it can be mounted.
fn kind(tree: &Directory, path: &str) -> Option<FileType> {
    let found =
        beneath::open(tree.as_fd(), Path::new(path), Escape::Refuse, Create::Nothing).ok()?;
    let kind = FileType::from_raw_mode(fstat(found).ok()?.st_mode);
    matches!(kind, FileType::Directory | FileType::RegularFile).then_some(kind)
}
