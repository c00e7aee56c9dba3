//! GET, with the certificates of the host and a time limit. Errors that may pass by themselves are marked.

use crate::{error::shown, net::tls_roots};
use std::{io::Read, time::Duration};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For an answer, beside what its size may take.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);
/// The slowest connection that is waited for, in bytes a second.
const SLOWEST: u64 = 256 << 10;
/// Most redirects that are followed.
const MAX_REDIRECTS: u32 = 10;

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
/// to its own server, as basic authentication, and to no other that it redirects to. No redirect leads
/// from https to http.
///
/// # Errors
/// What happened, without the address.
pub(crate) fn get(
    address: &str,
    accept: &str,
    size: u64,
) -> Result<Answer<impl Read + use<>>, Refusal> {
    let mut url = Url::parse(address).map_err(|error| (error.to_string(), false))?;
    let mut credentials = credentials(&mut url);
    for _ in 0..=MAX_REDIRECTS {
        let response = ask(&url, credentials.as_ref(), accept, size)?;
        let (status, headers, body) = response.split();
        if status.is_success() {
            return Ok(Answer { address: url.into(), body });
        }
        let location = headers.get("Location").filter(|_| status.is_redirection());
        let Some(location) = location else {
            let passing = status.is_server_error() || status == 429;
            return Err((format!("HTTP status {}", status.as_u16()), passing));
        };
        let next = url.join(&String::from_utf8_lossy(location.as_bytes()));
        let mut next = next.map_err(|error| (format!("a broken redirect: {error}"), false))?;
        if url.scheme() == "https" && next.scheme() != "https" {
            let next = shown::address(next.as_str());
            return Err((format!("redirect to {next} refused: it leaves https"), false));
        }
        let own = self::credentials(&mut next);
        let kept = credentials.filter(|_| url.origin() == next.origin());
        credentials = own.or(kept);
        url = next;
    }
    Err((format!("more than {MAX_REDIRECTS} redirects"), false))
}

/// One request.
fn ask(
    url: &Url,
    credentials: Option<&(String, String)>,
    accept: &str,
    size: u64,
) -> Result<attohttpc::Response, Refusal> {
    let mut request = attohttpc::get(url.as_str())
        .follow_redirects(false)
        .header("Accept", accept)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(TOTAL_TIMEOUT + Duration::from_secs(size / SLOWEST));
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

/// `%2b` → `+`. What is not UTF-8 then is replaced.
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

    /// A server that answers all requests so, and reports their heads.
    fn serve(answer: String) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (tell, heads) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                _ = tell.send(head.join("\n"));
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
    fn a_redirect_takes_no_credentials_along() {
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let (last, heads) = serve(OK.to_owned());
        let (first, first_heads) = serve(redirect(&format!("http://{last}/b?sig=x")));
        let answer = get(&format!("http://me:secret@{first}/a"), "*/*", 0);
        assert_eq!(answer.ok().unwrap().address, format!("http://{last}/b?sig=x"));
        assert!(first_heads.recv().unwrap().to_lowercase().contains("authorization: basic "));
        let head = heads.recv().unwrap().to_lowercase();
        assert!(head.starts_with("get /b?sig=x ") && !head.contains("authorization"), "{head}");
        // To the same server they go on; an address's own credentials count more.
        let (again, heads) = serve(redirect("/next"));
        let (reason, passing) = get(&format!("http://me:secret@{again}/"), "*/*", 0).err().unwrap();
        assert_eq!((reason.as_str(), passing), ("more than 10 redirects", false));
        assert!(heads.iter().take(3).all(|it| it.to_lowercase().contains("authorization: basic ")));
        let (closed, _) = serve(redirect("ftp://u:secret@example.org/x?sig=y"));
        let (reason, _) = get(&format!("http://{closed}/"), "*/*", 0).err().unwrap();
        assert!(!reason.contains("secret") && !reason.contains("sig=y"), "{reason}");
    }
}
