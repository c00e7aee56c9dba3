//! The HTTP proxy for a server, from the environment variables that curl(1) uses.

use crate::env;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::IpAddr;
use url::{Host, Url};

/// An HTTP proxy that tunnels connections (CONNECT, RFC 9110, section 9.3.6).
pub(super) struct Proxy {
    url: Url,
}

/// The proxy for https to `server`, if one is configured.
///
/// # Errors
/// When a variable is set but names no usable proxy: a direct connection would ignore the user's
/// setting.
pub(super) fn for_server(server: &Url) -> Result<Option<Proxy>, String> {
    let value = |names: [&str; 2]| names.into_iter().find_map(env::nonempty_var);
    let Some(named) =
        value(["https_proxy", "HTTPS_PROXY"]).or_else(|| value(["all_proxy", "ALL_PROXY"]))
    else {
        return Ok(None);
    };
    let past = value(["no_proxy", "NO_PROXY"]).unwrap_or_default();
    if server.host().is_some_and(|host| is_excluded(&host, &past)) {
        return Ok(None);
    }
    Proxy::parse(&named).map(Some).ok_or_else(|| {
        "HTTPS_PROXY or ALL_PROXY is not an http:// or https:// URL; correct or unset it".into()
    })
}

/// Whether `list`, the value of `NO_PROXY`, matches the host. An item is a domain, which includes its
/// subdomains, an IP address, or a network such as `10.0.0.0/8`.
fn is_excluded(host: &Host<&str>, list: &str) -> bool {
    let list = list.trim();
    let mut entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    let is_in = |address: IpAddr, entry: &str| is_in(address, entry.trim_matches(['[', ']']));
    list == "*"
        || entries.any(|entry| match *host {
            Host::Domain(name) => is_below(name, entry),
            Host::Ipv4(address) => is_in(address.into(), entry),
            Host::Ipv6(address) => is_in(address.into(), entry),
        })
}

fn is_below(name: &str, domain: &str) -> bool {
    let domain = domain.trim_matches('.').to_ascii_lowercase();
    let rest = name.trim_end_matches('.').strip_suffix(&domain);
    rest.is_some_and(|rest| !domain.is_empty() && (rest.is_empty() || rest.ends_with('.')))
}

fn is_in(address: IpAddr, network: &str) -> bool {
    let bits = |address| match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    let (base, length) = network.split_once('/').unwrap_or((network, "128"));
    let (Ok(base), Ok(length)) = (base.parse().map(bits), length.parse::<u32>()) else {
        return false;
    };
    let own = bits(address);
    let differ = own.1 ^ base.1;
    own.0 == base.0 && length <= 128 && differ.leading_zeros() >= length.min(own.0)
}

impl Proxy {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // As curl(1): the default scheme is http.
        let scheme = if text.contains("://") { "" } else { "http://" };
        let url = Url::parse(&format!("{scheme}{text}")).ok()?;
        let usable = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        usable.then_some(Self { url })
    }

    /// Host, port, and whether the connection to the proxy itself uses TLS.
    pub(super) fn endpoint(&self) -> (Host<&str>, u16, bool) {
        let host = self.url.host().unwrap_or(Host::Domain(""));
        let port = self.url.port_or_known_default().unwrap_or_default();
        (host, port, self.url.scheme() == "https")
    }

    /// The value of `Proxy-Authorization`, if the URL has a user name.
    pub(super) fn authorization(&self) -> Option<String> {
        let user = decoded(self.url.username());
        let password = decoded(self.url.password().unwrap_or_default());
        let who = [&user[..], &password].join(&b':');
        (who.len() > 1).then(|| format!("Basic {}", STANDARD.encode(who)))
    }
}

impl fmt::Display for Proxy {
    /// Host and port only: the URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, _) = self.endpoint();
        write!(f, "{host}:{port}")
    }
}

/// Decodes percent-encoding.
fn decoded(text: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let byte = tail.get(..2).filter(|_| *first == b'%').and_then(|it| hex::decode(it).ok());
        rest = if byte.is_some() { &tail[2..] } else { tail };
        plain.push(byte.map_or(*first, |byte| byte[0]));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_named_as_for_curl() {
        for (text, want) in [
            ("http://proxy.example:3128", Some(("proxy.example:3128", false, None))),
            ("proxy.example:3128", Some(("proxy.example:3128", false, None))),
            ("10.0.0.1:3128", Some(("10.0.0.1:3128", false, None))),
            (" http://proxy.example/ ", Some(("proxy.example:80", false, None))),
            ("https://[::1]", Some(("[::1]:443", true, None))),
            ("user:p%40s%3As@proxy:1", Some(("proxy:1", false, Some("user:p@s:s")))),
            ("http://user@proxy:1", Some(("proxy:1", false, Some("user:")))),
            ("socks5://proxy:1080", None),
            ("http://", None),
            ("proxy:99999", None),
            ("nonsense with spaces", None),
        ] {
            let proxy = Proxy::parse(text);
            let got = proxy.as_ref().map(|proxy| {
                let who = proxy.authorization().map(|basic| {
                    let plain = STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
                    String::from_utf8(plain).unwrap()
                });
                (proxy.to_string(), proxy.endpoint().2, who)
            });
            let want =
                want.map(|(place, tls, who)| (place.to_owned(), tls, who.map(str::to_owned)));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn hosts_are_left_out_as_by_curl() {
        for (list, host, want) in [
            ("", "example.org", false),
            (",", "example.org", false),
            ("a, ,b,", "example.org", false),
            (" * ", "example.org", true),
            ("*,x", "example.org", false),
            ("example.org", "example.org", true),
            ("x .Example.ORG.", "a.example.org", true),
            ("example.org", "evilexample.org", false),
            ("a.example.org", "example.org", false),
            ("10.0.0.0/8,x", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("fe80::/10 [::1]", "[fe80::1]", true),
            ("::1", "[::1]", true),
            ("::1", "[::2]", false),
            ("0.0.0.0/0", "[::1]", false),
        ] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            assert_eq!(is_excluded(&url.host().unwrap(), list), want, "{list:?} {host}");
        }
    }
}
