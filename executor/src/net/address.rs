//! URLs that requests are sent to: which are allowed, and which token goes with them.

use crate::cli::escape::HIDDEN;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use url::{Host, Url};

/// A URL that passed the checks of [`Address::from_user`] or [`Address::with_url`], with the token of the
/// registry that named it, if the URL is in the token's scope.
///
/// It has no user name and no password. Its query may be a secret: `Display` and `Debug` omit it, and
/// only [`Address::url`], for requests, includes it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    url: Url,
    token: Option<Arc<Token>>,
    /// Whether plain http is allowed: only for a registry that must be signed.
    insecure: bool,
}

/// A bearer token and the URLs that it may be sent to: those below the directory of its registry.
#[derive(PartialEq, Eq)]
pub(crate) struct Token {
    value: String,
    /// Compared by scheme, host, port and path of the directory.
    scope: Url,
}

/// Parses an absolute URL; `None` for a relative one.
///
/// # Errors
/// The rule that `text` breaks.
pub(crate) fn parse(text: &str) -> Result<Option<Url>, String> {
    // Refused, since URL parsers drop control characters and read a backslash as a slash.
    if text.contains(|letter: char| letter.is_control() || letter == '\\') {
        return Err("an address has no control characters and no backslashes".into());
    }
    match Url::parse(text) {
        // Parsers disagree: `https:a/b` is relative or has the host `a`, `https:///a` no host or the host `a`.
        Ok(url) if url.has_host() && !has_two_slashes(text) => {
            Err("an address has two slashes before its host".into())
        }
        Ok(url) => Ok(Some(url)),
        Err(url::ParseError::RelativeUrlWithoutBase) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn has_two_slashes(text: &str) -> bool {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest);
    rest.starts_with("//") && !rest.starts_with("///")
}

impl Address {
    /// A URL given on this host: on the command line, in the configuration, in a local registry.
    /// `insecure` allows plain http to other hosts.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn named(url: Url, insecure: bool) -> Result<Self, String> {
        Self { url: url.clone(), token: None, insecure }.follow(url)
    }

    /// The URL reference `text` (RFC 3986, section 4.1), resolved against this address; the token is kept.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn with_url(&self, text: &str) -> Result<Self, String> {
        let relative = || self.url.join(text).map_err(|error| error.to_string());
        self.follow(parse(text)?.map_or_else(relative, Ok)?)
    }

    fn follow(&self, mut url: Url) -> Result<Self, String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address must not carry a user name or password".into());
        }
        let here = is_this_host(&url);
        if here && !is_this_host(&self.url) {
            return Err("only a registry on this host may link to addresses of this host".into());
        }
        match url.scheme() {
            "https" => {}
            "http" if here || self.insecure => {}
            "http" => return Err("plain http is allowed only to this host; use https".into()),
            scheme => return Err(format!("{scheme:?} addresses are not supported; use https")),
        }
        // A fragment is never sent, and may be a secret.
        url.set_fragment(None);
        Ok(Self { url, token: self.token.clone(), insecure: self.insecure })
    }

    /// Adds a token, whose scope is the directory of this address and everything below it.
    #[must_use]
    pub(crate) fn with_token(self, value: String) -> Self {
        let scope = self.url.join(".").unwrap_or_else(|_| self.url.clone());
        Self { token: Some(Arc::new(Token { value, scope })), ..self }
    }

    /// Removes the token.
    #[must_use]
    pub(crate) fn without_token(self) -> Self {
        Self { token: None, ..self }
    }

    /// Appends `suffix` to the path.
    #[must_use]
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        let mut beside = self.clone();
        beside.url.set_path(&format!("{}{suffix}", self.url.path()));
        beside
    }

    /// The complete URL, for requests only: it may hold secrets.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is plain http, which can be read and changed on the network.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// A unique key that contains no secret: the query is hashed.
    pub(crate) fn key(&self) -> String {
        match self.url.query() {
            Some(_) => format!("{self}#{}", hex::encode(Sha256::digest(self.url.as_str()))),
            None => self.to_string(),
        }
    }

    /// The value of the `Authorization` header, if this URL is in the scope of the token.
    pub(crate) fn authorization(&self) -> Option<String> {
        let token = self.token.as_ref().filter(|token| token.reaches(&self.url))?;
        Some(format!("Bearer {}", token.value))
    }
}

impl Token {
    fn reaches(&self, url: &Url) -> bool {
        // A server may decode `..%2f` and leave the directory.
        let plain = !url.path().to_ascii_lowercase().contains("%2f");
        url.origin() == self.scope.origin() && url.path().starts_with(self.scope.path()) && plain
    }
}

/// Whether the host of `url` is this host, without a name lookup. `0.0.0.0` reaches it, too.
fn is_this_host(url: &Url) -> bool {
    let here = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => here(address.into()),
        Some(Host::Ipv6(address)) => {
            // IPv4-mapped (::ffff:127.0.0.1) and the deprecated IPv4-compatible form (::127.0.0.1).
            let old = address.to_ipv4().is_some_and(|it: Ipv4Addr| here(it.into()));
            here(address.into()) || old
        }
        None => false,
    }
}

/// Whether a host name is `localhost` or below it: resolved without DNS (RFC 6761, section 6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.url.as_str();
        match text.find('?') {
            Some(query) => write!(f, "{}{HIDDEN}", &text[..query]),
            None => f.write_str(text),
        }
    }
}

impl fmt::Debug for Address {
    /// Omits the secrets, as `Display`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::escape::{shown, shown_in};

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn address(text: &str) -> Address {
        Address::named(url(text), false).unwrap()
    }

    /// SEC-C08
    #[test]
    fn a_token_is_shown_below_its_registry_only() {
        let registry = address("https://example.org/org/registry.json");
        let registry = registry.with_token("s3cret".into());
        assert!(!format!("{registry:?} {registry}").contains("s3cret"));
        for (there, shown) in [
            ("https://example.org/org/registry.json", true),
            ("https://example.org:443/org/a/b.tar.gz?x=y", true),
            ("https://example.org/org-evil/a", false),
            ("https://example.org/org", false),
            ("https://example.org/org/../a", false),
            ("https://example.org/org/%2e%2e/a", false),
            ("https://example.org/org/..%2Fa", false),
            ("https://example.org/", false),
            ("https://example.org:444/org/a", false),
            ("https://sub.example.org/org/a", false),
            ("https://example.org.evil.org/org/a", false),
        ] {
            let got = registry.with_url(there).unwrap().authorization();
            assert_eq!(got, shown.then(|| "Bearer s3cret".to_owned()), "{there}");
        }
        let root = address("http://127.0.0.1:80/registry.json").with_token("t".into());
        assert!(root.with_url("http://127.0.0.1/x").unwrap().authorization().is_some());
        assert!(root.without_token().authorization().is_none());
    }

    /// SEC-E13
    #[test]
    fn only_this_host_names_addresses_of_this_host() {
        let far = address("https://example.org/registry.json");
        let signed = Address::named(url("http://example.org/"), true).unwrap();
        let near = address("https://localhost/registry.json");
        for here in [
            "127.0.0.1", "127.1", "127.255.0.9:80", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]",
            "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:0:0:1]:8080",
            "localhost", "LOCALHOST", "localhost.", "a.localhost", "0.0.0.0", "0", "[::]",
            "%31%32%37.0.0.1",
        ] {
            for scheme in ["http", "https", "HTTP"] {
                let there = format!("{scheme}://{here}/x");
                for registry in [&far, &signed] {
                    let refused = registry.with_url(&there).unwrap_err();
                    assert!(refused.contains("on this host"), "{there}: {refused}");
                }
                assert!(near.with_url(&there).is_ok(), "{there}");
                assert!(Address::named(url(&there), false).is_ok(), "{there}");
            }
        }
        for there in ["http://example.org/", "http://127.0.0.1.example.org/", "http://10.0.0.1/"] {
            for registry in [&far, &near] {
                assert!(registry.with_url(there).unwrap_err().contains("plain http"), "{there}");
            }
            assert!(signed.with_url(there).is_ok(), "{there}");
        }
    }

    /// SEC-E14
    #[test]
    fn secrets_in_addresses_are_not_shown() {
        let secret = "https://example.org/a/registry.json?sig=s3cret&x=https://b/#frag";
        let shown_as = "https://example.org/a/registry.json?…";
        let one = address(secret);
        assert_eq!((format!("{one}"), format!("{one:?}")), (shown_as.into(), shown_as.into()));
        assert_eq!(
            one.beside(".minisig").to_string(),
            "https://example.org/a/registry.json.minisig?…"
        );
        assert!(
            one.beside(".minisig")
                .url()
                .as_str()
                .ends_with(".json.minisig?sig=s3cret&x=https://b/")
        );
        let other = address("https://example.org/a/registry.json?sig=other");
        assert!(one.key().starts_with(shown_as) && one.key() != other.key());
        assert!(!one.key().contains("s3cret"));
        assert_eq!(address("https://example.org/r").key(), "https://example.org/r");
        for (text, want) in [
            (secret, shown_as),
            ("https://user:s3cret@example.org/x", "https://…@example.org/x"),
            ("https://s3cret@example.org", "https://…@example.org"),
            ("https://user:s3/cr@et@example.org/x", "https://…@example.org/x"),
            ("https://user:s3?cr\"e t@example.org/x", "https://…@example.org/x"),
            ("user:s3cret@example.org/x", "…@example.org/x"),
            ("https:s3cret@example.org", "…@example.org"),
            ("https:/user:s3cret@example.org/x", "…@example.org/x"),
            ("https:\\\\user:s3cret@example.org", "…@example.org"),
            ("https:///user:s3cret@example.org/x", "https:///…@example.org/x"),
            ("//user:s3cret@example.org", "//…@example.org"),
            ("user:s3cret@example.org//x", "…@example.org//x"),
            ("ftp://user:s3cret@h/x?s3cret", "ftp://…@h/x?…"),
            ("https://cdn.example.org/pkg@1.0/a.gz", "https://cdn.example.org/pkg@1.0/a.gz"),
            ("https://[::1]:80/x@y", "https://[::1]:80/x@y"),
            ("https://[::1]/x@y", "https://[::1]/x@y"),
            ("owner/repo", "owner/repo"),
        ] {
            assert_eq!(shown(text), want, "{text}");
            assert_eq!(shown(want), want);
        }
        for (text, want) in [
            (
                "x: \"https://u:p@h/?s=1\" and http://h/a?b#c: no",
                "x: \"https://…@h/?…\" and http://h/a?… no",
            ),
            ("https://h/a?…: refused; see https://h?", "https://h/a?…: refused; see https://h?"),
            ("no address: a//b?c@d", "no address: a//b?c@d"),
        ] {
            assert_eq!(shown_in(text), want);
        }
    }
}
