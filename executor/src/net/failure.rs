//! Why a request failed, as an error message, and whether it is retried.

use super::address::Address;
use super::connection::Fault;
use super::retry::MAX_RETRY_AFTER;
use super::tls;
use crate::env;
use crate::error::Error;
use rustls::CertificateError;
use std::io;
use std::time::Duration;

/// Why one attempt failed, and whether another may succeed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The error to report when no attempt is left.
    pub error: Error,
    /// Whether the same request may succeed a moment later.
    pub transient: bool,
    /// The delay of the response's `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that is not retried.
    pub(super) fn permanent(url: &Address, reason: String) -> Self {
        Self { error: Error::net(url, reason), transient: false, retry_after: None }
    }

    /// A failure of the connection, through `proxy` if one is used.
    pub(super) fn of_connection(url: &Address, fault: &Fault, proxy: Option<String>) -> Self {
        let mut reason = match fault {
            Fault::Io(error) => explain_io(error),
            Fault::Name => "the host name does not resolve; is the network up?".into(),
            Fault::Proxy(status) => format!("the proxy answered {}", status_line(*status)),
        };
        if let Some(proxy) = proxy {
            reason = format!("{reason} (proxy {proxy})");
        }
        Self { transient: is_transient(fault), ..Self::permanent(url, reason) }
    }

    /// A response that is neither a success nor a redirect, with its `Retry-After`.
    pub(super) fn of_status(url: &Address, status: u16, retry_after: Option<Duration>) -> Self {
        let hint = match (status, url.authorization()) {
            (401 | 403, Some(_)) => "; is the registry's token valid?".to_owned(),
            (401 | 403, None) => "; if it needs a token, configure the registry's auth".to_owned(),
            _ => match retry_after.filter(|retry_after| *retry_after > MAX_RETRY_AFTER) {
                Some(retry_after) => format!("; try again in {} s", retry_after.as_secs()),
                None => String::new(),
            },
        };
        let reason = format!("the server answered {}{hint}", status_line(status));
        let error = Error::Net { url: url.to_string(), reason, status: Some(status) };
        Self { error, transient: matches!(status, 429 | 500..600), retry_after }
    }
}

/// A status code with its reason phrase.
pub(super) fn status_line(status: u16) -> String {
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
fn is_transient(fault: &Fault) -> bool {
    match fault {
        // A failed handshake, a malformed head and this host's certificate files stay as they are.
        Fault::Io(error) => {
            !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        }
        Fault::Name => true,
        Fault::Proxy(status) => (500..600).contains(status),
    }
}

/// The message for a failed read or write of a connection.
pub(crate) fn explain_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", env::timeout().as_secs())
        }
        io::ErrorKind::UnexpectedEof => "the connection ended early".into(),
        io::ErrorKind::ConnectionRefused => "connection refused; is the server running?".into(),
        io::ErrorKind::InvalidInput => error.to_string(),
        _ if certificate(error).is_some_and(tls::is_ca_as_server) => {
            "the server sent a certificate authority's (CA) own certificate, as openssl req -x509 \
             makes them, which is not trusted here; name that certificate in SSL_CERT_FILE"
                .into()
        }
        _ if matches!(tls(error), Some(rustls::Error::InvalidMessage(_))) => {
            "the server does not speak TLS; is its address http://?".into()
        }
        _ => match certificate(error) {
            // The message has the names of the certificate.
            None
            | Some(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => error.to_string(),
            Some(_) => {
                format!("{error}; check the clock and whether a proxy re-signs connections")
            }
        },
    }
}

/// The rule that the server's certificate breaks, if that is the cause.
fn certificate(error: &io::Error) -> Option<&CertificateError> {
    match tls(error) {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(reason),
        _ => None,
    }
}

fn tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
