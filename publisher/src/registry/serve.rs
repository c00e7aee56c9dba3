//! A web server for a directory, on loopback: to view a site and to install from a registry before it is
//! published.
//!
//! It supports static files, ranges, `index.html` of directories, `If-None-Match` and a `404.html`. It is
//! reachable from this host only.

mod connection;

use crate::{
    error::Error,
    fs::{below::Below, paths},
};
use connection::{Answer, Request};
use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, Seek, SeekFrom},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
    thread,
    time::Duration,
};

/// Stack size of a client's thread, in bytes.
const STACK: usize = 256 << 10;
/// Longest `404.html`, in bytes.
const MAX_PAGE: u64 = 1 << 20;

/// A listening server.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    /// The served directory, as a canonical path.
    root: PathBuf,
}

impl Server {
    /// Listens on loopback at `port`, or at a free one if it is 0, to serve files below `root`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `root` is not a directory; [`Error::Net`] if the port is in use.
    pub fn open(root: &Path, port: u16) -> Result<Self, Error> {
        let missing = || {
            let root = root.display();
            Error::NotFound(format!(
                "nothing to serve: {root} is not a directory; run `site` first"
            ))
        };
        let root = root.canonicalize().ok().filter(|it| it.is_dir()).ok_or_else(missing)?;
        let taken = |error: io::Error| Error::Net {
            what: format!("port {port}"),
            reason: format!(
                "{}; choose another with --port, or 0",
                error.to_string().to_lowercase()
            ),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok(Self { listener, address, root })
    }

    /// Its URL: `http://127.0.0.1:8000/`.
    pub fn address(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Serves until the process ends. Each client has its own thread, so that a slow one does not delay others.
    pub fn run(&self) {
        thread::scope(|scope| {
            loop {
                // EMFILE, for example: passes when clients disconnect.
                let Ok((client, _)) = self.listener.accept() else {
                    thread::sleep(Duration::from_millis(50));
                    continue;
                };
                let answer = move || connection::serve(&client, &|request| self.answer(request));
                // If no thread can be started, the connection is closed.
                _ = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, answer);
            }
        });
    }

    fn answer(&self, request: &Request) -> Answer {
        if !self.is_addressed(request) {
            return text_answer(403, "this server is reachable as 127.0.0.1 and localhost only\n");
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return text_answer(405, "GET and HEAD only\n").with("Allow", "GET, HEAD");
        }
        let asked = request.target.split(['?', '#']).next().unwrap_or_default();
        match self.find(asked) {
            Found::File(path) => match self.open_file(&path) {
                Some(open) => file_answer(&path, open, request).unwrap_or_else(|_| self.missing()),
                None => self.missing(),
            },
            Found::Directory => text_answer(301, "").with("Location", &format!("{asked}/")),
            Found::Nothing => self.missing(),
        }
    }

    /// Whether the `Host` of the request is this server. Another host name indicates DNS rebinding: a page
    /// elsewhere whose name was made to resolve to loopback.
    fn is_addressed(&self, request: &Request) -> bool {
        let port = self.address.port();
        let names = [self.address.to_string(), format!("localhost:{port}")];
        request.value("host").is_some_and(|host| names.iter().any(|name| name == host))
    }

    /// Resolves a path to a file below the root, without components that begin with a dot.
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
        // The target of links must be below the root, too.
        let inside = path.strip_prefix(&self.root).is_ok_and(|it| it.components().all(plain));
        match path.metadata() {
            Ok(metadata) if inside => match (metadata.is_dir(), bytes.ends_with(b"/")) {
                (true, true) => Found::File(path.join("index.html")),
                (true, false) => Found::Directory,
                (false, true) => Found::Nothing,
                (false, false) => Found::File(path),
            },
            _ => Found::Nothing,
        }
    }

    /// Opens the regular file `path`, a canonical path.
    fn open_file(&self, path: &Path) -> Option<File> {
        paths::open_below(&self.root, path).ok().flatten()
    }

    fn missing(&self) -> Answer {
        let page = Below::open(&self.root).ok().flatten();
        let page =
            page.and_then(|it| it.read(&self.root.join("404.html"), MAX_PAGE).ok().flatten());
        match page {
            Some(page) => {
                let length = page.len() as u64;
                Answer::new(404, Box::new(io::Cursor::new(page)), length)
                    .with("Content-Type", "text/html; charset=utf-8")
            }
            None => text_answer(404, "no such file\n"),
        }
    }
}

/// The result of resolving a path.
enum Found {
    File(PathBuf),
    /// A directory without a trailing slash: redirected, since relative links in its page need the slash.
    Directory,
    Nothing,
}

/// The response for a file: all of it, a range, or 304.
fn file_answer(path: &Path, mut file: File, request: &Request) -> io::Result<Answer> {
    let metadata = file.metadata()?;
    let (etag, size) = (etag(&metadata), metadata.len());
    let with = |answer: Answer| {
        let answer = answer.with("Content-Type", kind(path)).with("ETag", &etag);
        // Cached, but revalidated on each use.
        answer.with("Cache-Control", "no-cache").with("Accept-Ranges", "bytes")
    };
    let same = |list: &str| list.split(',').any(|it| it.trim() == etag || it.trim() == "*");
    if request.value("if-none-match").is_some_and(same) {
        return Ok(with(Answer::new(304, Box::new(io::empty()), 0)));
    }
    let current = request.value("if-range").is_none_or(|it| it == etag);
    match request.value("range").filter(|_| current).map_or(Part::All, |it| part(it, size)) {
        Part::All => Ok(with(Answer::new(200, Box::new(file), size))),
        Part::Of(first, last) => {
            file.seek(SeekFrom::Start(first))?;
            let length = last - first + 1;
            let range = format!("bytes {first}-{last}/{size}");
            Ok(with(Answer::new(206, Box::new(file), length)).with("Content-Range", &range))
        }
        Part::Beyond => Ok(text_answer(416, "").with("Content-Range", &format!("bytes */{size}"))),
    }
}

/// The bytes that a `Range` selects.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// All: no range, or an unsupported one, such as several ranges.
    All,
    /// From the first to the last, which is included.
    Of(u64, u64),
    Beyond,
}

/// Parses `bytes=1-2`, `bytes=1-` and `bytes=-2` for a file of `size` bytes.
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

/// An entity tag that changes with the file.
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

/// Decodes percent-encoding; `None` if it is malformed or contains `%00`.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let two =
        |part: &str| part.as_bytes().iter().take(2).filter(|it| it.is_ascii_hexdigit()).count();
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    let whole = text.split('%').skip(1).all(|part| two(part) == 2);
    (whole && !bytes.contains(&0)).then_some(bytes)
}

fn text_answer(status: u16, text: &'static str) -> Answer {
    Answer::new(status, Box::new(text.as_bytes()), text.len() as u64)
        .with("Content-Type", "text/plain; charset=utf-8")
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
