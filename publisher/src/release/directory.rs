//! A directory that plays a release host: `DIR/TAG/FILE`, and `DIR/TAG/.draft` until it is published.

use super::{
    Tag,
    host::{Host, State},
};
use crate::{error::Error, fsx};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The directory.
pub struct Directory(pub PathBuf);

const DRAFT: &str = ".draft";

impl Directory {
    fn of(&self, tag: &Tag) -> PathBuf {
        self.0.join(tag.to_string())
    }
}

impl Host for Directory {
    fn find(&self, tag: &Tag) -> Result<Option<State>, Error> {
        let dir = self.of(tag);
        if !dir.is_dir() {
            return Ok(None);
        }
        let mut state = State { draft: dir.join(DRAFT).exists(), ..State::default() };
        for path in fsx::list(&dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let size = fs::metadata(&path).map_err(Error::file("look at", &path))?.len();
                state.files.insert(name, size);
            }
        }
        Ok(Some(state))
    }

    fn draft(&self, tag: &Tag) -> Result<(), Error> {
        // The mark is there before anybody sees the directory.
        let new = self.0.join(format!(".new-{}-{tag}", std::process::id()));
        fsx::write(&new.join(DRAFT), b"")?;
        fs::rename(&new, self.of(tag)).map_err(Error::file("create", self.of(tag)))
    }

    fn upload(&self, tag: &Tag, name: &str, from: &Path) -> Result<(), Error> {
        let to = self.of(tag).join(name);
        let mut staged = fsx::stage(&to)?;
        let mut from = File::open(from).map_err(Error::file("read", from))?;
        io::copy(&mut from, &mut staged).map_err(Error::file("write", &to))?;
        fsx::publish(staged, &to)
    }

    fn download(&self, tag: &Tag, name: &str, to: &mut dyn Write) -> Result<(), Error> {
        let path = self.of(tag).join(name);
        let mut file = File::open(&path).map_err(Error::file("read", &path))?;
        io::copy(&mut file, to).map(drop).map_err(Error::file("read", path))
    }

    fn publish(&self, tag: &Tag) -> Result<(), Error> {
        fsx::remove_if_there(&self.of(tag).join(DRAFT))
    }

    fn all(&self) -> Result<Vec<(Tag, bool)>, Error> {
        let name = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
        let tags = fsx::list(&self.0)?.iter().filter_map(name).collect::<Vec<Tag>>();
        Ok(tags
            .into_iter()
            .map(|tag| {
                let draft = self.of(&tag).join(DRAFT).exists();
                (tag, draft)
            })
            .collect())
    }
}
