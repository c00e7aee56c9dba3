//! An address: who may lead to it, and the token for it.

use crate::cli::escape::HIDDEN;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use url::{Host, Url};

/// An address that is used, with the token of the registry that named it where it is in that token's
/// reach.
///
/// It has no user name and no password. Its query may be a secret: `Display` and `Debug` leave it out,
/// and [`Address::url`], for requests, alone has it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    url: Url,
    token: Option<Arc<Token>>,
    /// Whether plain http may be used, for a registry that must be signed.
    insecure: bool,
}

/// A secret, and where it may be shown: below the directory of the registry that it was given for.
#[derive(PartialEq, Eq)]
pub(crate) struct Token {
    value: String,
    /// Scheme, host, port and path of the directory count.
    scope: Url,
}

/// The address that `text` is; none if it is a relative one.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Option<Url>, String> {
    // Refused, since parsers would leave them out, or take a backslash for a slash.
    if text.contains(|letter: char| letter.is_control() || letter == '\\') {
        return Err("an address has no control characters and no backslashes".into());
    }
    match Url::parse(text) {
        // To some `https:a/b` is relative and `https:///a` has no host, to others the host is `a`.
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
    /// The address that somebody on this host names: a user, a configuration, a local registry.
    /// `insecure` is for plain http elsewhere.
    ///
    /// # Errors
    /// The reason why it is not used.
    pub(crate) fn named(url: Url, insecure: bool) -> Result<Self, String> {
        Self { url: url.clone(), token: None, insecure }.follow(url)
    }

    /// The address `text`, resolved against this one; the token goes along.
    ///
    /// # Errors
    /// The reason why it is not followed.
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
            return Err("only a registry on this host leads to addresses of this host".into());
        }
        match url.scheme() {
            "https" => {}
            "http" if here || self.insecure => {}
            "http" => return Err("plain http is used for this host itself only; use https".into()),
            scheme => return Err(format!("{scheme:?} addresses are not used; use https")),
        }
        // Never sent, and possibly a secret.
        url.set_fragment(None);
        Ok(Self { url, token: self.token.clone(), insecure: self.insecure })
    }

    /// The same address with a token for everything below the directory that it is in.
    #[must_use]
    pub(crate) fn with_token(self, value: String) -> Self {
        let scope = self.url.join(".").unwrap_or_else(|_| self.url.clone());
        Self { token: Some(Arc::new(Token { value, scope })), ..self }
    }

    /// The same address without a token.
    #[must_use]
    pub(crate) fn without_token(self) -> Self {
        Self { token: None, ..self }
    }

    /// The address of the file whose name is longer by `suffix`.
    #[must_use]
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        let mut beside = self.clone();
        beside.url.set_path(&format!("{}{suffix}", self.url.path()));
        beside
    }

    /// The whole of it, for requests: never to be shown.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether what is sent there can be read and changed on the way.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// What tells it from every other address and betrays no secret.
    pub(crate) fn key(&self) -> String {
        match self.url.query() {
            Some(_) => format!("{self}#{}", hex::encode(Sha256::digest(self.url.as_str()))),
            None => self.to_string(),
        }
    }

    /// The value of `Authorization` for a request there, if a token is meant for that place.
    pub(crate) fn authorization(&self) -> Option<String> {
        let token = self.token.as_ref().filter(|token| token.reaches(&self.url))?;
        Some(format!("Bearer {}", token.value))
    }
}

impl Token {
    fn reaches(&self, url: &Url) -> bool {
        // A server may take `..%2f` for a way out of the directory.
        let plain = !url.path().to_ascii_lowercase().contains("%2f");
        url.origin() == self.scope.origin() && url.path().starts_with(self.scope.path()) && plain
    }
}

/// Whether `url` is on this host, by its text alone. `0.0.0.0` reaches it, too.
fn is_this_host(url: &Url) -> bool {
    let here = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => here(address.into()),
        Some(Host::Ipv6(address)) => {
            // ::ffff:127.0.0.1 is, and so was ::127.0.0.1.
            let old = address.to_ipv4().is_some_and(|it: Ipv4Addr| here(it.into()));
            here(address.into()) || old
        }
        None => false,
    }
}

/// Whether a host's name is one of loopback, which nobody is asked for (RFC 6761, section 6.3).
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
    /// Never the secrets.
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
    fn this_host_is_not_for_others_to_ask() {
        let far = address("https://example.org/registry.json");
        let signed = Address::named(url("http://example.org/"), true).unwrap();
        let near = address("https://localhost/registry.json");
        for here in [
            "127.0.0.1",
            "127.1",
            "127.255.0.9:80",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[0:0:0:0:0:0:0:1]:8080",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "0.0.0.0",
            "0",
            "[::]",
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
