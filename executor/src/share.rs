//! Files that another runtime has, too, take no room twice.
//!
//! An update takes equal files from an older version while it is made. Whatever came in another way
//! is compared with all that is installed, before it gets its name.

use crate::listing::Listing;
use crate::tree::times;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Gives the files of `own`, which lie in `root`, the disk blocks of equal files of `others`.
///
/// Best effort: a file that cannot share stays as it is. What it finds elsewhere is read again, so that
/// nothing a disk has lost is handed on. `twin` is a name that is free on the same file system.
pub fn share(own: &Listing, root: &Path, twin: &Path, others: &[(Listing, PathBuf)]) {
    if twin.symlink_metadata().is_ok() {
        return;
    }
    let known = Listing::by_content(others);
    let mut reflinks = true;
    for (path, key) in own.contents() {
        let Some(other) = known.get(&key).filter(|other| key.is_in(other)) else { continue };
        // What does not work for one file may for the next: too many names of one, for example.
        _ = replace(other, &root.join(path), twin, &mut reflinks);
    }
}

/// Puts a clone of `other`, else another name of it, in the place of the equal file at `path`.
fn replace(other: &Path, path: &Path, twin: &Path, reflinks: &mut bool) -> Result<(), Errno> {
    let (Some(parent), Ok(data)) = (path.parent(), path.symlink_metadata()) else { return Ok(()) };
    let around = rustix::fs::stat(parent)?;
    let made = twin_of(other, twin, &data, reflinks);
    let done = made.and_then(|()| rustix::fs::rename(twin, path));
    if done.is_err() {
        // There is nothing where it could not be made.
        _ = fs::remove_file(twin);
    }
    // The directory is as old as it was.
    let time = times(u64::try_from(around.st_mtime).unwrap_or_default());
    rustix::fs::utimensat(CWD, parent, &time, AtFlags::empty())?;
    done
}

fn twin_of(
    other: &Path,
    twin: &Path,
    data: &fs::Metadata,
    reflinks: &mut bool,
) -> Result<(), Errno> {
    if *reflinks {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(data.mode());
        let file = rustix::fs::open(twin, flags, mode)?;
        let source = File::open(other).map_err(|_| Errno::IO)?;
        match rustix::fs::ioctl_ficlone(&file, &source) {
            Ok(()) => {
                let time = u64::try_from(data.mtime()).unwrap_or_default();
                return rustix::fs::futimens(&file, &times(time));
            }
            Err(_) => *reflinks = false,
        }
        rustix::fs::unlink(twin)?;
    }
    rustix::fs::link(other, twin)
}
