//! Deduplication: files that are equal in several runtimes share their blocks.
//!
//! An update takes equal files from an older version while it is prepared. A runtime that was installed
//! in another way is compared with all installed ones before it is published.

use super::file_list::Listing;
use crate::fs::directory::Directory;
use crate::fs::walk::{Walk, create, times};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, Stat, fstat, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::Path;

/// Replaces files of `own`, below `root`, by reflinks or hard links to equal files of `others`.
///
/// Best effort: a file that cannot be shared stays as it is. The other file is read and hashed first, so
/// that damaged content does not spread. `temporary_link` is a free name on the same file system.
pub(super) fn share(
    own: &Listing,
    root: &Directory,
    temporary_link: (&Directory, &str),
    others: &[(Listing, OwnedFd)],
) {
    if temporary_link.0.has(temporary_link.1) {
        return;
    }
    let known = Listing::by_content(others.iter().map(|(list, _)| list));
    let walks = others.iter().map(|(_, root)| Walk::new(root.as_fd()));
    let (Ok(mut walks), Ok(mut walk)) =
        (walks.collect::<Result<Vec<_>, _>>(), Walk::new(root.as_fd()))
    else {
        return;
    };
    let mut reflinks = true;
    for (path, key) in own.contents() {
        let Some(&(number, other)) = known.get(&key) else { continue };
        let there = &mut walks[number];
        if key.is_in(there, other) {
            // A failure may concern one file only: EMLINK, for example.
            _ = replace((there, other), (&mut walk, path), temporary_link, &mut reflinks);
        }
    }
}

/// Replaces the file at `path` by a reflink, else a hard link, to the equal file `other`.
fn replace(
    other: (&mut Walk, &Path),
    (walk, path): (&mut Walk, &Path),
    temporary_link: (&Directory, &str),
    reflinks: &mut bool,
) -> Result<(), Errno> {
    let (parent, name) = walk.parent(path)?;
    let (around, data) = (fstat(parent)?, statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?);
    let made = make_temporary_link(other, temporary_link, &data, reflinks);
    let done = made.and_then(|()| {
        rustix::fs::renameat(temporary_link.0.as_fd(), OsStr::new(temporary_link.1), parent, name)
    });
    if done.is_err() {
        // Nothing to remove if it was not created.
        _ = temporary_link.0.remove_file(temporary_link.1);
    }
    // The rename changed the directory's time: restore it.
    let time = times(u64::try_from(around.st_mtime).unwrap_or_default());
    rustix::fs::futimens(parent, &time)?;
    done
}

fn make_temporary_link(
    (there, other): (&mut Walk, &Path),
    (around, temporary_link): (&Directory, &str),
    data: &Stat,
    reflinks: &mut bool,
) -> Result<(), Errno> {
    if *reflinks {
        let mode = Mode::from_raw_mode(data.st_mode & 0o777);
        let file = create(around.as_fd(), OsStr::new(temporary_link), mode)?;
        let source = there.open_file(other)?;
        match rustix::fs::ioctl_ficlone(&file, &source) {
            Ok(()) => {
                let time = u64::try_from(data.st_mtime).unwrap_or_default();
                return rustix::fs::futimens(&file, &times(time));
            }
            Err(_) => *reflinks = false,
        }
        rustix::fs::unlinkat(around.as_fd(), OsStr::new(temporary_link), AtFlags::empty())?;
    }
    let (parent, name) = there.parent(other)?;
    rustix::fs::linkat(parent, name, around.as_fd(), OsStr::new(temporary_link), AtFlags::empty())
}
