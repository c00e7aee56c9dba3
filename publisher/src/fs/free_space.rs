//! Checks the free space for a build before it starts.

use crate::{error::Error, fs::paths};
use std::{os::unix::fs::MetadataExt, path::Path};

/// The space that a build needs, in bytes. Inputs of unknown length are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// In the cache: inputs that are not cached yet.
    pub cache: u64,
    /// In the directory of archives: temporary files with the unpacked packages (wheels are read in
    /// place), and the archive.
    pub out: u64,
}

/// Checks that `cache` and `out`, which must exist, have `needed` free.
///
/// # Errors
/// [`Error::Space`], [`Error::File`].
pub(crate) fn check(needed: Space, cache: &Path, out: &Path) -> Result<(), Error> {
    let device = |dir: &Path| {
        paths::create_dirs(dir)?;
        std::fs::metadata(dir).map(|it| it.dev()).map_err(Error::file("read", dir))
    };
    if needed.cache == 0 {
        return has(out, needed.out);
    }
    if device(cache)? == device(out)? {
        return has(out, needed.cache.saturating_add(needed.out));
    }
    has(cache, needed.cache)?;
    has(out, needed.out)
}

fn has(dir: &Path, needed: u64) -> Result<(), Error> {
    paths::create_dirs(dir)?;
    let disk = rustix::fs::statvfs(dir).map_err(Error::file("read the free space of", dir))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // A file system without a size, such as ramfs, passes.
    if free >= needed || disk.f_blocks == 0 {
        return Ok(());
    }
    Err(Error::Space { dir: dir.to_owned(), needed, free })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_free_space_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, out) = (dir.path().join("cache"), dir.path().join("out"));
        check(Space { cache: 1, out: 1 }, &cache, &out).unwrap();
        let error = check(Space { cache: 1 << 62, out: 1 << 62 }, &cache, &out).unwrap_err();
        let Error::Space { dir, needed, free } = &error else { panic!("{error}") };
        // Both on one file system.
        assert_eq!((dir, *needed), (&out, 1 << 63));
        assert!(*free > 0 && error.class().word() == "STORE", "{error}");
    }
}
