//! A server on loopback with persistent connections, which a test can close.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{fs, path::Path, thread};

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Number of its connection, from 0.
    pub connection: usize,
    /// Its number on that connection, from 0.
    pub number: usize,
    pub path: String,
    /// First and last byte of the requested range, if any.
    pub range: Option<(usize, Option<usize>)>,
    /// Whether it has a token.
    pub token: bool,
}

/// The action on a request.
pub enum Answer {
    /// Sends these bytes, and reads the next request.
    Bytes(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    Last(Vec<u8>),
    /// Sends these bytes before the response to the next request.
    Later,
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server. Its threads end with the test's process.
pub struct Kept {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Kept {
    pub fn new(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler): (_, Arc<Handler>) = (Arc::clone(&asked), Arc::new(handler));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                // A client that closes its connection is not an error.
                thread::spawn(move || answer(&stream, connection, &seen, &*handler));
            }
        });
        Self { address, asked }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections brought a request.
    pub fn connections(&self) -> usize {
        self.asked().iter().map(|asked| asked.connection).collect::<BTreeSet<_>>().len()
    }
}

fn answer(
    mut stream: &TcpStream,
    connection: usize,
    seen: &Mutex<Vec<Asked>>,
    handler: &Handler,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    for number in 0.. {
        let Some(first) = lines.next() else { break };
        let path = first?.split(' ').nth(1).unwrap().to_owned();
        let (mut range, mut token) = (None, false);
        for line in lines.by_ref() {
            let line = line?.to_lowercase();
            if let Some((from, to)) =
                line.strip_prefix("range: bytes=").and_then(|it| it.split_once('-'))
            {
                range = Some((from.parse().unwrap(), to.parse().ok()));
            }
            token |= line.starts_with("authorization:");
            if line.is_empty() {
                break;
            }
        }
        let asked = Asked { connection, number, path, range, token };
        seen.lock().unwrap().push(asked.clone());
        match handler(&asked) {
            Answer::Bytes(bytes) => stream.write_all(&bytes)?,
            Answer::Last(bytes) => {
                stream.write_all(&bytes)?;
                break;
            }
            Answer::Later => {}
        }
    }
    stream.shutdown(Shutdown::Both)
}

/// A response of HTTP/1.1 with its length.
pub fn reply(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

/// The response of a server of the files in `root`.
pub fn serve(root: &Path, asked: &Asked) -> Vec<u8> {
    let path = asked.path.split('?').next().unwrap().trim_start_matches('/');
    let Ok(body) = fs::read(root.join(path)) else { return reply("404 Not Found", &[], b"") };
    let Some((first, last)) = asked.range else {
        return reply("200 OK", &[("ETag", "\"e\"")], &body);
    };
    let last = last.unwrap_or(usize::MAX).min(body.len() - 1);
    let range = format!("bytes {first}-{last}/{}", body.len());
    reply("206 Partial Content", &[("Content-Range", &range)], &body[first..=last])
}
