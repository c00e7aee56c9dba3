//! The locations of a registry's document and of its archives: a local file or a URL.

use super::address::{self, Address};
use super::local::Local;
use crate::cli::escape::shown;
use crate::error::Error;
use joblet_format::Repository;
use std::fmt;
use std::path::Path;
use url::Url;

/// The file name of the document in a registry directory.
const DOCUMENT: &str = "registry.json";

/// A file to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file of a registry on this host.
    File(Local),
    /// An address.
    Http(Address),
}

impl Location {
    /// The `registry.json` of the registry `text`, as given on the command line: an existing directory or
    /// file, a URL, or `owner/repo` on GitHub, of which no directory here has the name.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is none of these, [`Error::Net`] for a URL that is refused.
    pub(crate) fn of_registry(text: &str) -> Result<Self, Error> {
        let path = Path::new(text);
        let exists = path.exists();
        // In a directory where others write, they would decide what this is.
        if exists && github(text).is_some() {
            return Err(Error::Usage(format!(
                "registry {0:?} is an owner/repo, and a file or directory here; for that, write ./{0}",
                shown(text)
            )));
        }
        if !text.contains("://") && (exists || text.starts_with('.')) {
            // Absolute, since it is recorded with what is installed from it.
            let path = std::path::absolute(path).map_err(Error::file("find", path))?;
            return Ok(Self::local(&path));
        }
        Self::of_configured(text, false).and_then(|found| {
            found.ok_or_else(|| {
                Error::Usage(format!(
                    "registry {:?} is not an existing directory or file, an address or an owner/repo",
                    shown(text)
                ))
            })
        })
    }

    /// As [`Location::of_registry`], for a configuration file, whose meaning must not depend on the current
    /// directory: `None` for a relative path. `insecure` allows plain http.
    ///
    /// # Errors
    /// [`Error::Net`] for a URL that is refused.
    pub(crate) fn of_configured(text: &str, insecure: bool) -> Result<Option<Self>, Error> {
        if text.contains("://") {
            return registry_url(text, insecure).map(|address| Some(Self::Http(address)));
        }
        let path = Path::new(text);
        if path.is_absolute() {
            return Ok(Some(Self::local(path)));
        }
        Ok(github(text).map(Self::Http))
    }

    /// The registry that is used unless one is configured or given.
    pub(crate) fn default_registry() -> Self {
        Self::Http(github(Repository::DEFAULT).expect("the default is owner/repo"))
    }

    /// The document of the registry at `path` on this host.
    fn local(path: &Path) -> Self {
        Self::File(if path.is_dir() { Local::new(path, DOCUMENT) } else { Local::from_path(path) })
    }

    /// A unique key that contains no secret.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::File(file) => file.to_string(),
            Self::Http(address) => address.key(),
        }
    }

    /// Appends `suffix` to the file name.
    #[must_use]
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        match self {
            Self::File(file) => Self::File(file.beside(suffix)),
            Self::Http(address) => Self::Http(address.beside(suffix)),
        }
    }

    /// The file name of the document; `None` if it has none, or one that is not UTF-8.
    pub(crate) fn file_name(&self) -> Option<String> {
        match self {
            Self::File(file) => Some(file.path().file_name()?.to_str()?.to_owned()),
            Self::Http(address) => Some(address.url().path_segments()?.next_back()?.to_owned()),
        }
    }

    /// Resolves `download_url` of the registry at `self`.
    ///
    /// # Errors
    /// Why it is refused: another scheme, plain http, a path outside the directory.
    pub(crate) fn of_archive(&self, download_url: &str) -> Result<Self, String> {
        let registry = match self {
            Self::Http(registry) => return registry.with_url(download_url).map(Self::Http),
            Self::File(registry) => registry,
        };
        if let Some(url) = address::parse(download_url)? {
            return Address::named(url, false).map(Self::Http);
        }
        let outside = "a path in a local registry must stay in its directory";
        registry.below(download_url).map(Self::File).ok_or(outside.into())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Http(address) => address.fmt(f),
        }
    }
}

fn registry_url(text: &str, insecure: bool) -> Result<Address, Error> {
    let refuse = |reason| Error::net(&shown(text), reason);
    let url = address::parse(text).map_err(refuse)?;
    let mut url = url.ok_or_else(|| refuse("it is not a complete address".into()))?;
    let address = Address::named(url.clone(), insecure).map_err(refuse)?;
    if url.host_str() == Some("github.com") {
        let repository = url.path().trim_matches('/').trim_end_matches(".git");
        if let Some(raw) = github(repository) {
            return Ok(raw);
        }
    }
    if Path::new(url.path()).extension().is_none_or(|extension| extension != "json") {
        let directory = format!("{}/{DOCUMENT}", url.path().trim_end_matches('/'));
        url.set_path(&directory);
        return Address::named(url, insecure).map_err(refuse);
    }
    Ok(address)
}

/// The URL that Joblet's client reads for `owner/repo`.
fn github(repository: &str) -> Option<Address> {
    let raw = repository.parse::<Repository>().ok()?.registry();
    Address::named(Url::parse(&raw).ok()?, false).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_addresses() {
        let raw = "https://raw.githubusercontent.com/me/runtimes/main/registry.json";
        for (text, want) in [
            ("me/runtimes", raw),
            ("https://github.com/me/runtimes", raw),
            ("https://github.com/me/runtimes.git", raw),
            ("https://example.org/a/registry.json", "https://example.org/a/registry.json"),
            ("https://example.org/a/", "https://example.org/a/registry.json"),
            ("https://example.org", "https://example.org/registry.json"),
            ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x/registry.json"),
            ("http://[::1]:8080", "http://[::1]:8080/registry.json"),
            ("http://localhost", "http://localhost/registry.json"),
            ("/no/such.json", "/no/such.json"),
        ] {
            assert_eq!(Location::of_registry(text).unwrap().to_string(), want, "{text}");
        }
        let here = std::env::current_dir().unwrap();
        let relative = Location::of_registry("./no-such-directory").unwrap();
        assert_eq!(relative.to_string(), here.join("no-such-directory").display().to_string());
        let directory = tempfile::tempdir().unwrap();
        let location = Location::of_registry(directory.path().to_str().unwrap()).unwrap();
        assert_eq!(location, Location::File(Local::new(directory.path(), "registry.json")));
    }

    #[test]
    fn other_addresses_are_refused() {
        for (text, reason) in [
            ("http://example.org/x", "plain http"),
            ("http://127.0.0.1.example.org/", "plain http"),
            ("ftp://example.org/x", "\"ftp\" addresses"),
            ("file:///etc/passwd", "\"file\" addresses"),
            ("https://user:secret@example.org/", "user name or password"),
            ("https://", "empty host"),
            ("nonsense", "is not an existing directory"),
            ("a/b/c", "is not an existing directory"),
            // Here, where the tests run.
            ("src/net", "for that, write ./src/net"),
            ("", "is not an existing directory"),
        ] {
            let error = Location::of_registry(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn archives_are_found_beside_their_registry() {
        let web = Location::of_registry("https://example.org/r/registry.json").unwrap();
        let local = Location::File(Local::from_path(Path::new("/r/registry.json")));
        for (registry, url, want) in [
            (&web, "a.tar.gz", Ok("https://example.org/r/a.tar.gz")),
            (&web, "../a.tar.gz", Ok("https://example.org/a.tar.gz")),
            (&web, "https://other.org/a.tar.gz", Ok("https://other.org/a.tar.gz")),
            (&web, "http://example.org/a.tar.gz", Err("plain http")),
            (&web, "file:///etc/passwd", Err("\"file\"")),
            (&web, "data:,x", Err("\"data\"")),
            (&local, "b/a.tar.gz", Ok("/r/b/a.tar.gz")),
            (&local, "https://other.org/a.tar.gz", Ok("https://other.org/a.tar.gz")),
            (&local, "../a.tar.gz", Err("stay in its directory")),
            (&local, "/etc/passwd", Err("stay in its directory")),
            (&local, "", Err("stay in its directory")),
        ] {
            match (registry.of_archive(url), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.to_string(), want, "{url}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{url}: {got}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }
}
