//! GET over https, with the redirects and the retries that are allowed.

use crate::error::Error;
use crate::location::allowed;
use crate::roots;
use attohttpc::{ErrorKind, Response, Session};
use std::io;
use std::ops::Range;
use std::time::Duration;
use url::Url;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Waits before the second, third and fourth try.
const WAITS: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a server, in the head as in the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often something is tried that may succeed a moment later.
#[derive(Debug)]
pub struct Tries(std::array::IntoIter<Duration, 3>);

impl Tries {
    /// Four tries: three waits between them, each longer than the one before.
    pub fn new() -> Self {
        Self(WAITS.into_iter())
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `error`, when that was the last one.
    pub fn again(&mut self, error: Error) -> Result<(), Error> {
        let wait = self.0.next().ok_or(error)?;
        std::thread::sleep(wait);
        Ok(())
    }
}

/// Asks for `url` and returns the answer once its status is a success.
///
/// Network failures, 429 and 5xx are tried again; other answers are final.
///
/// # Errors
/// [`Error::Net`] with the address that failed and the reason.
pub fn get(url: &Url) -> Result<Response, Error> {
    ask(url, &[], &mut Tries::new())
}

/// Asks for the bytes of `url` from `offset` on, of `size` that it has in all, in bytes.
///
/// Returns the answer and how much of its body comes before `offset`: all of it from a server that
/// knows no ranges, or that has other bytes by now than those that `etag` was said of.
///
/// # Errors
/// As [`get`]; also when the answer is another range.
pub fn get_rest(
    url: &Url,
    offset: u64,
    size: u64,
    etag: Option<&str>,
    tries: &mut Tries,
) -> Result<(Response, u64), Error> {
    let range = format!("bytes={offset}-");
    let mut headers = vec![("Range", range.as_str())];
    headers.extend(etag.map(|etag| ("If-Range", etag)));
    let response = ask(url, &headers, tries)?;
    if response.status().as_u16() != 206 {
        return Ok((response, offset));
    }
    let wanted = format!("bytes {offset}-{}/{size}", size.saturating_sub(1));
    expect_range(url, response, &wanted).map(|response| (response, 0))
}

/// Asks for `range` of the `size` bytes that `url` has in all.
///
/// # Errors
/// As [`get`]; also when the answer is anything else than that range.
pub fn get_range(
    url: &Url,
    range: Range<u64>,
    size: u64,
    tries: &mut Tries,
) -> Result<Response, Error> {
    let (first, last) = (range.start, range.end.saturating_sub(1));
    let response = ask(url, &[("Range", &format!("bytes={first}-{last}"))], tries)?;
    expect_range(url, response, &format!("bytes {first}-{last}/{size}"))
}

/// Passes an answer on if it is the part of the file that was asked for.
fn expect_range(url: &Url, response: Response, wanted: &str) -> Result<Response, Error> {
    let status = response.status();
    let got = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    if status.as_u16() == 206 && got == Some(wanted) {
        return Ok(response);
    }
    let got = got.unwrap_or("no range");
    let reason = format!("asked for {wanted:?}, the server answered {got:?} and {status}");
    Err(Error::Net { url: url.to_string(), reason })
}

/// The entity tag of an answer, if it stands for exact bytes.
pub fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.headers().get("etag")?.to_str().ok()?;
    (etag.len() > 2 && etag.starts_with('"')).then(|| etag.to_owned())
}

/// One request, tried again as long as `tries` allows.
fn ask(url: &Url, headers: &[(&'static str, &str)], tries: &mut Tries) -> Result<Response, Error> {
    loop {
        match try_get(url, headers) {
            Ok(response) => return Ok(response),
            Err(Failure { error, passing: true }) => tries.again(error)?,
            Err(Failure { error, passing: false }) => return Err(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, passing: false }
    }
}

/// Why one try failed, and whether another one may succeed.
struct Failure {
    error: Error,
    passing: bool,
}

fn try_get(url: &Url, headers: &[(&'static str, &str)]) -> Result<Response, Failure> {
    let mut session = Session::new();
    session.follow_redirects(false);
    session.connect_timeout(CONNECT_TIMEOUT);
    session.read_timeout(IDLE_TIMEOUT);
    session.header("User-Agent", concat!("joblet-exec/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        session.header(*name, *value);
    }
    for certificate in roots::for_url(url)? {
        session.add_root_certificate(certificate);
    }
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let failure = |reason: String, passing| Failure {
            error: Error::Net { url: url.to_string(), reason },
            passing,
        };
        let response = session
            .get(url.as_str())
            .send()
            .map_err(|error| failure(explain(&error), is_passing(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if !status.is_redirection() {
            let passing = status.is_server_error() || status.as_u16() == 429;
            return Err(failure(format!("the server answered {status}"), passing));
        }
        let target = response.headers().get("location").and_then(|value| value.to_str().ok());
        let next = target.and_then(|target| url.join(target).ok()).ok_or_else(|| {
            failure(format!("the server answered {status} without a usable address"), false)
        })?;
        allowed(&next)
            .map_err(|reason| failure(format!("redirect to {next} refused: {reason}"), false))?;
        // https never leads back to http, not even on loopback.
        if url.scheme() == "https" && next.scheme() != "https" {
            return Err(failure(format!("redirect to {next} refused: it leaves https"), false));
        }
        url = next;
    }
    let reason = format!("more than {MAX_REDIRECTS} redirects");
    Err(Failure { error: Error::Net { url: url.to_string(), reason }, passing: false })
}

/// Whether the same request may succeed a moment later.
fn is_passing(error: &attohttpc::Error) -> bool {
    match error.kind() {
        // What a TLS handshake found out will be the same next time.
        ErrorKind::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        kind => matches!(kind, ErrorKind::ConnectError { .. }),
    }
}

/// The reason in words of people who run networks.
fn explain(error: &attohttpc::Error) -> String {
    match error.kind() {
        ErrorKind::Io(source) => explain_io(source),
        ErrorKind::ConnectError { .. } => format!("{error}; is the network up?"),
        _ => error.to_string(),
    }
}

/// What a failed read or write of a connection means.
pub fn explain_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", IDLE_TIMEOUT.as_secs())
        }
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?".into(),
        _ if error.to_string().contains("failed to lookup address") => {
            "the host's name has no address; is the network up?".into()
        }
        _ if error.to_string().contains("certificate") => {
            format!("{error}; check the clock and whether a proxy re-signs connections")
        }
        _ => error.to_string(),
    }
}
