//! GET over https, with the redirects and the retries that are allowed.

use crate::error::Error;
use crate::location::allowed;
use crate::roots;
use attohttpc::{ErrorKind, Response, Session};
use std::io;
use std::time::Duration;
use url::Url;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Waits before the second, third and fourth try.
const WAITS: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a server, in the head as in the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks for `url` and returns the answer once its status is 200.
///
/// Network failures, 429 and 5xx are tried again; other answers are final.
///
/// # Errors
/// [`Error::Net`] with the address that failed and the reason.
pub fn get(url: &Url) -> Result<Response, Error> {
    let mut waits = WAITS.into_iter();
    loop {
        match try_get(url) {
            Ok(response) => return Ok(response),
            Err(Failure { error, passing }) => match waits.next().filter(|_| passing) {
                Some(wait) => std::thread::sleep(wait),
                None => return Err(error),
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, passing: false }
    }
}

/// Why one try failed, and whether another one may succeed.
struct Failure {
    error: Error,
    passing: bool,
}

fn try_get(url: &Url) -> Result<Response, Failure> {
    let mut session = Session::new();
    session.follow_redirects(false);
    session.connect_timeout(CONNECT_TIMEOUT);
    session.read_timeout(IDLE_TIMEOUT);
    session.header("User-Agent", concat!("joblet-exec/", env!("CARGO_PKG_VERSION")));
    for certificate in roots::for_url(url)? {
        session.add_root_certificate(certificate);
    }
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let failure = |reason: String, passing| Failure {
            error: Error::Net { url: url.to_string(), reason },
            passing,
        };
        let response = session
            .get(url.as_str())
            .send()
            .map_err(|error| failure(explain(&error), is_passing(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if !status.is_redirection() {
            let passing = status.is_server_error() || status.as_u16() == 429;
            return Err(failure(format!("the server answered {status}"), passing));
        }
        let target = response.headers().get("location").and_then(|value| value.to_str().ok());
        let next = target.and_then(|target| url.join(target).ok()).ok_or_else(|| {
            failure(format!("the server answered {status} without a usable address"), false)
        })?;
        allowed(&next)
            .map_err(|reason| failure(format!("redirect to {next} refused: {reason}"), false))?;
        // https never leads back to http, not even on loopback.
        if url.scheme() == "https" && next.scheme() != "https" {
            return Err(failure(format!("redirect to {next} refused: it leaves https"), false));
        }
        url = next;
    }
    let reason = format!("more than {MAX_REDIRECTS} redirects");
    Err(Failure { error: Error::Net { url: url.to_string(), reason }, passing: false })
}

/// Whether the same request may succeed a moment later.
fn is_passing(error: &attohttpc::Error) -> bool {
    match error.kind() {
        // What a TLS handshake found out will be the same next time.
        ErrorKind::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        kind => matches!(kind, ErrorKind::ConnectError { .. }),
    }
}

/// The reason in words of people who run networks.
fn explain(error: &attohttpc::Error) -> String {
    match error.kind() {
        ErrorKind::Io(source) => explain_io(source),
        ErrorKind::ConnectError { .. } => format!("{error}; is the network up?"),
        _ => error.to_string(),
    }
}

/// What a failed read or write of a connection means.
pub fn explain_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", IDLE_TIMEOUT.as_secs())
        }
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?".into(),
        _ if error.to_string().contains("failed to lookup address") => {
            "the host's name has no address; is the network up?".into()
        }
        _ if error.to_string().contains("certificate") => {
            format!("{error}; check the clock and whether a proxy re-signs connections")
        }
        _ => error.to_string(),
    }
}
