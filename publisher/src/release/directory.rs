//! A directory as a release host: `DIR/TAG/FILE`, and `DIR/TAG/.draft` until it is published.

use super::{
    host::{Host, State},
    tag::Tag,
};
use crate::{
    error::Error,
    fs::{below::Below, paths},
};
use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The directory.
pub(super) struct Directory(pub PathBuf);

const DRAFT: &str = ".draft";

impl Directory {
    fn release_dir(&self, tag: &Tag) -> PathBuf {
        self.0.join(tag.to_string())
    }

    /// The release of `tag`, if there is one.
    fn open(&self, tag: &Tag) -> Result<Option<Below>, Error> {
        Below::open(&self.0)?.map_or(Ok(None), |root| root.dir(&self.release_dir(tag)))
    }
}

impl Host for Directory {
    fn find(&self, tag: &Tag) -> Result<Option<State>, Error> {
        let Some(dir) = self.open(tag)? else { return Ok(None) };
        let mut state = State { draft: dir.has(OsStr::new(DRAFT))?, ..State::default() };
        for (name, _) in dir.entries()? {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let path = self.release_dir(tag).join(&name);
                let Some(file) = dir.open_path(&path)? else { continue };
                let size = file.metadata().map_err(Error::file("look at", &path))?.len();
                state.files.insert(name, size);
            }
        }
        Ok(Some(state))
    }

    fn draft(&self, tag: &Tag) -> Result<(), Error> {
        // The mark is created before the directory is renamed into place.
        let new = self.0.join(format!(".new-{}-{tag}", std::process::id()));
        paths::write_below(&self.0, &new.join(DRAFT), b"")?;
        fs::rename(&new, self.release_dir(tag))
            .map_err(Error::file("create", self.release_dir(tag)))
    }

    fn upload(&self, tag: &Tag, name: &str, from: &Path) -> Result<(), Error> {
        let to = self.release_dir(tag).join(name);
        let Some(dir) = self.open(tag)? else {
            let absent = io::Error::from(io::ErrorKind::NotFound);
            return Err(Error::file("write", to)(absent));
        };
        let held = dir.proc_path().join(name);
        let mut staged = paths::stage(&held)?;
        let mut from = paths::open(from)?;
        io::copy(&mut from, &mut staged).map_err(Error::file("write", &to))?;
        paths::publish_as(staged, &held, &to)
    }

    fn download(&self, tag: &Tag, name: &str, to: &mut dyn Write) -> Result<(), Error> {
        let path = self.release_dir(tag).join(name);
        let Some(mut file) = paths::open_below(&self.0, &path)? else {
            let absent = io::Error::from(io::ErrorKind::NotFound);
            return Err(Error::file("read", path)(absent));
        };
        io::copy(&mut file, to).map(drop).map_err(Error::file("read", path))
    }

    fn publish(&self, tag: &Tag) -> Result<(), Error> {
        let dir = self.open(tag)?;
        dir.map_or(Ok(()), |dir| paths::remove_if_there(&dir.proc_path().join(DRAFT)))
    }

    fn releases(&self) -> Result<Vec<(Tag, bool)>, Error> {
        let Some(root) = Below::open(&self.0)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for (name, _) in root.entries()? {
            let Some(tag) = name.to_str().and_then(|name| name.parse::<Tag>().ok()) else {
                continue;
            };
            let Some(dir) = self.open(&tag)? else { continue };
            all.push((tag, dir.has(OsStr::new(DRAFT))?));
        }
        Ok(all)
    }
}
