//! What a runtime takes of the disk.

use crate::error::Error;
use crate::fs::walk::visit;
use rustix::fd::AsFd;
use rustix::fs::FileType;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// What a runtime takes of the disk, as `info --json` prints it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Files and links, each name counted.
    pub files: u64,
    /// Blocks of all it holds, in bytes.
    pub bytes: u64,
    /// Of these, the blocks of files that other runtimes have, too: removing this one frees them not.
    pub shared: u64,
}

impl Usage {
    /// Measures the runtime that is open as `directory`; `path` is for messages.
    ///
    /// A file with more names than this runtime has for it is one of another runtime as well.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn of(directory: impl AsFd, path: &Path) -> Result<Self, Error> {
        let mut usage = Self::default();
        // Files of several names: how many are known, and how large each file is, in bytes.
        let mut linked: HashMap<_, (u64, u64, u64)> = HashMap::new();
        visit(directory.as_fd(), &mut |_, data| {
            let size = u64::try_from(data.st_blocks).unwrap_or_default() * 512;
            if FileType::from_raw_mode(data.st_mode).is_dir() {
                usage.bytes += size;
                return true;
            }
            usage.files += 1;
            #[allow(clippy::useless_conversion, reason = "of another width elsewhere")]
            let names = u64::from(data.st_nlink);
            let names = linked.entry((data.st_dev, data.st_ino)).or_insert((0, names, size));
            names.0 += 1;
            if names.0 == 1 {
                usage.bytes += size;
            }
            false
        })
        .map_err(|(below, errno)| Error::file("read", path.join(below))(errno))?;
        let elsewhere = linked.values().filter(|(here, all, _)| here < all);
        usage.shared = elsewhere.map(|(_, _, size)| size).sum();
        Ok(usage)
    }
}
