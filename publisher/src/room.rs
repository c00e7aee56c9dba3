//! Whether the disk has room for a build: asked before it begins, not found out when it is half done.

use crate::{
    error::Error,
    fsx,
    lock::{Input, Kind},
};
use std::{os::unix::fs::MetadataExt, path::Path};

/// Packages unpack to at least so many times their length: xz makes a quarter of programs, gzip a third.
const UNPACKED: u64 = 3;

/// What a build takes, in bytes. Of inputs without a known length nothing is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of the cache: the inputs that are not there.
    pub cache: u64,
    /// Of the directory of archives: what packages unpack to (wheels are read where they lie), in
    /// files that go away, and the archive.
    pub out: u64,
}

/// What a build of `inputs` takes. `cached` tells which are in the cache.
pub fn needed(inputs: &[Input], cached: impl Fn(&Input) -> bool) -> Room {
    let size = |input: &Input| input.size.unwrap_or_default();
    let all: u64 = inputs.iter().map(size).sum();
    let cache = inputs.iter().filter(|input| !cached(input)).map(size).sum();
    let packages = inputs.iter().filter(|input| input.kind != Kind::Wheel);
    let unpacked = packages.map(size).sum::<u64>().saturating_mul(UNPACKED);
    Room { cache, out: unpacked.saturating_add(all) }
}

/// Refuses to begin where `cache` and `out`, which are made, have no `room`.
///
/// # Errors
/// [`Error::Room`], [`Error::File`].
pub fn check(room: Room, cache: &Path, out: &Path) -> Result<(), Error> {
    let device = |dir: &Path| {
        fsx::create_dirs(dir)?;
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
    fsx::create_dirs(dir)?;
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
    use joblet_format::Checksum;

    #[test]
    fn what_is_cached_is_not_fetched_and_wheels_are_not_unpacked() {
        let input = |kind, name: &str, size| {
            let sha256 = Checksum::from_digest([0; 32]);
            Input { kind, name: name.to_owned(), size, sha256 }
        };
        let inputs = [
            input(Kind::Deb, "debian/pool/a", Some(10)),
            input(Kind::Wheel, "w", Some(100)),
            input(Kind::Tar, "https://x/t", None),
        ];
        assert_eq!(needed(&inputs, |_| false), Room { cache: 110, out: 140 });
        let room = needed(&inputs, |input| input.kind == Kind::Wheel);
        assert_eq!(room, Room { cache: 10, out: 140 });
        assert_eq!(needed(&[], |_| false), Room { cache: 0, out: 0 });
    }

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
