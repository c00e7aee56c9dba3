//! TLS client configuration with a reduced set of algorithms.
//!
//! The library's default set would also link ChaCha20 and client certificates: 0.06 MB. AES-GCM is
//! mandatory in TLS 1.3 (RFC 8446, section 9.1), and every web server with TLS 1.2 supports it.

use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{cipher_suite as suite, kx_group};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::SigningKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme as Scheme,
};
use std::sync::Arc;
use webpki::ring as signed;

/// A client configuration with the root certificates `roots`.
pub(super) fn config(roots: RootCertStore) -> ClientConfig {
    let provider = CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &System,
        key_provider: &System,
    };
    let (provider, roots) = (Arc::new(provider), Arc::new(roots));
    let webpki = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("cipher suites for both versions");
    match webpki.build() {
        Ok(webpki) => {
            let verifier = Arc::new(Verifier { webpki, roots });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        // Without roots no certificate is trusted: every handshake fails.
        Err(_) => builder.with_root_certificates(roots).with_no_client_auth(),
    }
}

/// Whether a certificate was refused because it is a CA certificate used as a server's.
pub(super) fn is_ca_as_server(reason: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(other)) = reason else { return false };
    matches!(other.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Verifies servers by WebPKI, and also accepts a server whose certificate is itself one of the trusted
/// roots, as private servers with a self-signed certificate have it: the holder of the root's key could sign
/// any other. Its validity period is not checked: it is trusted until it is removed.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.webpki.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(reason))
                if is_ca_as_server(&reason)
                    && webpki::anchor_from_trusted_cert(end_entity)
                        .is_ok_and(|anchor| self.roots.roots.contains(&anchor)) =>
            {
                let certificate = webpki::EndEntityCert::try_from(end_entity);
                let named = certificate.and_then(|it| it.verify_is_valid_for_subject_name(name));
                named.map_err(|_| CertificateError::NotValidForNameContext {
                    expected: name.to_owned(),
                    presented: Vec::new(),
                })?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<Scheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Signature algorithms of certificates and handshakes. In TLS 1.2 a scheme does not fix the curve.
const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        signed::ECDSA_P256_SHA256,
        signed::ECDSA_P256_SHA384,
        signed::ECDSA_P384_SHA256,
        signed::ECDSA_P384_SHA384,
        signed::ED25519,
        signed::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        signed::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        signed::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        signed::RSA_PKCS1_2048_8192_SHA256,
        signed::RSA_PKCS1_2048_8192_SHA384,
        signed::RSA_PKCS1_2048_8192_SHA512,
        signed::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        signed::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        signed::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (Scheme::ECDSA_NISTP384_SHA384, &[signed::ECDSA_P384_SHA384, signed::ECDSA_P256_SHA384]),
        (Scheme::ECDSA_NISTP256_SHA256, &[signed::ECDSA_P256_SHA256, signed::ECDSA_P384_SHA256]),
        (Scheme::ED25519, &[signed::ED25519]),
        (Scheme::RSA_PSS_SHA512, &[signed::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (Scheme::RSA_PSS_SHA384, &[signed::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (Scheme::RSA_PSS_SHA256, &[signed::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (Scheme::RSA_PKCS1_SHA512, &[signed::RSA_PKCS1_2048_8192_SHA512]),
        (Scheme::RSA_PKCS1_SHA384, &[signed::RSA_PKCS1_2048_8192_SHA384]),
        (Scheme::RSA_PKCS1_SHA256, &[signed::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

/// Randomness from the kernel, and no private keys: no client certificates.
#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new().fill(buffer).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for System {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("client certificates are not supported".into()))
    }
}
