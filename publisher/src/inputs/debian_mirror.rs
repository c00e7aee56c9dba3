//! Addresses of Debian mirrors, from the configuration of the host. Locks do not contain them.

use crate::{
    env,
    error::{Error, shown},
    fs::paths,
    lock::Input,
    source::is_address,
};
use std::path::Path;

/// The addresses of Debian archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirrors {
    /// Address of the `debian` archive, without a trailing slash.
    pub debian: String,
    /// Address of the `debian-security` archive, without a trailing slash.
    pub security: String,
    /// A snapshot service, if one is configured.
    pub snapshot: Option<String>,
}

impl Mirrors {
    /// Mirrors from the common base address of both archives, or from that of the `debian` archive.
    fn below(address: &str) -> Self {
        let address = address.trim_end_matches('/');
        let base = address.strip_suffix("/debian").unwrap_or(address);
        let (debian, security) = (format!("{base}/debian"), format!("{base}/debian-security"));
        Self { debian, security, snapshot: None }
    }

    /// Addresses of `input`, the preferred first. `timestamp` is the lock's.
    pub(crate) fn addresses(&self, input: &Input, timestamp: &str) -> Vec<String> {
        let Some((archive, path)) = input.name.split_once('/') else { return Vec::new() };
        let base = if archive == "debian" { &self.debian } else { &self.security };
        let mut addresses = vec![format!("{base}/{path}")];
        if let Some(snapshot) = &self.snapshot {
            let time: String = timestamp.chars().filter(|c| !matches!(c, '-' | ':')).collect();
            addresses.push(format!("{snapshot}/archive/{archive}/{time}/{path}"));
        }
        addresses
    }

    /// The name in a lock for `address`, as apt printed it: `ARCHIVE/pool/…`.
    pub(crate) fn name_of(&self, address: &str) -> Option<String> {
        let below = |base: &str| address.strip_prefix(base)?.strip_prefix('/').map(str::to_owned);
        // The longer address first: one may be a prefix of the other.
        below(&self.security)
            .map(|path| format!("debian-security/{path}"))
            .or_else(|| below(&self.debian).map(|path| format!("debian/{path}")))
    }
}

/// Finds the mirrors: `option`, else the environment, else the host's apt, else apt's template.
///
/// # Errors
/// [`Error::Usage`] for a malformed address; [`Error::Config`] if no mirror is configured.
pub(crate) fn find(option: Option<&str>) -> Result<Mirrors, Error> {
    let named = option.map(str::to_owned).or_else(|| env::var(env::DEBIAN_MIRROR));
    let mut mirrors = match named {
        Some(address) if is_address(&address) => Mirrors::below(&address),
        Some(address) => {
            let address = shown::address(&address);
            let reason = format!("{address:?} is not an http or https address of a Debian mirror");
            return Err(Error::Usage(reason));
        }
        None => from_host(Path::new("/"))?,
    };
    mirrors.snapshot =
        env::var(env::DEBIAN_SNAPSHOT).map(|text| text.trim_end_matches('/').to_owned());
    Ok(mirrors)
}

/// The mirrors in the configuration of the host below `root`.
fn from_host(root: &Path) -> Result<Mirrors, Error> {
    let apt = root.join("etc/apt");
    let mut entries = Vec::new();
    for path in [vec![apt.join("sources.list")], paths::list(&apt.join("sources.list.d"))?].concat()
    {
        let Some(bytes) = paths::read_given_if_there(&path)? else { continue };
        let text = String::from_utf8_lossy(&bytes);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => entries.extend(one_line(&text)),
            Some("sources") => entries.extend(deb822(&text)),
            _ => {} // apt ignores other files too
        }
    }
    if let Some(mirrors) = from_sources(&entries) {
        return Ok(mirrors);
    }
    let template = root.join("usr/share/python-apt/templates/Debian.info");
    let text = paths::read_given_if_there(&template)?.unwrap_or_default();
    from_template(&String::from_utf8_lossy(&text)).ok_or_else(|| {
        Error::config(
            apt,
            format!(
                "no Debian mirror is configured; use --mirror URL or set {}, or install \
                 python-apt-common",
                env::DEBIAN_MIRROR
            ),
        )
    })
}

/// One apt source: address, suites, components.
#[derive(Debug, PartialEq, Eq)]
struct AptSource {
    address: String,
    suites: Vec<String>,
    components: Vec<String>,
}

/// The entries of a `.list` file: `deb [options] ADDRESS SUITE COMPONENT…`.
fn one_line(text: &str) -> Vec<AptSource> {
    let entry = |line: &str| {
        let line = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
        let line = match line.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?.1,
            None => line,
        };
        let mut words = line.split_whitespace().map(str::to_owned);
        let (address, suite) = (words.next()?, words.next()?);
        Some(AptSource { address, suites: vec![suite], components: words.collect() })
    };
    text.lines().filter_map(entry).collect()
}

/// The entries of a `.sources` file: stanzas of `Key: value`, comments within, lines continued.
fn deb822(text: &str) -> Vec<AptSource> {
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let text = text.join(
        "
",
    );
    let stanza = |stanza: &str| {
        let unfolded = stanza.replace("\n ", " ").replace("\n\t", " ");
        let value = |key: &str| {
            let mut lines = unfolded.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines.find(|(name, _)| name.trim().eq_ignore_ascii_case(key))?;
            Some(value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let disabled = value("Enabled").is_some_and(|value| value == ["no"]);
        if disabled || !value("Types")?.iter().any(|word| word == "deb") {
            return None;
        }
        let (suites, components) = (value("Suites")?, value("Components").unwrap_or_default());
        let entry =
            |address| AptSource { address, suites: suites.clone(), components: components.clone() };
        Some(value("URIs")?.into_iter().map(entry).collect::<Vec<_>>())
    };
    text.split("\n\n").filter_map(stanza).flatten().collect()
}

/// Finds the Debian archives among a host's sources.
///
/// Addresses of vendors' repositories may end in `/debian`, too: a Debian archive has a component `main`,
/// and one with a suite `SUITE-updates` is preferred.
fn from_sources(entries: &[AptSource]) -> Option<Mirrors> {
    let archives = |name: &str| {
        let suffix = format!("/{name}");
        let archive = |entry: &&AptSource| {
            is_address(&entry.address)
                && entry.address.trim_end_matches('/').ends_with(&suffix)
                && entry.components.iter().any(|component| component == "main")
        };
        entries.iter().filter(archive).collect::<Vec<_>>()
    };
    let debian = archives("debian");
    let updates =
        |entry: &&&AptSource| entry.suites.iter().any(|suite| suite.ends_with("-updates"));
    let main = debian.iter().find(updates).or(debian.first())?;
    let mut mirrors = Mirrors::below(&main.address);
    main.address.trim_end_matches('/').clone_into(&mut mirrors.debian);
    if let Some(security) = archives("debian-security").first() {
        security.address.trim_end_matches('/').clone_into(&mut mirrors.security);
    }
    Some(mirrors)
}

/// The address in apt's description of Debian: the `BaseURI` of the first stanza that has one.
fn from_template(text: &str) -> Option<Mirrors> {
    let address = text.lines().find_map(|line| line.strip_prefix("BaseURI:"))?.trim();
    is_address(address).then(|| Mirrors::below(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Kind;
    use joblet_format::Checksum;

    const DEB822: &str = "Types: deb\n# https://old.example.org\nURIs: http://a.example.org/debian/\n\
        Suites: bookworm\n bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
        Types: deb deb-src\nURIs: http://b.example.org/debian-security\nSuites: bookworm-security\n\
        Components: main\n\nTypes: deb\nEnabled: no\nURIs: http://c.example.org/debian\n\
        Suites: x-updates\nComponents: main\n";

    const ONE_LINE: &str = "# comment\ndeb https://v.example.org/packages/debian bookworm vendor\n\
        deb https://v.example.org/other/debian bookworm main\n\
        deb [arch=amd64 signed-by=/k.gpg] https://a.example.org/debian bookworm-updates main # x\n\
        deb-src https://s.example.org/debian bookworm main\n";

    #[test]
    fn sources_of_both_formats() {
        let mirrors = from_sources(&deb822(DEB822)).unwrap();
        assert_eq!(mirrors.debian, "http://a.example.org/debian");
        assert_eq!(mirrors.security, "http://b.example.org/debian-security");
        let mirrors = from_sources(&one_line(ONE_LINE)).unwrap();
        assert_eq!(mirrors.debian, "https://a.example.org/debian");
        assert_eq!(mirrors.security, "https://a.example.org/debian-security");
        let ubuntu = "deb http://u.example.org/ubuntu noble main\ndeb file:/x/debian noble main\n";
        assert_eq!(from_sources(&one_line(ubuntu)), None);
    }

    #[test]
    fn sources_of_the_host_come_before_the_template() {
        let root = tempfile::tempdir().unwrap();
        let error = from_host(root.path()).unwrap_err().to_string();
        assert!(error.contains("no Debian mirror is configured; use --mirror URL"), "{error}");
        let template = root.path().join("usr/share/python-apt/templates/Debian.info");
        let text = "Suite: sid\n\nSuite: {series}\nBaseURI: https://t.example.org/debian/\n\
                    Suite: {series}-security\nBaseURI: https://s.example.org/\n";
        paths::write(&template, text.as_bytes()).unwrap();
        assert_eq!(from_host(root.path()).unwrap().debian, "https://t.example.org/debian");
        let ignored = root.path().join("etc/apt/sources.list.d/a.list.disabled");
        paths::write(&ignored, ONE_LINE.as_bytes()).unwrap();
        let sources = root.path().join("etc/apt/sources.list.d/debian.sources");
        paths::write(&sources, DEB822.as_bytes()).unwrap();
        assert_eq!(from_host(root.path()).unwrap().debian, "http://a.example.org/debian");
    }

    #[test]
    fn addresses_and_names() {
        for address in ["https://example.org/m", "https://example.org/m/debian/"] {
            let mut mirrors = find(Some(address)).unwrap();
            mirrors.snapshot = Some("https://example.org/snapshot".into());
            let sha256 = Checksum::from_digest([1; 32]);
            let name = "debian-security/pool/a.deb".to_owned();
            let input = Input { kind: Kind::Deb, name, size: Some(1), sha256 };
            let addresses = mirrors.addresses(&input, "2026-01-31T12:00:00Z");
            assert_eq!(
                addresses,
                [
                    "https://example.org/m/debian-security/pool/a.deb".to_owned(),
                    "https://example.org/snapshot/archive/debian-security/20260131T120000Z/pool/a.deb"
                        .to_owned(),
                ]
            );
            assert_eq!(mirrors.name_of(&addresses[0]).unwrap(), input.name);
            let main = "https://example.org/m/debian/pool/b.deb";
            assert_eq!(mirrors.name_of(main).unwrap(), "debian/pool/b.deb");
            assert_eq!(mirrors.name_of("https://example.org/x/pool/b.deb"), None);
        }
        for address in ["example.org", "ftp://example.org", "https://", "http:///debian"] {
            let error = find(Some(address)).unwrap_err().to_string();
            assert!(error.contains("is not an http or https address"), "{error}");
        }
    }
}
