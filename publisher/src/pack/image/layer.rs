//! Conversion of a runtime's archive to the layers of its image.
//!
//! The content of `isolated/` becomes the root, with the empty directories that a sandbox of `joblet-exec` adds
//! and that a container engine cannot create in a read-only root. If a runtime contains more than Debian packages, these are
//! a lower layer of their own: versions that differ only in wheels share it.

use super::blocks::{Blob, Blocks, Compression, compress};
use crate::error::Error;
use flate2::read::MultiGzDecoder;
use joblet_format::ustar::{self, END, EntryKind};
use joblet_format::{MAX_RUNTIME_YML_BYTES, RuntimeYml};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    num::NonZero,
    path::Path,
};

/// Directories added to every image.
const DIRECTORIES: [&str; 9] =
    ["dev", "home", "proc", "root", "run", "sys", "tmp", "var/tmp", "work"];

/// The layers of an image, the lowest first, and the runtime's configuration.
#[derive(Debug)]
pub(crate) struct Layers {
    /// Blobs, each in a file.
    pub blobs: Vec<(Blob, File)>,
    /// `runtime.yml`.
    pub config: RuntimeYml,
    /// The shell of the runtime: `bash`, or else `sh`.
    pub shell: Option<&'static str>,
}

/// Makes the layers of `archive`, a verified `.tar.gz` of this program; `name` is for messages. The paths in `base`
/// are the lower layer; if it is empty there is one layer. Files are created in `dir`.
///
/// # Errors
/// [`Error::Archive`] if it is not an archive of a runtime; [`Error::File`].
pub(crate) fn layers(
    archive: &mut File,
    name: &str,
    base: &BTreeSet<String>,
    (compression, jobs): (Compression, NonZero<usize>),
    dir: &Path,
) -> Result<Layers, Error> {
    let (mut blobs, mut found) = (Vec::new(), Found::default());
    let passes: &[bool] = if base.is_empty() { &[true] } else { &[false, true] };
    for &top in passes {
        let mut file = tempfile::tempfile_in(dir).map_err(Error::file("write below", dir))?;
        archive.rewind().map_err(Error::file("read", name))?;
        let blob = compress(compression, jobs, (&mut file, dir), |to| {
            let wanted = |path: &str| base.contains(path) != top;
            let mut layer = Layer { to, made: BTreeSet::new() };
            let source = MultiGzDecoder::new(BufReader::with_capacity(1 << 20, &mut *archive));
            let copied = copy(source, top, &wanted, &mut layer, &mut found);
            copied.map_err(|error| Error::Archive {
                archive: name.to_owned(),
                rule: format!("is not the archive of a runtime: {error}"),
            })
        })?;
        blobs.push((blob, file));
    }
    let refused = |rule: String| Error::Archive { archive: name.to_owned(), rule };
    let config = yaml_serde::from_slice(&found.runtime_yml)
        .map_err(|error| refused(format!("its runtime.yml: {error}")))?;
    Ok(Layers { blobs, config, shell: found.shell })
}

/// Properties of the archive found while it is read.
#[derive(Default)]
struct Found {
    runtime_yml: Vec<u8>,
    shell: Option<&'static str>,
}

/// A layer that is being written.
struct Layer<'b> {
    to: &'b mut Blocks,
    /// Directories written so far.
    made: BTreeSet<String>,
}

impl Layer<'_> {
    /// Writes the missing directories above `path`: without an entry, their modes would be up to the reader.
    fn parents(&mut self, path: &str) -> io::Result<()> {
        path.match_indices('/').try_for_each(|(at, _)| self.directory(&path[..at]))
    }

    fn directory(&mut self, path: &str) -> io::Result<()> {
        if self.made.insert(path.to_owned()) {
            self.to.write_all(&ustar::headers("", path, EntryKind::Directory))?;
        }
        Ok(())
    }

    fn leaf(&mut self, path: &str, kind: EntryKind<'_>) -> io::Result<()> {
        self.parents(path)?;
        self.to.write_all(&ustar::headers("", path, kind))
    }
}

/// Copies the `wanted` entries; empty directories are in the `top` layer.
fn copy(
    source: impl Read,
    top: bool,
    wanted: &dyn Fn(&str) -> bool,
    layer: &mut Layer<'_>,
    found: &mut Found,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(source);
    let mut all = BTreeSet::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).map_err(io::Error::other)?;
        let below = name.trim_end_matches('/').split_once('/').map_or("", |(_, below)| below);
        let Some(path) = below.strip_prefix("isolated/") else {
            if below == "runtime.yml" {
                found.runtime_yml.clear();
                entry.take(MAX_RUNTIME_YML_BYTES).read_to_end(&mut found.runtime_yml)?;
            }
            continue;
        };
        match path {
            "usr/bin/bash" => found.shell = Some("bash"),
            "usr/bin/sh" | "bin/sh" if found.shell.is_none() => found.shell = Some("sh"),
            _ => {}
        }
        all.insert(path.to_owned());
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            if top && wanted(path) {
                layer.parents(path)?;
                layer.directory(path)?;
            }
        } else if wanted(path) {
            let target = entry.link_name_bytes().map(Cow::into_owned).unwrap_or_default();
            let target = String::from_utf8(target).map_err(io::Error::other)?;
            if kind.is_symlink() {
                layer.leaf(path, EntryKind::Symlink(&target))?;
            } else {
                let executable = entry.header().mode()? & 0o100 != 0;
                let size = entry.size();
                layer.leaf(path, EntryKind::File { executable, size })?;
                io::copy(&mut entry, layer.to)?;
                let zeros = usize::try_from(ustar::padding(size)).map_err(io::Error::other)?;
                layer.to.write_all(&[0; ustar::BLOCK][..zeros])?;
            }
        }
    }
    if top {
        for place in DIRECTORIES.into_iter().filter(|place| !all.contains(*place)) {
            layer.parents(place)?;
            layer.directory(place)?;
        }
    }
    layer.to.write_all(&[0; END])
}
