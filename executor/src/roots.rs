//! Whom to believe on https.

use crate::error::Error;
use crate::tls;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::io::Read;
use std::sync::OnceLock;
use url::Url;

/// The certificates that a server at `url` may be vouched for by; none are needed for plain http.
///
/// Those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if they are set, else those of the host, else, on a
/// host that has none, those built in, which are Mozilla's.
///
/// # Errors
/// [`Error::Net`] when the variables are set and name nothing usable: what was meant to be trusted
/// is then unknown, and something else must not take its place.
pub fn for_url(url: &Url) -> Result<Vec<CertificateDer<'static>>, Error> {
    static HOST: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    if url.scheme() != "https" {
        return Ok(Vec::new());
    }
    tls::install();
    let host = HOST.get_or_init(|| usable(rustls_native_certs::load_native_certs().certs));
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    if !host.is_empty() {
        return Ok(host.clone());
    }
    if named.iter().flatten().next().is_some() {
        let reason = "SSL_CERT_FILE and SSL_CERT_DIR name no readable certificate; correct or \
                      unset them";
        return Err(Error::Net { url: url.to_string(), reason: reason.to_owned() });
    }
    Ok(built_in())
}

/// Those that the TLS library can use: one odd certificate must not spoil the others.
fn usable(mut certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let mut store = RootCertStore::empty();
    certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
    certificates
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
        assert_eq!(usable(certificates.clone()), certificates);
    }

    #[test]
    fn an_odd_certificate_is_left_out() {
        let good = built_in()[0].clone();
        let certificates = vec![CertificateDer::from(vec![1, 2, 3]), good.clone()];
        assert_eq!(usable(certificates), [good]);
    }
}
