//! File calls that name their path, and files that appear whole or not at all.

use crate::error::Error;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Reads a whole file.
///
/// # Errors
/// [`Error::File`].
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}

/// Reads a whole file if it exists.
///
/// # Errors
/// [`Error::File`] for anything but absence.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Removes a file if it exists.
///
/// # Errors
/// [`Error::File`] for anything but absence.
pub fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a directory and those above it.
///
/// # Errors
/// [`Error::File`].
pub fn create_dirs(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

/// The entries of a directory, sorted by name. None if it does not exist.
///
/// # Errors
/// [`Error::File`] for anything but absence.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, Error> {
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

/// A temporary file in the directory where `target` is to appear. It goes away unless [`publish`]ed.
///
/// # Errors
/// [`Error::File`].
pub fn stage(target: &Path) -> Result<NamedTempFile, Error> {
    let dir = target.parent().unwrap_or(Path::new("."));
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    create_dirs(dir)?;
    NamedTempFile::with_prefix_in(".staging-", dir).map_err(Error::file("write below", dir))
}

/// As [`stage`], a file that holds `bytes`, durably.
///
/// # Errors
/// [`Error::File`].
pub fn stage_whole(target: &Path, bytes: &[u8]) -> Result<NamedTempFile, Error> {
    let mut staged = stage(target)?;
    let written = staged.write_all(bytes).and_then(|()| staged.as_file().sync_all());
    written.map_err(Error::file("write", target)).map(|()| staged)
}

/// Gives a finished temporary file its name, durably, readable by everyone.
///
/// # Errors
/// [`Error::File`].
pub fn publish(staged: NamedTempFile, target: &Path) -> Result<(), Error> {
    let file = staged.as_file();
    file.set_permissions(fs::Permissions::from_mode(0o644))
        .and_then(|()| file.sync_all())
        .map_err(Error::file("write", target))?;
    staged.persist(target).map(drop).map_err(|error| Error::file("write", target)(error.error))
}

/// Writes a whole file, or leaves what was there. Equal content is left untouched.
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if read_if_there(path)?.as_deref() == Some(bytes) {
        return Ok(());
    }
    publish(stage_whole(path, bytes)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_with_plain_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(list(&dir.path().join("a")).unwrap(), [path]);
    }

    #[test]
    fn a_file_that_is_not_finished_is_never_seen() {
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
