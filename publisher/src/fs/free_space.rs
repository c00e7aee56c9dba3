//! Whether the disk has room for a build: asked before it begins, not found out when it is half done.

use crate::{error::Error, fs::paths};
use std::{os::unix::fs::MetadataExt, path::Path};

/// What a build takes, in bytes. Of inputs without a known length nothing is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of the cache: the inputs that are not there.
    pub cache: u64,
    /// Of the directory of archives: what packages unpack to (wheels are read where they lie), in
    /// files that go away, and the archive.
    pub out: u64,
}

/// Refuses to begin where `cache` and `out`, which are made, have no `room`.
///
/// # Errors
/// [`Error::Room`], [`Error::File`].
pub fn check(room: Room, cache: &Path, out: &Path) -> Result<(), Error> {
    let device = |dir: &Path| {
        paths::create_dirs(dir)?;
        std::fs::metadata(dir).map(|it| it.dev()).map_err(Error::file("read", dir))
    };
    if room.cache == 0 {
        return has(out, room.out);
    }
    if device(cache)? == device(out)? {
        return has(out, room.cache.saturating_add(room.out));
    }
    has(cache, room.cache)?;
    has(out, room.out)
}

fn has(dir: &Path, needed: u64) -> Result<(), Error> {
    paths::create_dirs(dir)?;
    let disk = rustix::fs::statvfs(dir).map_err(Error::file("ask for the room of", dir))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= needed {
        return Ok(());
    }
    Err(Error::Room { dir: dir.to_owned(), needed, free })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, out) = (dir.path().join("cache"), dir.path().join("out"));
        check(Room { cache: 1, out: 1 }, &cache, &out).unwrap();
        let error = check(Room { cache: 1 << 62, out: 1 << 62 }, &cache, &out).unwrap_err();
        let Error::Room { dir, needed, free } = &error else { panic!("{error}") };
        // One disk has to take both.
        assert_eq!((dir, *needed), (&out, 1 << 63));
        assert!(*free > 0 && error.class().word() == "STORE", "{error}");
    }
}
