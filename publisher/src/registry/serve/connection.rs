//! The connection of one client: its requests in order, with a timeout. HTTP/1.1, RFC 9112.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// Timeout for the head of a request, and for sending a response.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest head of a request, in bytes.
const MAX_HEAD: u64 = 16 << 10;

/// The head of a request.
pub(super) struct Request {
    pub(super) method: String,
    /// The request target: printable ASCII.
    pub(super) target: String,
    headers: Vec<(String, String)>,
    /// Whether the connection persists.
    keep_alive: bool,
}

/// A response.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Box<dyn Read + Send>,
    /// Length of the body, in bytes.
    length: u64,
}

/// Serves the requests of `client` until it disconnects, violates the protocol or times out.
pub(super) fn serve(client: &TcpStream, answer: &dyn Fn(&Request) -> Answer) {
    // Any error ends the connection; nothing else can be reported to the client.
    _ = serve_requests(client, answer);
    _ = client.shutdown(Shutdown::Both);
}

fn serve_requests(client: &TcpStream, answer: &dyn Fn(&Request) -> Answer) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut from = BufReader::new(DeadlineReader { client, until: Instant::now() });
    loop {
        from.get_mut().until = Instant::now() + CLIENT_TIMEOUT;
        match Request::read(&mut from)? {
            Some(Ok(request)) => {
                let keep_alive = request.keep_alive;
                let after = if keep_alive { After::KeepAlive } else { After::Close };
                answer(&request).send(client, request.method == "HEAD", after)?;
                if keep_alive {
                    continue;
                }
            }
            Some(Err(status)) => Answer::empty(status).send(client, false, After::Close)?,
            None => return Ok(()),
        }
        // Closing a socket with unread bytes sends a reset, which could destroy the response.
        client.shutdown(Shutdown::Write)?;
        from.get_mut().until = Instant::now() + Duration::from_secs(1);
        return io::copy(&mut from.take(MAX_HEAD), &mut io::sink()).map(drop);
    }
}

/// Whether a connection persists after a response.
#[derive(Clone, Copy)]
enum After {
    KeepAlive,
    Close,
}

/// A reader with a deadline.
struct DeadlineReader<'c> {
    client: &'c TcpStream,
    until: Instant,
}

impl Read for DeadlineReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.client.set_read_timeout(Some(left))?;
        self.client.read(buffer)
    }
}

impl Request {
    /// Reads the next request; `None` if the client has disconnected; a status for a malformed one.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Result<Self, u16>>> {
        let mut head = from.take(MAX_HEAD);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            head.read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                let full = head.limit() == 0;
                return Ok(full.then_some(Err(431)));
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            match (line.is_empty(), lines.is_empty()) {
                (true, true) => {} // empty line before a request, RFC 9112, section 2.2
                (true, false) => return Ok(Some(Self::parse(&lines).ok_or(400))),
                (false, _) => match String::from_utf8(line) {
                    Ok(line) => lines.push(line),
                    Err(_) => return Ok(Some(Err(400))),
                },
            }
        }
    }

    fn parse(lines: &[String]) -> Option<Self> {
        let (first, headers) = lines.split_first()?;
        let mut words = first.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic());
        if words.next().is_some() || !plain(method) || !plain(target) {
            return None;
        }
        let header = |line: &String| {
            let (name, value) = line.split_once(':')?;
            plain(name).then(|| (name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = headers.iter().map(header).collect::<Option<Vec<_>>>()?;
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut request = Self { method, target, headers, keep_alive: false };
        let has_body = request.value("content-length").is_some_and(|it| it != "0")
            || request.value("transfer-encoding").is_some();
        let closes = request.value("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        request.keep_alive = match version {
            "HTTP/1.1" => !has_body && !closes,
            "HTTP/1.0" => false,
            _ => return None,
        };
        Some(request)
    }

    /// The value of the first header `name`, in lower case.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub(super) fn new(status: u16, body: Box<dyn Read + Send>, length: u64) -> Self {
        Self { status, headers: Vec::new(), body, length }
    }

    fn empty(status: u16) -> Self {
        Self::new(status, Box::new(io::empty()), 0)
    }

    /// Adds a header; `value` is one line.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn send(self, client: &TcpStream, head_only: bool, after: After) -> io::Result<()> {
        let mut to = BufWriter::with_capacity(64 << 10, client);
        write!(to, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status))?;
        for (name, value) in &self.headers {
            write!(to, "{name}: {value}\r\n")?;
        }
        if self.status != 304 {
            write!(to, "Content-Length: {}\r\n", self.length)?;
        }
        to.write_all(match after {
            After::KeepAlive => b"\r\n",
            After::Close => b"Connection: close\r\n\r\n",
        })?;
        if !head_only && io::copy(&mut self.body.take(self.length), &mut to)? < self.length {
            return Err(io::ErrorKind::UnexpectedEof.into()); // the file has been truncated
        }
        to.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        _ => "",
    }
}
