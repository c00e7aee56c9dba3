//! Signs a registry with minisign keys.
//!
//! The signature covers the exact bytes of `registry.json` and is in `registry.json.minisig` beside it. Keys
//! and signatures are compatible with the program minisign.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use std::io::Cursor;

/// Generates a key pair: the texts of the secret and the public key file.
///
/// # Errors
/// The library's.
pub(crate) fn generate(password: Option<String>) -> Result<(String, String), String> {
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.map_err(message)?;
    let secret =
        pair.sk.to_box(Some("minisign secret key of a Joblet registry")).map_err(message)?;
    let public = pair.pk.to_box().map_err(message)?;
    Ok((secret.to_string(), public.to_string()))
}

/// A decrypted secret key.
pub(crate) struct Key {
    secret: SecretKey,
    public: PublicKey,
}

impl Key {
    /// Parses and decrypts a secret key file. `password` is called if the key has a password.
    ///
    /// # Errors
    /// A malformed key, or a wrong password.
    pub(crate) fn open<E: From<String>>(
        key: &str,
        password: impl FnOnce() -> Result<String, E>,
    ) -> Result<Self, E> {
        let encoded = key.lines().nth(1).and_then(|line| STANDARD.decode(line).ok());
        let mut secret = encoded
            .filter(|bytes| bytes.starts_with(b"Ed"))
            .and_then(|bytes| SecretKey::from_bytes(&bytes).ok())
            .ok_or_else(|| "is not a minisign secret key".to_owned())?;
        // The library requires a checksum, which minisign does not write into a key without a password.
        if secret.is_encrypted() {
            let boxed = SecretKeyBox::from_string(key).map_err(message)?;
            secret = boxed.into_secret_key(Some(password()?)).map_err(message)?;
        }
        let public = PublicKey::from_secret_key(&secret).map_err(message)?;
        Ok(Self { secret, public })
    }

    /// Signs `document` and the trusted comment `comment`; returns the signature file.
    ///
    /// # Errors
    /// The library's.
    pub(crate) fn sign(&self, document: &[u8], comment: &str) -> Result<String, String> {
        let document = Cursor::new(document);
        let signature =
            minisign::sign(Some(&self.public), &self.secret, document, Some(comment), None);
        Ok(signature.map_err(message)?.to_string())
    }

    /// The validity of the signature by this key in the file `signatures`, else of the first one.
    pub(crate) fn validity(&self, signatures: &str) -> Option<Validity> {
        let lines: Vec<_> = signatures.lines().collect();
        let own = STANDARD.encode([b"ED", self.public.keynum()].concat());
        let is_own =
            |block: &&[&str]| block.get(1).is_some_and(|line| line.get(..13) == own.get(..13));
        let block = lines.chunks(4).find(is_own).or_else(|| lines.chunks(4).next())?;
        Validity::of_comment(block.get(2)?)
    }

    /// Whether the signature file `signatures` contains a valid signature of `document` by this key.
    pub(crate) fn has_signed(&self, document: &[u8], signatures: &str) -> bool {
        let lines: Vec<_> = signatures.lines().collect();
        lines.chunks(4).any(|block| {
            let signature = SignatureBox::from_string(&block.join("\n"));
            let document = Cursor::new(document);
            signature.is_ok_and(|it| {
                minisign::verify(&self.public, &it, document, true, false, false).is_ok()
            })
        })
    }
}

/// The period in which a signature is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// Its length, in seconds; `None`: unlimited.
    pub seconds: Option<u64>,
}

impl Validity {
    /// Whether less than half of the period is left at `now`.
    pub(crate) fn is_ageing(self, now: u64) -> bool {
        self.seconds.is_some_and(|seconds| now > self.made.saturating_add(seconds / 2))
    }

    /// Parses a trusted comment, such as `trusted comment: timestamp:1\tfile:x\thashed\texpires:2`.
    fn of_comment(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("trusted comment: ")?.split('\t');
        let number = |name: &str| {
            let mut values = fields.clone().filter_map(|field| field.strip_prefix(name));
            values.next()?.parse::<u64>().ok()
        };
        let (made, expires) = (number("timestamp:")?, number("expires:"));
        Some(Self { made, seconds: expires.map(|until| until.saturating_sub(made)) })
    }
}

/// Adds to `signature` the signatures in `others` by other keys.
pub(crate) fn merge(signature: &str, others: &str) -> String {
    // The second line begins with algorithm and key id: 10 bytes, which determine 13 base64 characters.
    let key = |block: &[&str]| block.get(1).map(|line| line.chars().take(13).collect::<String>());
    let own: Vec<_> = signature.lines().collect();
    let lines: Vec<_> = others.lines().collect();
    let kept = lines.chunks(4).filter(|block| block.len() == 4 && key(block) != key(&own));
    kept.fold(signature.trim_end().to_owned() + "\n", |all, block| all + &block.join("\n") + "\n")
}

fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(document: &[u8], key: &str, password: &str) -> Result<String, String> {
        let key = Key::open(key, || Ok::<_, String>(password.to_owned()))?;
        let signature = key.sign(document, "timestamp:1")?;
        assert!(key.has_signed(document, &signature) && !key.has_signed(b"other", &signature));
        Ok(signature)
    }

    #[test]
    fn keys_sign_with_and_without_a_password() {
        let (secret, public) = generate(None).unwrap();
        let signature = signed(b"document", &secret, "never asked").unwrap();
        let check = |public: &str, signature: &str| {
            let public = minisign::PublicKeyBox::from_string(public).unwrap();
            let signature = minisign::SignatureBox::from_string(signature).unwrap();
            let public = public.into_public_key().unwrap();
            minisign::verify(&public, &signature, Cursor::new(b"document"), true, false, false)
        };
        check(&public, &signature).unwrap();
        let (other, _) = generate(None).unwrap();
        assert!(check(&public, &signed(b"document", &other, "").unwrap()).is_err());
        for broken in ["", "one line", "untrusted comment: x\nAAAA\n"] {
            assert!(signed(b"document", broken, "").is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_validity_is_that_of_the_keys_own_signature() {
        let open = |text: &str| Key::open(text, || Ok::<_, String>(String::new())).unwrap();
        let (a, b) = (open(&generate(None).unwrap().0), open(&generate(None).unwrap().0));
        let of_a = a.sign(b"1", "timestamp:100\tfile:x\thashed\texpires:400").unwrap();
        let of_b = b.sign(b"1", "timestamp:7\tfile:x\thashed").unwrap();
        let limited = Validity { made: 100, seconds: Some(300) };
        let unlimited = Validity { made: 7, seconds: None };
        let both = merge(&of_b, &of_a);
        for (key, signatures, want) in [
            (&a, both.as_str(), Some(limited)),
            (&b, &both, Some(unlimited)),
            (&b, &of_a, Some(limited)),
            (&a, "", None),
            (&a, "a\nb\nc\nd\n", None),
        ] {
            assert_eq!(key.validity(signatures), want, "{signatures}");
        }
        assert_eq!([250, 251].map(|now| limited.is_ageing(now)), [false, true]);
        assert!(!unlimited.is_ageing(u64::MAX));
    }

    #[test]
    fn a_signature_replaces_only_that_of_its_key() {
        let (a, b) = (generate(None).unwrap().0, generate(None).unwrap().0);
        let first = signed(b"1", &a, "").unwrap();
        let both = merge(&signed(b"1", &b, "").unwrap(), &first);
        assert_eq!(both.lines().count(), 8);
        let a_key = Key::open(&a, || Ok::<_, String>(String::new())).unwrap();
        assert!(a_key.has_signed(b"1", &both) && !a_key.has_signed(b"2", &both));
        for none in ["", "text", "a\nb\nc\nd\n"] {
            assert!(!a_key.has_signed(b"1", none), "{none:?}");
        }
        assert!(both.ends_with(&(first.trim_end().to_owned() + "\n")));
        let again = merge(&signed(b"2", &b, "").unwrap(), &both);
        assert_eq!((again.lines().count(), again == both), (8, false));
    }
}
