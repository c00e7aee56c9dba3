//! One request and its answer, on a connection that is kept where it can be.

use super::address::Address;
use super::connection::{self, Fault, SLOWEST};
use super::failure::Failure;
use super::message::{Body, Head};
use super::pool::Connection;
use super::proxy;
use crate::env;
use std::fmt;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// How many times as long as a server may be silent its answer may take, however slow it is.
const ANSWER_TIMEOUTS: u32 = 5;
/// Longest body of an answer that is of no use and still read, in bytes, to keep its connection.
const MAX_UNUSED: u64 = 16 << 10;

/// Names and values of what a request says beside its address.
pub(super) type Headers<'a> = &'a [(&'static str, &'a str)];

/// An answer whose body is read no longer than is reasonable.
pub(crate) struct Response {
    head: Head,
    body: Body,
    /// None once it is kept for others.
    connection: Option<Connection>,
    /// Where it came from.
    target: Address,
    asked_at: Instant,
    received: u64,
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(connection) = &mut self.connection else { return Ok(0) };
        connection.set_deadline(self.asked_at + longest(self.received));
        let count = connection.read(&mut self.body, buffer)?;
        self.received += count as u64;
        if self.body == Body::Length(0) {
            self.release_unless_waiting();
        }
        Ok(count)
    }
}

/// How long `received` bytes may take to arrive.
fn longest(received: u64) -> Duration {
    env::timeout() * ANSWER_TIMEOUTS + Duration::from_secs(received / SLOWEST)
}

impl Response {
    fn new(
        (body, head): (Body, Head),
        connection: Connection,
        target: Address,
        asked_at: Instant,
    ) -> Self {
        let connection = Some(connection);
        let mut response = Self { head, body, connection, target, asked_at, received: 0 };
        if response.body == Body::Length(0) {
            response.release_unless_waiting();
        }
        response
    }

    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// The value of a header, if it is plain text; `name` is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// What of the body is still to come, in bytes, where that is said.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.body {
            Body::Length(length) => Some(length),
            Body::Chunked(_) | Body::Close => None,
        }
    }

    /// Reads what is left of a body that is of no use, if that is little: then its connection is kept.
    pub(crate) fn discard(mut self) {
        // One that fails is closed, as one of too much is.
        _ = io::copy(&mut self.by_ref().take(MAX_UNUSED), &mut io::sink());
    }

    /// Requests that were sent behind this one and are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.connection.as_ref().map_or(0, Connection::waiting)
    }

    /// Whether further requests may be sent before this answer has ended: the server has answered
    /// before on this connection, and keeps it.
    pub(crate) fn may_ask_ahead(&self) -> bool {
        let keeps = self.head.keeps_connection() && !matches!(self.body, Body::Close);
        keeps && self.connection.as_ref().is_some_and(Connection::is_proven)
    }

    /// Sends another request to the same place, whose answer [`Response::next`] returns.
    ///
    /// # Errors
    /// What writing answers.
    pub(crate) fn ask_ahead(&mut self, headers: Headers<'_>) -> Result<(), Fault> {
        let request = request(&self.target, headers).map_err(io::Error::other)?;
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected);
        Ok(connection.map_err(io::Error::from)?.send(&request)?)
    }

    /// The answer to the request that was sent ahead; this one was read to the end.
    ///
    /// # Errors
    /// What reading it answers.
    pub(crate) fn next(mut self) -> Result<Self, Fault> {
        let connection = self.connection.take().ok_or(io::ErrorKind::NotConnected);
        let mut connection = connection.map_err(io::Error::from)?;
        if self.body != Body::Length(0) || !self.head.keeps_connection() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let asked_at = Instant::now();
        connection.set_deadline(asked_at + longest(0));
        let head = connection.receive()?;
        Ok(Self::new((head.body()?, head), connection, self.target, asked_at))
    }

    fn release_unless_waiting(&mut self) {
        if self.connection.as_ref().is_some_and(|connection| connection.waiting() == 0) {
            self.release();
        }
    }

    /// Keeps the connection for others, or closes it.
    fn release(&mut self) {
        let connection = self.connection.take().filter(|_| self.head.keeps_connection());
        if let Some(connection) = connection {
            connection.keep();
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Response").field(&self.head).finish()
    }
}

/// A GET of `target`.
///
/// # Errors
/// Which header would not be plain text.
fn request(target: &Address, headers: Headers<'_>) -> Result<String, String> {
    let url = target.url();
    let mut request = format!("GET {}", url.path());
    if let Some(query) = url.query() {
        request = request + "?" + query;
    }
    // Neither a name nor a port is followed by anything else.
    let host = url.as_str().split('/').nth(2).unwrap_or_default();
    request = request + " HTTP/1.1\r\nHost: " + host;
    request += concat!("\r\nUser-Agent: joblet-exec/", env!("CARGO_PKG_VERSION"));
    request += "\r\nAccept: */*\r\n";
    let token = target.authorization();
    let token = token.as_deref().map(|token| ("Authorization", token));
    for (name, value) in headers.iter().copied().chain(token) {
        if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
            return Err(format!("what would be sent as {name} is not plain text"));
        }
        request = request + name + ": " + value + "\r\n";
    }
    Ok(request + "\r\n")
}

/// A request whose answer is waited for later.
pub(super) struct Asked {
    connection: Connection,
    target: Address,
    since: Instant,
}

impl Asked {
    /// Asks for `target` on a connection that is kept; none if there is none to its server.
    pub(super) fn on_kept(target: &Address, headers: Headers<'_>) -> Option<Self> {
        let mut connection = Connection::kept(target.url())?;
        let since = Instant::now();
        connection.set_deadline(since + longest(0));
        connection.send(&request(target, headers).ok()?).ok()?;
        Some(Self { connection, target: target.clone(), since })
    }

    /// Its answer; none if the connection was closed instead.
    pub(super) fn answer(self) -> Option<Response> {
        let Self { mut connection, target, since } = self;
        let head = connection.receive().ok()?;
        Some(Response::new((head.body().ok()?, head), connection, target, since))
    }
}

/// One request, and the head of its answer; `asked_at` is when the first one of a row was made.
///
/// On a connection that has proven to be kept those with the headers `ahead` follow at once:
/// [`Response::next`] returns their answers, of which there are [`Response::waiting`].
pub(super) fn send(
    target: &Address,
    headers: Headers<'_>,
    ahead: &[String],
    asked_at: Instant,
) -> Result<Response, Failure> {
    let request = request(target, headers).map_err(|reason| Failure::lasting(target, reason))?;
    let deadline = asked_at + longest(0);
    // Whoever closed a connection that was kept did so before this request: it is made once more.
    if let Some(connection) = Connection::kept(target.url()) {
        let ahead = ahead.iter().map(|range| self::request(target, &[("Range", range)]));
        let row: Vec<_> = std::iter::once(request.clone()).chain(ahead.flatten()).collect();
        match answer(connection, &row, deadline) {
            Ok((body, head, connection)) if head.status != TOO_LATE => {
                return Ok(Response::new((body, head), connection, target.clone(), asked_at));
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Failure::of_connection(target, &error.into(), None));
            }
            _ => {}
        }
    }
    // Plain http is for this host, or for those that nothing is kept from.
    let proxy = if target.is_plain() { Ok(None) } else { proxy::of(target.url()) };
    let proxy = proxy.map_err(|reason| Failure::lasting(target, reason))?;
    let open = || {
        let stream = connection::open(target.url(), proxy.as_ref(), deadline)?;
        Ok(answer(Connection::new(stream, target.url()), &[request], deadline)?)
    };
    let (body, head, connection) = open().map_err(|fault: Fault| {
        Failure::of_connection(target, &fault, proxy.as_ref().map(ToString::to_string))
    })?;
    Ok(Response::new((body, head), connection, target.clone(), asked_at))
}

/// How a server says that it waited too long for a request, which was sent at that moment.
const TOO_LATE: u16 = 408;

fn answer(
    mut connection: Connection,
    requests: &[String],
    deadline: Instant,
) -> io::Result<(Body, Head, Connection)> {
    connection.set_deadline(deadline);
    for request in requests {
        connection.send(request)?;
    }
    let head = connection.receive()?;
    Ok((head.body()?, head, connection))
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
