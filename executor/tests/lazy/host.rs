//! A host of archives that serves ranges, and withholds or changes bytes by the test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes that are sent at a time.
const CHUNK: usize = 16 << 10;

/// The behaviour of the host.
#[derive(Default)]
pub struct Rules {
    /// Bytes of the archive that are withheld until `release`.
    pub held: Mutex<Option<Range<u64>>>,
    pub release: AtomicBool,
    /// Whether it closes every connection.
    pub away: AtomicBool,
    /// Bytes of archives that it has sent.
    pub sent: AtomicU64,
    /// Requested ranges of archives, in order, in bytes.
    pub asked: Mutex<Vec<Range<u64>>>,
}

/// A host on loopback.
pub struct Host {
    pub address: String,
    pub rules: Arc<Rules>,
}

impl Host {
    /// Serves the files of `root`.
    pub fn new(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let rules = Arc::new(Rules::default());
        let served = Arc::clone(&rules);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, rules) = (root.clone(), Arc::clone(&served));
                thread::spawn(move || while answer(&stream, &root, &rules).is_some() {});
            }
        });
        Self { address, rules }
    }
}

/// The response to one request; none to close the connection.
fn answer(mut stream: &TcpStream, root: &Path, rules: &Rules) -> Option<()> {
    // One request at a time, without pipelining.
    let mut lines = BufReader::with_capacity(1, stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    if rules.away.load(Ordering::SeqCst) {
        return None;
    }
    let path = first.split(' ').nth(1)?.trim_start_matches('/');
    let Ok(body) = fs::read(root.join(path)) else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok()?;
        return Some(());
    };
    let range = head.iter().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned)
    });
    let range = range.and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse().unwrap_or(usize::MAX).min(body.len() - 1)))
    });
    let (status, from, to) = match range {
        Some((first, last)) => (
            format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}", body.len()),
            first,
            last + 1,
        ),
        None => ("200 OK".to_owned(), 0, body.len()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", to - from).ok()?;
    let archive = Path::new(path).extension().is_some_and(|it| it == "gz" || it == "zst");
    if archive {
        rules.asked.lock().unwrap().push(from as u64..to as u64);
    }
    for at in (from..to).step_by(CHUNK) {
        let end = (at + CHUNK).min(to);
        while archive && is_held(rules, at as u64..end as u64) {
            thread::sleep(Duration::from_millis(10));
        }
        if rules.away.load(Ordering::SeqCst) {
            return None;
        }
        stream.write_all(&body[at..end]).ok()?;
        if archive {
            rules.sent.fetch_add((end - at) as u64, Ordering::SeqCst);
        }
    }
    Some(())
}

fn is_held(rules: &Rules, bytes: Range<u64>) -> bool {
    let held = rules.held.lock().unwrap().clone();
    held.is_some_and(|held| held.start < bytes.end && bytes.start < held.end)
        && !rules.release.load(Ordering::SeqCst)
        && !rules.away.load(Ordering::SeqCst)
}
