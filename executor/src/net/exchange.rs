//! One request and its response, on a connection that is kept alive where possible.

use super::address::Address;
use super::connection::{self, Fault, MIN_RATE};
use super::failure::Failure;
use super::message::{Body, Head};
use super::pool::Connection;
use super::proxy;
use crate::env;
use std::fmt;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Time allowed for any response, as a multiple of the idle timeout, before the minimum rate applies.
const ANSWER_TIMEOUTS: u32 = 5;
/// Longest unwanted body, in bytes, that is read to the end so that its connection can be reused.
const MAX_UNUSED: u64 = 16 << 10;

/// Names and values of the header fields of a request.
pub(super) type Headers<'a> = &'a [(&'static str, &'a str)];

/// A response whose body is read under a deadline.
pub(crate) struct Response {
    head: Head,
    body: Body,
    /// None once it is returned to the pool.
    connection: Option<Connection>,
    /// The address that was requested.
    target: Address,
    asked_at: Instant,
    received: u64,
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(connection) = &mut self.connection else { return Ok(0) };
        connection.set_deadline(self.asked_at + time_allowed(self.received));
        let count = connection.read(&mut self.body, buffer)?;
        self.received += count as u64;
        if self.body == Body::Length(0) {
            self.release_unless_waiting();
        }
        Ok(count)
    }
}

/// How long a response may take until `received` bytes have arrived.
fn time_allowed(received: u64) -> Duration {
    env::timeout() * ANSWER_TIMEOUTS + Duration::from_secs(received / MIN_RATE)
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

    /// The status code.
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// The value of a header field, if it is printable ASCII; `name` is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The remaining length of the body, in bytes, if the server stated it.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.body {
            Body::Length(length) => Some(length),
            Body::Chunked(_) | Body::Close => None,
        }
    }

    /// Reads the rest of an unwanted body if it is short, so that the connection can be reused.
    pub(crate) fn discard(mut self) {
        // On failure the connection is closed, as it is for a long body.
        _ = io::copy(&mut self.by_ref().take(MAX_UNUSED), &mut io::sink());
    }

    /// How many requests were pipelined behind this one and have no response yet.
    pub(crate) fn waiting(&self) -> usize {
        self.connection.as_ref().map_or(0, Connection::waiting)
    }

    /// Whether requests may be pipelined before this response has ended: the server has answered before
    /// on this connection, and keeps it alive.
    pub(crate) fn may_pipeline(&self) -> bool {
        let keeps = self.head.keeps_connection() && !matches!(self.body, Body::Close);
        keeps && self.connection.as_ref().is_some_and(Connection::is_proven)
    }

    /// Pipelines another request to the same address; [`Response::next`] returns its response.
    ///
    /// # Errors
    /// The failure to write.
    pub(crate) fn pipeline(&mut self, headers: Headers<'_>) -> Result<(), Fault> {
        let request = request(&self.target, headers).map_err(io::Error::other)?;
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected);
        Ok(connection.map_err(io::Error::from)?.send(&request)?)
    }

    /// The response to the next pipelined request; this response must have been read to the end.
    ///
    /// # Errors
    /// The failure to read.
    pub(crate) fn next(mut self) -> Result<Self, Fault> {
        let connection = self.connection.take().ok_or(io::ErrorKind::NotConnected);
        let mut connection = connection.map_err(io::Error::from)?;
        if self.body != Body::Length(0) || !self.head.keeps_connection() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let asked_at = Instant::now();
        connection.set_deadline(asked_at + time_allowed(0));
        let head = connection.receive()?;
        Ok(Self::new((head.body()?, head), connection, self.target, asked_at))
    }

    fn release_unless_waiting(&mut self) {
        if self.connection.as_ref().is_some_and(|connection| connection.waiting() == 0) {
            self.release();
        }
    }

    /// Returns the connection to the pool, or closes it.
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

/// Formats a GET of `target`.
///
/// # Errors
/// The header field that is not printable ASCII.
fn request(target: &Address, headers: Headers<'_>) -> Result<String, String> {
    let url = target.url();
    let mut request = format!("GET {}", url.path());
    if let Some(query) = url.query() {
        request = request + "?" + query;
    }
    // No user name, password or fragment: an Address has none.
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

/// A request whose response is read later.
pub(super) struct PendingRequest {
    connection: Connection,
    target: Address,
    since: Instant,
}

impl PendingRequest {
    /// Requests `target` on a connection of the pool; none if the pool has none to its server.
    pub(super) fn send(target: &Address, headers: Headers<'_>) -> Option<Self> {
        let mut connection = Connection::take_idle(target.url())?;
        let since = Instant::now();
        connection.set_deadline(since + time_allowed(0));
        connection.send(&request(target, headers).ok()?).ok()?;
        Some(Self { connection, target: target.clone(), since })
    }

    /// Its response; none if the connection was closed instead.
    pub(super) fn answer(self) -> Option<Response> {
        let Self { mut connection, target, since } = self;
        let head = connection.receive().ok()?;
        Some(Response::new((head.body().ok()?, head), connection, target, since))
    }
}

/// Sends one request and reads the head of its response; `asked_at` is when the first request of a
/// chain of redirects was made.
///
/// On a connection that was kept alive before, requests for the ranges `ahead` are pipelined behind it:
/// [`Response::next`] returns their responses, [`Response::waiting`] counts them.
pub(super) fn send(
    target: &Address,
    headers: Headers<'_>,
    ahead: &[String],
    asked_at: Instant,
) -> Result<Response, Failure> {
    let request = request(target, headers).map_err(|reason| Failure::permanent(target, reason))?;
    let deadline = asked_at + time_allowed(0);
    // The server closed an idle connection before this request reached it: it is sent again.
    if let Some(connection) = Connection::take_idle(target.url()) {
        let ahead = ahead.iter().map(|range| self::request(target, &[("Range", range)]));
        let row: Vec<_> = std::iter::once(request.clone()).chain(ahead.flatten()).collect();
        match answer(connection, &row, deadline) {
            Ok((body, head, connection)) if head.status != REQUEST_TIMEOUT => {
                return Ok(Response::new((body, head), connection, target.clone(), asked_at));
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Failure::of_connection(target, &error.into(), None));
            }
            _ => {}
        }
    }
    // No proxy for plain http: it goes to this host, or to one that the configuration marks insecure.
    let proxy = if target.is_plain() { Ok(None) } else { proxy::for_server(target.url()) };
    let proxy = proxy.map_err(|reason| Failure::permanent(target, reason))?;
    let open = || {
        let stream = connection::open(target.url(), proxy.as_ref(), deadline)?;
        Ok(answer(Connection::new(stream, target.url()), &[request], deadline)?)
    };
    let (body, head, connection) = open().map_err(|fault: Fault| {
        Failure::of_connection(target, &fault, proxy.as_ref().map(ToString::to_string))
    })?;
    Ok(Response::new((body, head), connection, target.clone(), asked_at))
}

/// "Request Timeout": the server closed an idle connection just when a request was sent.
const REQUEST_TIMEOUT: u16 = 408;

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
    fn the_time_limit_of_a_response_depends_on_its_size() {
        assert_eq!(time_allowed(0), Duration::from_secs(300));
        assert_eq!(time_allowed(1 << 20), Duration::from_secs(300 + 1024));
    }
}
