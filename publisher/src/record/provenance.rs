//! Keeps the sources of a version beside its record, and restores them for a rebuild.
//!
//! So a published version can be rebuilt after its manifest has changed. `manifest.yaml`, `versions.lock`
//! and `reads.txt` are kept byte for byte; the directory of the manifest's `files` as `files.tar`, whose bytes depend only on
//! names, contents, links and the owner's executable bit.

use crate::{
    error::Error,
    fs::{below::Node, paths},
    record::files::Files,
    source::{self, MANIFEST, Source, reads::READS},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Name of the kept lock.
pub(crate) const LOCK: &str = "versions.lock";
/// Name of the kept `files` directory.
const FILES: &str = "files.tar";
/// The names of all files that may be kept.
pub(crate) const NAMES: [&str; 4] = [MANIFEST, LOCK, FILES, READS];

/// The source files of `source` below `sources`.
///
/// # Errors
/// [`Error::File`]; [`Error::Config`] for names that tar cannot represent.
pub fn collect(sources: &Path, source: &Source) -> Result<Files, Error> {
    let dir = sources.join(source.name.as_str());
    let mut files = Files::new();
    for name in [MANIFEST, LOCK] {
        let path = dir.join(name);
        let bytes = paths::read_below(sources, &path)?;
        let absent = || Error::config(&path, "does not exist");
        files.insert(name.to_owned(), bytes.ok_or_else(absent)?);
    }
    if let Some(bytes) = paths::read_below(sources, &dir.join(READS))? {
        files.insert(READS.to_owned(), bytes);
    }
    if let Some(own) = &source.files {
        let packed = pack(source::own_files(&dir, own)?);
        files.insert(FILES.to_owned(), packed.map_err(Error::file("keep", dir.join(own)))?);
    }
    Ok(files)
}

fn pack(files: Vec<(PathBuf, Node)>) -> io::Result<Vec<u8>> {
    let mut to = tar::Builder::new(Vec::new());
    for (name, node) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mtime(0);
        match node {
            Node::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                to.append_link(&mut header, name, target)?;
            }
            Node::Dir => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                to.append_data(&mut header, name, io::empty())?;
            }
            Node::File { executable, bytes } => {
                header.set_mode(if executable { 0o755 } else { 0o644 });
                header.set_size(bytes.len() as u64);
                to.append_data(&mut header, name, bytes.as_slice())?;
            }
        }
    }
    to.into_inner()
}

/// Restores kept `files` below `sources`, and returns the source and its directory.
///
/// # Errors
/// [`Error::Config`] for a malformed manifest or archive; [`Error::File`].
pub(crate) fn restore(files: &Files, sources: &Path) -> Result<(Source, PathBuf), Error> {
    let refused = |name: &str, reason: String| Error::config(name, reason);
    let absent = |name: &str| refused(name, "is not kept beside the record".to_owned());
    let manifest = files.get(MANIFEST).ok_or_else(|| absent(MANIFEST))?;
    let text = std::str::from_utf8(manifest).map_err(|it| refused(MANIFEST, it.to_string()))?;
    let source = source::parse(text).map_err(|reason| refused(MANIFEST, reason))?;
    let dir = sources.join(source.name.as_str());
    paths::write(&dir.join(MANIFEST), manifest)?;
    paths::write(&dir.join(LOCK), files.get(LOCK).ok_or_else(|| absent(LOCK))?)?;
    if let Some(reads) = files.get(READS) {
        paths::write(&dir.join(READS), reads)?;
    }
    if let Some(place) = &source.files {
        let bytes = files.get(FILES).ok_or_else(|| absent(FILES))?;
        let place = dir.join(place);
        paths::create_dirs(&place)?;
        for entry in
            tar::Archive::new(bytes.as_slice()).entries().map_err(Error::file("read", FILES))?
        {
            let mut entry = entry.map_err(Error::file("read", FILES))?;
            let kind = entry.header().entry_type();
            if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(refused(FILES, format!("`{name}` is not a file, directory or link")));
            }
            let inside = entry.unpack_in(&place).map_err(Error::file("write below", &place))?;
            if !inside {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(refused(
                    FILES,
                    format!("the path `{name}` is outside of the directory"),
                ));
            }
        }
    }
    Ok((source, dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    const MANIFEST_TEXT: &str = "name: d\nversion: 1.0.0\nplatforms: [ubuntu-amd64]\nfiles: own\n";

    #[test]
    fn kept_files_are_restored_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("d/own");
        fs::create_dir_all(own.join("bin")).unwrap();
        fs::write(own.join("bin/x"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(own.join("bin/x"), PermissionsExt::from_mode(0o700)).unwrap();
        fs::write(own.join("n".repeat(180)), "long").unwrap();
        std::os::unix::fs::symlink("bin/x", own.join("y")).unwrap();
        fs::write(dir.path().join("d/manifest.yaml"), MANIFEST_TEXT).unwrap();
        fs::write(dir.path().join("d/versions.lock"), "{}").unwrap();
        fs::write(dir.path().join("d/reads.txt"), "0-64 usr/bin/x\n").unwrap();
        let source = source::parse(MANIFEST_TEXT).unwrap();
        let kept = collect(dir.path(), &source).unwrap();
        let again = tempfile::tempdir().unwrap();
        let (same, place) = restore(&kept, again.path()).unwrap();
        assert_eq!((same, &place), (source.clone(), &again.path().join("d")));
        assert_eq!(collect(again.path(), &source).unwrap(), kept);
        assert_eq!(fs::read_link(place.join("own/y")).unwrap(), Path::new("bin/x"));
    }

    #[test]
    fn an_archive_with_a_path_outside_is_refused() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..4].copy_from_slice(b"../x");
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        let mut files = Files::from([(MANIFEST.to_owned(), MANIFEST_TEXT.into())]);
        let dir = tempfile::tempdir().unwrap();
        let error = restore(&files, dir.path()).unwrap_err().to_string();
        assert_eq!(error, "versions.lock: is not kept beside the record");
        files.insert(LOCK.to_owned(), b"{}".to_vec());
        files.insert(FILES.to_owned(), tar.into_inner().unwrap());
        let error = restore(&files, dir.path()).unwrap_err().to_string();
        assert_eq!(error, "files.tar: the path `../x` is outside of the directory");
        assert!(!dir.path().join("d/x").exists());
    }
}
