//! HTTP GET, with limits on redirects, retries and time.

use super::address::Address;
pub(crate) use super::exchange::Response;
pub(crate) use super::failure::explain_io;
use super::failure::{Failure, status_line};
use super::redirect::{self, Wanted};
use super::retry::Tries;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Requests `url` and returns the first response with a success status.
///
/// Network failures, 429 and 5xx are retried; other statuses are final.
///
/// # Errors
/// [`Error::Net`] with the address that failed and the reason.
pub(crate) fn get(url: &Address) -> Result<Response, Error> {
    send(url, &Wanted::default(), &mut Tries::new())
}

/// As [`get`]; `then` is the address that is requested next, to look up its redirect at the same time.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_before(url: &Address, then: &Address) -> Result<Response, Error> {
    send(url, &Wanted { then: Some(then), ..Wanted::default() }, &mut Tries::new())
}

/// The validators of a response (RFC 9110, section 8.8), to ask later whether it has changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Validators {
    /// The validators of `response`.
    pub(crate) fn from_response(response: &Response) -> Self {
        let header = |name| response.header(name).map(str::to_owned);
        Self { etag: header("etag"), last_modified: header("last-modified") }
    }
}

/// As [`get`], but conditional: the status is 304 if the validators `known` still match. With `range` it is
/// a request for that range; the server may answer with the whole file.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_if_changed(
    url: &Address,
    known: &Validators,
    range: Option<&Range<u64>>,
) -> Result<Response, Error> {
    let range = range.map(range_header);
    let mut headers = Vec::new();
    headers.extend(range.as_deref().map(|range| ("Range", range)));
    headers.extend(known.etag.as_deref().map(|value| ("If-None-Match", value)));
    headers.extend(known.last_modified.as_deref().map(|value| ("If-Modified-Since", value)));
    send(url, &Wanted { headers: &headers, ..Wanted::default() }, &mut Tries::new())
}

/// The response to a request for the rest of a file.
#[derive(Debug)]
pub(crate) enum Resumed {
    /// Exactly the requested rest.
    Rest(Response),
    /// The whole file: the server does not support ranges, or the file has changed.
    Whole(Response),
    /// Neither.
    Neither(Error),
}

/// Requests the bytes of `url` from `offset` to its end at `size`, in bytes, if its entity tag is still
/// `etag`.
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
    let response = send(url, &Wanted { headers: &headers, ..Wanted::default() }, tries)?;
    if response.status() == 200 {
        return Ok(Resumed::Whole(response));
    }
    Ok(match require_range(url, &response, &(offset..size), size) {
        Ok(()) => Resumed::Rest(response),
        Err(error) => Resumed::Neither(error),
    })
}

/// Requests `range` of the `size` bytes of `url`, and pipelines requests for the ranges `ahead` where the
/// server is known to answer several in a row: [`Response::waiting`] counts those that were sent.
///
/// # Errors
/// As [`get`]; also when the response is anything but that range.
pub(crate) fn get_range(
    url: &Address,
    range: &Range<u64>,
    ahead: &[String],
    size: u64,
    tries: &mut Tries,
) -> Result<Response, Error> {
    let wanted = Wanted { headers: &[("Range", &range_header(range))], ahead, then: None };
    let response = send(url, &wanted, tries)?;
    require_range(url, &response, range, size)?;
    Ok(response)
}

/// The value of the `Range` header for `range`.
pub(crate) fn range_header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// Checks that a response is 206 with exactly `range` of a file of `size` bytes.
///
/// # Errors
/// [`Error::Net`] with the status and range that it has.
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
        format!("requested {wanted:?}, the server answered {got:?} and {}", status_line(status));
    Err(Error::Net { url: url.to_string(), reason, status: Some(status) })
}

/// The length of a file, in bytes, by a response with its first `most` bytes, or with all if it has fewer.
/// `None` if the response is anything else.
pub(crate) fn range_total(url: &Address, response: &Response, most: u64) -> Option<u64> {
    let total = response.header("content-range")?.rsplit_once('/')?.1.parse().ok()?;
    require_range(url, response, &(0..most.min(total)), total).ok().map(|()| total)
}

/// The entity tag of a response, if it is a strong one (RFC 9110, section 8.8.1).
pub(crate) fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.header("etag")?;
    (etag.len() > 2 && etag.starts_with('"')).then(|| etag.to_owned())
}

/// Sends one request, and retries it as long as `tries` allows.
fn send(url: &Address, wanted: &Wanted<'_>, tries: &mut Tries) -> Result<Response, Error> {
    loop {
        match redirect::get(url, wanted) {
            Ok(response) => return Ok(response),
            Err(Failure { error, transient: true, retry_after }) => {
                tries.again_after(retry_after, error)?;
            }
            Err(Failure { error, .. }) => return Err(error),
        }
    }
}
