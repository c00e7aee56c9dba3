//! The trust anchors of Mozilla's root certificates, compressed: of each its name and its key, which is all that is
//! used of it.

use std::{env, fs, io::Write, path::PathBuf};

/// Written to `OUT_DIR/roots.deflate`: raw deflate of, for each anchor, its subject, its public key and its name
/// constraints in DER, each behind its length in two bytes, the higher first; 0 stands for no constraints.
/// `net/tls_roots.rs` reads it.
fn main() {
    let mut to = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for anchor in webpki_roots::TLS_SERVER_ROOTS {
        let constraints = anchor.name_constraints.as_deref().unwrap_or_default();
        for der in [&anchor.subject[..], &anchor.subject_public_key_info[..], constraints] {
            let length = u16::try_from(der.len()).expect("what a certificate has is small");
            to.write_all(&length.to_be_bytes()).expect("a Vec takes everything");
            to.write_all(der).expect("a Vec takes everything");
        }
    }
    let packed = to.finish().expect("a Vec takes everything");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("roots.deflate"), packed).expect("OUT_DIR can be written to");
    #[allow(clippy::print_stdout, reason = "cargo reads it")]
    {
        println!("cargo::rerun-if-changed=build.rs");
    }
}
