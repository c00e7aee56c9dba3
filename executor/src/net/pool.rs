//! Idle connections, kept alive for the next request to the same host.
//!
//! A new connection costs two round trips for TCP and TLS before its first request. A connection is kept
//! when its response has been read to the end and neither side announced to close it.

use super::connection::Stream;
use super::message::{Body, Head};
use std::io::{self, BufReader, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// How long an idle connection is kept: servers close theirs after five seconds or more.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// Most connections that are kept: a registry, a host that redirects and one that has the archives,
/// for each of the runtimes that are installed at once.
const MAX_KEPT: usize = 12;

static IDLE: Mutex<Vec<(Connection, Instant)>> = Mutex::new(Vec::new());

/// A connection to one host, on which responses come in the order of the requests.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// Scheme, host and port of the server; they determine the proxy, too.
    host: String,
    /// How many responses have been read on it.
    answers: usize,
    /// How many requests have no response yet.
    waiting: usize,
}

impl Connection {
    /// A new connection to the server of `url`.
    pub(super) fn new(stream: Box<dyn Stream>, url: &Url) -> Self {
        Self { stream: BufReader::new(stream), host: host(url), answers: 0, waiting: 0 }
    }

    /// Takes an idle connection to the server of `url` out of the pool.
    pub(super) fn take_idle(url: &Url) -> Option<Self> {
        let (host, now) = (host(url), Instant::now());
        let mut idle = lock();
        idle.retain(|(_, since)| now.duration_since(*since) < MAX_IDLE);
        // The most recently used one is the most likely to be open still.
        let at = idle.iter().rposition(|(connection, _)| connection.host == host)?;
        Some(idle.remove(at).0)
    }

    /// Whether a response was read on it and the server kept it open.
    pub(super) fn is_proven(&self) -> bool {
        self.answers > 0
    }

    /// How many requests have no response yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The failure to write.
    pub(super) fn send(&mut self, request: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).and_then(|()| stream.flush())?;
        self.waiting += 1;
        Ok(())
    }

    /// Reads the head of the next response.
    ///
    /// # Errors
    /// As [`Head::read`].
    pub(super) fn receive(&mut self) -> io::Result<Head> {
        let head = Head::read(&mut self.stream)?;
        self.waiting = self.waiting.saturating_sub(1);
        self.answers += 1;
        Ok(head)
    }

    /// Reads some of the body of the current response.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub(super) fn read(&mut self, body: &mut Body, buffer: &mut [u8]) -> io::Result<usize> {
        body.read(&mut self.stream, buffer)
    }

    /// Sets the deadline of all further reads and writes.
    pub(super) fn set_deadline(&mut self, end: Instant) {
        self.stream.get_mut().set_deadline(end);
    }

    /// Puts it into the pool; its last response must have been read to the end.
    pub(super) fn keep(self) {
        // Unsolicited bytes would be read as the next response.
        if self.waiting > 0 || !self.stream.buffer().is_empty() {
            return;
        }
        let mut idle = lock();
        if idle.len() >= MAX_KEPT {
            idle.remove(0);
        }
        idle.push((self, Instant::now()));
    }
}

/// Closes every idle connection.
pub(super) fn close() {
    lock().clear();
}

fn lock() -> MutexGuard<'static, Vec<(Connection, Instant)>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or_default())
}
