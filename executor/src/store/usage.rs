//! What a runtime takes of the disk.

use crate::error::Error;
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a runtime takes of the disk, as `info --json` prints it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Files and links, each name counted.
    pub files: u64,
    /// Blocks of all it holds, in bytes.
    pub bytes: u64,
    /// Of these, the blocks of files that other runtimes have, too: removing this one frees them not.
    pub shared: u64,
}

impl Usage {
    /// Measures the runtime in `path`.
    ///
    /// A file with more names than this runtime has for it is one of another runtime as well.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn of(path: &Path) -> Result<Self, Error> {
        let mut usage = Self::default();
        // Files of several names: how many are known, and how large each file is, in bytes.
        let mut linked: HashMap<(u64, u64), (u64, u64, u64)> = HashMap::new();
        let mut left = vec![path.to_owned()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
                let entry = entry.map_err(Error::file("read", &directory))?;
                let data = entry.metadata().map_err(Error::file("stat", entry.path()))?;
                let size = data.blocks() * 512;
                if data.is_dir() {
                    left.push(entry.path());
                    usage.bytes += size;
                    continue;
                }
                usage.files += 1;
                let names =
                    linked.entry((data.dev(), data.ino())).or_insert((0, data.nlink(), size));
                names.0 += 1;
                if names.0 == 1 {
                    usage.bytes += size;
                }
            }
        }
        let elsewhere = linked.values().filter(|(here, all, _)| here < all);
        usage.shared = elsewhere.map(|(_, _, size)| size).sum();
        Ok(usage)
    }
}
