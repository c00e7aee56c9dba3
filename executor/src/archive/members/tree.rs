//! Creation of directories before files are written, and of links and timestamps after.
//!
//! Links are made last: while files are written, no path can lead through a symlink.

use super::Extraction;
use crate::error::Error;
use crate::fs::walk::{Walk, make_directory, set_times};
use joblet_format::index::Body;
use joblet_format::ustar::MTIME;
use rustix::io::Errno;

/// Makes every directory.
///
/// # Errors
/// [`Error::Archive`] if the file system treats two names as equal, otherwise [`Error::File`].
pub(super) fn directories(extraction: &Extraction<'_>) -> Result<(), Error> {
    for_each_entry(extraction, is_directory, |walk, path, ()| {
        let (parent, name) = walk.parent(path)?;
        make_directory(parent, name).map(drop)
    })
}

/// Makes the links, and sets timestamps that writing has changed: of directories, and of the files in `shared`, which
/// several threads have written. Some links may be there if the installation is `resumed`.
///
/// # Errors
/// As [`directories`].
pub(super) fn finish(
    extraction: &Extraction<'_>,
    shared: &mut dyn Iterator<Item = usize>,
    resumed: bool,
) -> Result<(), Error> {
    for_each_entry(extraction, target, |walk, path, target| {
        let (parent, name) = walk.parent(path)?;
        match rustix::fs::symlinkat(target, parent, name) {
            Err(Errno::EXIST) if resumed => {}
            done => done?,
        }
        set_times(parent, name, MTIME)
    })?;
    let mut walk = extraction.walk()?;
    for entry in shared {
        let path = extraction.path(entry);
        let done = walk.parent(&path).and_then(|(parent, name)| set_times(parent, name, MTIME));
        done.map_err(|errno| extraction.refused(&path, errno))?;
    }
    for_each_entry(extraction, is_directory, |walk, path, ()| {
        walk.parent(path).and_then(|(parent, name)| set_times(parent, name, MTIME))
    })
}

fn is_directory(body: &Body) -> Option<()> {
    (*body == Body::Directory).then_some(())
}

fn target(body: &Body) -> Option<&str> {
    if let Body::Symlink(target) = body { Some(target) } else { None }
}

/// Calls `step` for every entry for which `choose` returns a value, in order.
fn for_each_entry<'s, T>(
    extraction: &'s Extraction<'_>,
    choose: impl Fn(&'s Body) -> Option<T>,
    step: impl Fn(&mut Walk, &str, T) -> Result<(), Errno>,
) -> Result<(), Error> {
    let mut walk = extraction.walk()?;
    for (number, entry) in extraction.index.entries().iter().enumerate() {
        if let Some(chosen) = choose(&entry.body) {
            let path = extraction.path(number);
            step(&mut walk, &path, chosen).map_err(|errno| extraction.refused(&path, errno))?;
        }
    }
    Ok(())
}
