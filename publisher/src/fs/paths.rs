//! File operations whose errors contain the path, and atomic writes.
//!
//! Only regular files are read: a FIFO or device is refused instead of opened. In untrusted directories
//! [`below`] follows no link either.

use super::below::{self, Below, MAX_WHOLE};
use super::kind::{is_regular, regular};
use crate::error::Error;
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Opens a regular file for reading. Links are followed.
///
/// # Errors
/// [`Error::File`]; [`Error::Config`] if it is not a regular file.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    // Checked before it is opened: opening a device may have side effects, and a socket fails.
    let metadata = fs::metadata(path).map_err(Error::file("read", path))?;
    is_regular(&metadata, path)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::file("read", path))?;
    regular(file.into(), path)
}

/// As [`open`]; `None` if it does not exist.
///
/// # Errors
/// As [`open`], for anything but absence.
pub(crate) fn open_if_there(path: &Path) -> Result<Option<File>, Error> {
    match open(path) {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// Whether `path` is a regular file, not a link to one.
pub(crate) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_file())
}

/// Reads a whole file of at most [`MAX_WHOLE`] bytes.
///
/// # Errors
/// As [`open`]; [`Error::Config`] for a longer one.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    below::read_whole(open(path)?, path, MAX_WHOLE)
}

/// Reads a short file that the user names, such as a key, and that may be a pipe: at most 1 MiB.
///
/// # Errors
/// [`Error::File`]; [`Error::Config`] for a longer one.
pub(crate) fn read_given(path: &Path) -> Result<Vec<u8>, Error> {
    below::read_whole(File::open(path).map_err(Error::file("read", path))?, path, 1 << 20)
}

/// As [`read_given`], if it exists: for configuration files, which may be links to `/dev/null`.
///
/// # Errors
/// As [`read_given`], for anything but absence.
pub(crate) fn read_given_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match read_given(path) {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some),
    }
}

/// As [`read`], if it exists.
///
/// # Errors
/// As [`read`], for anything but absence.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    open_if_there(path)?.map(|file| below::read_whole(file, path, MAX_WHOLE)).transpose()
}

/// Reads the file `path`, which begins with `root`, if it exists: as [`read`], but no link below `root` is
/// followed.
///
/// # Errors
/// As [`Below::read`].
pub(crate) fn read_below(root: &Path, path: &Path) -> Result<Option<Vec<u8>>, Error> {
    Below::open(root)?.map_or(Ok(None), |root| root.read(path, MAX_WHOLE))
}

/// Opens the file `path`, which begins with `root`, if it exists, following no link below `root`.
///
/// # Errors
/// As [`Below::open_path`].
pub(crate) fn open_below(root: &Path, path: &Path) -> Result<Option<File>, Error> {
    Below::open(root)?.map_or(Ok(None), |root| root.open_path(path))
}

/// Writes the file `path`, which begins with `root`, as [`write()`] does, following no link below `root`.
///
/// # Errors
/// As [`Below::create_parent`].
pub(crate) fn write_below(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (dir, target) = parent_below(root, path)?;
    if has_content(&target, bytes) {
        return Ok(());
    }
    publish_as(staged(&dir, path, bytes)?, &target, path)
}

/// As [`write_below`], always and without waiting for the disk: for many files, after which the caller syncs.
///
/// # Errors
/// As [`write_below`].
pub(crate) fn write_below_unsynced(root: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (dir, target) = parent_below(root, path)?;
    publish_unsynced(staged(&dir, path, bytes)?, &target, path)
}

/// The directory of `path`, created below `root` where it is missing, and the path of the file by it.
fn parent_below(root: &Path, path: &Path) -> Result<(Below, PathBuf), Error> {
    create_dirs(root)?;
    let absent = || Error::file("write", path)(io::Error::from(io::ErrorKind::NotFound));
    let (dir, name) = Below::open(root)?.ok_or_else(absent)?.create_parent(path)?;
    let target = dir.proc_path().join(name);
    Ok((dir, target))
}

/// A temporary file in `dir` with the content of what will be `path`.
fn staged(dir: &Below, path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Error> {
    let mut staged = NamedTempFile::with_prefix_in(".staging-", dir.proc_path())
        .map_err(Error::file("write", path))?;
    staged.write_all(bytes).map_err(Error::file("write", path))?;
    Ok(staged)
}

/// Whether `target` is a regular file, not a link to one, with the content `bytes`.
pub(crate) fn has_content(target: &Path, bytes: &[u8]) -> bool {
    let old = || below::read_whole(open(target)?, target, bytes.len() as u64);
    is_file(target) && old().is_ok_and(|old| old == bytes)
}

/// Removes a file if it exists.
///
/// # Errors
/// [`Error::File`] for anything but absence.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Creates a directory and its missing parents.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn create_dirs(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

/// The paths in a directory, sorted by name. Empty if it does not exist.
///
/// # Errors
/// [`Error::File`] for anything but absence.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("list", path))?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::file("list", path))?;
    paths.sort();
    Ok(paths)
}

/// Creates a temporary file in the directory of `target`. It is removed unless [`publish`]ed.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn stage(target: &Path) -> Result<NamedTempFile, Error> {
    let dir = target.parent().unwrap_or(Path::new("."));
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    create_dirs(dir)?;
    NamedTempFile::with_prefix_in(".staging-", dir).map_err(Error::file("write below", dir))
}

/// As [`stage`], with the content `bytes`, synced.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn stage_whole(target: &Path, bytes: &[u8]) -> Result<NamedTempFile, Error> {
    let mut staged = stage(target)?;
    let written = staged.write_all(bytes).and_then(|()| staged.as_file().sync_all());
    written.map_err(Error::file("write", target)).map(|()| staged)
}

/// Renames a finished temporary file to `target`, synced, readable by all users.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn publish(staged: NamedTempFile, target: &Path) -> Result<(), Error> {
    publish_as(staged, target, target)
}

/// As [`publish`], with another path in messages.
///
/// # Errors
/// As [`publish`].
pub(crate) fn publish_as(staged: NamedTempFile, target: &Path, shown: &Path) -> Result<(), Error> {
    staged.as_file().sync_all().map_err(Error::file("write", shown))?;
    publish_unsynced(staged, target, shown)
}

/// As [`publish_as`], without waiting for the disk: the caller syncs many files at once.
///
/// # Errors
/// As [`publish`].
pub(crate) fn publish_unsynced(
    staged: NamedTempFile,
    target: &Path,
    shown: &Path,
) -> Result<(), Error> {
    let readable = fs::Permissions::from_mode(0o644);
    staged.as_file().set_permissions(readable).map_err(Error::file("write", shown))?;
    staged.persist(target).map(drop).map_err(|error| Error::file("write", shown)(error.error))
}

/// Writes a file atomically. A regular file with equal content is left untouched; anything else is
/// replaced.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if has_content(path, bytes) {
        return Ok(());
    }
    publish(stage_whole(path, bytes)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_published_complete_with_default_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(list(&dir.path().join("a")).unwrap(), [path]);
    }

    #[test]
    fn an_unfinished_file_is_never_visible() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        drop(stage(&path).unwrap());
        assert_eq!(list(dir.path()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn errors_name_the_path() {
        let error = read(Path::new("/nowhere/x")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nowhere/x: "), "{error}");
        let error = write(Path::new("/proc/nowhere/x"), b"").unwrap_err().to_string();
        assert!(error.starts_with("cannot create /proc/nowhere: "), "{error}");
    }
}
