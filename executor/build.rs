//! Mozilla's root certificates, compressed: they take 0.09 MB of the program instead of 0.13.

use std::{env, fs, io::Write, path::PathBuf};

/// Written to `OUT_DIR/roots.deflate`: raw deflate of, for each certificate, its length in two bytes,
/// the higher first, and its DER. `net/tls_roots.rs` reads it.
fn main() {
    let mut to = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let length = u16::try_from(certificate.len()).expect("certificates are small");
        to.write_all(&length.to_be_bytes()).expect("a Vec takes everything");
        to.write_all(certificate).expect("a Vec takes everything");
    }
    let packed = to.finish().expect("a Vec takes everything");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("roots.deflate"), packed).expect("OUT_DIR can be written to");
    #[allow(clippy::print_stdout, reason = "cargo reads it")]
    {
        println!("cargo::rerun-if-changed=build.rs");
    }
}
