//! An HTTP/1.1 response (RFC 9112), parsed strictly: what two parsers could read differently is refused.

use std::io::{self, BufRead, Read};

/// Longest head of a response, in bytes, 1xx responses before it included.
const MAX_HEAD: u64 = 64 << 10;
/// Longest chunk header line, in bytes.
const MAX_CHUNK_LINE: u64 = 256;

/// Status line and header fields.
#[derive(Debug)]
pub(crate) struct Head {
    /// The status code.
    pub status: u16,
    /// Whether the version is 1.1, in which connections persist unless the server says otherwise.
    is_http_1_1: bool,
    /// Names in lower case, and values, if they are printable ASCII.
    fields: Vec<(String, String)>,
}

/// The rest of the body, by its framing (RFC 9112, section 6.3).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// This many more bytes.
    Length(u64),
    /// This many more bytes of the chunk, then further chunks.
    Chunked(u64),
    /// Everything until the connection is closed.
    Close,
}

fn invalid(rule: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, rule)
}

/// Reads one line, without its line terminator.
fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

impl Head {
    /// Reads the head of a response, and no byte of the body.
    ///
    /// # Errors
    /// `InvalidData` with the rule that it breaks, and the failure to read.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut from = from.take(MAX_HEAD);
        let read = loop {
            match Self::read_one(&mut from) {
                // 1xx: the final response follows.
                Ok(Self { status: 100..200, .. }) => {}
                read => break read,
            }
        };
        if from.limit() == 0 { Err(invalid("the head of the response is too long")) } else { read }
    }

    fn read_one(from: &mut impl BufRead) -> io::Result<Self> {
        let first = read_line(from)?;
        let status = first.strip_prefix(b"HTTP/1.").and_then(|rest| match rest {
            [b'0' | b'1', b' ', digits @ ..] => match digits {
                [a, b, c] | [a, b, c, b' ', ..] => number(&[*a, *b, *c], 10),
                _ => None,
            },
            _ => None,
        });
        let status = status.and_then(|status| u16::try_from(status).ok());
        let status = status.ok_or_else(|| invalid("the server does not speak HTTP/1.1"))?;
        let is_http_1_1 = first.get(7) == Some(&b'1');
        let mut head = Self { status, is_http_1_1, fields: Vec::new() };
        loop {
            let line = read_line(from)?;
            if line.is_empty() {
                return Ok(head);
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
            let (name, value) = line.split_at(colon);
            let token =
                |byte: &u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(byte);
            if name.is_empty() || !name.iter().all(token) {
                return Err(invalid(
                    "the head of the response has a line that is not a header field",
                ));
            }
            let value = value[1..].trim_ascii();
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            if value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
                head.fields.push((name, String::from_utf8_lossy(value).into_owned()));
            } else if matches!(name.as_str(), "content-length" | "transfer-encoding") {
                return Err(invalid("the length of the response is not a number"));
            }
        }
    }

    /// The value of a field, if it is printable ASCII; `name` is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |field| field.0 == name).map(|field| field.1.as_str())
    }

    /// Whether the connection persists after this response.
    pub(crate) fn keeps_connection(&self) -> bool {
        let mut options = self.values("connection").flat_map(|value| value.split(','));
        self.is_http_1_1 && !options.any(|option| option.trim().eq_ignore_ascii_case("close"))
    }

    /// The framing of the body.
    ///
    /// # Errors
    /// `InvalidData` where the header fields are ambiguous.
    pub(crate) fn body(&self) -> io::Result<Body> {
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(invalid("the response has two Content-Length fields"));
        }
        let mut codings = self.values("transfer-encoding");
        match (codings.next(), length) {
            _ if matches!(self.status, 204 | 304) => Ok(Body::Length(0)),
            (None, None) => Ok(Body::Close),
            (None, Some(length)) => number(length.as_bytes(), 10)
                .map(Body::Length)
                .ok_or_else(|| invalid("the length of the response is not a number")),
            (Some(coding), None)
                if coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() =>
            {
                Ok(Body::Chunked(0))
            }
            _ => Err(invalid("the Transfer-Encoding of the response is not supported")),
        }
    }
}

impl Body {
    /// Reads some of the body; 0 at its end.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection ends before the body, `InvalidData` for malformed chunks.
    pub(crate) fn read(&mut self, from: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Length(0) => Ok(0),
            Self::Length(left) => read_some(left, from, buffer),
            Self::Close => match from.read(buffer) {
                // Some servers close a TLS connection without close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
            Self::Chunked(left) => {
                if *left == 0 {
                    *left = chunk_length(from)?;
                    if *left == 0 {
                        *self = Self::Length(0);
                        return Ok(0);
                    }
                }
                let count = read_some(left, from, buffer)?;
                if *left == 0 && !read_line(&mut from.take(2))?.is_empty() {
                    return Err(invalid("a chunk of the response is longer than its header says"));
                }
                Ok(count)
            }
        }
    }
}

/// Reads some of the `left` bytes, whose absence is an error.
fn read_some(left: &mut u64, from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    let count = from.read(&mut buffer[..most])?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= count as u64;
    Ok(count)
}

/// Reads the length of the next chunk; after the last one (0) also the trailer section.
fn chunk_length(from: &mut impl BufRead) -> io::Result<u64> {
    let size = read_line(&mut from.take(MAX_CHUNK_LINE))?;
    let digits = size.split(|byte| *byte == b';').next().unwrap_or_default();
    let size = number(digits.trim_ascii_end(), 16);
    let size = size.ok_or_else(|| invalid("a chunk of the response has no length"))?;
    if size == 0 {
        let mut trailer = from.take(MAX_HEAD);
        while !read_line(&mut trailer)?.is_empty() {}
    }
    Ok(size)
}

/// Parses a number that consists of digits only.
fn number(digits: &[u8], base: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = text.chars().all(|digit| digit.is_digit(base));
    plain.then(|| u64::from_str_radix(text, base).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, String> {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let mut from = bytes.as_slice();
        let head = Head::read(&mut from).map_err(|error| error.to_string())?;
        assert_eq!(from, b"BODY");
        Ok(head)
    }

    #[test]
    fn heads_are_read_strictly() {
        let found = head("HTTP/1.1 404 Not  here\nA: 1\nETag:\t\"x\" \na: 2\nodd: \u{e9}\n\nBODY");
        let found = found.unwrap();
        assert_eq!(
            (found.status, found.field("a"), found.field("etag")),
            (404, Some("1"), Some("\"x\""))
        );
        assert_eq!((found.field("odd"), found.body().unwrap()), (None, Body::Close));
        assert_eq!(
            head("HTTP/1.1 103 Hints\nlink: x\n\nHTTP/1.0 200\n\nBODY").unwrap().status,
            200
        );
        for (text, message) in [
            ("", "unexpected end"),
            ("HTTP/1.1 200", "unexpected end"),
            ("HTTP/1.1 200\nA: 1\n", "unexpected end"),
            ("HTTP/2 200 OK\n\n", "does not speak"),
            ("HTTP/1.1 20 OK\n\n", "does not speak"),
            ("HTTP/1.1 +20 OK\n\n", "does not speak"),
            ("HTTP/1.1 2000\n\n", "does not speak"),
            ("SSH-2.0-x\n\n", "does not speak"),
            ("HTTP/1.1 200 OK\nA: 1\n folded\n\n", "is not a header field"),
            ("HTTP/1.1 200 OK\nA : 1\n\n", "is not a header field"),
            ("HTTP/1.1 200 OK\nnothing\n\n", "is not a header field"),
            ("HTTP/1.1 200 OK\n: 1\n\n", "is not a header field"),
            ("HTTP/1.1 200 OK\ncontent-length: \u{661}\n\n", "is not a number"),
        ] {
            assert!(head(text).unwrap_err().contains(message), "{text:?}");
        }
        let long = format!("HTTP/1.1 200 OK\nA: {}\n\n", "x".repeat(70_000));
        let many = format!("HTTP/1.1 200 OK\n{}\n", "A: 1\n".repeat(20_000));
        let hints = "HTTP/1.1 100 Go\n\n".repeat(20_000);
        for text in [long, many, hints] {
            assert_eq!(head(&text).unwrap_err(), "the head of the response is too long");
        }
    }

    #[test]
    fn connections_are_kept_unless_the_server_says_otherwise() {
        for (text, want) in [
            ("HTTP/1.1 200 OK\n\nBODY", true),
            ("HTTP/1.1 200 OK\nConnection: keep-alive\n\nBODY", true),
            ("HTTP/1.1 200 OK\nConnection: x, Close\n\nBODY", false),
            ("HTTP/1.1 200 OK\nConnection: x\nconnection: close\n\nBODY", false),
            ("HTTP/1.0 200 OK\nConnection: keep-alive\n\nBODY", false),
        ] {
            assert_eq!(head(text).unwrap().keeps_connection(), want, "{text:?}");
        }
    }

    #[test]
    fn bodies_have_one_end() {
        for (fields, want) in [
            ("", Ok(Body::Close)),
            ("content-length: 7\n", Ok(Body::Length(7))),
            ("content-length: 7\nContent-Length: 7\n", Ok(Body::Length(7))),
            ("transfer-encoding: Chunked\n", Ok(Body::Chunked(0))),
            ("content-length: 7\ncontent-length: 8\n", Err("two Content-Length fields")),
            ("content-length: +7\n", Err("not a number")),
            ("content-length: -1\n", Err("not a number")),
            ("content-length: 99999999999999999999\n", Err("not a number")),
            ("content-length:\n", Err("not a number")),
            ("content-length: 7\ntransfer-encoding: chunked\n", Err("is not supported")),
            ("transfer-encoding: gzip, chunked\n", Err("is not supported")),
            ("transfer-encoding: gzip\ntransfer-encoding: chunked\n", Err("is not supported")),
            ("transfer-encoding: chunked\ntransfer-encoding: chunked\n", Err("is not supported")),
        ] {
            let got = head(&format!("HTTP/1.1 200 OK\n{fields}\nBODY")).unwrap().body();
            match (got, want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{fields}"),
                (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{fields}: {got}"),
                (got, _) => panic!("{fields}: {got:?}"),
            }
        }
        assert_eq!(
            head("HTTP/1.1 304 x\ncontent-length: 7\n\nBODY").unwrap().body().unwrap(),
            Body::Length(0)
        );
    }

    #[test]
    fn chunks_are_joined_and_counted() {
        let read = |mut body: Body, text: &str| {
            let (mut from, mut whole) = (text.as_bytes(), Vec::new());
            let mut buffer = [0; 3];
            loop {
                match body.read(&mut from, &mut buffer) {
                    Ok(0) => return Ok((String::from_utf8(whole).unwrap(), from.len())),
                    Ok(count) => whole.extend(&buffer[..count]),
                    Err(error) => return Err(error.to_string()),
                }
            }
        };
        let chunks = "4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        assert_eq!(read(Body::Chunked(0), chunks), Ok(("wikipedia".into(), 4)));
        assert_eq!(read(Body::Length(5), "helloNEXT"), Ok(("hello".into(), 4)));
        assert_eq!(read(Body::Close, "hello"), Ok(("hello".into(), 0)));
        for (body, text, message) in [
            (Body::Length(9), "hello", "unexpected end"),
            (Body::Chunked(0), "", "unexpected end"),
            (Body::Chunked(0), "5\r\nhel", "unexpected end"),
            (Body::Chunked(0), "5\r\nhello\r\n", "unexpected end"),
            (Body::Chunked(0), "5\r\nhello\r\n0\r\n", "unexpected end"),
            (Body::Chunked(0), "5\r\nhello!\r\n", "unexpected end"),
            (Body::Chunked(0), "5\r\nhello!\n0\r\n", "longer than its header says"),
            (Body::Chunked(0), "x\r\n", "no length"),
            (Body::Chunked(0), "-1\r\n", "no length"),
            (Body::Chunked(0), "+1\r\n", "no length"),
            (Body::Chunked(0), "fffffffffffffffff\r\n", "no length"),
            (Body::Chunked(0), "\r\n\r\n", "no length"),
        ] {
            let error = read(body, text).unwrap_err();
            assert!(error.contains(message), "{text:?}: {error}");
        }
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(300));
        assert!(read(Body::Chunked(0), &long).is_err());
    }
}
