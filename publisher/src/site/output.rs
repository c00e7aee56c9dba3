//! The output directory of a site.

use super::Summary;
use crate::{
    error::Error,
    fs::{below::Below, paths},
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    ops::Bound::{Included, Unbounded},
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Name of the manifest. Part of its format, with [`HEADER`].
const MANIFEST: &str = ".site-manifest";

/// First line of a manifest; a manifest with another one is ignored.
const HEADER: &str = "joblet-site 1";

/// The site's directory, with the manifest of an earlier run.
///
/// The manifest `.site-manifest` lists every generated file, one a line, sorted by path:
///
/// ```text
/// joblet-site 1
/// KEY SIZE PATH
/// ```
///
/// KEY is a digest of all inputs of a file, SIZE its length in bytes. A file whose key and length are
/// unchanged is neither rendered nor written. A file that was listed by an earlier run and is not part of the
/// site any more is removed; unlisted files are never removed. A PATH that ends in `/` stands for the
/// files below it: KEY is a digest of all of their inputs, SIZE is their number.
///
/// Before the first file is changed, a manifest is written with all files that may be created and the key
/// `-` for each: a killed run leaves no unlisted file, and no file that is considered unchanged.
pub(super) struct Output<'p> {
    directory: PathBuf,
    permit: &'p Permit<'p>,
    before: Manifest,
    coming: &'p Coming<'p>,
    /// Whether changes are permitted, and the pending manifest is written.
    announced: Mutex<bool>,
}

/// Lists the files of the new site, each at least once.
pub(super) type Coming<'p> = dyn Fn() -> Vec<String> + Sync + 'p;

/// Checks whether files may be changed; called again after an error.
pub(super) type Permit<'p> = dyn Fn() -> Result<(), Error> + Sync + 'p;

type Manifest = BTreeMap<String, PageRecord>;

#[derive(Clone, PartialEq, Eq)]
struct PageRecord {
    key: String,
    size: u64,
}

/// An up-to-date file.
pub(super) struct Done {
    path: String,
    entry: PageRecord,
    written: bool,
}

impl<'p> Output<'p> {
    /// Opens `directory` (created with the first file) for a site of the files `coming`.
    pub(super) fn open(
        directory: &Path,
        permit: &'p Permit<'p>,
        coming: &'p Coming<'p>,
    ) -> Result<Self, Error> {
        let before = read_manifest(directory)?;
        let (directory, announced) = (directory.to_owned(), Mutex::new(false));
        Ok(Self { directory, permit, before, coming, announced })
    }

    /// The files below `directory`, which ends in `/`, if an earlier run made all of them from the same inputs and they are
    /// unchanged.
    pub(super) fn unchanged(&self, directory: &str, key: &str) -> Option<Vec<Done>> {
        let listed = self.before.range::<str, _>((Included(directory), Unbounded));
        let listed: Vec<_> = listed.take_while(|(path, _)| path.starts_with(directory)).collect();
        let ((path, whole), files) = listed.split_first()?;
        let same = *path == directory && whole.key == key && whole.size == files.len() as u64;
        let there = |(path, entry): &(&String, &PageRecord)| self.has(path, entry);
        let done = |(path, entry): &(&String, &PageRecord)| Done {
            path: (*path).clone(),
            entry: (*entry).clone(),
            written: false,
        };
        (same && files.iter().all(there)).then(|| listed.iter().map(done).collect())
    }

    /// Adds the entry of `directory` to `files`, which are all files below it, with the key `key`.
    pub(super) fn whole(directory: String, key: String, mut files: Vec<Done>) -> Vec<Done> {
        let entry = PageRecord { key, size: files.len() as u64 };
        files.push(Done { path: directory, entry, written: false });
        files
    }

    /// Whether `path` is a regular file of that length.
    fn has(&self, path: &str, entry: &PageRecord) -> bool {
        let metadata = fs::symlink_metadata(self.directory.join(path));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == entry.size)
    }

    /// Writes the output of `render`, which `key` determines, to `path`, unless it is up to date.
    pub(super) fn put(
        &self,
        path: &str,
        key: &str,
        render: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Done, Error> {
        if let Some(entry) = self.before.get(path).filter(|entry| entry.key == key) {
            if self.has(path, entry) {
                return Ok(Done { path: path.to_owned(), entry: entry.clone(), written: false });
            }
        }
        let bytes = render()?;
        self.announce()?;
        let entry = PageRecord { key: key.to_owned(), size: bytes.len() as u64 };
        let written = self.replace(path, &bytes)?;
        Ok(Done { path: path.to_owned(), entry, written })
    }

    /// Checks whether files may be changed, and writes the pending manifest: once, before the first change.
    fn announce(&self) -> Result<(), Error> {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        if !*announced {
            (self.permit)()?;
            fs::create_dir_all(&self.directory).map_err(file_error("make", &self.directory))?;
            let coming = (self.coming)();
            let untrusted = self.before.keys().chain(&coming).map(|path| (path, "-", 0));
            self.write_manifest(untrusted)?;
            *announced = true;
        }
        Ok(())
    }

    /// Removes stale files and writes the manifest.
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
        let lines = after.iter().map(|(path, entry)| (path, entry.key.as_str(), entry.size));
        self.write_manifest(lines)?;
        let files = after.keys().filter(|path| !path.ends_with('/')).count();
        Ok(Summary { files, written, removed })
    }

    /// Removes a file of an earlier run, and directories that become empty.
    ///
    /// The manifest is not trusted: a path that leaves the site, leads through a symlink or is not a regular file is
    /// ignored.
    fn remove(&self, path: &str) -> Result<bool, Error> {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let target = self.directory.join(path);
        if !plain || !is_inside(&self.directory, &target) {
            return Ok(false);
        }
        fs::remove_file(&target).map_err(file_error("remove", &target))?;
        let parents = target.ancestors().skip(1).take_while(|parent| *parent != self.directory);
        for parent in parents {
            if fs::remove_dir(parent).is_err() {
                break; // other files are in it
            }
        }
        Ok(true)
    }

    /// Writes a manifest of lines: path, key, size.
    fn write_manifest<'l>(
        &self,
        lines: impl Iterator<Item = (&'l String, &'l str, u64)>,
    ) -> Result<(), Error> {
        let mut text = format!("{HEADER}\n");
        for (path, key, size) in lines {
            _ = writeln!(text, "{key} {size} {path}"); // writing to a string does not fail
        }
        self.replace(MANIFEST, text.as_bytes()).map(drop)
    }

    /// Writes `bytes` to the file `path`, unless that is its content; returns whether it was written.
    ///
    /// An existing file is replaced by rename, so that readers see the old or the new page. A new file is written in
    /// place, which takes a third less time for tens of thousands of them. A symlink at `path` is replaced, one in
    /// its parents is refused.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<bool, Error> {
        let target = self.directory.join(path);
        let absent = || Error::file("write", &target)(io::Error::from(io::ErrorKind::NotFound));
        let root = Below::open(&self.directory)?.ok_or_else(absent)?;
        let (dir, name) = root.create_parent(&target)?;
        if dir.write_new(name, bytes)? {
            return Ok(true);
        }
        if paths::has_content(&dir.proc_path().join(name), bytes) {
            return Ok(false);
        }
        let mut temporary = name.to_owned();
        temporary.push(".tmp");
        dir.remove(&temporary)?; // left by a killed run
        if dir.write_new(&temporary, bytes)? {
            dir.rename(&temporary, name)?;
        }
        Ok(true)
    }
}

/// Whether `target` is a regular file whose canonical directory is in `directory`.
fn is_inside(directory: &Path, target: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let inside = match (real(directory), target.parent().and_then(real)) {
        (Some(directory), Some(parent)) => parent.starts_with(directory),
        _ => false,
    };
    inside && fs::symlink_metadata(target).is_ok_and(|metadata| metadata.is_file())
}

/// The manifest of an earlier run; empty if there is none.
fn read_manifest(directory: &Path) -> Result<Manifest, Error> {
    let bytes = paths::read_below(directory, &directory.join(MANIFEST))?;
    Ok(parse_manifest(&String::from_utf8_lossy(&bytes.unwrap_or_default())))
}

/// Parses a manifest. Malformed lines are ignored: their files are written again.
fn parse_manifest(text: &str) -> Manifest {
    let Some(lines) = text.strip_prefix(HEADER) else { return Manifest::new() };
    let entry = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let (key, size, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some((path.to_owned(), PageRecord { key: key.to_owned(), size: size.parse().ok()? }))
    };
    lines.lines().filter_map(entry).collect()
}

fn file_error<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::File { verb, path: path.to_owned(), source }
}
