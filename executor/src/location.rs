//! Where a registry is, and where its archives are.

use crate::address::Address;
use crate::error::Error;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use url::{Host, Url};

/// The registry that is used when nobody says otherwise.
const DEFAULT_REGISTRY: &str = "ehsaniara/joblet-runtimes";

/// The name of the document in a registry directory.
const DOCUMENT: &str = "registry.json";

/// Where something can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file of this host.
    File(PathBuf),
    /// An address: https, or http on loopback.
    Http(Address),
}

impl Location {
    /// Where the `registry.json` of the registry called `text` is.
    ///
    /// `text` is a directory or file that exists, an address, or `owner/repo` on GitHub.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is none of these, [`Error::Net`] for an address that is not used.
    pub fn of_registry(text: &str) -> Result<Self, Error> {
        let path = Path::new(text);
        if !text.contains("://") && (path.exists() || text.starts_with('.')) {
            return Ok(Self::local(path));
        }
        Self::of_configured(text).and_then(|found| {
            found.ok_or_else(|| {
                Error::Usage(format!(
                    "registry {text:?} is no existing directory or file, no address and no \
                     owner/repo"
                ))
            })
        })
    }

    /// As [`Location::of_registry`], but the same in whatever directory it is said: `None` for a
    /// relative path.
    ///
    /// # Errors
    /// [`Error::Net`] for an address that is not used.
    pub fn of_configured(text: &str) -> Result<Option<Self>, Error> {
        if text.contains("://") {
            return registry_url(text).map(|url| Some(Self::Http(Address::new(url))));
        }
        let path = Path::new(text);
        if path.is_absolute() {
            return Ok(Some(Self::local(path)));
        }
        Ok(github(text).map(|url| Self::Http(Address::new(url))))
    }

    /// The registry that is used when nobody says otherwise.
    pub fn default_registry() -> Self {
        let url = github(DEFAULT_REGISTRY).expect("the default is owner/repo");
        Self::Http(Address::new(url))
    }

    /// The document of a registry on this host.
    fn local(path: &Path) -> Self {
        Self::File(if path.is_dir() { path.join(DOCUMENT) } else { path.to_owned() })
    }

    /// The file beside this one whose name is longer by `suffix`.
    #[must_use]
    pub fn beside(&self, suffix: &str) -> Self {
        match self {
            Self::File(path) => {
                let mut path = path.clone().into_os_string();
                path.push(suffix);
                Self::File(path.into())
            }
            Self::Http(address) => {
                let mut url = Url::clone(address);
                url.set_path(&format!("{}{suffix}", address.path()));
                Self::Http(address.lead(url))
            }
        }
    }

    /// Where `download_url` of the registry at `self` leads.
    ///
    /// # Errors
    /// The reason why it is not followed: another scheme, plain http, out of the directory.
    pub fn of_archive(&self, download_url: &str) -> Result<Self, String> {
        match (Url::parse(download_url), self) {
            (Ok(url), Self::Http(registry)) => {
                allowed(&url).map(|()| Self::Http(registry.lead(url)))
            }
            (Ok(url), Self::File(_)) => allowed(&url).map(|()| Self::Http(Address::new(url))),
            (Err(_), Self::Http(registry)) => {
                let url = registry.join(download_url).map_err(|error| error.to_string())?;
                allowed(&url).map(|()| Self::Http(registry.lead(url)))
            }
            (Err(_), Self::File(registry)) => {
                let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
                let path = Path::new(download_url);
                if download_url.is_empty() || !path.components().all(inside) {
                    return Err("a path in a local registry must stay in its directory".into());
                }
                Ok(Self::File(registry.parent().unwrap_or(Path::new("")).join(path)))
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Http(url) => url.fmt(f),
        }
    }
}

/// Whether this program talks to `url` at all.
///
/// # Errors
/// The reason why not.
pub fn allowed(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address must not carry a user name or password".into());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err("plain http is used for this host itself only; use https".into()),
        scheme => Err(format!("{scheme:?} addresses are not used; use https")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn registry_url(text: &str) -> Result<Url, Error> {
    let refuse = |reason| Error::Net { url: text.to_owned(), reason };
    let mut url = Url::parse(text).map_err(|error| refuse(error.to_string()))?;
    allowed(&url).map_err(refuse)?;
    if url.host_str() == Some("github.com") {
        let repository = url.path().trim_matches('/').trim_end_matches(".git");
        if let Some(raw) = github(repository) {
            return Ok(raw);
        }
    }
    if Path::new(url.path()).extension().is_none_or(|extension| extension != "json") {
        let directory = format!("{}/{DOCUMENT}", url.path().trim_end_matches('/'));
        url.set_path(&directory);
    }
    Ok(url)
}

/// The fixed address that Joblet's client reads for `owner/repo`.
fn github(repository: &str) -> Option<Url> {
    let (owner, name) = repository.split_once('/')?;
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    (plain(owner) && plain(name)).then_some(())?;
    Url::parse(&format!("https://raw.githubusercontent.com/{owner}/{name}/main/{DOCUMENT}")).ok()
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
            ("./no-such-directory", "./no-such-directory"),
            ("/no/such.json", "/no/such.json"),
        ] {
            assert_eq!(Location::of_registry(text).unwrap().to_string(), want, "{text}");
        }
        let directory = tempfile::tempdir().unwrap();
        let location = Location::of_registry(directory.path().to_str().unwrap()).unwrap();
        assert_eq!(location, Location::File(directory.path().join("registry.json")));
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
            ("nonsense", "is no existing directory"),
            ("a/b/c", "is no existing directory"),
            ("", "is no existing directory"),
        ] {
            let error = Location::of_registry(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn archives_are_found_beside_their_registry() {
        let web = Location::of_registry("https://example.org/r/registry.json").unwrap();
        let local = Location::File("/r/registry.json".into());
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
