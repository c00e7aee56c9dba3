//! An HTTP server on loopback that answers as the test says and counts what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

/// What is sent back, byte for byte.
pub struct Reply(Vec<u8>);

impl Reply {
    pub fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        Self(bytes)
    }

    pub fn ok(body: &[u8]) -> Self {
        Self::new("200 OK", &[("Content-Length", &body.len().to_string())], body)
    }
}

type Handler = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// The server. Its threads end with the test's process.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request by what `handler` says of its path and of how many came before it.
    pub fn new(handler: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler): (_, Arc<Handler>) = (Arc::clone(&requests), Arc::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                thread::spawn(move || answer(stream, &seen, &*handler));
            }
        });
        Self { address, requests }
    }

    /// Serves the files of a directory.
    pub fn files(root: PathBuf) -> Self {
        Self::new(move |path, _| match fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(body) => Reply::ok(&body),
            Err(_) => Reply::new("404 Not Found", &[], b""),
        })
    }

    /// The paths that were asked for, in order.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads one request and answers it. A client that goes away early is no fault of the test.
fn answer(stream: TcpStream, seen: &Mutex<Vec<String>>, handler: &Handler) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    while !lines.next()?.ok()?.is_empty() {}
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(path.clone());
        seen.len() - 1
    };
    let mut stream = stream;
    stream.write_all(&handler(&path, count).0).ok()
}
