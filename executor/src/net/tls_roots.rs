//! TLS root certificates.

use super::tls;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

/// The TLS configuration with its root certificates.
///
/// The roots are those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if these are set, else the host's, else,
/// on a host that has none, the built-in ones, which are Mozilla's.
///
/// # Errors
/// `InvalidInput` when the variables are set but name no usable certificate: other roots must not
/// silently replace those that were asked for.
pub(super) fn config() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let reason =
        "SSL_CERT_FILE and SSL_CERT_DIR have no readable certificate; correct or unset them";
    let config = CONFIG.get_or_init(|| Some(Arc::new(tls::config(trusted()?)))).clone();
    config.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, reason))
}

fn trusted() -> Option<RootCertStore> {
    let host = usable(rustls_native_certs::load_native_certs().certs);
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    if !host.is_empty() {
        return Some(host);
    }
    named.iter().all(Option::is_none).then(|| usable(built_in()))
}

/// The certificates that the TLS library can parse: one that it cannot must not invalidate the others.
fn usable(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    store
}

/// Mozilla's, as `build.rs` packed them.
fn built_in() -> Vec<CertificateDer<'static>> {
    let packed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/roots.deflate"));
    let mut bytes = Vec::new();
    // Built-in bytes: if they did not inflate, no certificate would be trusted and the tests would fail.
    _ = flate2::read::DeflateDecoder::new(packed).read_to_end(&mut bytes);
    let (mut rest, mut certificates) = (bytes.as_slice(), Vec::new());
    while let Some((length, tail)) = rest.split_first_chunk() {
        let Some((der, tail)) = tail.split_at_checked(u16::from_be_bytes(*length).into()) else {
            break;
        };
        certificates.push(CertificateDer::from(der.to_vec()));
        rest = tail;
    }
    certificates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificates_built_in_are_all_usable() {
        let certificates = built_in();
        assert!(certificates.len() > 100);
        assert_eq!(usable(certificates.clone()).len(), certificates.len());
    }

    #[test]
    fn a_certificate_that_cannot_be_parsed_is_left_out() {
        let good = built_in()[0].clone();
        let certificates = vec![CertificateDer::from(vec![1, 2, 3]), good];
        assert_eq!(usable(certificates).len(), 1);
    }
}
