//! The files of an image in a tar file, which is read in place.

use crate::entries::{Entries, EntryError, Kind, Section, member_path};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A file in a tar file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its normalized path.
    pub path: PathBuf,
    /// Offset of its content, in bytes.
    pub at: u64,
    /// Length of its content, in bytes.
    pub size: u64,
}

/// Lists the files of the tar file `whole`. Entries of other types are ignored, since documents refer to files; except
/// links, which `docker save` writes for duplicate layers.
///
/// # Errors
/// For anything but a tar file.
pub fn members(mut whole: Section) -> Result<Vec<Member>, EntryError> {
    let (mut entries, mut found, mut links) = (Entries::new(&mut whole), Vec::new(), Vec::new());
    while let Some(entry) = entries.next_entry()? {
        let Ok(path) = member_path(&entry.name, false) else { continue };
        match entry.kind {
            Kind::File(size) => found.push(Member { path, at: entries.position(), size }),
            Kind::Symlink(target) => links.push((path, target)),
            _ => {}
        }
    }
    for (path, target) in links {
        let mut to = path.parent().unwrap_or(Path::new("")).to_owned();
        for part in Path::new(OsStr::from_bytes(&target)).components() {
            match part {
                Component::Normal(part) => to.push(part),
                Component::ParentDir => _ = to.pop(),
                _ => {}
            }
        }
        let named = found.iter().rfind(|member| member.path == to);
        found.extend(named.cloned().map(|member| Member { path, ..member }));
    }
    Ok(found)
}
