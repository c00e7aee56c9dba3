//! One client: its requests, one after the other, and its time limit. HTTP/1.1, RFC 9112.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// How long a client may take for the head of a request, and to take what it is sent.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest head of a request, in bytes.
const MAX_HEAD: u64 = 16 << 10;

/// The head of a request.
pub(super) struct Request {
    pub(super) method: String,
    /// The address as it was asked for: printable ASCII.
    pub(super) target: String,
    headers: Vec<(String, String)>,
    /// Whether another request may follow.
    goes_on: bool,
}

/// What is sent.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Box<dyn Read + Send>,
    /// Of the body, in bytes.
    length: u64,
}

/// Answers the requests of `client` until it disconnects, violates the protocol or times out.
pub(super) fn serve(client: &TcpStream, answer: &dyn Fn(&Request) -> Answer) {
    // Whatever fails here ends the connection, which is all that a client can see.
    _ = converse(client, answer);
    _ = client.shutdown(Shutdown::Both);
}

fn converse(client: &TcpStream, answer: &dyn Fn(&Request) -> Answer) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut from = BufReader::new(Punctual { client, until: Instant::now() });
    loop {
        from.get_mut().until = Instant::now() + CLIENT_TIMEOUT;
        match Request::read(&mut from)? {
            Some(Ok(request)) => {
                let goes_on = request.goes_on;
                let after = if goes_on { After::KeepAlive } else { After::Close };
                answer(&request).send(client, request.method == "HEAD", after)?;
                if goes_on {
                    continue;
                }
            }
            Some(Err(status)) => Answer::empty(status).send(client, false, After::Close)?,
            None => return Ok(()),
        }
        // Closed with bytes unread, the connection would break before the answer has arrived.
        client.shutdown(Shutdown::Write)?;
        from.get_mut().until = Instant::now() + Duration::from_secs(1);
        return io::copy(&mut from.take(MAX_HEAD), &mut io::sink()).map(drop);
    }
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy)]
enum After {
    KeepAlive,
    Close,
}

/// Reads from a client until a time.
struct Punctual<'c> {
    client: &'c TcpStream,
    until: Instant,
}

impl Read for Punctual<'_> {
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
    /// The next request; none if the client has gone; a status for what is none.
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
                (true, true) => {} // before a request, RFC 9112, section 2.2
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
        let mut request = Self { method, target, headers, goes_on: false };
        let has_body = request.value("content-length").is_some_and(|it| it != "0")
            || request.value("transfer-encoding").is_some();
        let closes = request.value("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        request.goes_on = match version {
            "HTTP/1.1" => !has_body && !closes,
            "HTTP/1.0" => false,
            _ => return None,
        };
        Some(request)
    }

    /// The first header of this name, which is in small letters.
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
            return Err(io::ErrorKind::UnexpectedEof.into()); // the file has become shorter
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
