//! GET over https, with the redirects, the retries and the patience that are allowed.

use crate::address::Address;
use crate::env;
use crate::error::Error;
use crate::location::allowed;
use crate::roots;
use attohttpc::{ErrorKind, ProxySettings, Session};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::time::{Duration, Instant};
use url::Url;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Waits before the second, third and fourth try.
const WAITS: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes a second below which an answer takes too long, once it has taken [`PATIENCE`].
const SLOWEST: u64 = 1024;
/// How many times as long as a server may be silent its answer may take, however slow it is.
const PATIENCE: u32 = 5;

/// How often something is tried that may succeed a moment later.
#[derive(Debug)]
pub struct Tries(usize);

impl Tries {
    /// Four tries: three waits between them, each longer than the one before.
    pub fn new() -> Self {
        Self(0)
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `error`, when that was the last one.
    pub fn again(&mut self, error: Error) -> Result<(), Error> {
        self.again_after(None, error)
    }

    /// The same, where the server said how long to wait.
    fn again_after(&mut self, asked: Option<Duration>, error: Error) -> Result<(), Error> {
        let wait = wait(self.0, RandomState::new().hash_one(0), asked).ok_or(error)?;
        self.0 += 1;
        std::thread::sleep(wait);
        Ok(())
    }
}

/// How long to wait after the try `number`; none when it was the last, or when the server asks for
/// more than is reasonable.
///
/// `random` moves it by up to a quarter, so that many clients do not come back all at once.
fn wait(number: usize, random: u64, asked: Option<Duration>) -> Option<Duration> {
    let permille = u32::try_from(750 + random % 500).unwrap_or_default();
    let own = *WAITS.get(number)? * permille / 1000;
    let wait = asked.map_or(own, |asked| asked.max(own));
    (wait <= LONGEST_WAIT).then_some(wait)
}

/// An answer whose body is read no longer than is reasonable.
#[derive(Debug)]
pub struct Response {
    inner: attohttpc::Response,
    asked_at: Instant,
    received: u64,
}

impl Deref for Response {
    type Target = attohttpc::Response;

    fn deref(&self) -> &attohttpc::Response {
        &self.inner
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.received += count as u64;
        let promised = || self.header("content-length")?.parse::<u64>().ok();
        if count == 0 && !buffer.is_empty() && promised().is_some_and(|it| self.received < it) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.asked_at.elapsed() > longest(self.received) {
            let rate = format!("the server sends less than {SLOWEST} bytes a second");
            return Err(io::Error::other(rate));
        }
        Ok(count)
    }
}

/// How long `received` bytes may take to arrive.
fn longest(received: u64) -> Duration {
    env::timeout() * PATIENCE + Duration::from_secs(received / SLOWEST)
}

impl Response {
    /// The value of a header, if it is plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
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
    if response.status().as_u16() == 200 {
        return Ok(Resumed::Whole(response));
    }
    let wanted = format!("bytes {offset}-{}/{size}", size.saturating_sub(1));
    Ok(match expect_range(url, response, &wanted) {
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
    expect_range(url, response, &format!("bytes {first}-{last}/{size}"))
}

/// Passes an answer on if it is the part of the file that was asked for.
fn expect_range(url: &Address, response: Response, wanted: &str) -> Result<Response, Error> {
    let status = response.status();
    let got = response.header("content-range");
    if status.as_u16() == 206 && got == Some(wanted) {
        return Ok(response);
    }
    let got = got.unwrap_or("no range");
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
    let mut session = Session::new();
    session.follow_redirects(false);
    session.connect_timeout(CONNECT_TIMEOUT);
    session.read_timeout(env::timeout());
    session.header("User-Agent", concat!("joblet-exec/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        session.header(*name, *value);
    }
    let proxies = match url.scheme() {
        // That is this host itself: no proxy stands between.
        "http" => ProxySettings::builder().build(),
        _ => ProxySettings::from_env(),
    };
    session.proxy_settings(proxies.clone());
    for certificate in roots::for_url(url)? {
        session.add_root_certificate(certificate);
    }
    let asked_at = Instant::now();
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let (failure, authorization) = (failure(&url), url.authorization());
        let mut request = session.get(url.as_str());
        if let Some(value) = &authorization {
            request = request
                .try_header("Authorization", value)
                .map_err(|_| failure("its token is no plain text".into(), false))?;
        }
        let inner = request
            .send()
            .map_err(|error| failure(explain(&error, proxies.for_url(&url)), is_passing(&error)))?;
        let response = Response { inner, asked_at, received: 0 };
        let status = response.status();
        let unchanged = status.as_u16() == 304 && !headers.is_empty();
        let no_range = status.as_u16() == 416 && headers.iter().any(|(name, _)| *name == "Range");
        if status.is_success() || unchanged || no_range {
            return Ok(response);
        }
        if !status.is_redirection() {
            return Err(refusal(&url, &response));
        }
        let next = response.header("location").and_then(|target| url.join(target).ok());
        let next = next.ok_or_else(|| {
            failure(format!("the server answered {status} without a usable address"), false)
        })?;
        allowed(&next)
            .map_err(|reason| failure(format!("redirect to {next} refused: {reason}"), false))?;
        // https never leads back to http, not even on loopback.
        if url.scheme() == "https" && next.scheme() != "https" {
            return Err(failure(format!("redirect to {next} refused: it leaves https"), false));
        }
        // A token that was left behind once does not come back.
        url = if authorization.is_some() { url.lead(next) } else { Address::new(next) };
    }
    Err(failure(&url)(format!("more than {MAX_REDIRECTS} redirects"), false))
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
    let passing = status.is_server_error() || status.as_u16() == 429;
    let asked = response.header("retry-after").and_then(|value| value.parse().ok());
    let asked = asked.map(Duration::from_secs);
    let hint = match (status.as_u16(), url.authorization()) {
        (401 | 403, Some(_)) => "; is the registry's token valid?".to_owned(),
        (401 | 403, None) => "; if it needs a token, configure the registry's auth".to_owned(),
        _ => match asked.filter(|asked| *asked > LONGEST_WAIT) {
            Some(asked) => format!("; try again in {} s", asked.as_secs()),
            None => String::new(),
        },
    };
    Failure { asked, ..failure(url)(format!("the server answered {status}{hint}"), passing) }
}

/// Whether the same request may succeed a moment later.
fn is_passing(error: &attohttpc::Error) -> bool {
    match error.kind() {
        // What a TLS handshake found out will be the same next time.
        ErrorKind::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        ErrorKind::ConnectError { status_code, .. } => status_code.is_server_error(),
        _ => false,
    }
}

/// The reason in words of people who run networks, and the proxy that stands between.
fn explain(error: &attohttpc::Error, proxy: Option<&Url>) -> String {
    let reason = match error.kind() {
        ErrorKind::Io(source) => explain_io(source),
        ErrorKind::ConnectError { status_code, .. } => format!("the proxy answered {status_code}"),
        _ => error.to_string(),
    };
    // No more of the proxy's address, which may hold a password.
    match proxy.and_then(|proxy| Some((proxy.host_str()?, proxy.port_or_known_default()?))) {
        Some((host, port)) => format!("{reason} (proxy {host}:{port})"),
        None => reason,
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

    /// SEC-D06
    #[test]
    fn waits_grow_are_jittered_and_end() {
        let quick = |number, random| wait(number, random, None).map(|wait| wait.as_millis());
        assert_eq!([0, 1, 2].map(|number| quick(number, 0)), [Some(225), Some(750), Some(2250)]);
        assert_eq!([0, 1, 2].map(|n| quick(n, 999)), [Some(374), Some(1249), Some(3747)]);
        assert_eq!(quick(3, 0), None);
        let asked = |seconds| wait(0, 0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0), Some(Duration::from_millis(225)));
        assert_eq!(asked(1), Some(Duration::from_secs(1)));
        assert_eq!(asked(60), Some(LONGEST_WAIT));
        assert_eq!(asked(86_400), None);
    }

    /// SEC-C07
    #[test]
    fn an_answer_may_take_as_long_as_it_is_large() {
        assert_eq!(longest(0), Duration::from_secs(300));
        assert_eq!(longest(1 << 20), Duration::from_secs(300 + 1024));
    }
}
