//! A directory, shown on loopback: to look at a site and to install from a registry before it is
//! published.
//!
//! It answers as a web server does for static files: a range, a directory's `index.html`,
//! `If-None-Match`, and `404.html` for the rest. Nothing but this host reaches it.

use crate::error::Error;
use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    net::{Ipv4Addr, SocketAddr},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
    thread,
};
use tiny_http::{Header, Method, Request, Response, StatusCode};

/// Requests that are answered at once. A browser opens six connections, `joblet-exec` eight.
const WORKERS: usize = 16;

/// A server that listens, and has not answered yet.
pub struct Server {
    http: tiny_http::Server,
    address: SocketAddr,
    /// The directory, without links in its path.
    root: PathBuf,
}

type Answer = Response<Box<dyn Read + Send>>;

impl Server {
    /// Listens on loopback at `port`, or at one that is free if it is 0, for files below `root`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such directory; [`Error::Net`] if the port is taken.
    pub fn open(root: &Path, port: u16) -> Result<Self, Error> {
        let missing = || {
            let root = root.display();
            Error::NotFound(format!("nothing to serve: {root} is no directory; run `site` first"))
        };
        let root = root.canonicalize().ok().filter(|it| it.is_dir()).ok_or_else(missing)?;
        let taken = |error: &dyn ToString| Error::Net {
            what: format!("port {port}"),
            reason: format!(
                "{}; choose another with --port, or 0",
                error.to_string().to_lowercase()
            ),
        };
        let http = tiny_http::Server::http((Ipv4Addr::LOCALHOST, port));
        let http = http.map_err(|error| taken(&error))?;
        let address = http.server_addr().to_ip().ok_or_else(|| taken(&"no address"))?;
        Ok(Self { http, address, root })
    }

    /// Where it is: `http://127.0.0.1:8000/`.
    pub fn address(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers until the process ends.
    pub fn run(&self) {
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    for request in self.http.incoming_requests() {
                        let answer = self.answer(&request);
                        _ = request.respond(answer); // a browser that went away is no fault
                    }
                });
            }
        });
    }

    fn answer(&self, request: &Request) -> Answer {
        if !self.is_meant(request) {
            return text(403, "this server answers to 127.0.0.1 and localhost only\n");
        }
        if !matches!(request.method(), Method::Get | Method::Head) {
            return text(405, "GET and HEAD only\n").with_header(header("Allow", "GET, HEAD"));
        }
        let asked = request.url().split(['?', '#']).next().unwrap_or_default();
        match self.find(asked) {
            Found::File(path) => file(&path, request).unwrap_or_else(|_| self.missing()),
            Found::Directory => text(301, "").with_header(header("Location", &format!("{asked}/"))),
            Found::Nothing => self.missing(),
        }
    }

    /// Whether the request names this server: a page elsewhere whose name was made to lead here
    /// (DNS rebinding) names itself.
    fn is_meant(&self, request: &Request) -> bool {
        let port = self.address.port();
        let names = [self.address.to_string(), format!("localhost:{port}")];
        value(request, "Host").is_some_and(|host| names.iter().any(|name| name == host))
    }

    /// The file that an address means. Nothing outside of the root and nothing that begins with a dot.
    fn find(&self, asked: &str) -> Found {
        let usual = asked.is_ascii() && !asked.contains("//");
        let Some(bytes) = decoded(asked).filter(|_| usual) else { return Found::Nothing };
        let relative = Path::new(OsStr::from_bytes(&bytes));
        let relative = relative.strip_prefix("/").unwrap_or(relative);
        let plain = |part: Component| matches!(part, Component::Normal(name) if !name.as_bytes().starts_with(b"."));
        if !relative.components().all(plain) {
            return Found::Nothing;
        }
        let Ok(path) = self.root.join(relative).canonicalize() else { return Found::Nothing };
        match path.metadata() {
            Ok(metadata) if path.starts_with(&self.root) => {
                match (metadata.is_dir(), bytes.ends_with(b"/")) {
                    (true, true) => Found::File(path.join("index.html")),
                    (true, false) => Found::Directory,
                    (false, true) => Found::Nothing,
                    (false, false) => Found::File(path),
                }
            }
            _ => Found::Nothing,
        }
    }

    fn missing(&self) -> Answer {
        match fs::read(self.root.join("404.html")) {
            Ok(page) => answer(404, Box::new(io::Cursor::new(page.clone())), page.len() as u64)
                .with_header(header("Content-Type", "text/html; charset=utf-8")),
            Err(_) => text(404, "no such file\n"),
        }
    }
}

/// What an address means.
enum Found {
    File(PathBuf),
    /// A directory without the slash that relative links in its page count on.
    Directory,
    Nothing,
}

/// A file, or what was asked of it.
fn file(path: &Path, request: &Request) -> io::Result<Answer> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let (etag, size) = (etag(&metadata), metadata.len());
    let headers = [
        header("Content-Type", kind(path)),
        header("ETag", &etag),
        header("Cache-Control", "no-cache"), // kept, but asked for again each time
        header("Accept-Ranges", "bytes"),
    ];
    let with = |answer| headers.into_iter().fold(answer, Answer::with_header);
    let same = |list: &str| list.split(',').any(|it| it.trim() == etag || it.trim() == "*");
    if value(request, "If-None-Match").is_some_and(same) {
        return Ok(with(answer(304, Box::new(io::empty()), 0)));
    }
    let current = value(request, "If-Range").is_none_or(|it| it == etag);
    match value(request, "Range").filter(|_| current).map_or(Part::All, |it| part(it, size)) {
        Part::All => Ok(with(answer(200, Box::new(file), size))),
        Part::Of(first, last) => {
            file.seek(SeekFrom::Start(first))?;
            let length = last - first + 1;
            let range = header("Content-Range", &format!("bytes {first}-{last}/{size}"));
            Ok(with(answer(206, Box::new(file.take(length)), length)).with_header(range))
        }
        Part::Beyond => {
            let range = header("Content-Range", &format!("bytes */{size}"));
            Ok(text(416, "").with_header(range))
        }
    }
}

/// The bytes that a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// All: there is no range, or one that may be ignored, such as several at once.
    All,
    /// From the first to the last, which is included.
    Of(u64, u64),
    Beyond,
}

/// Reads `bytes=1-2`, `bytes=1-` and `bytes=-2` for a file of `size` bytes.
fn part(range: &str, size: u64) -> Part {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|it| it.split_once('-')) else {
        return Part::All;
    };
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (first, last): (u64, u64) = match (first, last, number(first), number(last)) {
        (_, _, Some(first), Some(last)) if first <= last => (first, last),
        (_, "", Some(first), _) => (first, u64::MAX),
        ("", _, _, Some(0)) => return Part::Beyond,
        ("", _, _, Some(count)) => (size.saturating_sub(count), u64::MAX),
        _ => return Part::All,
    };
    if first < size { Part::Of(first, last.min(size - 1)) } else { Part::Beyond }
}

/// Changes whenever the file does.
fn etag(metadata: &Metadata) -> String {
    let (inode, size) = (metadata.ino(), metadata.len());
    format!("\"{inode:x}-{size:x}-{:x}.{:x}\"", metadata.mtime(), metadata.mtime_nsec())
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(OsStr::to_str) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("xml") => "application/atom+xml; charset=utf-8",
        Some("json") => "application/json",
        Some("gz") => "application/gzip",
        Some("txt" | "minisig") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// `%20` and the like as bytes; nothing if one is broken, or stands for the byte 0.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    (!bytes.contains(&0)).then_some(bytes)
}

fn value<'r>(request: &'r Request, name: &'static str) -> Option<&'r str> {
    let header = request.headers().iter().find(|header| header.field.equiv(name))?;
    Some(header.value.as_str())
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("names are ours, values are ASCII without line ends")
}

fn text(status: u16, text: &'static str) -> Answer {
    answer(status, Box::new(text.as_bytes()), text.len() as u64)
        .with_header(header("Content-Type", "text/plain; charset=utf-8"))
}

fn answer(status: u16, body: Box<dyn Read + Send>, length: u64) -> Answer {
    let length = usize::try_from(length).ok();
    // Never in chunks: a client wants to know how much will come.
    Response::new(StatusCode(status), Vec::new(), body, length, None)
        .with_chunked_threshold(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, size, want) in [
            ("bytes=0-0", 10, Part::Of(0, 0)),
            ("bytes=2-", 10, Part::Of(2, 9)),
            ("bytes=2-99", 10, Part::Of(2, 9)),
            ("bytes=-3", 10, Part::Of(7, 9)),
            ("bytes=-99", 10, Part::Of(0, 9)),
            ("bytes=10-", 10, Part::Beyond),
            ("bytes=-0", 10, Part::Beyond),
            ("bytes=0-", 0, Part::Beyond),
            ("bytes=-1", 0, Part::Beyond),
            ("bytes=3-2", 10, Part::All),
            ("bytes=0-1,3-4", 10, Part::All),
            ("bytes=+1-2", 10, Part::All),
            ("bytes=-", 10, Part::All),
            ("lines=1-2", 10, Part::All),
            ("bytes=99999999999999999999-", 10, Part::All),
        ] {
            assert_eq!(part(range, size), want, "{range} of {size}");
        }
    }

    #[test]
    fn addresses_are_decoded() {
        for (text, want) in [
            ("/a%20b", Some("/a b")),
            ("/%e2%82%ac", Some("/€")),
            ("/%", None),
            ("/%2", None),
            ("/%+1", None),
            ("/%00", None),
        ] {
            assert_eq!(decoded(text), want.map(|text| text.as_bytes().to_vec()), "{text}");
        }
    }
}
