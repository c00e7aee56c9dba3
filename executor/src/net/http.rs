//! GET over https, with limits on redirects, retries and time.

use super::address::Address;
use super::connection::{self, Deadline, Fault, SLOWEST, Stream};
use super::message::{Body, Head};
use super::proxy;
use super::retry::{LONGEST_WAIT, Tries};
use crate::cli::escape::shown;
use crate::env;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// How many times as long as a server may be silent its answer may take, however slow it is.
const ANSWER_TIMEOUTS: u32 = 5;

/// An answer whose body is read no longer than is reasonable.
pub struct Response {
    head: Head,
    body: Body,
    stream: BufReader<Box<dyn Stream>>,
    deadline: Deadline,
    asked_at: Instant,
    received: u64,
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.set(self.asked_at + longest(self.received));
        let count = self.body.read(&mut self.stream, buffer)?;
        self.received += count as u64;
        Ok(count)
    }
}

/// How long `received` bytes may take to arrive.
fn longest(received: u64) -> Duration {
    env::timeout() * ANSWER_TIMEOUTS + Duration::from_secs(received / SLOWEST)
}

impl Response {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The value of a header, if it is plain text; `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Length of the body, in bytes, where that is said.
    pub fn length(&self) -> Option<u64> {
        match self.body {
            Body::Length(length) => Some(length),
            Body::Chunked(_) | Body::Close => None,
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Response").field(&self.head).finish()
    }
}

/// Asks for `url` and returns the answer once its status is a success.
///
/// Network failures, 429 and 5xx are tried again; other answers are final.
///
/// # Errors
/// [`Error::Net`] with the address that failed and the reason.
pub fn get(url: &Address) -> Result<Response, Error> {
    ask(url, &[], &mut Tries::new())
}

/// What a server calls the bytes of an answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Validators {
    /// Those of an answer.
    pub fn of(response: &Response) -> Self {
        let header = |name| response.header(name).map(str::to_owned);
        Self { etag: header("etag"), last_modified: header("last-modified") }
    }
}

/// As [`get`], unless the server still has what `known` stands for: then the status is 304.
///
/// # Errors
/// As [`get`].
pub fn get_if_changed(url: &Address, known: &Validators) -> Result<Response, Error> {
    let mut headers = Vec::new();
    headers.extend(known.etag.as_deref().map(|value| ("If-None-Match", value)));
    headers.extend(known.last_modified.as_deref().map(|value| ("If-Modified-Since", value)));
    ask(url, &headers, &mut Tries::new())
}

/// What a server has of a file that is here in part.
#[derive(Debug)]
pub enum Resumed {
    /// Exactly the rest.
    Rest(Response),
    /// All of it: the server knows no ranges, or has other bytes by now.
    Whole(Response),
    /// Something else.
    Neither(Error),
}

/// Asks for the bytes of `url` from `offset` on, of `size` that it has in all, in bytes, if they are
/// still those that `etag` was said of.
///
/// # Errors
/// As [`get`].
pub fn resume(
    url: &Address,
    offset: u64,
    size: u64,
    etag: Option<&str>,
    tries: &mut Tries,
) -> Result<Resumed, Error> {
    let range = format!("bytes={offset}-");
    let mut headers = vec![("Range", range.as_str())];
    headers.extend(etag.map(|etag| ("If-Range", etag)));
    let response = ask(url, &headers, tries)?;
    if response.status() == 200 {
        return Ok(Resumed::Whole(response));
    }
    let wanted = format!("bytes {offset}-{}/{size}", size.saturating_sub(1));
    Ok(match require_range(url, response, &wanted) {
        Ok(response) => Resumed::Rest(response),
        Err(error) => Resumed::Neither(error),
    })
}

/// Asks for the bytes of `url` from `offset` on, of `size` that it has in all, in bytes.
///
/// Returns the answer and how much of its body comes before `offset`: all of it from a server that
/// knows no ranges, or that has other bytes by now than those that `etag` was said of.
///
/// # Errors
/// As [`get`]; also when the answer is another range.
pub fn get_rest(
    url: &Address,
    offset: u64,
    size: u64,
    etag: Option<&str>,
    tries: &mut Tries,
) -> Result<(Response, u64), Error> {
    match resume(url, offset, size, etag, tries)? {
        Resumed::Rest(response) => Ok((response, 0)),
        Resumed::Whole(response) => Ok((response, offset)),
        Resumed::Neither(error) => Err(error),
    }
}

/// Asks for `range` of the `size` bytes that `url` has in all.
///
/// # Errors
/// As [`get`]; also when the answer is anything else than that range.
pub fn get_range(
    url: &Address,
    range: Range<u64>,
    size: u64,
    tries: &mut Tries,
) -> Result<Response, Error> {
    let (first, last) = (range.start, range.end.saturating_sub(1));
    let response = ask(url, &[("Range", &format!("bytes={first}-{last}"))], tries)?;
    require_range(url, response, &format!("bytes {first}-{last}/{size}"))
}

/// Passes an answer on if it is the part of the file that was asked for.
fn require_range(url: &Address, response: Response, wanted: &str) -> Result<Response, Error> {
    let got = response.header("content-range");
    if response.status() == 206 && got == Some(wanted) {
        return Ok(response);
    }
    let (got, status) = (got.unwrap_or("no range"), spoken(response.status()));
    let reason = format!("asked for {wanted:?}, the server answered {got:?} and {status}");
    Err(Error::Net { url: url.to_string(), reason })
}

/// The entity tag of an answer, if it stands for exact bytes.
pub fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.header("etag")?;
    (etag.len() > 2 && etag.starts_with('"')).then(|| etag.to_owned())
}

/// One request, tried again as long as `tries` allows.
fn ask(
    url: &Address,
    headers: &[(&'static str, &str)],
    tries: &mut Tries,
) -> Result<Response, Error> {
    loop {
        match try_get(url, headers) {
            Ok(response) => return Ok(response),
            Err(Failure { error, passing: true, asked }) => tries.again_after(asked, error)?,
            Err(Failure { error, .. }) => return Err(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, passing: false, asked: None }
    }
}

/// Why one try failed, and whether another one may succeed.
struct Failure {
    error: Error,
    passing: bool,
    /// How long the server asks to wait.
    asked: Option<Duration>,
}

fn try_get(url: &Address, headers: &[(&'static str, &str)]) -> Result<Response, Failure> {
    let asked_at = Instant::now();
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let failure = failure(&url);
        let response = send(&url, headers, asked_at)?;
        let status = response.status();
        let unchanged = status == 304 && !headers.is_empty();
        let no_range = status == 416 && headers.iter().any(|(name, _)| *name == "Range");
        if (200..300).contains(&status) || unchanged || no_range {
            return Ok(response);
        }
        if !(300..400).contains(&status) {
            return Err(refusal(&url, &response));
        }
        let Some(target) = response.header("location") else {
            let reason = format!("the server answered {} without an address", spoken(status));
            return Err(failure(reason, false));
        };
        let refuse = |reason: &str| {
            failure(format!("redirect to {} refused: {reason}", shown(target)), false)
        };
        let next = url.with_url(target).map_err(|reason| refuse(&reason))?;
        // https never leads back to http, not even on loopback.
        if next.is_plain() && !url.is_plain() {
            return Err(refuse("it leaves https"));
        }
        // A token that was left behind once does not come back.
        url = if url.authorization().is_some() { next } else { next.without_token() };
    }
    Err(failure(&url)(format!("more than {MAX_REDIRECTS} redirects"), false))
}

/// One request, and the head of its answer.
fn send(
    url: &Address,
    headers: &[(&'static str, &str)],
    asked_at: Instant,
) -> Result<Response, Failure> {
    let (failure, target) = (failure(url), url.url());
    let mut request = format!("GET {}", target.path());
    if let Some(query) = target.query() {
        request = request + "?" + query;
    }
    // Neither a name nor a port is followed by anything else.
    let host = target.as_str().split('/').nth(2).unwrap_or_default();
    request = request + " HTTP/1.1\r\nHost: " + host;
    request += concat!("\r\nUser-Agent: joblet-exec/", env!("CARGO_PKG_VERSION"));
    request += "\r\nAccept: */*\r\nConnection: close\r\n";
    let token = url.authorization();
    let token = token.as_deref().map(|token| ("Authorization", token));
    for (name, value) in headers.iter().copied().chain(token) {
        if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
            return Err(failure(format!("what would be sent as {name} is not plain text"), false));
        }
        request = request + name + ": " + value + "\r\n";
    }
    request += "\r\n";
    // Plain http is for this host, or for those that nothing is kept from.
    let proxy = if url.is_plain() { Ok(None) } else { proxy::of(target) };
    let proxy = proxy.map_err(|reason| failure(reason, false))?;
    let deadline = Deadline::new(asked_at + longest(0));
    let answer = || {
        let mut stream = connection::open(target, proxy.as_ref(), &deadline)?;
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let mut stream = BufReader::new(stream);
        let head = Head::read(&mut stream)?;
        Ok((head.body()?, head, stream))
    };
    let (body, head, stream) = answer().map_err(|fault: Fault| {
        let mut reason = match &fault {
            Fault::Io(error) => explain_io(error),
            Fault::Proxy(status) => format!("the proxy answered {}", spoken(*status)),
        };
        if let Some(proxy) = &proxy {
            reason = format!("{reason} (proxy {proxy})");
        }
        failure(reason, is_passing(&fault))
    })?;
    Ok(Response { head, body, stream, deadline, asked_at, received: 0 })
}

/// A status in digits and in words.
fn spoken(status: u16) -> String {
    let words = match status {
        200 => "OK",
        206 => "Partial Content",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        410 => "Gone",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => return status.to_string(),
    };
    format!("{status} {words}")
}

/// A failure at `url`, by its reason.
fn failure(url: &Address) -> impl Fn(String, bool) -> Failure + use<> {
    let url = url.to_string();
    move |reason, passing| Failure {
        error: Error::Net { url: url.clone(), reason },
        passing,
        asked: None,
    }
}

/// What an answer means that is neither a success nor a redirect.
fn refusal(url: &Address, response: &Response) -> Failure {
    let status = response.status();
    let passing = matches!(status, 429 | 500..600);
    let asked = response.header("retry-after").and_then(|value| value.parse().ok());
    let asked = asked.map(Duration::from_secs);
    let hint = match (status, url.authorization()) {
        (401 | 403, Some(_)) => "; is the registry's token valid?".to_owned(),
        (401 | 403, None) => "; if it needs a token, configure the registry's auth".to_owned(),
        _ => match asked.filter(|asked| *asked > LONGEST_WAIT) {
            Some(asked) => format!("; try again in {} s", asked.as_secs()),
            None => String::new(),
        },
    };
    let reason = format!("the server answered {}{hint}", spoken(status));
    Failure { asked, ..failure(url)(reason, passing) }
}

/// Whether the same request may succeed a moment later.
fn is_passing(fault: &Fault) -> bool {
    match fault {
        // What a handshake or a head says will be the same next time, and so will this host's files.
        Fault::Io(error) => {
            !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        }
        Fault::Proxy(status) => (500..600).contains(status),
    }
}

/// What a failed read or write of a connection means.
pub fn explain_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", env::timeout().as_secs())
        }
        io::ErrorKind::UnexpectedEof => "the connection ended early".into(),
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?".into(),
        io::ErrorKind::InvalidInput => error.to_string(),
        _ if error.to_string().contains("failed to lookup address") => {
            "the host's name has no address; is the network up?".into()
        }
        _ if error.to_string().contains("certificate") => {
            format!("{error}; check the clock and whether a proxy re-signs connections")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-C07
    #[test]
    fn an_answer_may_take_as_long_as_it_is_large() {
        assert_eq!(longest(0), Duration::from_secs(300));
        assert_eq!(longest(1 << 20), Duration::from_secs(300 + 1024));
    }
}
