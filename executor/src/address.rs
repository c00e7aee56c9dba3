//! An address, and the token that may be shown there.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use url::Url;

/// An address, with the token of the registry that named it where it is in that token's reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    token: Option<Arc<Token>>,
}

/// A secret, and where it may be shown: below the directory of the registry that it was given for.
#[derive(PartialEq, Eq)]
pub struct Token {
    value: String,
    /// Scheme, host, port and path of the directory count.
    scope: Url,
}

impl Address {
    /// `url` without any token.
    pub fn new(url: Url) -> Self {
        Self { url, token: None }
    }

    /// The same address with a token for everything below the directory that it is in.
    #[must_use]
    pub fn with_token(self, value: String) -> Self {
        let scope = self.url.join(".").unwrap_or_else(|_| self.url.clone());
        let token = Some(Arc::new(Token { value, scope }));
        Self { url: self.url, token }
    }

    /// `url` as this address leads to it: the token goes along.
    #[must_use]
    pub fn lead(&self, url: Url) -> Self {
        Self { url, token: self.token.clone() }
    }

    /// The value of `Authorization` for a request there, if a token is meant for that place.
    pub fn authorization(&self) -> Option<String> {
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

impl Deref for Address {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl fmt::Debug for Token {
    /// Never the secret itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token for {}", self.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-C08
    #[test]
    fn a_token_is_shown_below_its_registry_only() {
        let url = |text: &str| Url::parse(text).unwrap();
        let registry = Address::new(url("https://example.org/org/registry.json"));
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
            ("http://example.org/org/a", false),
            ("https://sub.example.org/org/a", false),
            ("https://example.org@evil.org/org/a", false),
            ("https://example.org.evil.org/org/a", false),
        ] {
            let got = registry.lead(url(there)).authorization();
            assert_eq!(got, shown.then(|| "Bearer s3cret".to_owned()), "{there}");
        }
        let root = Address::new(url("http://127.0.0.1:80/registry.json")).with_token("t".into());
        assert!(root.lead(url("http://127.0.0.1/x")).authorization().is_some());
        assert!(Address::new(url("https://example.org/")).authorization().is_none());
    }
}
