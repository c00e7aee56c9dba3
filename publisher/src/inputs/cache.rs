//! Fetches locked inputs into a content-addressed cache.
//!
//! Cache layout: `CACHE/sha256/HEX`. Each file is hashed before it is used, and fetched again if the hash
//! differs.

use crate::{
    error::{Error, shown},
    fs::paths,
    inputs::{
        download::{Body, Fault, MAX_UNKNOWN, Received, copy, download, limit},
        locations::Places,
        progress::Progress,
    },
    lock::{Input, Kind},
    net::http,
};
use joblet_format::Checksum;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Files fetched at once.
const PARALLEL: usize = 8;

/// The cache, and the addresses to fetch from.
pub(crate) struct InputCache<'s> {
    /// The cache's directory.
    pub cache: &'s Path,
    /// Where missing inputs are fetched; `None` for offline use.
    pub places: Option<&'s Places>,
    /// The lock's timestamp.
    pub timestamp: &'s str,
    /// Reports progress to the user.
    pub note: &'s (dyn Fn(&str) + Sync),
}

impl InputCache<'_> {
    /// The cached files of `inputs`, in their order; missing ones are fetched.
    ///
    /// # Errors
    /// For the first input that is not available: [`Error::Net`] with all addresses that were tried,
    /// [`Error::Differs`] if only other content was served, [`Error::File`].
    pub(crate) fn files(&self, inputs: &[Input]) -> Result<Vec<PathBuf>, Error> {
        let next = AtomicUsize::new(0);
        let progress = Progress::new(inputs, self.note);
        let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(input) = inputs.get(index) else { return };
                if let Err(error) = self.ensure(input, &|bytes| progress.received(index, bytes)) {
                    next.store(inputs.len(), Ordering::Relaxed); // no thread starts another input
                    let mut failed =
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                        *failed = Some((index, error));
                    }
                    return;
                }
                progress.done(index);
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
        path(self.cache, input)
    }

    /// Makes an input of the upstream archive at `address`, fetching it into the cache if it is missing.
    ///
    /// If it is not available but its hash is given, its size stays unknown.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::Differs`] if it does not have the expected hash, [`Error::File`].
    pub(crate) fn lock_archive(
        &self,
        address: &str,
        expected: Option<Checksum>,
    ) -> Result<Input, Error> {
        let input =
            |size, sha256| Input { kind: Kind::Tar, name: address.to_owned(), size, sha256 };
        if let Some(sha256) = expected {
            let input = input(None, sha256);
            let size = match self.ensure(&input, &|_| {}) {
                Err(Error::Net { .. }) => None,
                Err(error) => return Err(error),
                Ok(()) => Some(size(&self.path(&input))?),
            };
            return Ok(Input { size, ..input });
        }
        let shown = shown::address(address);
        (self.note)(&format!("fetching {shown}"));
        let failed = |reason| {
            let advice = "give its sha256 in the manifest to lock it without fetching it";
            Error::Net { what: shown.clone(), reason: format!("{reason}; {advice}") }
        };
        let answer =
            http::get(address, "*/*", MAX_UNKNOWN).map_err(|(reason, _)| failed(reason))?;
        let mut staged = paths::stage(&self.cache.join("sha256/new"))?;
        let mut body = Body { from: answer.body, failed: None, received: &|_| {} };
        let copied = copy(&mut body, staged.as_file_mut(), MAX_UNKNOWN);
        if let Some(reason) = body.failed {
            return Err(failed(reason));
        }
        let (size, sha256) = copied.map_err(Error::file("write below", self.cache))?;
        let input = input(Some(size), sha256);
        paths::publish(staged, &self.path(&input))?;
        Ok(input)
    }

    /// Ensures that `input` is in the cache with the right content. `received` is called with the number of
    /// bytes that have arrived.
    fn ensure(&self, input: &Input, received: Received) -> Result<(), Error> {
        let path = self.path(input);
        if let Some(file) = paths::open_if_there(&path)? {
            let (_, sum) =
                copy(file, io::sink(), limit(input)).map_err(Error::file("read", &path))?;
            if sum == input.sha256 {
                return Ok(());
            }
        }
        self.fetch(input, &path, received)
    }

    fn fetch(&self, input: &Input, path: &Path, received: Received) -> Result<(), Error> {
        let missing = |reason| Error::Net { what: input.file_name().to_owned(), reason };
        let Some(places) = self.places else {
            let cache = self.cache.display();
            return Err(missing(format!(
                "is not in the cache {cache} and is not fetched with --offline; build once without"
            )));
        };
        let mut tried = Vec::new();
        let mut differs = None;
        for address in places.addresses(input, self.timestamp)? {
            let address = match address {
                Ok(address) => address,
                Err(reason) => {
                    tried.push(reason);
                    continue;
                }
            };
            let mut staged = paths::stage(path)?;
            match download(&address, staged.as_file_mut(), input, received) {
                Ok(()) => return paths::publish(staged, path),
                Err(Fault::File(source)) => return Err(Error::file("write", path)(source)),
                Err(Fault::Differs(error)) => differs = Some(error),
                Err(Fault::Net(reason)) => {
                    tried.push(format!("{}: {reason}", shown::address(&address)));
                }
            }
        }
        Err(differs.unwrap_or_else(|| {
            let advice = match input.kind {
                Kind::Deb => {
                    "if the mirror no longer has it, lock again or set a snapshot service".into()
                }
                Kind::Wheel => "if the index no longer has it, lock again".into(),
                Kind::Image | Kind::Layer => "lock again where the image is".into(),
                Kind::Tar => {
                    let path = self.path(input);
                    format!("fetch it on another machine and copy it to {}", path.display())
                }
            };
            missing(format!("not available from {}; {advice}", tried.join(", ")))
        }))
    }
}

/// The path of `input` in `cache`.
pub(crate) fn path(cache: &Path, input: &Input) -> PathBuf {
    cache.join("sha256").join(input.sha256.hex())
}

/// Length of a file, in bytes.
fn size(path: &Path) -> Result<u64, Error> {
    std::fs::metadata(path).map(|it| it.len()).map_err(Error::file("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
        slice::from_ref,
    };

    fn input(name: &str, bytes: &[u8]) -> Input {
        let sha256 = Checksum::of_bytes(bytes);
        let name = format!("debian/pool/{name}");
        Input { kind: Kind::Deb, name, size: Some(bytes.len() as u64), sha256 }
    }

    /// A server on loopback that responds by file name; returns its address.
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
        places: Option<&Places>,
        inputs: &[Input],
    ) -> Result<Vec<PathBuf>, Error> {
        InputCache { cache, places, timestamp: "2026-01-31T12:00:00Z", note: &|_| {} }.files(inputs)
    }

    #[test]
    fn inputs_are_fetched_once_and_the_hash_decides() {
        let places = Places::new(Some(&serve())).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let good = input("good", b"good");
        let paths = files(cache.path(), Some(&places), from_ref(&good)).unwrap();
        assert_eq!(paths::read(&paths[0]).unwrap(), b"good");
        assert_eq!(files(cache.path(), None, from_ref(&good)).unwrap(), paths);
        paths::write(&paths[0], b"evil").unwrap();
        let error = files(cache.path(), None, from_ref(&good)).unwrap_err().to_string();
        assert!(
            error.contains("good: is not in the cache") && error.contains("--offline"),
            "{error}"
        );
        files(cache.path(), Some(&places), from_ref(&good)).unwrap();
        assert_eq!(paths::read(&paths[0]).unwrap(), b"good");
    }

    #[test]
    fn packages_that_the_mirror_no_longer_has_come_from_the_snapshot() {
        let address = serve();
        let mut mirrors = crate::inputs::debian_mirror::find(Some(&address)).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let old = input("old", b"old");
        let places = Places::from(mirrors.clone());
        let error = files(cache.path(), Some(&places), from_ref(&old)).unwrap_err().to_string();
        assert!(error.contains("lock again or set a snapshot service"), "{error}");
        mirrors.snapshot = Some(format!("{address}/s"));
        let paths = files(cache.path(), Some(&Places::from(mirrors)), &[old]).unwrap();
        assert_eq!(paths::read(&paths[0]).unwrap(), b"old");
    }

    #[test]
    fn faults_name_the_input_and_the_address() {
        let address = serve();
        let places = Places::new(Some(&address)).unwrap();
        let cache = tempfile::tempdir().unwrap();
        for (name, bytes, class, message) in [
            (
                "gone",
                "gone",
                "NET",
                "gone: not available from ADDRESS/debian/pool/gone: HTTP status 404",
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
            let error = files(cache.path(), Some(&places), &[input(name, bytes.as_bytes())]);
            let error = error.unwrap_err();
            let text = error.to_string().replace(&address, "ADDRESS");
            assert_eq!(error.class().word(), class, "{text}");
            assert!(text.contains(message), "{text}");
        }
        let left = paths::list(&cache.path().join("sha256")).unwrap();
        assert_eq!(left, Vec::<PathBuf>::new(), "nothing half-written");
    }
}
