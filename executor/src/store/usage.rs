//! The disk usage of a runtime.

use crate::error::Error;
use crate::fs::walk::visit;
use rustix::fd::AsFd;
use rustix::fs::FileType;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// The disk usage of a runtime, as `info --json` prints it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Number of files and links, counted by name.
    pub files: u64,
    /// Allocated blocks, in bytes.
    pub bytes: u64,
    /// Of these, blocks of files that are hard links to files of other runtimes: removing this one does not
    /// free them.
    pub shared: u64,
}

impl Usage {
    /// Measures the runtime that is open as `directory`; `path` is for messages.
    ///
    /// A file whose link count exceeds its names in this runtime is shared with another.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn measure(directory: impl AsFd, path: &Path) -> Result<Self, Error> {
        let mut usage = Self::default();
        // Files with several names: how many were found, and the size of the file in bytes.
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
