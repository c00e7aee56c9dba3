//! A tree beside the store that must not change.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The tree and its original state.
pub struct Victim {
    pub path: PathBuf,
    before: BTreeMap<PathBuf, (String, Vec<u8>)>,
}

impl Victim {
    /// Makes the tree `path`, owned by `user`.
    pub fn new(path: PathBuf, user: Option<u32>) -> Self {
        fs::create_dir_all(path.join("d")).unwrap();
        fs::write(path.join("f"), "victim\n").unwrap();
        fs::write(path.join("d/g"), "another\n").unwrap();
        symlink("f", path.join("l")).unwrap();
        fs::set_permissions(path.join("f"), fs::Permissions::from_mode(0o640)).unwrap();
        // Not all file systems have these.
        _ = rustix::fs::setxattr(
            path.join("f"),
            "user.victim",
            b"x",
            rustix::fs::XattrFlags::empty(),
        );
        for below in ["", "d", "f", "d/g", "l"] {
            if user.is_some() {
                std::os::unix::fs::lchown(path.join(below), user, user).unwrap();
            }
        }
        let before = look(&path);
        Self { path, before }
    }

    pub fn assert_untouched(&self) {
        assert_eq!(look(&self.path), self.before);
    }
}

/// Mode, owner, times, inode, number of names, attributes; content or target.
fn look(root: &Path) -> BTreeMap<PathBuf, (String, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let data = path.symlink_metadata().unwrap();
        let mut names = [0; 1024];
        let count = rustix::fs::llistxattr(&path, &mut names).unwrap_or(0);
        let about = format!(
            "{:o} {}:{} {}.{} {} {} {}",
            data.mode(),
            data.uid(),
            data.gid(),
            data.mtime(),
            data.mtime_nsec(),
            data.ino(),
            data.nlink(),
            names[..count].escape_ascii()
        );
        let content = if data.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if data.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (about, content));
    }
    found
}
