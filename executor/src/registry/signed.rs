//! The signature file beside a document of a registry.

use super::config::Source;
use super::signature;
use crate::error::Error;
use crate::net::location::Location;
use crate::net::transfer::fetch;

/// Verifies the signatures of the document `body` at `place`, if the registry has keys. Returns the signature
/// file and when it expires, in seconds since 1970.
///
/// # Errors
/// [`Error::Signature`], and those of [`minisig`].
pub(super) fn verify(
    source: &Source,
    place: &Location,
    body: &[u8],
) -> Result<(String, u64), Error> {
    if source.keys.is_empty() {
        return Ok((String::new(), u64::MAX));
    }
    let minisig = minisig(source, place)?;
    let expires = signature::verify(body, &minisig, &source.keys, source.threshold);
    let expires = expires.map_err(|reason| refused(source, reason))?;
    Ok((String::from_utf8_lossy(&minisig).into_owned(), expires))
}

/// Fetches the signature file of the document at `place`.
///
/// # Errors
/// [`Error::Signature`] when there is none; [`Error::Net`], [`Error::File`].
pub(super) fn minisig(source: &Source, place: &Location) -> Result<Vec<u8>, Error> {
    let beside = place.beside(".minisig");
    fetch::document(&beside, signature::MAX_SIGNATURE_BYTES).map_err(|error| match error {
        Error::File { source: ref io, .. } if io.kind() == std::io::ErrorKind::NotFound => {
            refused(source, "the signature file is missing".into())
        }
        Error::Net { reason, status: Some(404 | 410), .. } => {
            refused(source, format!("the signature file is missing: {reason}"))
        }
        other => other,
    })
}

fn refused(source: &Source, reason: String) -> Error {
    Error::Signature { registry: source.location.to_string(), reason }
}
