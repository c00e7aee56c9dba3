//! Java keystore `cacerts` with trusted certificates, in the format JKS.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// Time of every entry, in milliseconds since 1970: 1980-01-01, as in archives.
const TIME: u64 = 315_532_800_000;
/// The password that every JDK uses for this store; not a secret.
const PASSWORD: &str = "changeit";

/// A trusted certificate: its alias and its DER bytes.
pub(crate) type Entry = (String, Vec<u8>);

/// The certificate in a PEM file, with an alias from the file's name. `None` if it contains none.
pub(crate) fn entry(path: &str, pem: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let name = path.rsplit('/').next()?.trim_end_matches(".crt").to_lowercase();
    Some((format!("debian:{name}"), base64(body)?))
}

/// Encodes a keystore of these certificates.
///
/// Format JKS, all numbers big-endian: magic, version 2, count; for each trusted certificate tag 2,
/// alias, milliseconds, `X.509`, length, DER; at the end the SHA-1 of the password in UTF-16, the
/// words `Mighty Aphrodite` and everything before. Texts have a length of 16 bits.
pub(crate) fn store(entries: &[Entry]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = 0xFEED_FEED_u32.to_be_bytes().to_vec();
    out.extend(2_u32.to_be_bytes());
    out.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (alias, der) in entries {
        out.extend(2_u32.to_be_bytes());
        put_text(&mut out, alias);
        out.extend(TIME.to_be_bytes());
        put_text(&mut out, "X.509");
        out.extend(length(der));
        out.extend(der);
    }
    let mut hash = Sha1::new();
    hash.update(PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
    hash.update("Mighty Aphrodite");
    hash.update(&out);
    out.extend(hash.finalize());
    out
}

/// Writes a text of at most 255 bytes, preceded by its length.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

/// Decodes standard base64, line ends ignored. None for any other character.
fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        for (text, want) in [
            ("aGVsbG8=", Some(&b"hello"[..])),
            ("aGVs\nbG8h\n", Some(b"hello!")),
            ("/+8=", Some(b"\xff\xef")),
            ("", Some(b"")),
            ("a-b", None),
        ] {
            assert_eq!(base64(text).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn a_key_store_has_java_layout() {
        let pem = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let entry = entry("usr/share/ca-certificates/mozilla/Root_CA.crt", pem).unwrap();
        assert_eq!(entry, ("debian:root_ca".to_owned(), b"hello".to_vec()));
        let store = store(&[entry]);
        assert_eq!(store[..12], [0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1]);
        assert_eq!(&store[12..18], [0, 0, 0, 2, 0, 14]);
        assert_eq!(&store[18..32], b"debian:root_ca");
        assert_eq!(&store[40..47], b"\0\x05X.509");
        assert_eq!(&store[47..56], b"\0\0\0\x05hello");
        assert_eq!(store.len(), 56 + 20);
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        assert_eq!(entry("a.crt", b"text"), None);
    }
}
