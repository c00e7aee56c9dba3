//! Container images on this host, as inputs of a lock.
//!
//! In: an OCI layout (a directory or its tar file) or an archive of `docker save`. Out: the configuration and the
//! layers of one image, verified, in the cache.

use crate::{
    error::Error,
    fs::paths,
    inputs::cache,
    lock::{Input, Kind},
};
use joblet_format::entries::{EntryError, Section, member_path};
use joblet_format::image::{
    Config, Descriptor, Document, MAX_DOCUMENT_BYTES, MAX_LAYERS, Member, Saved, is_called,
    members, places, select,
};
use joblet_format::{Arch, Checksum};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Maximum depth of nested indexes.
const MAX_INDEXES: usize = 4;

/// An image that was found.
pub(crate) struct Image {
    /// SHA-256 of its index or manifest in `index.json`; for an archive of `docker save`, of its configuration.
    pub(crate) digest: Checksum,
    /// Its configuration.
    pub(crate) config: Config,
    config_bytes: Vec<u8>,
    /// Path, SHA-256 and, if the image has it, length in bytes of each layer, the lowest first.
    layers: Vec<(String, Checksum, Option<u64>)>,
    files: Files,
}

impl Image {
    /// Finds the image at `place`, a path or `PATH:TAG`, for `arch`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Config`] for what is not an image; [`Error::Differs`]; [`Error::File`].
    pub(crate) fn open(place: &Path, arch: Arch) -> Result<Self, Error> {
        let text = place.as_os_str().as_bytes();
        let mut found = None;
        for (path, tag) in places(text) {
            let path = Path::new(OsStr::from_bytes(path));
            if path.exists() {
                found = Some((Files::open(path)?, tag.map(String::from_utf8_lossy)));
                break;
            }
        }
        let absent = || Error::NotFound(format!("there is no image {}", place.display()));
        let (files, tag) = found.ok_or_else(absent)?;
        match files.read("index.json")? {
            Some(index) => Self::of_layout(files, &index, tag.as_deref(), arch),
            None => Self::saved(files, tag.as_deref()),
        }
        .and_then(|image| image.for_arch(arch))
    }

    fn of_layout(files: Files, index: &[u8], tag: Option<&str>, arch: Arch) -> Result<Self, Error> {
        let mut document: Document = files.parse("index.json", index)?;
        let (mut tag, mut named) = (tag, None);
        for _ in 0..MAX_INDEXES {
            let manifests = document.manifests.unwrap_or_default();
            let offers: Vec<_> = manifests.iter().map(Descriptor::offer).collect();
            let chosen = select(&offers, tag.take(), arch).map(|number| &manifests[number]);
            let chosen =
                chosen.map_err(|why| Error::NotFound(format!("{}: it {why}", files.shown())))?;
            let digest = *named.get_or_insert(chosen.digest);
            document = files.document(chosen)?;
            if let (Some(config), Some(layers)) = (&document.config, &document.layers) {
                if layers.len() > MAX_LAYERS {
                    return Err(files.refused("it has too many layers"));
                }
                let config_bytes = files.whole(config)?;
                let config = files.parse(&blob(config.digest), &config_bytes)?;
                let layers = layers.iter().map(|it| (blob(it.digest), it.digest, Some(it.size)));
                let layers = layers.collect();
                return Ok(Self { digest, config, config_bytes, layers, files });
            }
        }
        Err(files.refused("an index of indexes of indexes"))
    }

    fn saved(files: Files, tag: Option<&str>) -> Result<Self, Error> {
        let Some(list) = files.read("manifest.json")? else {
            return Err(files.refused(
                "it has neither index.json nor manifest.json: not an OCI layout, and not what docker save writes",
            ));
        };
        let list: Vec<Saved> = files.parse("manifest.json", &list)?;
        let called = |it: &&Saved| {
            tag.is_none_or(|tag| it.repo_tags.iter().flatten().any(|name| is_called(name, tag)))
        };
        let mut found = list.iter().filter(called);
        let (Some(saved), None) = (found.next(), found.next()) else {
            return Err(Error::NotFound(format!("{}: add :TAG of one image", files.shown())));
        };
        let absent = || files.refused(&format!("{} is missing", saved.config));
        let config_bytes = files.read(&saved.config)?.ok_or_else(absent)?;
        let config: Config = files.parse(&saved.config, &config_bytes)?;
        let ids = &config.rootfs.diff_ids;
        if ids.len() != saved.layers.len() || ids.len() > MAX_LAYERS {
            return Err(files.refused("its number of layers differs from its configuration"));
        }
        let layers =
            saved.layers.iter().zip(ids).map(|(path, id)| (path.clone(), *id, None)).collect();
        Ok(Self { digest: Checksum::of_bytes(&config_bytes), config, config_bytes, layers, files })
    }

    fn for_arch(self, arch: Arch) -> Result<Self, Error> {
        let Config { os, architecture, .. } = &self.config;
        if os == "linux" && architecture == arch.as_str() {
            return Ok(self);
        }
        let place = self.files.shown();
        Err(Error::NotFound(format!("{place}: it is for {os} {architecture}, not for {arch}")))
    }

    /// Adds its configuration and its layers to `cache`.
    ///
    /// # Errors
    /// [`Error::Differs`] if the digest of a layer does not match; [`Error::Config`] if it is missing;
    /// [`Error::File`].
    pub(crate) fn add_to_cache(&self, cache: &Path) -> Result<Vec<Input>, Error> {
        let config = Input {
            kind: Kind::Image,
            name: self.digest.to_string(),
            size: Some(self.config_bytes.len() as u64),
            sha256: Checksum::of_bytes(&self.config_bytes),
        };
        paths::write(&cache::path(cache, &config), &self.config_bytes)?;
        let mut inputs = vec![config];
        for ((path, digest, size), number) in self.layers.iter().zip(1..) {
            let absent = || {
                self.files.refused(&format!("{path} is missing: a layer that is stored elsewhere"))
            };
            let mut layer = self.files.open_file(path)?.ok_or_else(absent)?;
            if size.is_some_and(|size| size != layer.left()) {
                return Err(self
                    .files
                    .refused(&format!("{path} is not as long as the image says")));
            }
            let name = format!("{number:03}");
            let input =
                Input { kind: Kind::Layer, name, size: Some(layer.left()), sha256: *digest };
            let target = cache::path(cache, &input);
            let mut staged = paths::stage(&target)?;
            let mut hash = Sha256::new();
            let mut tee = io::BufReader::with_capacity(1 << 20, &mut layer);
            let copied = io::copy(&mut tee, &mut Both(staged.as_file_mut(), &mut hash));
            copied.map_err(Error::file("write", &target))?;
            let actual = Checksum::from_digest(hash.finalize().into());
            if actual != *digest {
                let object = format!("{}: {path}", self.files.shown());
                let hint = "the copy is damaged, or a layer in it is compressed; skopeo copy it to an OCI layout";
                return Err(Error::checksum(object, *digest, actual, hint));
            }
            paths::publish(staged, &target)?;
            inputs.push(input);
        }
        Ok(inputs)
    }
}

/// Writes to a file and to its hash.
struct Both<'w>(&'w mut File, &'w mut Sha256);

impl io::Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn blob(digest: Checksum) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The files of an image.
enum Files {
    Directory(PathBuf),
    /// In a tar file.
    Archive(PathBuf, File, Vec<Member>),
}

impl Files {
    fn open(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let file = paths::open(path)?;
        let whole = file.try_clone().and_then(Section::whole).map_err(Error::file("read", path))?;
        let members = members(whole).map_err(|error| {
            let error = match error {
                EntryError::Refused(rule) => rule,
                EntryError::Read(error) => error.to_string(),
            };
            let hint = "decompress it first if it is compressed";
            Error::config(path, format!("is not a tar file: {error}; {hint}"))
        })?;
        Ok(Self::Archive(path.to_owned(), file, members))
    }

    fn path(&self) -> &Path {
        let (Self::Directory(path) | Self::Archive(path, ..)) = self;
        path
    }

    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    fn refused(&self, reason: &str) -> Error {
        Error::config(self.path(), reason)
    }

    fn open_file(&self, name: &str) -> Result<Option<Section>, Error> {
        match self {
            // Names in documents are untrusted.
            _ if member_path(name.as_bytes(), false).is_err() => Ok(None),
            Self::Directory(path) => {
                let path = path.join(name);
                let file = paths::open_if_there(&path)?.map(Section::whole);
                file.transpose().map_err(Error::file("read", path))
            }
            Self::Archive(path, file, members) => {
                let named = |member: &&Member| member.path == Path::new(name);
                let Some(found) = members.iter().rfind(named) else { return Ok(None) };
                let file = file.try_clone().map_err(Error::file("read", path))?;
                Ok(Some(Section::new(file, found.at, found.size)))
            }
        }
    }

    /// Reads the document `name`.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        if file.left() > MAX_DOCUMENT_BYTES {
            return Err(self.refused(&format!("{name} is larger than {MAX_DOCUMENT_BYTES} bytes")));
        }
        let mut bytes = Vec::new();
        let mut file = file;
        file.read_to_end(&mut bytes).map_err(Error::file("read", self.path()))?;
        Ok(Some(bytes))
    }

    fn whole(&self, of: &Descriptor) -> Result<Vec<u8>, Error> {
        let path = blob(of.digest);
        let bytes = self.read(&path)?.ok_or_else(|| self.refused(&format!("{path} is missing")))?;
        let actual = Checksum::of_bytes(&bytes);
        if actual != of.digest {
            let object = format!("{}: {path}", self.shown());
            return Err(Error::checksum(object, of.digest, actual, "the copy is damaged"));
        }
        Ok(bytes)
    }

    fn document<T: DeserializeOwned>(&self, of: &Descriptor) -> Result<T, Error> {
        self.parse(&blob(of.digest), &self.whole(of)?)
    }

    fn parse<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|error| self.refused(&format!("{name}: {error}")))
    }
}
