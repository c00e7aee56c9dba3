//! Locked inputs → files in a cache that is keyed by SHA-256.
//!
//! Cache layout: `CACHE/sha256/HEX`. A file there has that hash, or it is fetched anew: each is
//! hashed before it is used.

use crate::{error::Error, fsx, lock::Input, mirror::Mirrors, roots};
use joblet_format::Checksum;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Files fetched at once.
const PARALLEL: usize = 8;
/// Attempts at one address.
const ATTEMPTS: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For one file.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(600);

/// Where inputs come from.
pub struct Store<'s> {
    /// The cache's directory.
    pub cache: &'s Path,
    /// Where to fetch what it lacks; none: fetch nothing.
    pub mirrors: Option<&'s Mirrors>,
    /// The lock's timestamp.
    pub timestamp: &'s str,
    /// Told about progress, for people.
    pub note: &'s (dyn Fn(&str) + Sync),
}

impl Store<'_> {
    /// The files of `inputs`, in their order, fetched where the cache lacks them.
    ///
    /// # Errors
    /// Of the first input that cannot be had: [`Error::Net`] with every address that was tried,
    /// [`Error::Differs`] if only other bytes were served, [`Error::File`].
    pub fn files(&self, inputs: &[Input]) -> Result<Vec<PathBuf>, Error> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(input) = inputs.get(index) else { return };
                if let Err(error) = self.have(input) {
                    next.store(inputs.len(), Ordering::Relaxed); // nobody begins another one
                    let mut failed =
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                        *failed = Some((index, error));
                    }
                    return;
                }
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.note)(&format!("inputs: {done} of {}", inputs.len()));
            }
        };
        thread::scope(|scope| {
            for _ in 0..PARALLEL.min(inputs.len()) {
                scope.spawn(work);
            }
        });
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(inputs.iter().map(|input| self.path(input)).collect()),
        }
    }

    fn path(&self, input: &Input) -> PathBuf {
        self.cache.join("sha256").join(input.sha256.hex())
    }

    /// Makes sure that `input` is in the cache with the right bytes.
    fn have(&self, input: &Input) -> Result<(), Error> {
        let path = self.path(input);
        match File::open(&path) {
            Ok(file) => {
                let (size, sum) =
                    copy(file, io::sink(), input.size).map_err(Error::file("read", &path))?;
                if size == input.size && sum == input.sha256 {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("read", path)(error)),
        }
        self.fetch(input, &path)
    }

    fn fetch(&self, input: &Input, path: &Path) -> Result<(), Error> {
        let missing = |reason| Error::Net { what: input.file_name().to_owned(), reason };
        let Some(mirrors) = self.mirrors else {
            let cache = self.cache.display();
            return Err(missing(format!(
                "is not in the cache {cache} and --offline forbids to fetch it; build once without"
            )));
        };
        let mut tried = Vec::new();
        let mut differs = None;
        for address in mirrors.addresses(input, self.timestamp) {
            let mut staged = fsx::stage(path)?;
            match download(&address, staged.as_file_mut(), input) {
                Ok(()) => return fsx::publish(staged, path),
                Err(Fault::File(source)) => return Err(Error::file("write", path)(source)),
                Err(Fault::Differs(error)) => differs = Some(error),
                Err(Fault::Net(reason)) => tried.push(format!("{address}: {reason}")),
            }
        }
        Err(differs.unwrap_or_else(|| {
            let advice = "if the mirror has dropped it, lock again or name a snapshot service";
            missing(format!("cannot be had from {}; {advice}", tried.join(", ")))
        }))
    }
}

/// Why an address did not serve an input.
enum Fault {
    /// No usable answer.
    Net(String),
    /// An answer with other bytes: asking again does not help.
    Differs(Error),
    /// The answer could not be written.
    File(io::Error),
}

/// Fetches `address` into `file`. Only what may pass by itself is tried again.
fn download(address: &str, file: &mut File, input: &Input) -> Result<(), Fault> {
    let mut attempt = 1;
    loop {
        let (reason, passing) = match get(address) {
            Ok(response) => match receive(response, file, input, address) {
                Err(Fault::Net(reason)) => (reason, true),
                result => return result,
            },
            Err(fault) => fault,
        };
        if !passing || attempt == ATTEMPTS {
            return Err(Fault::Net(reason));
        }
        thread::sleep(Duration::from_millis(300) * attempt);
        attempt += 1;
    }
}

/// The body at `address`, or what happened and whether it may pass by itself.
pub(crate) fn get(address: &str) -> Result<impl Read + use<>, (String, bool)> {
    let mut request = attohttpc::get(address)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(TOTAL_TIMEOUT);
    if address.starts_with("https:") {
        for certificate in roots::of_the_host() {
            request = request.add_root_certificate(certificate.clone());
        }
    }
    let response = request.send().map_err(|error| (error.to_string(), true))?;
    let (status, _, body) = response.split();
    if status.is_success() {
        return Ok(body);
    }
    Err((format!("HTTP status {}", status.as_u16()), status.is_server_error() || status == 429))
}

fn receive(body: impl Read, file: &mut File, input: &Input, address: &str) -> Result<(), Fault> {
    use std::io::Seek;
    file.set_len(0).and_then(|()| file.rewind()).map_err(Fault::File)?;
    let mut body = Body { body, failed: None };
    let result = copy(&mut body, file, input.size);
    if let Some(reason) = body.failed {
        return Err(Fault::Net(reason));
    }
    let (size, sum) = result.map_err(Fault::File)?;
    if size < input.size {
        return Err(Fault::Net(format!("ended after {size} of {} bytes", input.size)));
    }
    if size == input.size && sum == input.sha256 {
        return Ok(());
    }
    let hint = "the mirror serves another file under this name; lock again";
    let object = address.to_owned();
    Err(Fault::Differs(if size == input.size {
        Error::checksum(object, input.sha256, sum, hint)
    } else {
        let (expected, actual) = (format!("{} bytes", input.size), "more".to_owned());
        Error::Differs { object, field: "size", expected, actual, hint }
    }))
}

/// A body whose own errors are told from those of the file it is written to.
struct Body<R> {
    body: R,
    failed: Option<String>,
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).inspect_err(|error| self.failed = Some(error.to_string()))
    }
}

/// Copies at most `limit` + 1 bytes. Returns how many there were, and their hash.
fn copy(from: impl Read, mut to: impl Write, limit: u64) -> io::Result<(u64, Checksum)> {
    let mut from = from.take(limit.saturating_add(1));
    let (mut size, mut hash, mut buffer) = (0, Sha256::new(), vec![0; 64 << 10]);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((size, Checksum::from_digest(hash.finalize().into()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        size += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Kind;
    use std::{net::TcpListener, slice::from_ref};

    fn input(name: &str, bytes: &[u8]) -> Input {
        let sha256 = Checksum::from_digest(Sha256::digest(bytes).into());
        let name = format!("debian/pool/{name}");
        Input { kind: Kind::Deb, name, size: bytes.len() as u64, sha256 }
    }

    /// A server that answers by file name, on the loopback device; returns its address.
    fn serve() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 2048];
                let length = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let (status, body, declared) = match request.split(' ').nth(1).unwrap() {
                    "/s/archive/debian/20260131T120000Z/pool/old" => ("200 OK", "old", 3),
                    "/debian/pool/good" => ("200 OK", "good", 4),
                    "/debian/pool/other" => ("200 OK", "evil", 4),
                    "/debian/pool/long" => ("200 OK", "too long", 8),
                    "/debian/pool/short" => ("200 OK", "sho", 3),
                    "/debian/pool/broken" => ("500 Oops", "", 0),
                    _ => ("404 Not Found", "", 0),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {declared}\r\n");
                _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
            }
        });
        address
    }

    fn files(
        cache: &Path,
        mirrors: Option<&Mirrors>,
        inputs: &[Input],
    ) -> Result<Vec<PathBuf>, Error> {
        Store { cache, mirrors, timestamp: "2026-01-31T12:00:00Z", note: &|_| {} }.files(inputs)
    }

    #[test]
    fn inputs_are_fetched_once_and_the_hash_decides() {
        let mirrors = crate::mirror::find(Some(&serve())).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let good = input("good", b"good");
        let paths = files(cache.path(), Some(&mirrors), from_ref(&good)).unwrap();
        assert_eq!(fsx::read(&paths[0]).unwrap(), b"good");
        assert_eq!(files(cache.path(), None, from_ref(&good)).unwrap(), paths);
        fsx::write(&paths[0], b"evil").unwrap();
        let error = files(cache.path(), None, from_ref(&good)).unwrap_err().to_string();
        assert!(
            error.contains("good: is not in the cache") && error.contains("--offline"),
            "{error}"
        );
        files(cache.path(), Some(&mirrors), from_ref(&good)).unwrap();
        assert_eq!(fsx::read(&paths[0]).unwrap(), b"good");
    }

    #[test]
    fn what_the_mirror_has_dropped_comes_from_the_snapshot() {
        let address = serve();
        let mut mirrors = crate::mirror::find(Some(&address)).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let old = input("old", b"old");
        let error = files(cache.path(), Some(&mirrors), from_ref(&old)).unwrap_err().to_string();
        assert!(error.contains("lock again or name a snapshot service"), "{error}");
        mirrors.snapshot = Some(format!("{address}/s"));
        let paths = files(cache.path(), Some(&mirrors), &[old]).unwrap();
        assert_eq!(fsx::read(&paths[0]).unwrap(), b"old");
    }

    #[test]
    fn faults_name_the_input_and_the_address() {
        let address = serve();
        let mirrors = crate::mirror::find(Some(&address)).unwrap();
        let cache = tempfile::tempdir().unwrap();
        for (name, bytes, class, message) in [
            (
                "gone",
                "gone",
                "NET",
                "gone: cannot be had from ADDRESS/debian/pool/gone: HTTP status 404",
            ),
            ("broken", "x", "NET", "broken: HTTP status 500"),
            ("short", "short", "NET", "short: ended after 3 of 5 bytes"),
            ("other", "good", "INTEGRITY", "ADDRESS/debian/pool/other: checksum differs"),
            (
                "long",
                "too",
                "INTEGRITY",
                "long: size differs: expected 3 bytes, got more; the mirror",
            ),
        ] {
            let error = files(cache.path(), Some(&mirrors), &[input(name, bytes.as_bytes())]);
            let error = error.unwrap_err();
            let text = error.to_string().replace(&address, "ADDRESS");
            assert_eq!(error.class().word(), class, "{text}");
            assert!(text.contains(message), "{text}");
        }
        let left = fsx::list(&cache.path().join("sha256")).unwrap();
        assert_eq!(left, Vec::<PathBuf>::new(), "nothing half-written");
    }
}
