//! The directory a site is written to.

use super::Summary;
use crate::error::Error;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Name of the manifest. Part of its format, with [`HEADER`].
const MANIFEST: &str = ".site-manifest";

/// First line of a manifest; one that begins otherwise is ignored.
const HEADER: &str = "joblet-site 1";

/// The site's directory, and what an earlier run left there.
///
/// The manifest `.site-manifest` lists every generated file, one a line, sorted by path:
///
/// ```text
/// joblet-site 1
/// KEY SIZE PATH
/// ```
///
/// KEY is a digest of all that a file is made from, SIZE its length in bytes. A file whose key and
/// length are unchanged is neither rendered nor written. A file that an earlier run listed and this
/// one does not make is removed; files that no manifest lists are never removed.
///
/// Before the first file changes, the manifest is written with all files that may come to exist and
/// the key `-` on each: a run that is killed leaves no file unlisted, and none that is trusted.
pub(super) struct Output<'p> {
    directory: PathBuf,
    permit: &'p Permit<'p>,
    before: Manifest,
    pending: Mutex<Option<Manifest>>,
}

/// Whether files may change; asked again where the answer was an error.
pub(super) type Permit<'p> = dyn Fn() -> Result<(), Error> + Sync + 'p;

type Manifest = BTreeMap<String, Entry>;

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    size: u64,
}

/// A file that is as it should be.
pub(super) struct Done {
    path: String,
    entry: Entry,
    written: bool,
}

impl<'p> Output<'p> {
    /// Opens `directory` (made with the first file) for a site that consists of `paths`.
    pub(super) fn open(
        directory: &Path,
        permit: &'p Permit<'p>,
        paths: impl Iterator<Item = String>,
    ) -> Result<Self, Error> {
        let before = read_manifest(directory)?;
        let untrusted = |path| (path, Entry { key: "-".to_owned(), size: 0 });
        let pending = before.keys().cloned().chain(paths).map(untrusted).collect();
        let (directory, pending) = (directory.to_owned(), Mutex::new(Some(pending)));
        Ok(Self { directory, permit, before, pending })
    }

    /// Sees to it that `path` holds what `render` makes, which is wholly determined by `key`.
    pub(super) fn put(
        &self,
        path: &str,
        key: &str,
        render: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Done, Error> {
        let target = self.directory.join(path);
        if let Some(entry) = self.before.get(path).filter(|entry| entry.key == key) {
            if fs::symlink_metadata(&target).is_ok_and(|m| m.is_file() && m.len() == entry.size) {
                return Ok(Done { path: path.to_owned(), entry: entry.clone(), written: false });
            }
        }
        let bytes = render()?;
        self.announce()?;
        let entry = Entry { key: key.to_owned(), size: bytes.len() as u64 };
        let written = replace(&target, &bytes)?;
        Ok(Done { path: path.to_owned(), entry, written })
    }

    /// Asks whether files may change, and writes the pending manifest: once, before the first change.
    fn announce(&self) -> Result<(), Error> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manifest) = &*pending {
            (self.permit)()?;
            fs::create_dir_all(&self.directory).map_err(file("make", &self.directory))?;
            self.write_manifest(manifest)?;
            *pending = None;
        }
        Ok(())
    }

    /// Removes what is stale and writes the manifest.
    pub(super) fn finish(self, done: Vec<Done>) -> Result<Summary, Error> {
        let written = done.iter().filter(|done| done.written).count();
        let after: Manifest = done.into_iter().map(|done| (done.path, done.entry)).collect();
        if after != self.before {
            self.announce()?;
        }
        let mut removed = 0;
        for path in self.before.keys().filter(|path| !after.contains_key(*path)) {
            removed += usize::from(self.remove(path)?);
        }
        self.write_manifest(&after)?;
        Ok(Summary { files: after.len(), written, removed })
    }

    /// Removes a file that an earlier run made, and the directories that this leaves empty.
    ///
    /// The manifest is a file like any other: a path that leaves the site, goes through a link or
    /// names no regular file is left alone.
    fn remove(&self, path: &str) -> Result<bool, Error> {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let target = self.directory.join(path);
        if !plain || !is_inside(&self.directory, &target) {
            return Ok(false);
        }
        fs::remove_file(&target).map_err(file("remove", &target))?;
        let parents = target.ancestors().skip(1).take_while(|parent| *parent != self.directory);
        for parent in parents {
            if fs::remove_dir(parent).is_err() {
                break; // something else lies there, and stays
            }
        }
        Ok(true)
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let mut text = format!("{HEADER}\n");
        for (path, Entry { key, size }) in manifest {
            _ = writeln!(text, "{key} {size} {path}"); // writing to a string does not fail
        }
        replace(&self.directory.join(MANIFEST), text.as_bytes()).map(drop)
    }
}

/// Whether `target` is a regular file whose directory really lies in `directory`.
fn is_inside(directory: &Path, target: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let inside = match (real(directory), target.parent().and_then(real)) {
        (Some(directory), Some(parent)) => parent.starts_with(directory),
        _ => false,
    };
    inside && fs::symlink_metadata(target).is_ok_and(|metadata| metadata.is_file())
}

/// The manifest of an earlier run; empty where there is none that can be read.
fn read_manifest(directory: &Path) -> Result<Manifest, Error> {
    let path = directory.join(MANIFEST);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(parse_manifest(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Manifest::new()),
        Err(source) => Err(Error::File { verb: "read", path, source }),
    }
}

/// Reads a manifest. Lines of another shape are ignored: their files are written again.
fn parse_manifest(text: &str) -> Manifest {
    let Some(lines) = text.strip_prefix(HEADER) else { return Manifest::new() };
    let entry = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let (key, size, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some((path.to_owned(), Entry { key: key.to_owned(), size: size.parse().ok()? }))
    };
    lines.lines().filter_map(entry).collect()
}

/// Makes `target` hold `bytes`. Returns false where it already did, and then writes nothing.
///
/// What exists is replaced by way of a temporary file beside it: a reader sees the old or the new
/// page. A new file is written in place, which is a third cheaper for tens of thousands of them.
fn replace(target: &Path, bytes: &[u8]) -> Result<bool, Error> {
    let Ok(metadata) = fs::symlink_metadata(target) else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(file("make", parent))?;
        }
        fs::write(target, bytes).map_err(file("write", target))?;
        return Ok(true);
    };
    if metadata.is_file() && fs::read(target).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = target.with_file_name(name);
    fs::write(&temporary, bytes).map_err(file("write", &temporary))?;
    fs::rename(&temporary, target).map_err(file("rename", target))?;
    Ok(true)
}

fn file<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::File { verb, path: path.to_owned(), source }
}
