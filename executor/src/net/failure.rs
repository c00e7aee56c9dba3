//! Why a request has failed, in words, and whether another try may succeed.

use super::address::Address;
use super::connection::Fault;
use super::retry::LONGEST_WAIT;
use super::tls;
use crate::env;
use crate::error::Error;
use std::io;
use std::time::Duration;

/// Why one try failed, and whether another one may succeed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What to say when there is no other try.
    pub error: Error,
    /// Whether the same request may succeed a moment later.
    pub passing: bool,
    /// How long the server asks to wait.
    pub asked: Option<Duration>,
}

impl Failure {
    /// One that the next try would only repeat.
    pub(super) fn lasting(url: &Address, reason: String) -> Self {
        Self { error: Error::net(url, reason), passing: false, asked: None }
    }

    /// One of the connection, through `proxy` if there is one.
    pub(super) fn of_connection(url: &Address, fault: &Fault, proxy: Option<String>) -> Self {
        let mut reason = match fault {
            Fault::Io(error) => explain_io(error),
            Fault::Name => "the host's name has no address; is the network up?".into(),
            Fault::Proxy(status) => format!("the proxy answered {}", spoken(*status)),
        };
        if let Some(proxy) = proxy {
            reason = format!("{reason} (proxy {proxy})");
        }
        Self { passing: is_passing(fault), ..Self::lasting(url, reason) }
    }

    /// An answer that is neither a success nor a redirect; `asked` is the time to wait that it names.
    pub(super) fn of_status(url: &Address, status: u16, asked: Option<Duration>) -> Self {
        let hint = match (status, url.authorization()) {
            (401 | 403, Some(_)) => "; is the registry's token valid?".to_owned(),
            (401 | 403, None) => "; if it needs a token, configure the registry's auth".to_owned(),
            _ => match asked.filter(|asked| *asked > LONGEST_WAIT) {
                Some(asked) => format!("; try again in {} s", asked.as_secs()),
                None => String::new(),
            },
        };
        let reason = format!("the server answered {}{hint}", spoken(status));
        let error = Error::Net { url: url.to_string(), reason, status: Some(status) };
        Self { error, passing: matches!(status, 429 | 500..600), asked }
    }
}

/// A status in digits and in words.
pub(super) fn spoken(status: u16) -> String {
    let words = match status {
        200 => "OK",
        206 => "Partial Content",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        410 => "Gone",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => return status.to_string(),
    };
    format!("{status} {words}")
}

/// Whether the same request may succeed a moment later.
fn is_passing(fault: &Fault) -> bool {
    match fault {
        // What a handshake or a head says will be the same next time, and so will this host's files.
        Fault::Io(error) => {
            !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        }
        Fault::Name => true,
        Fault::Proxy(status) => (500..600).contains(status),
    }
}

/// What a failed read or write of a connection means.
pub(crate) fn explain_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", env::timeout().as_secs())
        }
        io::ErrorKind::UnexpectedEof => "the connection ended early".into(),
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?".into(),
        io::ErrorKind::InvalidInput => error.to_string(),
        _ if certificate(error).is_some_and(tls::is_authority) => {
            "the server shows a certificate of an authority (CA), as openssl req -x509 makes them, \
             that is not trusted here; name that certificate in SSL_CERT_FILE"
                .into()
        }
        _ if certificate(error).is_some() => {
            format!("{error}; check the clock and whether a proxy re-signs connections")
        }
        _ => error.to_string(),
    }
}

/// What is wrong with the server's certificate, if that is it.
fn certificate(error: &io::Error) -> Option<&rustls::CertificateError> {
    match error.get_ref()?.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(reason),
        _ => None,
    }
}
