//! An HTTP or HTTPS server on loopback with responses by the test, which records requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

/// The bytes of a response, and a delay before each byte from an offset on.
pub struct Reply(Vec<u8>, Option<(usize, Duration)>);

impl Reply {
    pub fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        Self(bytes, None)
    }

    /// Arbitrary bytes.
    pub fn raw(bytes: &[u8]) -> Self {
        Self(bytes.to_owned(), None)
    }

    /// The body, sent byte by byte.
    pub fn dripping(self, pause: Duration) -> Self {
        let body = self.0.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        Self(self.0, Some((body, pause)))
    }

    /// The whole response, sent byte by byte.
    pub fn trickling(self, pause: Duration) -> Self {
        Self(self.0, Some((0, pause)))
    }

    pub fn ok(body: &[u8]) -> Self {
        Self::new("200 OK", &[("Content-Length", &body.len().to_string())], body)
    }
}

/// Path, lines of the head in lower case, number of earlier requests.
type Handler = dyn Fn(&str, &[String], usize) -> Reply + Send + Sync;

/// The server. Its threads end with the test's process.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Responds by `handler`, given the path and the number of earlier requests.
    pub fn new(handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("http", move |path, _, count| handler(path, count), |stream| stream)
    }

    /// Responds by `handler`, given also the lines of the head in lower case.
    pub fn with_heads(handler: impl Fn(&str, &[String]) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("http", move |path, head, _| handler(path, head), |stream| stream)
    }

    /// Serves files of `root`, whole or by ranges.
    pub fn ranges(root: PathBuf) -> Self {
        Self::with_heads(move |path, head| {
            let Ok(body) = fs::read(root.join(path.trim_start_matches('/'))) else {
                return Reply::new("404 Not Found", &[], b"");
            };
            let range = head.iter().find_map(|line| line.strip_prefix("range: bytes="));
            let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
                return Reply::ok(&body);
            };
            let first: usize = first.parse().unwrap();
            let last = last.parse().map_or(body.len() - 1, |last: usize| last.min(body.len() - 1));
            let stretch = &body[first..=last];
            let length = stretch.len().to_string();
            let range = format!("bytes {first}-{last}/{}", body.len());
            let headers = [("Content-Length", length.as_str()), ("Content-Range", &range)];
            Reply::new("206 Partial Content", &headers, stretch)
        })
    }

    fn start<S: Read + Write>(
        scheme: &str,
        handler: impl Fn(&str, &[String], usize) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler): (_, Arc<Handler>) = (Arc::clone(&requests), Arc::new(handler));
        let wrap = Arc::new(wrap);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handler, wrap) =
                    (Arc::clone(&seen), Arc::clone(&handler), Arc::clone(&wrap));
                thread::spawn(move || answer(wrap(stream), &seen, &*handler));
            }
        });
        Self { address, requests }
    }

    /// As [`Server::new`], over TLS. Returns the certificate of its authority, in PEM.
    pub fn tls(
        name: &str,
        handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        Self::tls_in(name, 1975..4096, handler)
    }

    /// As [`Server::tls`], with a certificate that is valid from one year to another.
    pub fn tls_in(
        name: &str,
        years: Range<i32>,
        handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        Self::tls_by(tls::config(name, years), handler)
    }

    /// As [`Server::tls`], with a certificate that is an authority's and the server's, as of
    /// `openssl req -x509`.
    pub fn tls_of_authority(
        name: &str,
        handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        Self::tls_by(tls::own_authority(name), handler)
    }

    fn tls_by(
        (config, authority): (Arc<rustls::ServerConfig>, String),
        handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        let handler = move |path: &str, _: &[String], count| handler(path, count);
        let server = Self::start("https", handler, move |stream| {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            rustls::StreamOwned::new(session, stream)
        });
        (server, authority)
    }

    /// As [`Server::tls`]; the list has for each connection whether it resumed a session.
    pub fn tls_watched(
        name: &str,
        handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> (Self, String, Arc<Mutex<Vec<bool>>>) {
        let (config, authority) = tls::config(name, 1975..4096);
        let resumed = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&resumed);
        let handler = move |path: &str, _: &[String], count| handler(path, count);
        let server = Self::start("https", handler, move |mut stream| {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // The next read reports a client that has closed the connection.
            while session.is_handshaking() && session.complete_io(&mut stream).is_ok() {}
            let again = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            seen.lock().unwrap().push(again);
            rustls::StreamOwned::new(session, stream)
        });
        (server, authority, resumed)
    }

    /// An intercepting proxy: it responds instead of the server `name`, with a certificate of its
    /// own authority, which is returned in PEM.
    pub fn proxy(
        name: &str,
        handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        let (config, authority) = tls::config(name, 1975..4096);
        let handler = move |path: &str, _: &[String], count| handler(path, count);
        let server = Self::start("http", handler, move |mut stream| {
            head(&mut stream);
            // The next read reports a client that has closed the connection.
            _ = stream.write_all(ESTABLISHED);
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            rustls::StreamOwned::new(session, stream)
        });
        (server, authority)
    }

    /// Serves the files of a directory.
    pub fn files(root: PathBuf) -> Self {
        Self::new(move |path, _| match fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(body) => Reply::ok(&body),
            Err(_) => Reply::new("404 Not Found", &[], b""),
        })
    }

    /// The requested paths, in order.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A proxy with tunnels to one server, whichever server is requested.
pub struct Tunnel {
    /// Host and port.
    pub address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    /// A proxy with tunnels to `server`, or that responds with `refusal`.
    pub fn new(server: &Server, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (_, target) = server.address.split_once("://").unwrap();
        let (target, heads) = (target.to_owned(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, target) = (Arc::clone(&seen), target.clone());
                thread::spawn(move || tunnel(stream, &seen, &target, refusal));
            }
        });
        Self { address, heads }
    }

    /// The heads of the requests since the last call.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

/// Copies both directions until one end closes.
fn tunnel(
    mut client: TcpStream,
    seen: &Mutex<Vec<String>>,
    target: &str,
    refusal: Option<&str>,
) -> std::io::Result<()> {
    let head = head(&mut client);
    seen.lock().unwrap().push(head);
    if let Some(status) = refusal {
        return write!(client, "HTTP/1.1 {status}\r\n\r\n");
    }
    let mut server = TcpStream::connect(target)?;
    client.write_all(ESTABLISHED)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        _ = std::io::copy(&mut from, &mut to);
        _ = to.shutdown(Shutdown::Write);
    });
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Reads the head of a request, and nothing after it.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

/// Reads one request and responds. A client that closes early is not an error.
fn answer(stream: impl Read + Write, seen: &Mutex<Vec<String>>, handler: &Handler) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = stream.by_ref().lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let head: Vec<_> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(path.clone());
        seen.len() - 1
    };
    let stream = stream.get_mut();
    let Reply(bytes, pause) = handler(&path, &head, count);
    let Some((body, pause)) = pause else {
        return stream.write_all(&bytes).and_then(|()| stream.flush()).ok();
    };
    stream.write_all(&bytes[..body]).and_then(|()| stream.flush()).ok()?;
    for byte in &bytes[body..] {
        thread::sleep(pause);
        stream.write_all(&[*byte]).and_then(|()| stream.flush()).ok()?;
    }
    Some(())
}

mod tls {
    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd,
    };
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use std::ops::Range;
    use std::sync::Arc;

    /// The configuration of a server `name`, valid in these years, and the PEM of its authority.
    pub(super) fn config(name: &str, years: Range<i32>) -> (Arc<ServerConfig>, String) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (server(&certificate, &key), authority.pem())
    }

    /// The configuration of a server `name` with a certificate that is also an authority's, and that in PEM.
    pub(super) fn own_authority(name: &str) -> (Arc<ServerConfig>, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (server(&certificate, &key), certificate.pem())
    }

    fn server(certificate: &Certificate, key: &KeyPair) -> Arc<ServerConfig> {
        _ = rustls::crypto::ring::default_provider().install_default(); // once is enough
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Arc::new(config)
    }
}
