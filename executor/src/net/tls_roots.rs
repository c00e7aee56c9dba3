//! TLS root certificates.

use super::tls;
use rustls::pki_types::{CertificateDer, Der, TrustAnchor};
use rustls::{ClientConfig, RootCertStore};
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

/// The TLS configuration with its root certificates.
///
/// The roots are those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if these are set, else the host's, else the built-in
/// ones, which are Mozilla's.
///
/// # Errors
/// `InvalidInput` if the variables are set without a usable certificate: other roots must not silently replace
/// them.
pub(super) fn config() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let reason =
        "SSL_CERT_FILE and SSL_CERT_DIR have no readable certificate; correct or unset them";
    let config = CONFIG.get_or_init(|| Some(Arc::new(tls::config(trusted()?)))).clone();
    config.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, reason))
}

fn trusted() -> Option<RootCertStore> {
    let host = usable(rustls_native_certs::load_native_certs().certs);
    if !host.is_empty() {
        return Some(host);
    }
    (!crate::env::sets_certificates()).then(|| RootCertStore { roots: built_in() })
}

/// The certificates that the TLS library can parse; others are ignored.
fn usable(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    store
}

/// Mozilla's, as `build.rs` packed them.
fn built_in() -> Vec<TrustAnchor<'static>> {
    let packed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/roots.deflate"));
    let mut bytes = Vec::new();
    // Built-in bytes: if they did not inflate, no certificate would be trusted and the tests would fail.
    _ = flate2::read::DeflateDecoder::new(packed).read_to_end(&mut bytes);
    let mut rest = bytes.as_slice();
    std::iter::from_fn(|| {
        let [subject, subject_public_key_info, constraints] =
            [der(&mut rest)?, der(&mut rest)?, der(&mut rest)?];
        let name_constraints = (!constraints.is_empty()).then_some(constraints);
        Some(TrustAnchor { subject, subject_public_key_info, name_constraints })
    })
    .collect()
}

/// The next value, behind its length in two bytes.
fn der(rest: &mut &[u8]) -> Option<Der<'static>> {
    let (length, tail) = rest.split_first_chunk()?;
    let (value, tail) = tail.split_at_checked(u16::from_be_bytes(*length).into())?;
    *rest = tail;
    Some(value.to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_anchors_are_those_of_mozilla() {
        assert_eq!(built_in(), webpki_roots::TLS_SERVER_ROOTS);
        assert!(built_in().len() > 100);
    }

    #[test]
    fn a_certificate_that_cannot_be_parsed_is_left_out() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let good = key.cert.der().clone();
        let certificates = vec![CertificateDer::from(vec![1, 2, 3]), good];
        assert_eq!(usable(certificates).len(), 1);
    }
}
