//! Unpacking of a container image into a directory.
//!
//! In: an OCI layout, as a directory or as a tar file, or an archive of `docker save`. Out: the tree of its
//! layers, or an error by the rules of [`super::plain`].

mod document;
mod files;
mod layer;

use super::plain::decompress::Unpacked;
use super::plain::{Hashed, Unpacking, check_rest};
use crate::error::Error;
use document::{string, strings};
use files::Files;
use joblet_format::entries::{Budget, EntryError, MAX_ENTRIES, Section, Stream};
use joblet_format::image::{
    MAX_DOCUMENT_BYTES, MAX_LAYERS, Settings, is_called, media, places, select,
};
use joblet_format::{Arch, Checksum};
use rustix::fd::BorrowedFd;
use serde_json::Value;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Maximum depth of nested indexes.
const MAX_INDEXES: usize = 4;

/// An image with parsed and verified documents.
pub(crate) struct Image {
    /// SHA-256 of its manifest; for an image of `docker save`, of its configuration.
    pub digest: Checksum,
    /// The settings of its containers.
    pub settings: Settings,
    /// Its path, with the tag.
    pub name: String,
    files: Files,
    /// Its layers, the lowest first.
    layers: Vec<Layer>,
}

/// A reference to a layer.
struct Layer {
    /// Its path in the layout or archive.
    path: String,
    /// SHA-256 of that file.
    digest: Checksum,
    /// Its length in bytes, if the image states it.
    size: Option<u64>,
}

impl Image {
    /// Finds the image `text`, a path or `PATH:TAG`, for `arch`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Archive`] for anything but an image, or a document whose SHA-256 differs;
    /// [`Error::File`].
    pub(crate) fn open(place: &OsStr, arch: Arch) -> Result<Self, Error> {
        let name = place.to_string_lossy().into_owned();
        let mut found = None;
        for (path, tag) in places(place.as_bytes()) {
            if let Some(files) = Files::open(OsStr::from_bytes(path).as_ref())? {
                found = Some((files, tag.map(String::from_utf8_lossy)));
                break;
            }
        }
        let reason = "no such file or directory; one is brought here by: skopeo copy docker://NAME:TAG oci:DIR:TAG";
        let (files, tag) = found.ok_or_else(|| not_found(&name, reason))?;
        let reader = Reader { files: &files, name: &name };
        let (digest, layers, config) = match files.blob("index.json")? {
            Some(index) => reader.layout(index, tag.as_deref(), arch)?,
            None => reader.saved(tag.as_deref())?,
        };
        let of = string(&config["architecture"]);
        if of != arch.as_str() || string(&config["os"]) != "linux" {
            return Err(not_found(&name, &format!("it is for {of}, not for Linux on {arch}")));
        }
        let settings = document::settings(&config["config"]);
        Ok(Self { digest, settings, name, files, layers })
    }

    /// Total length of its layers, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().filter_map(|layer| layer.size).fold(0, u64::saturating_add)
    }

    /// Unpacks it into the empty directory `into`; `advance` is called with the number of bytes read of its layers.
    ///
    /// Each layer is verified before it is decompressed, and again during that.
    ///
    /// # Errors
    /// [`Error::Archive`] with the violated rule, [`Error::Checksum`], [`Error::File`]. The directory's content is
    /// then undefined.
    pub(crate) fn unpack(
        &self,
        into: BorrowedFd<'_>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let reader = Reader { files: &self.files, name: &self.name };
        let budget = Budget::for_size(self.size(), MAX_ENTRIES);
        let mut unpacking = Unpacking::new(&self.name, into, budget)?;
        let mut first = true;
        for layer in &self.layers {
            let section = reader.layer(layer)?;
            let (length, object) = (section.left(), format!("{}: {}", self.name, layer.path));
            let again = section.again().map_err(Error::file("read", &self.name))?;
            let mut verified = Hashed::new(again);
            io::copy(&mut verified, &mut io::sink()).map_err(Error::file("read", &self.name))?;
            same(&object, layer.digest, verified.checksum())?;
            let unpacked = Unpacked::any(Hashed::new(section));
            let broken = |error| Unpacking::broken(&self.name, EntryError::Read(error));
            let mut unpacked = unpacked.map_err(broken)?;
            layer::apply(&mut unpacking, &mut unpacked, first)?;
            check_rest(unpacked, &self.name, &object, layer.digest)?;
            advance(length);
            first = false;
        }
        unpacking.finish()
    }
}

fn not_found(name: &str, reason: &str) -> Error {
    Error::NotFound(format!("image {name}: {reason}"))
}

fn same(object: &str, expected: Checksum, actual: Checksum) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::Checksum { object: object.to_owned(), expected, actual })
}

/// Reads the documents of an image.
struct Reader<'f> {
    files: &'f Files,
    name: &'f str,
}

/// Digest of an image, its layers, and its configuration.
type Found = (Checksum, Vec<Layer>, Value);

impl Reader<'_> {
    fn refuse(&self, rule: &str) -> Error {
        Error::Archive { archive: self.name.to_owned(), rule: rule.to_owned() }
    }

    /// Finds the image of a layout in its `index`.
    fn layout(&self, index: Section, tag: Option<&str>, arch: Arch) -> Result<Found, Error> {
        let mut document = self.parse("index.json", &self.whole(index)?)?;
        let mut tag = tag;
        for _ in 0..MAX_INDEXES {
            let mut offers = Vec::new();
            let manifests = self.list(&document["manifests"])?;
            for manifest in manifests {
                offers.push(document::offer(manifest));
            }
            let number = select(&offers, tag.take(), arch);
            let number = number.map_err(|why| not_found(self.name, &why))?;
            let digest = self.digest(&manifests[number])?;
            document = self.document(digest)?;
            if document["manifests"].is_array() {
                continue;
            }
            let config = &document["config"];
            if string(&config["mediaType"]) == media::EMPTY {
                return Err(self.refuse(NOT_AN_IMAGE));
            }
            let mut layers = Vec::new();
            for layer in self.list(&document["layers"])? {
                let digest = self.digest(layer)?;
                layers.push(Layer { path: blob(digest), digest, size: layer["size"].as_u64() });
            }
            return Ok((digest, layers, self.document(self.digest(config)?)?));
        }
        Err(self.refuse(NOT_AN_IMAGE))
    }

    /// Finds the image in an archive of `docker save`.
    fn saved(&self, tag: Option<&str>) -> Result<Found, Error> {
        let Some(list) = self.files.blob("manifest.json")? else {
            return Err(self.refuse(NOT_AN_IMAGE));
        };
        let list = self.parse("manifest.json", &self.whole(list)?)?;
        let (mut found, mut several, mut there) = (None, false, Vec::new());
        for image in self.list(&list)? {
            let names = strings(&image["RepoTags"]);
            let called = tag.is_none_or(|tag| names.iter().any(|name| is_called(name, tag)));
            there.extend(names);
            if called {
                several |= found.is_some();
                found = Some(image);
            }
        }
        let Some(image) = found.filter(|_| !several) else {
            return Err(not_found(self.name, &format!("add :TAG of one of: {}", there.join(", "))));
        };
        let config = self.named(string(&image["Config"]))?;
        let digest = Checksum::of_bytes(&config);
        let config = self.parse("its configuration", &config)?;
        let (ids, paths) = (strings(&config["rootfs"]["diff_ids"]), strings(&image["Layers"]));
        if ids.len() != paths.len() || ids.len() > MAX_LAYERS {
            return Err(self.refuse(NOT_AN_IMAGE));
        }
        let mut layers = Vec::new();
        for (path, id) in paths.into_iter().zip(ids) {
            let size = self.files.blob(&path)?.map(|section| section.left());
            layers.push(Layer { path, digest: self.checksum(&id)?, size });
        }
        Ok((digest, layers, config))
    }

    fn list<'v>(&self, value: &'v Value) -> Result<&'v [Value], Error> {
        match value.as_array() {
            Some(list) if list.len() <= MAX_LAYERS => Ok(list),
            _ => Err(self.refuse(NOT_AN_IMAGE)),
        }
    }

    /// The digest in a descriptor.
    fn digest(&self, value: &Value) -> Result<Checksum, Error> {
        if !value["size"].is_u64() {
            return Err(self.refuse(NOT_AN_IMAGE));
        }
        self.checksum(string(&value["digest"]))
    }

    fn checksum(&self, text: &str) -> Result<Checksum, Error> {
        text.parse().map_err(|_| self.refuse(NOT_AN_IMAGE))
    }

    /// Reads the document with this SHA-256.
    fn document(&self, digest: Checksum) -> Result<Value, Error> {
        let path = blob(digest);
        let bytes = self.named(&path)?;
        same(&format!("{}: {path}", self.name), digest, Checksum::of_bytes(&bytes))?;
        self.parse(&path, &bytes)
    }

    fn parse(&self, path: &str, bytes: &[u8]) -> Result<Value, Error> {
        serde_json::from_slice(bytes).map_err(|error| self.refuse(&format!("{path}: {error}")))
    }

    /// Reads the bytes of the document `path`.
    fn named(&self, path: &str) -> Result<Vec<u8>, Error> {
        let section = self.files.blob(path)?.ok_or_else(|| self.missing(path))?;
        self.whole(section)
    }

    fn whole(&self, mut section: Section) -> Result<Vec<u8>, Error> {
        if section.left() > MAX_DOCUMENT_BYTES {
            return Err(self.refuse(NOT_AN_IMAGE));
        }
        let mut bytes = vec![0; usize::try_from(section.left()).unwrap_or_default()];
        section.all(&mut bytes).map_err(Error::file("read", self.name))?;
        Ok(bytes)
    }

    fn layer(&self, layer: &Layer) -> Result<Section, Error> {
        let section = self.files.blob(&layer.path)?.ok_or_else(|| self.missing(&layer.path))?;
        // The limits of its content depend on the length.
        if layer.size.is_some_and(|size| size != section.left()) {
            return Err(self.refuse(&format!("{} is not as long as the image says", layer.path)));
        }
        Ok(section)
    }

    fn missing(&self, path: &str) -> Error {
        self.refuse(&format!(
            "{path} is missing: a layer that is stored elsewhere, or an incomplete copy"
        ))
    }
}

/// The rule for a file of an unknown form.
const NOT_AN_IMAGE: &str = "it is not an OCI layout with index.json, and not an archive of docker save (docker export writes no image)";

/// The path of a blob in a layout.
fn blob(digest: Checksum) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests;
