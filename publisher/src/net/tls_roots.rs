//! TLS root certificates: those of `SSL_CERT_FILE`, else of the host.

use rustls::{RootCertStore, pki_types::CertificateDer};
use std::sync::OnceLock;

/// The root certificates that the TLS library can parse, read once. Empty on a host that has none.
pub(super) fn host_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        // Fails if a provider is installed already, which is fine.
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        // A certificate that it cannot parse must not invalidate the others.
        let mut store = RootCertStore::empty();
        certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
        certificates
    })
}
