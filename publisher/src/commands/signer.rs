//! Signing of `registry.json` when it is written. Without the key the write is refused: a stale signature would break every
//! client.

use crate::error::Error;
use crate::{cli::args, env, fs::paths, registry::sign};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A decrypted key, and its origin.
pub(super) struct Signer {
    key: sign::Key,
    place: PathBuf,
    /// The requested validity, in seconds.
    expires: Option<u64>,
}

impl Signer {
    /// The key of `--key`, else of the environment; `None` if neither is given.
    ///
    /// # Errors
    /// [`Error::Config`] for a malformed key, or a wrong password; [`Error::File`].
    pub(super) fn open(signing: &args::Signing) -> Result<Option<Self>, Error> {
        let (place, text) = match &signing.key {
            Some(file) => {
                (file.clone(), String::from_utf8_lossy(&paths::read_given(file)?).into_owned())
            }
            None => match env::var(env::SIGN_KEY) {
                Some(text) => (PathBuf::from(env::SIGN_KEY), text),
                None => return Ok(None),
            },
        };
        let password = || {
            let file = signing.password_file.as_deref();
            super::sign::password(file, &place).map_err(Refused::Password)
        };
        let key = sign::Key::open(&text, password).map_err(|reason| match reason {
            Refused::Key(reason) => Error::config(&place, reason),
            Refused::Password(error) => error,
        })?;
        let expires = signing.expires.map(|days| u64::from(days.get()) * 86_400);
        Ok(Some(Self { key, place, expires }))
    }

    /// Signs `document`, which is the file `name`: for the requested period, else for that of the signature file `before`.
    ///
    /// # Errors
    /// [`Error::Config`] with the key.
    pub(super) fn sign(&self, document: &[u8], name: &str, before: &str) -> Result<String, Error> {
        let now = env::now().seconds();
        let mut comment = format!("timestamp:{now}\tfile:{name}\thashed");
        if let Some(seconds) = self.period(before) {
            // Writing to a String does not fail.
            _ = write!(comment, "\texpires:{}", now.saturating_add(seconds));
        }
        self.key.sign(document, &comment).map_err(|reason| Error::config(&self.place, reason))
    }

    /// The period for which a signature is made, in seconds, if `before` is the signature file there.
    fn period(&self, before: &str) -> Option<u64> {
        self.expires.or_else(|| self.key.validity(before)?.seconds)
    }

    /// Whether `signatures` has a valid signature of `document` by this key, for the requested period, of which at
    /// least half is left.
    fn is_settled(&self, document: &[u8], signatures: &str) -> bool {
        let is_in_time = match self.key.validity(signatures) {
            Some(it) => {
                it.seconds == self.period(signatures) && !it.is_ageing(env::now().seconds())
            }
            None => self.expires.is_none(),
        };
        is_in_time && self.key.has_signed(document, signatures)
    }
}

/// The reason why a key was not decrypted.
enum Refused {
    Key(String),
    Password(Error),
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self::Key(reason)
    }
}

/// The path of the signature of the registry at `registry`.
pub(super) fn signature_of(registry: &Path) -> PathBuf {
    let mut name = registry.to_owned().into_os_string();
    name.push(".minisig");
    name.into()
}

/// Refuses to change `registry` if it is signed and there is no key.
///
/// # Errors
/// [`Error::Config`].
pub(super) fn may_write(registry: &Path, signer: Option<&Signer>) -> Result<(), Error> {
    let signature = signature_of(registry);
    if signer.is_some() || signature.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(needs_key(registry))
}

/// The error for a signed registry at `registry` without a key.
pub(super) fn needs_key(registry: &Path) -> Error {
    let reason = format!(
        "is signed, and would change without its signature; give the key (--key FILE or {}), or let \
         the workflow reconcile write it; to stop signing, delete the .minisig",
        env::SIGN_KEY
    );
    Error::config(registry, reason)
}

/// Signs `file`, the registry at `registry` or the list of its shards, below `root`, unless it has a valid signature by
/// this key.
///
/// A signature contains its time, so a valid one is kept while at least half of its period is left: a second run changes
/// nothing. Without a requested period a new one gets that of the signature before, of a list without one that of
/// the registry.
///
/// # Errors
/// As [`Signer::sign`]; [`Error::File`].
pub(super) fn settle(
    root: &Path,
    file: &Path,
    registry: &Path,
    signer: Option<&Signer>,
) -> Result<(), Error> {
    let Some(signer) = signer else { return Ok(()) };
    let Some(document) = paths::read_below(root, file)? else { return Ok(()) };
    let place = signature_of(file);
    let mut before = paths::read_below(root, &place)?;
    if before
        .as_deref()
        .is_some_and(|it| signer.is_settled(&document, &String::from_utf8_lossy(it)))
    {
        return Ok(());
    }
    if before.is_none() {
        before = paths::read_below(root, &signature_of(registry))?;
    }
    let before = before.unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let signature = signer.sign(&document, &name, &String::from_utf8_lossy(&before))?;
    paths::write_below(root, &place, signature.as_bytes())
}
