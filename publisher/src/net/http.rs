//! HTTP GET, with the host's root certificates and timeouts. Transient errors are marked.

use crate::{error::shown, net::tls_roots};
use std::{io::Read, time::Duration};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time without data.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For a whole response, in addition to the time for its size at [`MIN_RATE`].
const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);
/// Minimum average transfer rate, in bytes per second.
const MIN_RATE: u64 = 256 << 10;
/// Most redirects that are followed.
const MAX_REDIRECTS: u32 = 10;

/// A response with status 2xx.
pub(crate) struct Response<R> {
    /// Its address after redirects.
    pub(crate) address: String,
    /// The body.
    pub(crate) body: R,
}

/// Why a request failed, and whether it may be retried.
pub(crate) type Failure = (String, bool);

/// Requests `address`; about `size` bytes are expected. User name and password in the address are sent
/// to its own server only, as basic authentication, not to the target of a redirect. A redirect from https
/// to http is refused.
///
/// # Errors
/// The reason, without the address.
pub(crate) fn get(
    address: &str,
    accept: &str,
    size: u64,
) -> Result<Response<impl Read + use<>>, Failure> {
    let mut url = Url::parse(address).map_err(|error| (error.to_string(), false))?;
    let mut credentials = credentials(&mut url);
    for _ in 0..=MAX_REDIRECTS {
        let response = send(&url, credentials.as_ref(), accept, size)?;
        let (status, headers, body) = response.split();
        if status.is_success() {
            return Ok(Response { address: url.into(), body });
        }
        let location = headers.get("Location").filter(|_| status.is_redirection());
        let Some(location) = location else {
            let passing = status.is_server_error() || status == 429;
            return Err((format!("HTTP status {}", status.as_u16()), passing));
        };
        let next = url.join(&String::from_utf8_lossy(location.as_bytes()));
        let mut next = next.map_err(|error| (format!("invalid redirect: {error}"), false))?;
        if url.scheme() == "https" && next.scheme() != "https" {
            let next = shown::address(next.as_str());
            return Err((
                format!("redirect to {next} refused: it leads from https to http"),
                false,
            ));
        }
        let own = self::credentials(&mut next);
        let kept = credentials.filter(|_| url.origin() == next.origin());
        credentials = own.or(kept);
        url = next;
    }
    Err((format!("more than {MAX_REDIRECTS} redirects"), false))
}

/// Sends one request.
fn send(
    url: &Url,
    credentials: Option<&(String, String)>,
    accept: &str,
    size: u64,
) -> Result<attohttpc::Response, Failure> {
    let mut request = attohttpc::get(url.as_str())
        .follow_redirects(false)
        .header("Accept", accept)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(TOTAL_TIMEOUT + Duration::from_secs(size / MIN_RATE));
    if let Some((name, password)) = credentials {
        request = request.basic_auth(name, Some(password));
    }
    if url.scheme() == "https" {
        for certificate in tls_roots::host_roots() {
            request = request.add_root_certificate(certificate.clone());
        }
    }
    request.send().map_err(|error| (error.to_string(), true))
}

/// Removes user name and password from an address, and returns them.
fn credentials(url: &mut Url) -> Option<(String, String)> {
    let plain = |text: &str| percent_decoded(text);
    let (name, password) = (plain(url.username()), plain(url.password().unwrap_or_default()));
    if name.is_empty() && password.is_empty() {
        return None;
    }
    // These fail only for addresses without a host, which have no user name either.
    _ = url.set_username("");
    _ = url.set_password(None);
    Some((name, password))
}

/// Decodes percent-encoding (`%2b` → `+`). Invalid UTF-8 is replaced.
pub(crate) fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::mpsc,
        thread,
    };

    #[test]
    fn credentials_are_taken_out_of_an_address() {
        let mut url = Url::parse("https://me:s%2bcret@example.org/").unwrap();
        assert_eq!(credentials(&mut url), Some(("me".into(), "s+cret".into())));
        assert_eq!(url.as_str(), "https://example.org/");
    }

    /// A server that sends `answer` to all requests, and records their heads.
    fn serve(answer: String) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (sender, heads) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                _ = sender.send(head.join("\n"));
                _ = stream.write_all(answer.as_bytes());
            }
        });
        (host, heads)
    }

    fn redirect(to: &str) -> String {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    }

    /// SEC-E14: credentials stay with the server they are for, and no message has any.
    #[test]
    fn a_redirect_gets_no_credentials() {
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let (last, heads) = serve(OK.to_owned());
        let (first, first_heads) = serve(redirect(&format!("http://{last}/b?sig=x")));
        let answer = get(&format!("http://me:secret@{first}/a"), "*/*", 0);
        assert_eq!(answer.ok().unwrap().address, format!("http://{last}/b?sig=x"));
        assert!(first_heads.recv().unwrap().to_lowercase().contains("authorization: basic "));
        let head = heads.recv().unwrap().to_lowercase();
        assert!(head.starts_with("get /b?sig=x ") && !head.contains("authorization"), "{head}");
        // They are sent to the same server again; credentials in the redirect's address take precedence.
        let (again, heads) = serve(redirect("/next"));
        let (reason, passing) = get(&format!("http://me:secret@{again}/"), "*/*", 0).err().unwrap();
        assert_eq!((reason.as_str(), passing), ("more than 10 redirects", false));
        assert!(heads.iter().take(3).all(|it| it.to_lowercase().contains("authorization: basic ")));
        let (closed, _) = serve(redirect("ftp://u:secret@example.org/x?sig=y"));
        let (reason, _) = get(&format!("http://{closed}/"), "*/*", 0).err().unwrap();
        assert!(!reason.contains("secret") && !reason.contains("sig=y"), "{reason}");
    }
}
