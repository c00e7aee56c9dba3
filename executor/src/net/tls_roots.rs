//! TLS root certificates.

use super::tls;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

/// How TLS is spoken, and the certificates that a server may be vouched for by.
///
/// Those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if they are set, else those of the host, else, on a
/// host that has none, those built in, which are Mozilla's.
///
/// # Errors
/// `InvalidInput` when the variables are set and name nothing usable: what was meant to be trusted
/// is then unknown, and something else must not take its place.
pub(super) fn config() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let reason =
        "SSL_CERT_FILE and SSL_CERT_DIR name no readable certificate; correct or unset them";
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

/// Those that the TLS library can use: one odd certificate must not spoil the others.
fn usable(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    store
}

/// Mozilla's, as `build.rs` packed them.
fn built_in() -> Vec<CertificateDer<'static>> {
    let packed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/roots.deflate"));
    let mut bytes = Vec::new();
    // Our own bytes: if they do not inflate, no certificate is trusted, and the tests fail.
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
    fn an_odd_certificate_is_left_out() {
        let good = built_in()[0].clone();
        let certificates = vec![CertificateDer::from(vec![1, 2, 3]), good];
        assert_eq!(usable(certificates).len(), 1);
    }
}
