//! One layer over those below it, as a mount of overlayfs would show them.
//!
//! What a layer brings replaces what is at its path; directories are joined. A whiteout takes away what lower
//! layers have, never what its own layer brings, wherever it stands in it.

use crate::archive::plain::entries::{Entries, Kind, Stream, TarEntry};
use crate::archive::plain::{Unpacking, file_error, member_path, refuse};
use crate::error::Error;
use crate::fs::directory::remove_tree;
use joblet_format::image::{Change, change};
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Adds the layer `source` to what is there. The `first` one has nothing below it.
///
/// # Errors
/// [`Error::Archive`] with the rule that was broken, [`Error::File`].
pub(super) fn apply(
    unpacking: &mut Unpacking<'_>,
    source: &mut dyn Stream,
    first: bool,
) -> Result<(), Error> {
    let mut layer = Layer { first, own: BTreeSet::new() };
    let mut entries = Entries::new(source);
    while let Some(entry) = entries.next().map_err(|error| unpacking.entry_error(error))? {
        if layer.adds(unpacking, &entry)? {
            unpacking.entry(&entry, &mut entries, &mut |_| ())?;
        }
    }
    Ok(())
}

struct Layer {
    first: bool,
    /// The paths that it has brought, and the directories that lead to them.
    own: BTreeSet<Vec<u8>>,
}

impl Layer {
    /// Makes room for `entry`, or does what its name says; whether it is to be added.
    fn adds(&mut self, unpacking: &mut Unpacking<'_>, entry: &TarEntry) -> Result<bool, Error> {
        let archive = unpacking.name;
        let fail = |rule: &str| refuse(archive, &entry.name, rule);
        let directory = entry.kind == Kind::Directory;
        let path = member_path(&entry.name, directory).map_err(fail)?;
        let change = change(path.as_os_str().as_bytes()).map_err(fail)?;
        if change != Change::Add && !matches!(entry.kind, Kind::File(_)) {
            return Err(fail("a whiteout that is not a file"));
        }
        if self.first {
            return Ok(change == Change::Add);
        }
        let kernel = |errno| file_error("unpack", OsStr::from_bytes(&entry.name), errno);
        let path_of = |bytes| Path::new(OsStr::from_bytes(bytes));
        match change {
            Change::Add => {
                self.clear(unpacking, path.parent().unwrap_or(Path::new(""))).map_err(kernel)?;
                if directory {
                    self.clear(unpacking, &path).map_err(kernel)?;
                } else if self.own.insert(bytes(&path).to_owned()) {
                    remove(unpacking, &path).map_err(kernel)?;
                }
                Ok(true)
            }
            Change::Remove(parent, name) => {
                let parent = path_of(parent);
                self.clear(unpacking, parent).map_err(kernel)?;
                self.hide(unpacking, &parent.join(OsStr::from_bytes(name))).map_err(kernel)?;
                Ok(false)
            }
            Change::Empty(directory) => {
                self.clear(unpacking, path_of(directory)).map_err(kernel)?;
                self.hide_below(unpacking, path_of(directory)).map_err(kernel)?;
                Ok(false)
            }
        }
    }

    /// Takes files and links of lower layers away where this layer has directories: at `path` and above.
    fn clear(&mut self, unpacking: &mut Unpacking<'_>, path: &Path) -> Result<(), Errno> {
        let above: Vec<_> = path.ancestors().filter(|it| !it.as_os_str().is_empty()).collect();
        for directory in above.into_iter().rev() {
            if self.own.contains(bytes(directory)) {
                continue; // one that is a link or a file is refused when it is entered
            }
            let there = unpacking
                .walk
                .parent(directory)
                .and_then(|(parent, name)| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
            match there {
                Ok(found) if FileType::from_raw_mode(found.st_mode).is_dir() => {}
                Ok(_) => remove(unpacking, directory)?,
                Err(Errno::NOENT) => {}
                // A parent that this layer itself has made something else.
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                Err(errno) => return Err(errno),
            }
            self.own.insert(bytes(directory).to_owned());
        }
        Ok(())
    }

    /// Takes away what lower layers have at `path`.
    fn hide(&self, unpacking: &mut Unpacking<'_>, path: &Path) -> Result<(), Errno> {
        if self.own.contains(bytes(path)) {
            return self.hide_below(unpacking, path);
        }
        remove(unpacking, path)
    }

    /// Takes away what lower layers have in the directory `path`.
    fn hide_below(&self, unpacking: &mut Unpacking<'_>, path: &Path) -> Result<(), Errno> {
        // The name is not looked at.
        let inside = path.join("x");
        let directory = match unpacking.walk.parent(&inside) {
            Ok((directory, _)) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(path.join(OsStr::from_bytes(name)));
            }
        }
        names.iter().try_for_each(|path| self.hide(unpacking, path))
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Removes what is at `path`, and all that is in it.
fn remove(unpacking: &mut Unpacking<'_>, path: &Path) -> Result<(), Errno> {
    // It may be in what is removed.
    unpacking.links.forget()?;
    match unpacking.walk.parent(path) {
        Ok((parent, name)) => remove_tree(parent, name),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(errno),
    }
}
