//! Reads a published registry: its document, indexes and archives.

use crate::{
    error::{Error, shown},
    fs::paths,
    net::http,
    pack::{self, MAX_PART},
};
use flate2::read::GzDecoder;
use joblet_format::{
    Artifact, Checksum, MAX_REGISTRY_BYTES, Part, Registry, Repository,
    index::{Index, MAX_INDEX_BYTES},
};
use sha2::{Digest, Sha256};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// The location of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The URL of `registry.json`.
    Address(String),
    /// The path of `registry.json`.
    File(PathBuf),
}

impl Place {
    /// Parses the URL or path of the document or its directory, `owner/repo`, or the URL of its GitHub page.
    pub(crate) fn new(text: &str) -> Self {
        let is_document = Path::new(text).extension().is_some_and(|it| it == "json");
        let name = || text.trim_end_matches('/').trim_end_matches(".git").parse().ok();
        let repository = Repository::of_page(text)
            .or_else(|| (!Path::new(text).exists()).then(name).flatten())
            .filter(|_| !is_document);
        if let Some(repository) = repository {
            return Self::Address(repository.registry());
        }
        let document = if is_document {
            text.to_owned()
        } else {
            format!("{}/registry.json", text.trim_end_matches('/'))
        };
        if is_web(text) { Self::Address(document) } else { Self::File(document.into()) }
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::File`]; [`Error::Config`] if it is refused.
    pub(crate) fn registry(&self) -> Result<Registry, Error> {
        let (shown, body) = match self {
            Self::Address(address) => (shown::address(address), open_address(address)?),
            Self::File(path) => (path.display().to_string(), open_file(path, path)?),
        };
        let bytes = read(body, MAX_REGISTRY_BYTES, &shown)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::config(shown, format!("is not a registry: {error}")))
    }

    /// Writes the archive, with its parts joined, to `to`, and returns its length and SHA-256.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::File`].
    pub(crate) fn copy_archive(
        &self,
        artifact: &Artifact,
        to: &mut dyn Write,
    ) -> Result<(u64, Checksum), Error> {
        let (mut size, mut hash, mut buffer) = (0, Sha256::new(), vec![0; 64 << 10]);
        let mut files = self.joined(&artifact.download_url, &artifact.parts);
        loop {
            let read = files.read(&mut buffer)?;
            if read == 0 {
                return Ok((size, Checksum::from_digest(hash.finalize().into())));
            }
            hash.update(&buffer[..read]);
            to.write_all(&buffer[..read]).map_err(Error::file("write", "a temporary file"))?;
            size += read as u64;
        }
    }

    /// The file at `url`, or `parts` if there are any, one after the other.
    pub(crate) fn joined<'p>(&'p self, url: &'p str, parts: &'p [Part]) -> Joined<'p> {
        let parts = parts.iter().map(|part| part.download_url.as_str());
        let mut urls: VecDeque<_> = parts.collect();
        if urls.is_empty() {
            urls.push_back(url);
        }
        Joined { place: self, urls, open: None }
    }

    /// Reads and verifies the index of the archive, if it has one.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::File`]; [`Error::Differs`] if its checksum differs.
    pub(crate) fn index(&self, artifact: &Artifact) -> Result<Option<Index>, Error> {
        let Some((shown, bytes)) = self.index_file(artifact)? else { return Ok(None) };
        let plain = read(Box::new(GzDecoder::new(bytes.as_slice())), MAX_INDEX_BYTES, &shown)?;
        Index::parse(&plain).map(Some).map_err(|rule| Error::config(shown, rule))
    }

    /// As [`Place::index`], as it is published, and its address.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn index_file(
        &self,
        artifact: &Artifact,
    ) -> Result<Option<(String, Vec<u8>)>, Error> {
        let Some(expected) = artifact.index else { return Ok(None) };
        let url = pack::index_path(artifact.download_url.as_ref()).display().to_string();
        let (shown, body) = self.open(&url)?;
        let bytes = read(body, MAX_INDEX_BYTES, &shown)?;
        is_served(&shown, expected.checksum, Checksum::of_bytes(&bytes))?;
        Ok(Some((shown, bytes)))
    }

    /// Opens `url`, as written in the document.
    fn open(&self, url: &str) -> Result<(String, Box<dyn Read>), Error> {
        if is_web(url) {
            if matches!(self, Self::Address(document) if leaves_https(document, url)) {
                let reason = "is not on https, as its registry is";
                return Err(Error::config(shown::address(url), reason));
            }
            return Ok((shown::address(url), open_address(url)?));
        }
        match self {
            Self::Address(document) => {
                let document = document.split(['?', '#']).next().unwrap_or_default();
                let base = document.rsplit_once('/').map_or("", |(base, _)| base);
                let address = format!("{base}/{url}");
                Ok((shown::address(&address), open_address(&address)?))
            }
            Self::File(document) => {
                let path = document.with_file_name("").join(url);
                Ok((path.display().to_string(), open_file(document, &path)?))
            }
        }
    }
}

/// Consecutive files of a registry. Each is opened at the end of the previous one.
pub(crate) struct Joined<'p> {
    place: &'p Place,
    /// Addresses of files that are not open yet.
    urls: VecDeque<&'p str>,
    /// Address and rest of the open file.
    open: Option<(String, Box<dyn Read>)>,
}

impl Joined<'_> {
    /// Reads some bytes into `buffer`, which is not empty; 0 at the end.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::File`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if let Some((shown, body)) = &mut self.open {
                let count = body.read(buffer).map_err(|error| broken(shown, &error))?;
                if count > 0 {
                    return Ok(count);
                }
            }
            let Some(url) = self.urls.pop_front() else { return Ok(0) };
            self.open = Some(self.place.open(url)?);
        }
    }

    /// The next `length` bytes, or those up to the end.
    ///
    /// # Errors
    /// As [`Joined::read`].
    pub(crate) fn next(&mut self, length: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read(&mut bytes[filled..])? {
                0 => bytes.truncate(filled),
                count => filled += count,
            }
        }
        Ok(bytes)
    }

    /// Whether there are more.
    ///
    /// # Errors
    /// As [`Joined::read`].
    pub(crate) fn more(&mut self) -> Result<bool, Error> {
        Ok(self.read(&mut [0])? > 0)
    }
}

/// Checks that what was read is the file that the registry names.
///
/// # Errors
/// [`Error::Differs`] about `object`.
pub(crate) fn is_served(object: &str, expected: Checksum, actual: Checksum) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::checksum(object, expected, actual, "the server has a different file"))
}

fn is_web(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn leaves_https(document: &str, url: &str) -> bool {
    document.starts_with("https://") && !url.starts_with("https://")
}

fn open_address(address: &str) -> Result<Box<dyn Read>, Error> {
    let refused = |(reason, _)| Error::Net { what: shown::address(address), reason };
    Ok(Box::new(http::get(address, "*/*", MAX_PART).map_err(refused)?.body))
}

/// Opens `path` below the directory of the registry `document`; paths and links outside are refused.
fn open_file(document: &Path, path: &Path) -> Result<Box<dyn Read>, Error> {
    let absent = || Error::file("read", path)(std::io::Error::from(std::io::ErrorKind::NotFound));
    let dir = document.parent().unwrap_or(Path::new(""));
    Ok(Box::new(paths::open_below(dir, path)?.ok_or_else(absent)?))
}

fn broken(shown: &str, error: &std::io::Error) -> Error {
    Error::Net { what: shown.to_owned(), reason: error.to_string() }
}

fn read(body: Box<dyn Read + '_>, limit: u64, shown: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    body.take(limit + 1).read_to_end(&mut bytes).map_err(|error| broken(shown, &error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::config(shown, format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-E13, SEC-E14
    #[test]
    fn a_registry_on_https_names_no_other_address() {
        let place = Place::Address("https://example.org/registry.json".into());
        for url in ["http://127.0.0.1:9/a?sig=x", "http://[::1]/a", "http://u:p@example.org/a"] {
            let error = place.open(url).err().unwrap().to_string();
            assert!(
                error.ends_with("/a: is not on https, as its registry is") || error.contains("?…")
            );
            assert!(!error.contains("sig=x") && !error.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn places_are_interpreted_as_by_joblet_exec() {
        let raw = "https://raw.githubusercontent.com/me/runtimes/main/registry.json";
        let address = |text: &str| Place::Address(text.to_owned());
        for (text, want) in [
            ("me/runtimes", address(raw)),
            ("https://github.com/me/runtimes", address(raw)),
            ("https://github.com/me/runtimes.git", address(raw)),
            ("https://example.org/r/", address("https://example.org/r/registry.json")),
            ("https://example.org/r.json", address("https://example.org/r.json")),
            ("/srv/runtimes", Place::File("/srv/runtimes/registry.json".into())),
            ("./me/runtimes", Place::File("./me/runtimes/registry.json".into())),
            ("me/r.json", Place::File("me/r.json".into())),
            ("src/site", Place::File("src/site/registry.json".into())), // a directory that exists
        ] {
            assert_eq!(Place::new(text), want, "{text}");
        }
    }
}
