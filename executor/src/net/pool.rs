//! Connections that are kept for the next request to the same host.
//!
//! A handshake of TLS costs two round trips, and the first request a third. A connection is kept when its
//! answer has been read to the end and neither side means to close it.

use super::connection::Stream;
use super::message::{Body, Head};
use std::io::{self, BufReader, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// How long a connection is kept unused: servers close theirs after five seconds or more.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// Most connections that are kept: a registry, a host that redirects and one that has the archives,
/// for each of the runtimes that are installed at once.
const MAX_KEPT: usize = 12;

static IDLE: Mutex<Vec<(Connection, Instant)>> = Mutex::new(Vec::new());

/// A connection to one host, on which requests are answered one after the other.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// Scheme, host and port of the server. The proxy before it, if any, is always the same one.
    host: String,
    /// Answers that have been read on it.
    answers: usize,
    /// Requests whose answers have not begun.
    waiting: usize,
}

impl Connection {
    /// One that was just opened, to the server of `url`.
    pub(super) fn new(stream: Box<dyn Stream>, url: &Url) -> Self {
        Self { stream: BufReader::new(stream), host: host(url), answers: 0, waiting: 0 }
    }

    /// One that is kept, to the server of `url`.
    pub(super) fn kept(url: &Url) -> Option<Self> {
        let (host, now) = (host(url), Instant::now());
        let mut idle = lock();
        idle.retain(|(_, since)| now.duration_since(*since) < MAX_IDLE);
        // The one used last is the one most likely to be open still.
        let at = idle.iter().rposition(|(connection, _)| connection.host == host)?;
        Some(idle.remove(at).0)
    }

    /// Whether it has brought an answer and was not closed behind it.
    pub(super) fn is_proven(&self) -> bool {
        self.answers > 0
    }

    /// Requests whose answers have not begun.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Sends a request.
    ///
    /// # Errors
    /// What writing answers.
    pub(super) fn send(&mut self, request: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes()).and_then(|()| stream.flush())?;
        self.waiting += 1;
        Ok(())
    }

    /// Reads the head of the next answer.
    ///
    /// # Errors
    /// As [`Head::read`].
    pub(super) fn receive(&mut self) -> io::Result<Head> {
        let head = Head::read(&mut self.stream)?;
        self.waiting = self.waiting.saturating_sub(1);
        self.answers += 1;
        Ok(head)
    }

    /// Reads some of the body that is being received.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub(super) fn read(&mut self, body: &mut Body, buffer: &mut [u8]) -> io::Result<usize> {
        body.read(&mut self.stream, buffer)
    }

    /// Moves the deadline of everything that follows.
    pub(super) fn set_deadline(&mut self, end: Instant) {
        self.stream.get_mut().set_deadline(end);
    }

    /// Keeps it for the next request; its last answer has been read to the end.
    pub(super) fn keep(self) {
        // What nobody has asked for would be taken for the next answer.
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

/// Closes every connection that is kept.
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
