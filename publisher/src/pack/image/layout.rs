//! An OCI image layout: a directory, or one tar file of it.
//!
//! ```text
//! oci-layout            {"imageLayoutVersion":"1.0.0"}
//! index.json            the images, by tag
//! blobs/sha256/HEX      everything else, by its SHA-256
//! ```

use crate::{error::Error, fs::paths};
use joblet_format::ustar::{self, END, EntryKind};
use joblet_format::{Checksum, image::Document};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Content of the file `oci-layout`. Part of the format.
const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout under construction: files by their paths in it.
#[derive(Debug, Default)]
pub(crate) struct Layout(BTreeMap<String, Node>);

#[derive(Debug)]
enum Node {
    Bytes(Vec<u8>),
    File(File),
}

impl Layout {
    /// An empty layout.
    pub(crate) fn new() -> Self {
        Self([("oci-layout".to_owned(), Node::Bytes(OCI_LAYOUT.into()))].into())
    }

    /// Adds a blob; returns its digest and length.
    pub(crate) fn add_bytes(&mut self, bytes: Vec<u8>) -> (Checksum, u64) {
        let (digest, size) = (Checksum::of_bytes(&bytes), bytes.len());
        self.0.insert(blob(digest), Node::Bytes(bytes));
        (digest, size as u64)
    }

    /// Adds a document as a blob; returns its digest and length.
    ///
    /// # Errors
    /// [`Error::File`] if it is not JSON.
    pub(crate) fn add_json(&mut self, document: &impl Serialize) -> Result<(Checksum, u64), Error> {
        Ok(self.add_bytes(json(document)?))
    }

    /// Adds the blob in `file`, whose digest is known.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn add_file(&mut self, digest: Checksum, mut file: File) -> Result<(), Error> {
        file.rewind().map_err(Error::file("read", "a layer"))?;
        self.0.insert(blob(digest), Node::File(file));
        Ok(())
    }

    /// Sets `index.json`.
    ///
    /// # Errors
    /// As [`Layout::add_json`].
    pub(crate) fn set_index(&mut self, index: &Document) -> Result<(), Error> {
        self.0.insert("index.json".to_owned(), Node::Bytes(json(index)?));
        Ok(())
    }

    /// Writes the directory `target` atomically.
    ///
    /// # Errors
    /// [`Error::Usage`] if it exists; [`Error::File`].
    pub(crate) fn write_directory(self, target: &Path) -> Result<(), Error> {
        if fs::symlink_metadata(target).is_ok() {
            let target = target.display();
            return Err(Error::Usage(format!("{target} exists; remove it, or name another --out")));
        }
        let parent = parent(target);
        paths::create_dirs(parent)?;
        let staged = tempfile::Builder::new().prefix(".staging-").tempdir_in(parent);
        let staged = staged.map_err(Error::file("write below", parent))?;
        let failed = |error| Error::file("write", target)(error);
        let readable = || fs::set_permissions(staged.path(), PermissionsExt::from_mode(0o755));
        readable().map_err(failed)?;
        for (name, node) in self.0 {
            let path = staged.path().join(name);
            paths::create_dirs(path.parent().unwrap_or(parent))?;
            let mut file = File::create_new(&path).map_err(failed)?;
            node.copy(&mut file).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let staged = staged.keep();
        fs::rename(&staged, target).map_err(failed).inspect_err(|_| {
            // The incomplete directory is removed.
            _ = fs::remove_dir_all(&staged);
        })
    }

    /// Writes the tar file `target` atomically.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn write_archive(self, target: &Path) -> Result<(), Error> {
        let mut staged = paths::stage(target)?;
        let to = staged.as_file_mut();
        let write = || -> io::Result<()> {
            for directory in ["blobs", "blobs/sha256"] {
                to.write_all(&ustar::headers("", directory, EntryKind::Directory))?;
            }
            for (name, node) in self.0 {
                let size = node.size()?;
                let kind = EntryKind::File { executable: false, size };
                to.write_all(&ustar::headers("", &name, kind))?;
                node.copy(to)?;
                let zeros = usize::try_from(ustar::padding(size)).map_err(io::Error::other)?;
                to.write_all(&[0; ustar::BLOCK][..zeros])?;
            }
            to.write_all(&[0; END])
        };
        write().map_err(Error::file("write", target))?;
        paths::publish(staged, target)
    }
}

impl Node {
    fn size(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => file.metadata().map(|it| it.len()),
        }
    }

    fn copy(self, to: &mut File) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => to.write_all(&bytes),
            Self::File(mut file) => io::copy(&mut file, to).map(drop),
        }
    }
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().unwrap_or(Path::new("."));
    if parent.as_os_str().is_empty() { Path::new(".") } else { parent }
}

fn blob(digest: Checksum) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document)
        .map_err(|error| Error::file("write", "a document of the image")(io::Error::from(error)))
}
