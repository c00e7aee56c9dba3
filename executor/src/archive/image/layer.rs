//! Layers on disk: application of [`joblet_format::image::Layer`] to the tree that is being unpacked.

use crate::archive::plain::{Unpacking, file_error, refuse};
use crate::error::Error;
use crate::fs::directory::remove_tree;
use joblet_format::entries::{Entries, Kind, Stream, TarEntry, member_path};
use joblet_format::image::{Layer, There, Tree};
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Applies the layer `source` to the tree of the layers below; the `first` one has none below.
///
/// # Errors
/// [`Error::Archive`] with the violated rule, [`Error::File`].
pub(super) fn apply(
    unpacking: &mut Unpacking<'_>,
    source: &mut dyn Stream,
    first: bool,
) -> Result<(), Error> {
    let mut layer = Layer::new(first);
    let mut entries = Entries::new(source);
    while let Some(entry) = entries.next_entry().map_err(|error| unpacking.entry_error(error))? {
        let mut tree = OnDisk { unpacking, entry: &entry };
        let path = member_path(&entry.name, entry.kind == Kind::Directory);
        let path = path.map_err(|rule| tree.refuse(rule))?;
        if layer.admit(&mut tree, path.as_os_str().as_bytes(), &entry.kind)? {
            unpacking.entry(&entry, &mut entries, &mut |_| ())?;
        }
    }
    Ok(())
}

/// The tree, and the entry that changes it.
struct OnDisk<'t, 'u> {
    unpacking: &'t mut Unpacking<'u>,
    entry: &'t TarEntry,
}

impl OnDisk<'_, '_> {
    /// The result `done`, or `absent` if a parent of the path does not exist or is not a directory.
    fn unless_absent<T>(&self, done: Result<T, Errno>, absent: T) -> Result<T, Error> {
        match done {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(absent),
            done => done
                .map_err(|errno| file_error("unpack", OsStr::from_bytes(&self.entry.name), errno)),
        }
    }
}

impl Tree for OnDisk<'_, '_> {
    type Error = Error;

    fn there(&mut self, path: &[u8]) -> Result<There, Error> {
        let parent = self.unpacking.walk.parent(OsStr::from_bytes(path));
        let found =
            parent.and_then(|(parent, name)| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
        let found = self.unless_absent(found.map(Some), None)?;
        Ok(match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            None => There::Nothing,
            Some(FileType::Directory) => There::Directory,
            Some(_) => There::Other,
        })
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), Error> {
        // The cached directory of hard links' targets may be removed.
        let done = self.unpacking.links.reset().and_then(|()| {
            let (parent, name) = self.unpacking.walk.parent(OsStr::from_bytes(path))?;
            remove_tree(parent, name)
        });
        self.unless_absent(done, ())
    }

    fn names(&mut self, directory: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let read = names(self.unpacking, Path::new(OsStr::from_bytes(directory)));
        self.unless_absent(read, Vec::new())
    }

    fn refuse(&self, rule: &str) -> Error {
        refuse(self.unpacking.name, &self.entry.name, rule)
    }
}

fn names(unpacking: &mut Unpacking<'_>, directory: &Path) -> Result<Vec<Vec<u8>>, Errno> {
    // Any name will do.
    let inside = directory.join("x");
    let (directory, _) = unpacking.walk.parent(&inside)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
