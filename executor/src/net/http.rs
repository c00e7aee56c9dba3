//! GET over https, with limits on redirects, retries and time.

use super::address::Address;
pub(crate) use super::exchange::Response;
pub(crate) use super::failure::explain_io;
use super::failure::{Failure, spoken};
use super::redirect::{self, Wanted};
use super::retry::Tries;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Asks for `url` and returns the answer once its status is a success.
///
/// Network failures, 429 and 5xx are tried again; other answers are final.
///
/// # Errors
/// [`Error::Net`] with the address that failed and the reason.
pub(crate) fn get(url: &Address) -> Result<Response, Error> {
    ask(url, &Wanted::default(), &mut Tries::new())
}

/// As [`get`]; `then` is what will be asked for next.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_before(url: &Address, then: &Address) -> Result<Response, Error> {
    ask(url, &Wanted { then: Some(then), ..Wanted::default() }, &mut Tries::new())
}

/// What a server calls the bytes of an answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Validators {
    /// Those of an answer.
    pub(crate) fn of(response: &Response) -> Self {
        let header = |name| response.header(name).map(str::to_owned);
        Self { etag: header("etag"), last_modified: header("last-modified") }
    }
}

/// As [`get`], unless the server still has what `known` stands for: then the status is 304.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_if_changed(url: &Address, known: &Validators) -> Result<Response, Error> {
    let mut headers = Vec::new();
    headers.extend(known.etag.as_deref().map(|value| ("If-None-Match", value)));
    headers.extend(known.last_modified.as_deref().map(|value| ("If-Modified-Since", value)));
    ask(url, &Wanted { headers: &headers, ..Wanted::default() }, &mut Tries::new())
}

/// What a server has of a file that is here in part.
#[derive(Debug)]
pub(crate) enum Resumed {
    /// Exactly the rest.
    Rest(Response),
    /// All of it: the server knows no ranges, or has other bytes by now.
    Whole(Response),
    /// Something else.
    Neither(Error),
}

/// Asks for the bytes of `url` from `offset` on, of `size` that it has in all, in bytes, if they are
/// still those that `etag` was said of.
///
/// # Errors
/// As [`get`].
pub(crate) fn resume(
    url: &Address,
    offset: u64,
    size: u64,
    etag: Option<&str>,
    tries: &mut Tries,
) -> Result<Resumed, Error> {
    let range = format!("bytes={offset}-");
    let mut headers = vec![("Range", range.as_str())];
    headers.extend(etag.map(|etag| ("If-Range", etag)));
    let response = ask(url, &Wanted { headers: &headers, ..Wanted::default() }, tries)?;
    if response.status() == 200 {
        return Ok(Resumed::Whole(response));
    }
    Ok(match require_range(url, &response, &(offset..size), size) {
        Ok(()) => Resumed::Rest(response),
        Err(error) => Resumed::Neither(error),
    })
}

/// Asks for `range` of the `size` bytes that `url` has in all, and for the ranges `ahead` where the server
/// is known to answer several requests in a row: [`Response::waiting`] says how many.
///
/// # Errors
/// As [`get`]; also when the answer is anything else than that range.
pub(crate) fn get_range(
    url: &Address,
    range: &Range<u64>,
    ahead: &[String],
    size: u64,
    tries: &mut Tries,
) -> Result<Response, Error> {
    let wanted = Wanted { headers: &[("Range", &bytes(range))], ahead, then: None };
    let response = ask(url, &wanted, tries)?;
    require_range(url, &response, range, size)?;
    Ok(response)
}

/// The value of `Range` for `range`.
pub(crate) fn bytes(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// Whether an answer is `range` of the file that was asked for, and no other one.
///
/// # Errors
/// [`Error::Net`] with what it is instead.
pub(crate) fn require_range(
    url: &Address,
    response: &Response,
    range: &Range<u64>,
    size: u64,
) -> Result<(), Error> {
    let wanted = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    let (status, got) = (response.status(), response.header("content-range"));
    let length = response.length().is_none_or(|length| length == range.end - range.start);
    if status == 206 && got == Some(&wanted) && length {
        return Ok(());
    }
    let got = got.unwrap_or("no range");
    let reason =
        format!("asked for {wanted:?}, the server answered {got:?} and {}", spoken(status));
    Err(Error::Net { url: url.to_string(), reason, status: Some(status) })
}

/// The entity tag of an answer, if it stands for exact bytes.
pub(crate) fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.header("etag")?;
    (etag.len() > 2 && etag.starts_with('"')).then(|| etag.to_owned())
}

/// One request, tried again as long as `tries` allows.
fn ask(url: &Address, wanted: &Wanted<'_>, tries: &mut Tries) -> Result<Response, Error> {
    loop {
        match redirect::get(url, wanted) {
            Ok(response) => return Ok(response),
            Err(Failure { error, passing: true, asked }) => tries.again_after(asked, error)?,
            Err(Failure { error, .. }) => return Err(error),
        }
    }
}
