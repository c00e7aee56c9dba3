//! GET, with the certificates of the host and a time limit. What may pass by itself is told apart.

use crate::roots;
use std::{io::Read, time::Duration};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For an answer, beside what its size may take.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);
/// The slowest connection that is waited for, in bytes a second.
const SLOWEST: u64 = 256 << 10;

/// An answer with status 2xx.
pub(crate) struct Answer<R> {
    /// Where it came from, redirects followed.
    pub(crate) address: String,
    /// The bytes.
    pub(crate) body: R,
}

/// Why there is no answer, and whether that may pass by itself.
pub(crate) type Refusal = (String, bool);

/// Asks for `address`, of which about `size` bytes are expected. A name and password in the address go
/// to its own server, as basic authentication.
///
/// # Errors
/// What happened, without the address.
pub(crate) fn get(
    address: &str,
    accept: &str,
    size: u64,
) -> Result<Answer<impl Read + use<>>, Refusal> {
    let mut url = Url::parse(address).map_err(|error| (error.to_string(), false))?;
    let credentials = credentials(&mut url);
    let mut request = attohttpc::get(url.as_str())
        .header("Accept", accept)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(TOTAL_TIMEOUT + Duration::from_secs(size / SLOWEST));
    if let Some((name, password)) = &credentials {
        request = request.basic_auth(name, Some(password));
    }
    if url.scheme() == "https" {
        for certificate in roots::of_the_host() {
            request = request.add_root_certificate(certificate.clone());
        }
    }
    let response = request.send().map_err(|error| (error.to_string(), true))?;
    let address = response.url().to_string();
    let (status, _, body) = response.split();
    if !status.is_success() {
        let passing = status.is_server_error() || status == 429;
        return Err((format!("HTTP status {}", status.as_u16()), passing));
    }
    Ok(Answer { address, body })
}

/// Takes name and password out of an address.
fn credentials(url: &mut Url) -> Option<(String, String)> {
    let plain = |text: &str| percent_decoded(text);
    let (name, password) = (plain(url.username()), plain(url.password().unwrap_or_default()));
    if name.is_empty() && password.is_empty() {
        return None;
    }
    // Both fail for addresses without a host alone, which have no name either.
    _ = url.set_username("");
    _ = url.set_password(None);
    Some((name, password))
}

/// The address without name and password, for people.
pub(crate) fn shown(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return address.to_owned() };
    match credentials(&mut url) {
        Some(_) => url.to_string(),
        None => address.to_owned(),
    }
}

/// `%2b` → `+`. What is no UTF-8 then is replaced.
pub(crate) fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        for (address, want) in [
            ("https://me:s%2bcret@example.org/simple", "https://example.org/simple"),
            ("https://token@example.org:8443/a?b", "https://example.org:8443/a?b"),
            ("https://example.org/simple", "https://example.org/simple"),
            ("no address", "no address"),
        ] {
            assert_eq!(shown(address), want);
        }
        let mut url = Url::parse("https://me:s%2bcret@example.org/").unwrap();
        assert_eq!(credentials(&mut url), Some(("me".into(), "s+cret".into())));
        assert_eq!(url.as_str(), "https://example.org/");
    }
}
